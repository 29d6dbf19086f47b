//! The admission protocol: what is echoed, what is paired, what is left alone, and what is never said.

use serde_json::{Value, json};
use stowage::{
    admission::{Outcome, Unreadable, admit},
    policy::snapshot::Snapshot,
    reason::Reason,
};

use crate::harness::{answer, answer_to, namespaced, once, pod, policies, policy, review};

fn any() -> Snapshot {
    policies(&policy("p", "  env: [{name: A, value: b}]"))
}

#[test]
fn echoes_the_uid_and_pairs_the_patch_with_its_type() {
    let answer = answer(&pod(json!({})), &any());
    assert_eq!(answer.response["uid"], "u-1");
    assert_eq!(answer.response["patchType"], "JSONPatch");
    assert_eq!(answer.outcome, Outcome::Patched);
    assert_eq!(answer.response["auditAnnotations"], json!({"policies": "p", "injected": "p/env"}));
}

#[test]
fn an_answer_without_a_change_has_neither_patch_nor_type() {
    let text = policy("p", "  env: [{name: A, value: b}]")
        .replace("{podSelector: {}}", "{podSelector: {matchLabels: {a: b}}}");
    let answer = answer(&pod(json!({})), &policies(&text));
    assert_eq!(answer.outcome, Outcome::NoMatch);
    assert_eq!(answer.response, json!({"uid": "u-1", "allowed": true}));
}

#[test]
fn a_dry_run_is_answered_like_any_other() {
    let mut dry = review(&pod(json!({})));
    dry["request"]["dryRun"] = true.into();
    let admitted = admit(dry.to_string().as_bytes(), &any()).unwrap();
    assert!(admitted.summary.dry_run);
    assert_eq!(answer_to(&dry, &any()).patch, answer(&pod(json!({})), &any()).patch);
}

#[test]
fn only_the_creation_of_pods_is_touched() {
    let fields = [
        ("operation", json!("UPDATE")),
        ("operation", json!("DELETE")),
        ("subResource", json!("ephemeralcontainers")),
        ("resource", json!({"group": "", "version": "v1", "resource": "services"})),
        ("resource", json!({"group": "apps", "version": "v1", "resource": "pods"})),
        ("resource", json!(null)),
        ("namespace", json!("kube-system")),
        ("namespace", json!("own")),
    ];
    let mut snapshot = any();
    snapshot.untouched = std::sync::Arc::new(["own".into()]);
    for (field, value) in fields {
        let mut other = review(&pod(json!({})));
        other["request"][field] = value.clone();
        let answer = once(&other, &snapshot);
        assert_eq!(answer.outcome, Outcome::Excluded, "{field} {value}");
        assert_eq!(answer.response, json!({"uid": "u-1", "allowed": true}));
    }
}

#[test]
fn an_object_that_is_no_pod_is_admitted_as_it_is() {
    let mut other = review(&json!({"metadata": {"labels": 5}, "spec": "text"}));
    other["request"]["resource"]["resource"] = "widgets".into();
    assert_eq!(once(&other, &any()).outcome, Outcome::Excluded);
    other["request"]["object"] = Value::Null;
    assert_eq!(once(&other, &any()).outcome, Outcome::Excluded);
}

#[test]
fn mirror_pods_are_left_alone() {
    let mut mirror = pod(json!({}));
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    assert_eq!(answer(&mirror, &any()).outcome, Outcome::Excluded);
}

#[test]
fn what_cannot_be_read_is_named_in_one_line_without_an_excerpt() {
    let canary = "s3cr3t-canary";
    let mut wrong_type = review(&pod(json!({"env": canary})));
    let mut no_object = review(&pod(json!({})));
    no_object["request"]["object"] = Value::Null;
    let mut no_uid = review(&pod(json!({})));
    no_uid["request"]["uid"] = "".into();
    let mut version = review(&pod(json!({})));
    version["apiVersion"] = "admission.k8s.io/v1beta1".into();
    let mut no_request = review(&pod(json!({})));
    no_request["request"] = Value::Null;
    wrong_type["request"]["object"]["spec"]["containers"][0]["name"] = canary.into();
    let texts = [
        (wrong_type.to_string(), "wrong type"),
        (no_object.to_string(), "no request.object"),
        (no_uid.to_string(), "no request.uid"),
        (version.to_string(), "admission.k8s.io/v1"),
        (no_request.to_string(), "no request"),
        (String::new(), "ends too early"),
        (format!("{{\"{canary}\": x}}"), "malformed"),
        (format!("\"{canary}\""), "wrong type"),
    ];
    for (text, why) in texts {
        let error: Unreadable = admit(text.as_bytes(), &any()).unwrap_err();
        let said = error.to_string();
        assert!(said.contains(why) && !said.contains(canary) && !said.contains('\n'), "{said}");
    }
}

