//! Every thing has one holder, in a first pass and in every later one. `answer` holds every second pass to be empty.

use serde_json::{Value, json};

use crate::harness::{
    Answer, answer, container, defaulted, env, env_of, load, mount, once, pod, policies, policy, review, volume,
};

/// The pod after a pass under `before` and one under `after`, with what the second says.
fn edited(given: &Value, before: &str, after: &str) -> Answer {
    let first = answer(given, &policies(before));
    assert!(first.is_allowed(), "{}", first.message());
    answer(&defaulted(&first.pod), &policies(after))
}

fn secret_of(pod: &Value, name: &str) -> Value {
    env(pod, name)["secretKeyRef"]["name"].clone()
}

#[test]
fn a_lower_override_does_not_take_out_what_a_higher_policy_set() {
    let text = policy("hi", "  priority: 1\n  storage: [{s3: {secretName: c, sessionToken: true}}]")
        + &policy("lo", "  onConflict: Override\n  storage: [{s3: {secretName: c}}]");
    let answer = answer(&pod(json!({})), &policies(&text));
    assert_eq!(secret_of(&answer.pod, "AWS_SESSION_TOKEN"), "c");
    assert!(answer.warnings().contains("policy hi storage[0].s3 set AWS_SESSION_TOKEN first"), "{}", answer.warnings());
}

#[test]
fn what_a_unit_reserves_no_other_policy_completes() {
    let from = |key: &str| format!("{{name: {key}, valueFrom: {{secretKeyRef: {{name: c, key: {key}}}}}}}");
    let others = format!("[{}, {}]", from("AWS_SECRET_ACCESS_KEY"), from("AWS_SESSION_TOKEN"));
    for word in ["Keep", "Override", "Reject"] {
        let text = policy("a", "  priority: 1\n  storage: [{s3: {secretName: d}}]")
            + &policy("b", &format!("  onConflict: {word}\n  env: {others}"));
        let pod = answer(&pod(json!({})), &policies(&text)).pod;
        assert_eq!(
            (secret_of(&pod, "AWS_ACCESS_KEY_ID"), secret_of(&pod, "AWS_SECRET_ACCESS_KEY")),
            (json!("d"), json!("d"))
        );
        assert_eq!(env(&pod, "AWS_SESSION_TOKEN"), Value::Null, "{word}");
    }
}

#[test]
fn a_reference_is_the_same_whatever_the_order_of_its_keys() {
    let same = "[{name: AWS_SECRET_ACCESS_KEY, valueFrom: {secretKeyRef: {name: c, key: AWS_SECRET_ACCESS_KEY}}}]";
    let text = policy("hi", &format!("  priority: 1\n  env: {same}"))
        + &policy("lo", "  onConflict: Override\n  storage: [{s3: {secretName: c}}]");
    let answered = answer(&pod(json!({})), &policies(&text));
    assert_eq!(answered.warnings(), "");
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        assert_eq!(secret_of(&answered.pod, name), "c");
    }
    let turned = json!({"env": [
        {"valueFrom": {"secretKeyRef": {"optional": false, "name": "c", "key": "AWS_ACCESS_KEY_ID"}}, "name": "AWS_ACCESS_KEY_ID"},
        {"valueFrom": {"secretKeyRef": {"key": "AWS_SECRET_ACCESS_KEY", "name": "c"}}, "name": "AWS_SECRET_ACCESS_KEY"},
    ]});
    let text = policy("p", "  onConflict: Reject\n  storage: [{s3: {secretName: c}}]");
    let paths = answer(&pod(turned), &policies(&text)).patch;
    assert_eq!(paths.as_array().unwrap().len(), 1, "only the marker: {paths}");
}

#[test]
fn a_variable_that_was_taken_out_is_not_there() {
    let text = policy("a", "  priority: 1\n  onConflict: Override\n  storage: [{s3: {secretName: s}}]")
        + &policy("b", "  env: [{name: AWS_SESSION_TOKEN, value: tok}]");
    let given = pod(json!({"env": [{"name": "AWS_SESSION_TOKEN", "value": "tok"}]}));
    let answer = answer(&given, &policies(&text));
    assert_eq!(env(&answer.pod, "AWS_SESSION_TOKEN"), Value::Null);
    assert!(answer.warnings().contains("policy b env: skipped AWS_SESSION_TOKEN"), "{}", answer.warnings());
}

