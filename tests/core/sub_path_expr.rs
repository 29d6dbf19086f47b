//! `subPathExpr`: a folder that the kubelet names by the container's own variables. A second pass is inside every answer.

use serde_json::{Value, json};

use crate::harness::{answer, container, env, load, mount, namespaced, pod, policies, policy};

const CLAIM: &str = "  storage: [{pvc: {claimName: c, mountPath: /runs, subPathExpr: \"{namespace}/$(POD_NAME)\"}}]";
const POD_NAME: &str = "  env: [{name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]";

fn expr_of(pod: &Value) -> Value {
    mount(pod, "/runs")["subPathExpr"].clone()
}

#[test]
fn every_mount_takes_it_in_the_place_of_a_sub_path() {
    let expr = "subPathExpr: \"{namespace}/$(POD_NAME)\"";
    for storage in [
        format!("{{pvc: {{claimName: c, mountPath: /runs, {expr}}}}}"),
        format!("{{configMap: {{name: c, mountPath: /runs, {expr}}}}}"),
        format!("{{secret: {{secretName: c, mountPath: /runs, {expr}}}}}"),
        format!("{{hostPath: {{path: /h, mountPath: /runs, {expr}}}}}"),
        format!("{{volume: {{name: v, source: {{emptyDir: {{}}}}, mountPath: /runs, {expr}}}}}"),
        format!("{{v3ioFuse: {{mounts: [{{path: /runs, {expr}}}]}}}}"),
    ] {
        let v3io = "  v3io: {username: u, accessKeySecret: {name: s}}";
        let text = policy("p", &format!("{v3io}\n  storage: [{storage}]\n{POD_NAME}"));
        let answered = answer(&pod(json!({})), &policies(&text));
        assert_eq!(expr_of(&answered.pod), "team/$(POD_NAME)", "{storage}");
        assert_eq!((answered.warnings(), &mount(&answered.pod, "/runs")["subPath"]), (String::new(), &Value::Null));
    }
    let entry = format!("{{mountPath: /runs, existingClaim: c, {expr}}}");
    let text = policy("p", &format!("  persistence: {{data: {{a: {entry}}}}}\n{POD_NAME}"));
    assert_eq!(expr_of(&answer(&pod(json!({})), &policies(&text)).pod), "team/$(POD_NAME)");
}

