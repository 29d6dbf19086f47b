use super::*;

fn compile(json: &str) -> Result<StateThresholds, Vec<String>> {
    let spec: StateThresholdsSpec = serde_json::from_str(json).unwrap();
    spec.compile().map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn reads_integers_only_as_never() {
    let compiled = compile(r#"{"running": -1, "failed": "-1", "pendingScheduled": "90m"}"#).unwrap();
    assert_eq!(compiled.thresholds.own(State::Running), Some(&Threshold::Never));
    assert_eq!(compiled.thresholds.own(State::Failed), Some(&Threshold::Never));
    assert_eq!(compiled.thresholds.own(State::Unknown), None);
    let errors = compile(r#"{"running": 3600}"#).unwrap_err();
    assert!(errors[0].starts_with("running: a bare number has no unit; write `3600s`"), "{errors:?}");
}

#[test]
fn says_everything_that_is_wrong_with_its_field() {
    let errors = compile(
        r#"{"pendingScheduled": "1M", "executing": "10", "running": "1h",
            "mlrunDefaults": {"imagePullBackoff": ""}, "overrides": {"min": "2h", "max": "1h"}}"#,
    )
    .unwrap_err();
    let fields: Vec<&str> = errors.iter().filter_map(|e| e.split(": ").next()).collect();
    assert_eq!(
        fields,
        ["pendingScheduled", "executing", "executing", "mlrunDefaults.imagePullBackoff", "overrides.min"]
    );
    assert!(compile(r#"{"overrides": {"min": -1}}"#).unwrap_err()[0].contains("no lower bound"));
}

#[test]
fn executing_is_running() {
    let compiled = compile(r#"{"executing": "2h", "mlrunDefaults": {"executing": "12h"}}"#).unwrap();
    assert_eq!(compiled.thresholds.own(State::Running), "2h".parse().as_ref().ok());
    assert_eq!(compiled.mlrun_defaults.threshold(State::Running), "12h".parse().ok());
    assert_eq!(compiled.mlrun_defaults.threshold(State::PendingScheduled), "1h".parse().ok());
}

#[test]
fn refuses_a_misspelt_state() {
    let error = serde_json::from_str::<StateThresholdsSpec>(r#"{"runing": "1h"}"#).unwrap_err();
    assert!(error.to_string().contains("unknown field `runing`"), "{error}");
}

#[test]
fn the_schema_says_int_or_string() {
    let schema = schemars::schema_for!(StateThresholdsSpec);
    let running = schema.pointer("/properties/running").unwrap();
    assert_eq!(running["x-kubernetes-int-or-string"], true);
    assert!(running.get("type").is_none());
    assert!(running["x-kubernetes-validations"][0]["rule"].as_str().unwrap().contains("matches(r'^"));
}
