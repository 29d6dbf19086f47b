//! The record on the pod: what it says, and what is believed of it.

use serde_json::{Value, json};

use crate::harness::{answer, container, env, once, pod, policies, policy, review};

const MARKER: &str = "stowage.dev/injected";

fn marked(mut pod: Value, marker: &str) -> Value {
    pod["metadata"]["annotations"][MARKER] = marker.into();
    pod
}

#[test]
fn names_policies_with_what_was_applied_and_skipped_and_why() {
    let text =
        policy("p", "  env: [{name: A, value: b}]\n  storage: [{pvc: {claimName: \"{label:x}\"}}]\n  labels: {l: v}")
            .replace("{name: p}", "{name: p, generation: 7}");
    let marker = answer(&pod(json!({})), &policies(&text)).marker();
    let policy = &marker["policies"][0];
    assert_eq!((&policy["name"], &policy["generation"]), (&json!("p"), &json!(7)));
    assert_eq!(policy["applied"], json!(["env", "labels"]));
    assert!(policy["skipped"]["storage[0].pvc"].as_str().unwrap().contains("label x"));
    assert_eq!(marker["labels"], json!({"l": null}));
}

#[test]
fn is_written_also_where_there_was_nothing_to_do_and_where_nothing_matched_an_opted_in_pod() {
    let text = policy("p", "  env: [{name: A, value: b}]");
    let given = pod(json!({"env": [{"name": "A", "value": "b"}]}));
    assert_eq!(answer(&given, &policies(&text)).marker()["policies"][0]["applied"], json!(["env"]));
    let nothing = text.replace("{podSelector: {}}", "{podSelector: {matchLabels: {a: b}}}");
    let mut opted = pod(json!({}));
    opted["metadata"]["labels"] = json!({"stowage.dev/inject": "true"});
    assert_eq!(answer(&opted, &policies(&nothing)).marker(), json!({"policies": []}));
    assert_eq!(answer(&pod(json!({})), &policies(&nothing)).patch, json!([]));
}

#[test]
fn a_forged_marker_is_rewritten() {
    let text = policy("p", "  env: [{name: A, value: b}]");
    for forged in [
        r#"{"policies":[{"name":"p","applied":["env"]}]}"#,
        r#"{"policies":[{"name":"other","applied":["env"]}]}"#,
        r#"{"policies":[],"labels":{"x":"y"},"serviceAccount":"root"}"#,
        "{}",
        "null",
        "[",
        "",
        r#"{"policies":[],"extra":1}"#,
    ] {
        let answer = answer(&marked(pod(json!({})), forged), &policies(&text));
        assert_eq!(env(&answer.pod, "A"), "b", "{forged}");
        let mut marker = answer.marker();
        marker.as_object_mut().unwrap().remove("put");
        assert_eq!(marker, json!({"policies": [{"name": "p", "applied": ["env"]}]}), "{forged}");
    }
}