#[test]
fn a_container_that_lacks_the_variable_is_left_without_the_mount() {
    let table = [
        (json!({}), false),
        (json!({"env": [{"name": "POD_NAME", "value": ""}]}), false),
        (json!({"env": [{"name": "POD_NAME"}]}), false),
        (json!({"env": [{"name": "POD_NAMES", "value": "x"}]}), false),
        (json!({"env": [{"name": "POD_NAME", "value": "x"}]}), true),
        (json!({"env": [{"name": "POD_NAME", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}), true),
        (json!({"envFrom": [{"configMapRef": {"name": "any"}}]}), true),
    ];
    for (fields, is_mounted) in table {
        let answered = answer(&pod(fields.clone()), &policies(&policy("p", CLAIM)));
        assert_eq!(!expr_of(&answered.pod).is_null(), is_mounted, "{fields}");
        assert_eq!(!answered.pod["spec"]["volumes"].is_null(), is_mounted, "{fields}");
        let said = answered.warnings().contains("subPathExpr refers to POD_NAME, which is not set there");
        assert_eq!(said, !is_mounted, "{fields}: {}", answered.warnings());
    }
}

#[test]
fn a_value_that_leads_out_of_the_volume_leaves_the_container_without_the_mount() {
    let text = policy("p", "  storage: [{pvc: {claimName: c, mountPath: /runs, subPathExpr: \"$(POD_NAME)\"}}]");
    for (value, is_mounted) in [
        ("x/y", true),
        ("/x", false),
        ("../x", false),
        // What a value refers to is not looked up.
        ("$(HOME)", true),
    ] {
        let given = pod(json!({"env": [{"name": "POD_NAME", "value": value}]}));
        let answered = answer(&given, &policies(&text));
        assert_eq!(!expr_of(&answered.pod).is_null(), is_mounted, "{value}");
        let said = answered.warnings().contains("with its variables subPathExpr is no relative path");
        assert_eq!(said, !is_mounted, "{value}: {}", answered.warnings());
        assert!(!answered.warnings().contains("/x"), "no value is told");
    }
    let given = pod(json!({"env": [{"name": "POD_NAME", "value": "/x"}]}));
    let inside = answer(&given, &policies(&policy("p", CLAIM)));
    assert_eq!(expr_of(&inside.pod), "team/$(POD_NAME)", "team//x is a folder of the volume");
}

#[test]
fn one_container_without_it_costs_the_others_nothing() {
    let mut given = pod(json!({"env": [{"name": "POD_NAME", "value": "x"}]}));
    given["spec"]["initContainers"] = json!([{"name": "first"}]);
    let answered = answer(&given, &policies(&policy("p", CLAIM)));
    assert_eq!(expr_of(&answered.pod), "team/$(POD_NAME)");
    assert!(container(&answered.pod, "first")["volumeMounts"].is_null());
    assert!(answered.warnings().contains("in container first"), "{}", answered.warnings());
}

#[test]
fn a_variable_counts_whichever_policy_sets_it_and_only_where_it_is_set() {
    // A later policy's is there when the container starts, so it counts in the first pass as in the second.
    for later in [POD_NAME, "  envFrom: [{secretRef: {name: s}}]", "  storage: [{env: {variables: {POD_NAME: x}}}]"] {
        let text = namespaced("first", CLAIM) + &policy("later", later);
        assert_eq!(expr_of(&answer(&pod(json!({})), &policies(&text)).pod), "team/$(POD_NAME)", "{later}");
    }
    // Credentials that stand back for the pod's own set nothing.
    let text = policy(
        "p",
        "  v3io: {username: iris, accessKeySecret: {name: s}}\n  storage:\n  - v3io: {}\n  \
         - pvc: {claimName: c, mountPath: /runs, subPathExpr: \"users/$(V3IO_USERNAME)\"}",
    );
    let given = pod(json!({"env": [{"name": "V3IO_ACCESS_KEY", "value": "own"}]}));
    let answered = answer(&given, &policies(&text));
    assert!(env(&answered.pod, "V3IO_USERNAME").is_null() && expr_of(&answered.pod).is_null());
    assert_eq!(expr_of(&answer(&pod(json!({})), &policies(&text)).pod), "users/$(V3IO_USERNAME)");
    // What does not resolve sets nothing either.
    let by_label =
        POD_NAME.replace("{fieldRef: {fieldPath: metadata.name}}", "{secretKeyRef: {name: \"{label:none}\", key: k}}");
    let text = policy("p", &format!("  trustedLabels: [none]\n{CLAIM}\n{by_label}"));
    assert!(expr_of(&answer(&pod(json!({})), &policies(&text)).pod).is_null());
}

#[test]
fn a_path_that_is_not_mounted_is_free_for_the_next() {
    let text = policy("p", &format!("{CLAIM}\n")).replace("}}]", "}}, {configMap: {name: m, mountPath: /runs}}]");
    let answered = answer(&pod(json!({})), &policies(&text));
    assert_eq!(mount(&answered.pod, "/runs")["name"], "configmap");
    let with_name = pod(json!({"env": [{"name": "POD_NAME", "value": "x"}]}));
    assert_eq!(mount(&answer(&with_name, &policies(&text)).pod, "/runs")["name"], "pipeline");
}

#[test]
fn the_same_mount_of_the_pod_is_no_conflict_and_another_folder_is() {
    let with = |path: Value| {
        let mut own = json!({"name": "v", "mountPath": "/runs"});
        own.as_object_mut().unwrap().extend(path.as_object().unwrap().clone());
        let mut pod = pod(json!({"volumeMounts": [own], "env": [{"name": "POD_NAME", "value": "x"}]}));
        pod["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]);
        answer(&pod, &policies(&policy("p", CLAIM)))
    };
    assert_eq!(with(json!({"subPathExpr": "team/$(POD_NAME)"})).warnings(), "");
    let other = with(json!({"subPath": "team/$(POD_NAME)"}));
    assert!(other.warnings().contains("mounts something else at /runs"), "{}", other.warnings());
}

#[test]
fn what_no_container_could_start_with_is_refused_and_who_chooses_the_folder_is_said() {
    let pvc = |fields: &str| policy("p", &format!("  storage: [{{pvc: {{claimName: c, {fields}}}}}]"));
    for (fields, why) in [
        ("subPath: a, subPathExpr: b", "subPathExpr: subPath and subPathExpr cannot both be given"),
        (
            "subPath: \"$(A)\"",
            "subPath: a subPath is not expanded, and $( would be the name of a folder; use subPathExpr",
        ),
        ("subPathExpr: /a", "subPathExpr: subPathExpr \"/a\" must be a relative path"),
        ("subPathExpr: \"$(A)/../b\"", "must be a relative path"),
        ("subPathExpr: \"a/$(B\"", "subPathExpr: has a $( without its )"),
        ("subPathExpr: \"$()\"", "subPathExpr: $() names no variable"),
    ] {
        let errors: Vec<String> = load(&pvc(fields)).errors.iter().map(ToString::to_string).collect();
        assert!(errors.iter().any(|error| error.contains(why)), "{fields}: {errors:?}");
    }
    let notes = |text: &str| {
        let loaded = load(text);
        assert!(loaded.errors.is_empty(), "{:?}", loaded.errors);
        loaded.notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert!(notes(&policy("p", CLAIM)).contains("storage[0].pvc.subPathExpr: the policy does not set POD_NAME"));
    let kept = notes(&policy("p", &format!("{CLAIM}\n{POD_NAME}")));
    assert!(kept.contains("onConflict: Keep a pod that sets POD_NAME itself chooses the folder"), "{kept}");
    assert_eq!(notes(&policy("p", &format!("  onConflict: Override\n{CLAIM}\n{POD_NAME}"))), "");
    assert_eq!(notes(&pvc("subPathExpr: \"plain/$$(A)\"")), "");
}