#[test]
fn warnings_are_cut_as_the_api_server_would_cut_them() {
    let name = "ä".repeat(300);
    let many: Vec<Value> =
        (0..20).map(|n| json!({"name": format!("{name}{n}"), "env": [{"name": "A", "value": "x"}]})).collect();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": many}});
    let answer = answer(&pod, &any());
    let warnings = answer.response["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 10);
    assert!(warnings.iter().all(|warning| warning.as_str().unwrap().chars().count() <= 256));
    assert!(warnings[9].as_str().unwrap().contains("11 more"), "{}", warnings[9]);
    let total: usize = warnings.iter().map(|warning| warning.as_str().unwrap().chars().count()).sum();
    assert!(total <= 4096);
}

#[test]
fn no_value_of_a_variable_is_ever_said() {
    let canary = "hunter2-canary";
    let text = policy(
        "p",
        "  v3io: {username: u, accessKeySecret: {name: s}}\n  onConflict: CONFLICT\n  storage:\n  - v3io: {}\n  - s3: {secretName: s}\n  - gcs: {secretName: g}\n  autoMount: {type: v3io_credentials}\n  env: [{name: A, value: b}]\n  stateThresholds: {running: 1h}\n  persistence: {data: {d: {store: s3, bucket: \"s3://b\", secret: s, secretKey: k}}}",
    );
    for conflict in ["Keep", "Override", "Reject"] {
        let names =
            ["A", "V3IO_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "GOOGLE_APPLICATION_CREDENTIALS", "k", "MLRUN_EXEC_CONFIG"];
        for config in
            [canary.to_owned(), json!({"spec": {"state_thresholds": {"running": canary, canary: 1}}}).to_string()]
        {
            let env: Vec<Value> = names
                .iter()
                .map(|name| json!({"name": name, "value": if *name == "MLRUN_EXEC_CONFIG" { &config } else { canary }}))
                .collect();
            let asked = review(&pod(json!({"env": env})));
            let admitted = admit(asked.to_string().as_bytes(), &policies(&text.replace("CONFLICT", conflict))).unwrap();
            let body: Value = serde_json::from_slice(&admitted.body).unwrap();
            let answer = once(&asked, &policies(&text.replace("CONFLICT", conflict)));
            let said = format!("{body} {} {:?}", answer.patch, admitted.summary);
            assert!(!said.contains(canary), "{conflict}: {said}");
            assert_eq!(answer.is_allowed(), conflict != "Reject");
        }
    }
}

#[test]
fn a_wrong_placement_field_is_refused_without_being_quoted() {
    let mut odd = pod(json!({}));
    odd["spec"]["nodeSelector"] = "s3cr3t".into();
    let answer = answer(&odd, &policies(&policy("p", "  nodeSelector: {a: b}")));
    assert!(answer.message().contains("spec.nodeSelector is not an object"), "{}", answer.message());
    assert!(!answer.message().contains("s3cr3t"));
}

#[test]
fn a_refusal_is_a_422_that_names_key_value_and_what_is_allowed() {
    let mut asks = pod(json!({}));
    asks["metadata"]["labels"] = json!({"stowage.dev/preemption-mode": "alow"});
    let text = policy("p", "  preemption: {nodeSelector: {spot: \"true\"}}");
    let answer = answer(&asks, &policies(&text));
    assert_eq!(answer.outcome, Outcome::Refused);
    let status = &answer.response["status"];
    assert_eq!((&status["code"], &status["reason"]), (&json!(422), &json!("Invalid")));
    for word in ["stowage.dev/preemption-mode", "\"alow\"", "allow, constrain, prevent, prefer, none"] {
        assert!(answer.message().contains(word), "{}", answer.message());
    }
}

#[test]
fn what_no_matched_policy_acts_on_is_a_warning_and_never_a_refusal() {
    for (key, value, told) in [
        ("stowage.dev/preemption-mode", "alow", "is not allowed"),
        ("stowage.dev/auto-mount", "pvc", "no policy that matches this pod acts on it"),
        ("stowage.dev/auto-mout", "pvc", "did you mean stowage.dev/auto-mount?"),
        ("stowage.dev/inject", "maybe", "true, false"),
    ] {
        let mut asks = pod(json!({}));
        asks["metadata"]["annotations"] = json!({key: value});
        let text = policy("p", "  labels: {a: b}");
        let answer = answer_to(&review(&asks), &policies(&text));
        let unmatched = answer_to(&review(&asks), &Snapshot::default());
        assert!(unmatched.is_allowed() && unmatched.warnings().contains(told), "{}", unmatched.warnings());
        if key != "stowage.dev/inject" {
            assert!(answer.is_allowed() && answer.warnings().contains(told), "{}", answer.warnings());
        }
    }
}

#[test]
fn asking_for_nothing_where_there_is_nothing_is_no_news() {
    let mut asks = pod(json!({}));
    asks["metadata"]["labels"] = json!({
        "stowage.dev/auto-mount": "none", "stowage.dev/preemption-mode": "none", "stowage.dev/data": "none",
        "stowage.dev/outputs": "none", "stowage.dev/inject": "true",
    });
    assert_eq!(answer(&asks, &any()).warnings(), "");
}

#[test]
fn opting_out_leaves_the_pod_alone_and_the_annotation_comes_first() {
    let mut out = pod(json!({}));
    out["metadata"]["labels"] = json!({"stowage.dev/inject": "false"});
    assert_eq!(answer(&out, &any()).patch, json!([]));
    out["metadata"]["annotations"] = json!({"stowage.dev/inject": "true"});
    assert_ne!(answer(&out, &any()).patch, json!([]));
}

#[test]
fn excluded_containers_are_left_alone() {
    let containers = json!([{"name": "main"}, {"name": "my_side"}, {"name": "other"}]);
    for (kind, value) in [("annotations", "my_side, other,nope"), ("labels", "my_side_other_nope")] {
        let pod = json!({"metadata": {"name": "p", kind: {"stowage.dev/exclude-containers": value}}, "spec": {"containers": containers}});
        let answer = answer(&pod, &any());
        assert_eq!(answer.pod["spec"]["containers"][0]["env"][0]["name"], "A");
        assert!(
            answer.pod["spec"]["containers"][1]["env"].is_null()
                && answer.pod["spec"]["containers"][2]["env"].is_null()
        );
        assert!(answer.warnings().contains("no container \"nope\""), "{}", answer.warnings());
    }
}

#[test]
fn the_namespace_is_the_requests() {
    let text = namespaced("own", "  env: [{name: A, value: b}]");
    let mut elsewhere = review(&pod(json!({})));
    elsewhere["request"]["namespace"] = "elsewhere".into();
    assert_eq!(once(&elsewhere, &policies(&text)).outcome, Outcome::NoMatch);
    assert_eq!(answer(&pod(json!({})), &policies(&text)).outcome, Outcome::Patched);
}

/// A person sees the events of a Job, and seldom the answer to its controller.
#[test]
fn the_owner_is_told_by_the_first_reason_and_never_in_a_dry_run() {
    let snapshot =
        policies(&policy("p", "  storage: [{pvc: {claimName: '{label:none}'}}, {pvc: {claimName: c, mountPath: /d}}]"));
    let mut owned = pod(json!({"volumeMounts": [{"name": "x", "mountPath": "/d"}]}));
    owned["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "train", "uid": "j-1", "controller": true}]);
    let told = |review: &Value| admit(review.to_string().as_bytes(), &snapshot).unwrap().advice;
    let advice = told(&review(&owned)).expect("the Job is told");
    assert_eq!(
        (advice.kind.as_str(), advice.name.as_str(), advice.reason),
        ("Job", "train", Reason::PlaceholderAbsent)
    );
    assert!(advice.note.contains("storage[0].pvc") && advice.note.contains("storage[1].pvc"), "{}", advice.note);
    let mut dry = review(&owned);
    dry["request"]["dryRun"] = true.into();
    assert!(told(&dry).is_none());
    assert!(told(&review(&pod(json!({})))).is_none(), "nobody owns it");
}
