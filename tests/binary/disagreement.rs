//! Policies that disagree: the first wins, also when admission comes a second time.

use serde_json::{Value, json};
use stowage::policy::{loaded::Loaded, snapshot::Snapshot};

use crate::webhook::{inject, labelled};

fn policy(name: &str, on_conflict: &str, blocks: &Value) -> String {
    let mut spec = json!({"match": {"podSelector": {}}, "onConflict": on_conflict});
    spec.as_object_mut().unwrap().extend(blocks.as_object().unwrap().clone());
    json!({
        "apiVersion": "stowage.dev/v1alpha1", "kind": "ClusterInjectionPolicy", "metadata": {"name": name}, "spec": spec
    })
    .to_string()
}

fn snapshot(policies: &[String]) -> Snapshot {
    let mut loaded = Loaded::default();
    for (index, policy) in policies.iter().enumerate() {
        loaded.add(&format!("{index}.json"), policy);
    }
    assert_eq!(loaded.errors, Vec::new());
    loaded.snapshot()
}

/// Everything in which one policy can be of another mind than the next.
fn blocks(word: &str) -> Value {
    json!({
        "storage": [{"pvc": {"claimName": word, "volumeName": word, "mountPath": "/data"}}],
        "env": [{"name": "WORD", "value": word}],
        "labels": {"word": word},
        "annotations": {"word": word},
        "nodeSelector": {"word": word},
        "imagePullPolicy": if word == "first" { "Always" } else { "Never" },
        "priorityClassName": word
    })
}

#[test]
fn of_two_policies_that_override_the_first_wins_and_a_second_pass_leaves_it_so() {
    for on_conflict in ["Override", "Keep", "Reject"] {
        let policies = ["first", "second"].map(|word| policy(word, on_conflict, &blocks(word)));
        // The second pass is inside: it must change nothing.
        let run = inject(&snapshot(&policies), "default", &labelled("a=b", &["main"]));
        assert_eq!(run.variable("main", "WORD"), "first");
        assert_eq!(run.volumes(), ["first"]);
        for pointer in ["/metadata/labels/word", "/metadata/annotations/word", "/spec/nodeSelector/word"] {
            assert_eq!(run.pod.pointer(pointer).unwrap(), "first", "{on_conflict} {pointer}");
        }
    }
}

#[test]
fn what_the_pod_has_as_the_first_policy_wants_it_is_not_for_a_later_one_to_override() {
    let mut pod = labelled("word=first", &["main"]);
    pod["spec"]["containers"][0]["env"] = json!([{"name": "WORD", "value": "first"}]);
    let policies = ["first", "second"].map(|word| policy(word, "Override", &blocks(word)));
    let run = inject(&snapshot(&policies), "default", &pod);
    assert_eq!(run.variable("main", "WORD"), "first");
    assert_eq!(run.pod["metadata"]["labels"]["word"], "first");
}

#[test]
fn two_stores_whose_secrets_share_a_key_do_not_get_each_others_credentials() {
    let store = |name: &str| json!({"store": "s3", "bucket": format!("s3://{name}"), "secret": format!("secret-{name}"), "secretKey": "key.json"});
    let blocks = json!({"persistence": {"data": {"a": store("a"), "b": store("b")}}});
    for on_conflict in ["Keep", "Override"] {
        let policies = [policy("stores", on_conflict, &blocks)];
        let run = inject(&snapshot(&policies), "default", &labelled("a=b", &["main"]));
        let key = json!({"secretKeyRef": {"name": "secret-a", "key": "key.json"}});
        assert_eq!(run.variable("main", "key.json"), &key, "{on_conflict}");
        assert_eq!(
            run.variable("main", "POLYSTORES_RUN_STORES_ACCESS_KEYS"),
            r#"{"s3://a": {"store": "s3", "secret_key": "key.json"}}"#
        );
        assert!(run.warnings.iter().any(|warning| warning.contains("persistence.data.b")), "{:?}", run.warnings);
    }
}