#[test]
fn affinity_with_alternatives_keeps_to_the_policy_under_prevent() {
    let text = policy(
        "p",
        "  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [\
         {matchExpressions: [{key: spot, operator: In, values: [\"true\"]}]}, {matchExpressions: [{key: zone, operator: In, values: [b]}]}]}}}\n  \
         preemption: {mode: prevent, nodeSelector: {spot: \"true\"}}",
    );
    let required = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let with_terms = |terms: Value| {
        let mut given = pod(json!({}));
        given["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
            json!({"nodeSelectorTerms": terms});
        given
    };
    let gpu = json!({"key": "gpu", "operator": "Exists"});
    let zone = json!({"key": "zone", "operator": "In", "values": ["b"]});
    let spot = json!({"key": "spot", "operator": "In", "values": ["true"]});
    let no_spot = json!({"key": "spot", "operator": "NotIn", "values": ["true"]});
    for (given, comes_out) in [
        (pod(json!({})), json!([{"matchExpressions": [zone, no_spot]}])),
        (with_terms(json!([{"matchExpressions": [gpu]}])), json!([{"matchExpressions": [gpu, zone, no_spot]}])),
        // The pod's own wish is taken back before the policy's alternatives come.
        (with_terms(json!([{"matchExpressions": [gpu, spot]}])), json!([{"matchExpressions": [gpu, zone, no_spot]}])),
        (with_terms(json!([{"matchExpressions": [spot]}])), json!([{"matchExpressions": [zone, no_spot]}])),
    ] {
        let answer = answer(&given, &policies(&text));
        assert_eq!(*answer.pod.pointer(required).unwrap(), comes_out);
    }
}

#[test]
fn a_default_that_pod_security_refuses_is_not_recorded_as_applied() {
    let text = policy("p", "  defaults: {securityContext: {runAsUser: 0}, resources: {limits: {cpu: 1}}}")
        + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: team, labels: {pod-security.kubernetes.io/enforce: restricted}}\n";
    let given = pod(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "3"}}}));
    let marker = answer(&given, &policies(&text)).marker();
    assert_eq!(marker["policies"][0]["applied"], Value::Null, "{marker}");
    let skipped = marker["policies"][0]["skipped"].as_object().unwrap();
    assert!(skipped["defaults.securityContext"].as_str().unwrap().starts_with("FieldAgainstPodSecurity: "));
    assert!(skipped["defaults.resources"].as_str().unwrap().starts_with("SaidByPod: "), "{skipped:?}");
}

#[test]
fn run_as_non_root_is_left_out_where_a_container_is_root() {
    let text = policy("p", "  defaults: {securityContext: {runAsNonRoot: true, fsGroup: 5}}");
    let given = pod(json!({"securityContext": {"runAsUser": 0}}));
    let answered = answer(&given, &policies(&text));
    assert_eq!(answered.pod["spec"]["securityContext"], json!({"fsGroup": 5}));
    assert!(answered.warnings().contains("a container sets runAsUser to 0"), "{}", answered.warnings());
    let allowed = pod(json!({"securityContext": {"runAsUser": 0, "runAsNonRoot": false}}));
    assert_eq!(answer(&allowed, &policies(&text)).pod["spec"]["securityContext"]["runAsNonRoot"], true);
}

#[test]
fn a_modifier_of_several_volumes_is_left_out_whole_under_pod_security() {
    let text = policy("p", "  storage: [{v3iod: {}}]")
        + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: team, labels: {pod-security.kubernetes.io/enforce: baseline}}\n";
    let loaded = load(&text);
    assert!(loaded.errors.is_empty());
    let answer = answer(&pod(json!({})), &loaded.snapshot());
    assert!(answer.pod["spec"]["volumes"].is_null() && container(&answer.pod, "main")["env"].is_null());
    assert_eq!(answer.marker()["policies"][0]["applied"], Value::Null);
}

