//! What of `MLRUN_EXEC_CONFIG` is a run's own word.
//!
//! MLRun puts the run's specification as JSON into that variable, `spec.state_thresholds` with all four of its defaults
//! filled in (`mlrun/launcher/base.py`), so only what differs from them was said by somebody. The webhook copies that
//! into the `stowage.dev/state-thresholds` annotation. No part of the variable appears in an error or warning: it is env.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::duration;
use crate::threshold::State;
use crate::threshold::spec::MlrunDefaults;

/// What a run says of its thresholds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunWords {
    /// Time strings by [`State::name`], of the states for which the run says anything but MLRun's default.
    pub words: BTreeMap<&'static str, String>,
    /// What was left out, and why.
    pub warnings: Vec<String>,
}

/// The variable could not be read. Never a reason to refuse a pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "reading MLRUN_EXEC_CONFIG: not the JSON of a run, at line {line} column {column}; its thresholds are left out"
)]
pub struct RunWordsError {
    /// The line of the value.
    pub line: usize,
    /// The column of the value.
    pub column: usize,
}

/// Reads the value of `MLRUN_EXEC_CONFIG`. No `spec`, or no thresholds in it, is nothing said.
///
/// # Errors
///
/// When the text is not a JSON object, or `spec` or `spec.state_thresholds` is none.
pub fn run_words(exec_config: &str, defaults: &MlrunDefaults) -> Result<RunWords, RunWordsError> {
    let run: Run = serde_json::from_str(exec_config)
        .map_err(|error| RunWordsError { line: error.line(), column: error.column() })?;
    let said = run.spec.and_then(|spec| spec.state_thresholds);
    let mut run_words = RunWords::default();
    for (key, value) in said.unwrap_or_default() {
        run_words.add(&key, &value, defaults);
    }
    Ok(run_words)
}

#[derive(Deserialize)]
struct Run {
    spec: Option<RunSpec>,
}

#[derive(Deserialize)]
struct RunSpec {
    state_thresholds: Option<BTreeMap<String, Value>>,
}

impl RunWords {
    fn add(&mut self, key: &str, value: &Value, defaults: &MlrunDefaults) {
        let Some(state) = State::from_name(key) else {
            self.warn("spec.state_thresholds names a state that does not exist");
            return;
        };
        let text = match value {
            // MLRun reads both as "use the default".
            Value::Null => return,
            Value::String(text) if text.is_empty() => return,
            Value::String(text) => text.clone(),
            Value::Number(number) if number.as_i64() == Some(-1) => "-1".to_owned(),
            _ => {
                self.warn_of(state, "is neither a time string nor -1");
                return;
            }
        };
        match duration::parse(&text) {
            Ok(threshold) if defaults.threshold(state) == Some(threshold) => {}
            Ok(_) => {
                self.words.insert(state.name(), text);
            }
            Err(_) => self.warn_of(state, "is not a time such as `90m` or `1 day 5h`, or -1"),
        }
    }

    fn warn_of(&mut self, state: State, why: &str) {
        let warning = format!("spec.state_thresholds.{} {why}", state.name());
        self.warn(&warning);
    }

    fn warn(&mut self, what: &str) {
        let warning = format!("in MLRUN_EXEC_CONFIG, {what}; the policy's threshold stands");
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(json: &str) -> RunWords {
        run_words(json, &MlrunDefaults::default()).unwrap()
    }

    #[test]
    fn only_what_differs_from_mlruns_defaults_is_the_runs_word() {
        let said = words(
            r#"{"kind": "run", "spec": {"handler": "f", "state_thresholds": {"pending_scheduled": "60 min",
                "pending_not_scheduled": "-1", "image_pull_backoff": "90m", "executing": "1day"}}}"#,
        );
        assert_eq!(said.words, BTreeMap::from([("image_pull_backoff", "90m".to_owned())]));
        assert!(said.warnings.is_empty());
    }

    #[test]
    fn an_installations_own_defaults_are_no_word_either() {
        let spec: crate::threshold::spec::StateThresholdsSpec =
            serde_json::from_str(r#"{"mlrunDefaults": {"executing": "12h"}}"#).unwrap();
        let defaults = spec.compile().unwrap().mlrun_defaults;
        let json = r#"{"spec": {"state_thresholds": {"executing": "12h", "pending_scheduled": "1h"}}}"#;
        assert!(run_words(json, &defaults).unwrap().words.is_empty());
        let json = r#"{"spec": {"state_thresholds": {"running": "24h"}}}"#;
        assert_eq!(run_words(json, &defaults).unwrap().words["running"], "24h");
    }

    #[test]
    fn a_number_minus_one_is_never_and_nothing_said_is_nothing() {
        let said = words(
            r#"{"spec": {"state_thresholds": {"executing": -1, "image_pull_backoff": null, "pending_scheduled": ""}}}"#,
        );
        assert_eq!(said.words, BTreeMap::from([("running", "-1".to_owned())]));
        for empty in ["{}", r#"{"spec": null}"#, r#"{"spec": {}}"#, r#"{"spec": {"state_thresholds": null}}"#] {
            assert_eq!(words(empty), RunWords::default());
        }
    }

    #[test]
    fn what_cannot_be_read_is_left_out_without_being_told() {
        let said =
            words(r#"{"spec": {"state_thresholds": {"executing": "hunter2", "x": "1h", "pending_scheduled": 5}}}"#);
        assert!(said.words.is_empty());
        assert_eq!(said.warnings.len(), 3);
        let told = said.warnings.join(" ");
        assert!(told.contains("state_thresholds.running") && !told.contains("hunter2"), "{told}");
        let error = run_words(r#"{"spec": "hunter2"}"#, &MlrunDefaults::default()).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(run_words("[", &MlrunDefaults::default()).is_err());
    }
}