#[test]
fn a_forged_label_neither_selects_nor_names_a_secret() {
    let text = policy(
        "p",
        "  trustedLabels: [owner]\n  storage: [{s3: {secretName: \"keys-{label:owner}\"}}]\n  labels: {team: ml}",
    )
    .replace("{podSelector: {}}", "{podSelector: {matchLabels: {tier: gold}}}");
    let mut mine = pod(json!({}));
    mine["metadata"]["labels"] = json!({"owner": "me", "tier": "iron"});
    let forged = marked(mine.clone(), r#"{"policies":[{"name":"p"}],"labels":{"tier":"gold","owner":"victim"}}"#);
    assert_eq!(once(&review(&forged), &policies(&text)).patch, json!([]));
    mine["metadata"]["labels"]["tier"] = "gold".into();
    let forged = marked(mine, r#"{"policies":[{"name":"p"}],"labels":{"owner":"victim"}}"#);
    let answer = answer(&forged, &policies(&text));
    assert_eq!(env(&answer.pod, "AWS_ACCESS_KEY_ID")["secretKeyRef"]["name"], "keys-me");
}

#[test]
fn our_own_labels_and_service_account_stay_out_of_selection_and_placeholders() {
    let one = policy(
        "one",
        "  labels: {tier: gold}\n  defaults: {serviceAccountName: runner}\n  storage: [{pvc: {claimName: \"c-{serviceAccount}\"}}, {pvc: {claimName: \"c-{label:tier}\", mountPath: /t}}]",
    );
    let two = policy("two", "  env: [{name: GOLD, value: \"1\"}]")
        .replace("{podSelector: {}}", "{podSelector: {matchLabels: {tier: gold}}}");
    let answer = answer(&pod(json!({})), &policies(&format!("{one}{two}")));
    assert_eq!(answer.pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], "c-default");
    assert_eq!(answer.pod["spec"]["volumes"].as_array().unwrap().len(), 1, "the pod has no tier of its own");
    assert_eq!(env(&answer.pod, "GOLD"), Value::Null);
    assert_eq!(answer.marker()["labels"], json!({"tier": null}));
    assert_eq!(answer.marker()["serviceAccount"], "default");
}

#[test]
fn a_value_that_a_label_had_before_us_is_not_believed() {
    let text = policy("p", "  labels: {tier: gold}")
        + &policy("gold", "  env: [{name: A, value: b}]")
            .replace("{podSelector: {}}", "{podSelector: {matchLabels: {tier: gold}}}");
    let mut mine = pod(json!({}));
    mine["metadata"]["labels"] = json!({"tier": "gold"});
    let forged = marked(mine, r#"{"policies":[{"name":"p"}],"labels":{"tier":"iron"}}"#);
    assert_eq!(env(&answer(&forged, &policies(&text)).pod, "A"), "b");
}

#[test]
fn fields_of_another_release_are_ignored() {
    let text = policy("p", "  v3io: {username: u, accessKeySecret: {name: s}}\n  autoMount: {type: v3io_credentials}");
    let snapshot = policies(&text);
    let mut first = answer(&pod(json!({})), &snapshot).pod;
    let mut marker: Value = serde_json::from_str(first["metadata"]["annotations"][MARKER].as_str().unwrap()).unwrap();
    marker["future"] = json!({"a": 1});
    marker["policies"][0]["future"] = json!([true]);
    first["metadata"]["annotations"][MARKER] = marker.to_string().into();
    assert_eq!(once(&review(&first), &snapshot).patch, json!([]));
    // A container that came since gets what the others have: the rest of the marker is believed.
    first["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "late"}));
    let late = answer(&first, &snapshot).pod;
    assert_eq!(container(&late, "late")["env"], container(&late, "main")["env"]);
    // Nor need a marker have what this release adds.
    marker.as_object_mut().unwrap().remove("put");
    first["metadata"]["annotations"][MARKER] = marker.to_string().into();
    let late = answer(&first, &snapshot).pod;
    assert_eq!(container(&late, "late")["env"], container(&late, "main")["env"]);
}

#[test]
fn stays_within_4_kib_however_many_policies_and_labels() {
    let labels: Vec<String> = (0..64).map(|n| format!("{}.example.com/{n}: v", "x".repeat(63))).collect();
    let long = policy("labels", &format!("  labels: {{{}}}", labels.join(", ")));
    let skips: String = (0..60)
        .map(|n| {
            policy(
                &format!("a-policy-with-a-long-name-{n}"),
                "  storage: [{pvc: {claimName: \"{label:nope}\"}}]\n  env: [{name: A, value: b}]",
            )
        })
        .collect();
    for text in [skips.clone(), long.clone(), format!("{skips}{long}")] {
        let answer = answer(&pod(json!({})), &policies(&text));
        let marker = answer.pod["metadata"]["annotations"][MARKER].as_str().unwrap();
        assert!(marker.len() <= 4096, "{}", marker.len());
    }
}

#[test]
fn is_left_out_with_a_warning_where_annotations_would_pass_256_kib() {
    let text = policy("p", "  env: [{name: A, value: b}]");
    let mut heavy = pod(json!({}));
    heavy["metadata"]["annotations"] = json!({"a": "x".repeat(256 * 1024 - 1)});
    let left_out = answer(&heavy, &policies(&text));
    assert!(left_out.pod["metadata"]["annotations"][MARKER].is_null());
    assert!(left_out.warnings().contains("256 KiB"));
    assert_eq!(env(&left_out.pod, "A"), "b");
    // Escapes weigh in the review, not on the object.
    heavy["metadata"]["annotations"] = json!({"a": "\n".repeat(200 * 1024)});
    assert_eq!(answer(&heavy, &policies(&text)).marker()["policies"][0]["name"], "p");
}

#[test]
fn nothing_but_the_policys_words_and_the_marker_is_written() {
    let text = policy("p", "  env: [{name: A, value: b}]");
    let given = pod(json!({}));
    let answer = answer(&given, &policies(&text));
    let mut bare = answer.pod;
    bare["metadata"].as_object_mut().unwrap().remove("annotations");
    assert_eq!(container(&bare, "main")["env"], json!([{"name": "A", "value": "b"}]));
    bare["spec"]["containers"][0].as_object_mut().unwrap().remove("env");
    assert_eq!(bare, given);
}