#[test]
fn an_edited_policy_replaces_what_it_set_before_and_refuses_nothing() {
    for word in ["Keep", "Override", "Reject"] {
        let text = |n: u8| {
            policy(
                "p",
                &format!(
                    "  onConflict: {word}\n  env: [{{name: A, value: v{n}}}]\n  labels: {{l: v{n}}}\n  annotations: {{a: v{n}}}\n  \
                     nodeSelector: {{s: v{n}}}\n  priorityClassName: c{n}\n  \
                     storage: [{{pvc: {{claimName: claim{n}, mountPath: /d, subPath: s{n}}}}}, {{s3: {{secretName: s{n}}}}}]\n  \
                     defaults: {{serviceAccountName: a{n}, imagePullSecrets: [{{name: r{n}}}], securityContext: {{fsGroup: {n}}}}}"
                ),
            )
        };
        let edited = edited(&pod(json!({})), &text(1), &text(2));
        assert!(edited.is_allowed(), "{word}: {}", edited.message());
        assert_eq!(edited.warnings(), "", "{word}");
        let pod = &edited.pod;
        assert_eq!(env(pod, "A"), "v2");
        assert_eq!(
            (&pod["metadata"]["labels"]["l"], &pod["metadata"]["annotations"]["a"]),
            (&json!("v2"), &json!("v2"))
        );
        assert_eq!(
            (&pod["spec"]["nodeSelector"]["s"], &pod["spec"]["priorityClassName"]),
            (&json!("v2"), &json!("c2"))
        );
        assert_eq!(mount(pod, "/d"), json!({"name": "pipeline", "mountPath": "/d", "subPath": "s2"}));
        assert_eq!(volume(pod, "pipeline")["persistentVolumeClaim"]["claimName"], "claim2");
        assert_eq!(
            pod["spec"]["volumes"].as_array().unwrap().len(),
            1,
            "a claim that nothing mounts would be waited for"
        );
        assert_eq!(secret_of(pod, "AWS_ACCESS_KEY_ID"), "s2");
        let spec = &pod["spec"];
        assert_eq!((&spec["serviceAccountName"], &spec["imagePullSecrets"][0]["name"]), (&json!("a2"), &json!("r2")));
        assert_eq!(spec["securityContext"]["fsGroup"], 2);
        assert_eq!(edited.marker()["labels"], json!({"l": null}));
        assert_eq!(edited.marker()["serviceAccount"], "default");
    }
}

#[test]
fn a_token_that_a_policy_no_longer_sets_goes_with_the_edit() {
    let before = policy("p", "  storage: [{s3: {secretName: s, sessionToken: true}}]");
    let after = policy("p", "  storage: [{s3: {secretName: s}}]");
    assert_eq!(env(&edited(&pod(json!({})), &before, &after).pod, "AWS_SESSION_TOKEN"), Value::Null);
    let back = edited(&pod(json!({})), &after, &before);
    assert_eq!(secret_of(&back.pod, "AWS_SESSION_TOKEN"), "s");
}

#[test]
fn what_the_pod_brought_is_its_own_after_an_edit_too() {
    let text = |n: u8| policy("p", &format!("  env: [{{name: A, value: v{n}}}]"));
    let mut given = pod(json!({"env": [{"name": "A", "value": "own"}]}));
    given["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .extend([json!({"name": "same", "env": [{"name": "A", "value": "v1"}]}), json!({"name": "bare"})]);
    let edited = edited(&given, &text(1), &text(2));
    let value = |name: &str| env_of(container(&edited.pod, name), "A");
    assert_eq!((value("main"), value("same"), value("bare")), (json!("own"), json!("v1"), json!("v2")));
    let reject = |n: u8| text(n).replace("  env", "  onConflict: Reject\n  env");
    let equal = pod(json!({"env": [{"name": "A", "value": "v1"}]}));
    let first = answer(&equal, &policies(&reject(1)));
    assert!(first.is_allowed());
    let second = once(&review(&first.pod), &policies(&reject(2)));
    assert!(second.message().contains("the pod sets A"), "{}", second.message());
}

#[test]
fn a_label_that_another_webhook_changed_moves_our_mount_and_refuses_nothing() {
    for word in ["Keep", "Reject"] {
        let text = policy(
            "p",
            &format!(
                "  onConflict: {word}\n  storage: [{{pvc: {{claimName: c, mountPath: /d, subPath: \"{{label:project}}\"}}}}]"
            ),
        );
        let mut given = pod(json!({}));
        given["metadata"]["labels"] = json!({"project": "churn"});
        let mut between = defaulted(&answer(&given, &policies(&text)).pod);
        between["metadata"]["labels"]["project"] = "churn-eu".into();
        between["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "late"}));
        let second = answer(&between, &policies(&text));
        assert_eq!((second.is_allowed(), second.warnings().as_str()), (true, ""));
        assert_eq!(mount(&second.pod, "/d")["subPath"], "churn-eu");
        assert_eq!(container(&second.pod, "late")["volumeMounts"], container(&second.pod, "main")["volumeMounts"]);
    }
}

#[test]
fn a_marker_of_a_release_without_digests_still_keeps_reject_from_refusing_ours() {
    let text = |n: u8| policy("p", &format!("  onConflict: Reject\n  env: [{{name: A, value: v{n}}}]"));
    let mut given = answer(&pod(json!({})), &policies(&text(1))).pod;
    given["metadata"]["annotations"]["stowage.dev/injected"] =
        r#"{"policies":[{"name":"p","applied":["env"]}]}"#.into();
    let second = answer(&given, &policies(&text(2)));
    assert!(second.is_allowed(), "{}", second.message());
    assert_eq!(env(&second.pod, "A"), "v2");
}
