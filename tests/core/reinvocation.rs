//! A second call of the webhook, after other webhooks and the API server have had their turn.

use serde_json::{Value, json};

use crate::harness::{
    answer, answer_to, container, defaulted, env, env_of, mount, namespaced, once, pod, policies, policy, review,
    volume,
};

/// The result of a first pass as another webhook leaves it: with a sidecar.
fn with_sidecar(text: &str, first: &Value, sidecar: Value) -> Value {
    let snapshot = policies(text);
    let mut between = defaulted(&answer(first, &snapshot).pod);
    between["spec"]["containers"].as_array_mut().unwrap().push(sidecar);
    answer_to(&review(&between), &snapshot).pod
}

#[test]
fn a_container_added_since_gets_what_the_others_got() {
    let text = policy(
        "p",
        "  v3io: {username: u, accessKeySecret: {name: s}}\n  autoMount: {type: v3io_fuse}\n  storage: [{gcs: {secretName: g}}]\n  env: [{name: A, value: b}]\n  envFrom: [{secretRef: {name: e}}]",
    );
    let pod = with_sidecar(&text, &pod(json!({})), json!({"name": "late", "image": "x"}));
    let (main, late) = (container(&pod, "main"), container(&pod, "late"));
    for field in ["env", "envFrom", "volumeMounts"] {
        assert_eq!(main[field], late[field], "{field}");
    }
    assert_eq!(pod["spec"]["volumes"].as_array().unwrap().len(), 2);
}

#[test]
fn a_container_added_with_a_taken_path_is_left_out_alone() {
    let text = policy("p", "  storage: [{pvc: {claimName: c, mountPath: /data}}]");
    let late = json!({"name": "late", "image": "x", "volumeMounts": [{"name": "other", "mountPath": "/data/"}]});
    let pod = with_sidecar(&text, &pod(json!({})), late);
    assert_eq!(mount(&pod, "/data")["name"], "pipeline");
    assert_eq!(container(&pod, "late")["volumeMounts"].as_array().unwrap().len(), 1);
}

#[test]
fn what_one_policy_set_is_not_taken_over_by_the_next_at_a_second_pass() {
    // `answer` holds the second pass to be without operations; here the values are what the first policy says.
    let spec = |n: u8| {
        format!(
            "  priority: {}\n  onConflict: Override\n  env: [{{name: A, value: \"{n}\"}}]\n  labels: {{l: \"{n}\"}}\n  annotations: {{a: \"{n}\"}}\n  nodeSelector: {{s: \"{n}\"}}\n  storage: [{{pvc: {{claimName: c{n}, mountPath: /d}}}}, {{s3: {{secretName: s{n}}}}}]\n  priorityClassName: c{n}\n  imagePullPolicy: {}\n",
            10 - n,
            if n == 1 { "Always" } else { "Never" },
        )
    };
    let text = format!("{}{}", policy("one", &spec(1)), policy("two", &spec(2)));
    for own in
        [json!({}), json!({"env": [{"name": "A", "value": "0"}], "volumeMounts": [{"name": "x", "mountPath": "/d"}]})]
    {
        let mut given = pod(own);
        given["metadata"]["labels"] = json!({"l": "0"});
        given["spec"]["nodeSelector"] = json!({"s": "0"});
        let answer = answer(&given, &policies(&text));
        let pod = &answer.pod;
        assert_eq!(env(pod, "A"), "1");
        assert_eq!(env(pod, "AWS_ACCESS_KEY_ID")["secretKeyRef"]["name"], "s1");
        assert_eq!((&pod["metadata"]["labels"]["l"], &pod["spec"]["nodeSelector"]["s"]), (&json!("1"), &json!("1")));
        assert_eq!(volume(pod, mount(pod, "/d")["name"].as_str().unwrap())["persistentVolumeClaim"]["claimName"], "c1");
        assert_eq!(pod["spec"]["priorityClassName"], "c1");
        assert_eq!(container(pod, "main")["imagePullPolicy"], "Always");
    }
}

/// What an earlier policy lost to the pod it does not find as its own once a later one has put the very same there, or a
/// second pass would tell the container of a mount, or of a key, that the first one left out.
#[test]
fn what_was_lost_to_the_pod_is_not_found_again_where_a_later_policy_put_the_same() {
    let catalogue = "  persistence: {data: {one: {mountPath: /d, existingClaim: c}, two: {store: s3, bucket: 's3://b', secret: s, secretKey: KEY}}}\n";
    let paths = |pod: &Value| pod["spec"]["containers"][0]["env"].to_string();
    let other = |path: &str| json!([{"name": "theirs", "mountPath": path}]);
    // The later policy replaces what the pod brought.
    let later = "  onConflict: Override\n  storage: [{pvc: {claimName: c, mountPath: /d}}]\n  env: [{name: KEY, valueFrom: {secretKeyRef: {name: s, key: KEY}}}]\n";
    let text = format!("{}{}", namespaced("first", catalogue), policy("later", later));
    let given = pod(json!({"env": [{"name": "KEY", "value": "own"}], "volumeMounts": other("/d")}));
    let first = answer(&given, &policies(&text));
    assert!(!paths(&first.pod).contains("ACCESS_KEYS") && paths(&first.pod).contains("s3://b"), "{}", first.pod);
    // The later policy touches only the container in which the path is free.
    let later = "  containers: {include: [main]}\n  storage: [{pvc: {claimName: c, mountPath: /d}}]\n";
    let text = format!("{}{}", namespaced("first", catalogue), policy("later", later));
    let mut given = pod(json!({}));
    given["spec"]["initContainers"] =
        json!([{"name": "init", "image": "i:1", "imagePullPolicy": "IfNotPresent", "volumeMounts": other("/d")}]);
    let first = answer(&given, &policies(&text));
    assert_eq!(first.pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"], "/d");
    assert!(!paths(&first.pod).contains("\\\"one\\\""), "{}", first.pod);
}

/// A variable that speaks of other credentials is taken out under Override; that the pod had brought it is not forgotten.
#[test]
fn what_was_taken_out_of_the_pod_counts_as_brought_at_a_second_pass() {
    let own = json!({"env": [{"name": "AWS_SESSION_TOKEN", "value": "t"}]});
    let v3io = "  v3io: {username: u, accessKeySecret: {name: s}}\n  autoMount: {type: auto}\n";
    let taking = "  onConflict: Override\n  storage: [{s3: {secretName: theirs}}]\n";
    // Of one policy, of two, and where the first has credentials of the same kind.
    for (first, second) in [
        (String::new(), format!("{taking}{v3io}")),
        (v3io.to_owned(), taking.to_owned()),
        ("  storage: [{s3: {secretName: ours}}]\n".to_owned(), taking.to_owned()),
        ("  env: [{name: AWS_SESSION_TOKEN, value: other}]\n".to_owned(), taking.to_owned()),
    ] {
        let first = if first.is_empty() { first } else { namespaced("first", &first) };
        let text = format!("{first}{}", policy("second", &second));
        let answer = answer(&pod(own.clone()), &policies(&text));
        assert_eq!(env(&answer.pod, "AWS_ACCESS_KEY_ID")["secretKeyRef"]["name"], "theirs", "{text}");
        assert!(!answer.pod.to_string().contains("V3IO_API"), "{text}");
    }
}

/// A default that a later policy put is ours: once an earlier policy has one too, that one decides, in one pass.
#[test]
fn the_first_policys_default_takes_the_place_of_a_later_ones() {
    let both =
        |first: &str, later: &str| policies(&format!("{}{}", namespaced("first", first), namespaced("later", later)));
    let spot = "  defaults: {nodeSelector: {pool: spot}, tolerations: [{key: spot, operator: Exists}]}\n";
    let before = both(
        "  env: [{name: A, value: b}]\n",
        "  defaults: {nodeSelector: {pool: other}, tolerations: [{key: spot, operator: Exists}]}\n",
    );
    let first = once(&review(&pod(json!({}))), &before);
    assert_eq!(first.pod["spec"]["nodeSelector"], json!({"pool": "other"}));
    let edited = answer(&defaulted(&first.pod), &both(spot, spot));
    assert_eq!(edited.pod["spec"]["nodeSelector"], json!({"pool": "spot"}));
}

/// What is taken out and was ours before is not the pod's.
#[test]
fn what_an_edited_policy_takes_out_of_its_own_was_never_brought() {
    let before = policies(&policy("p", "  env: [{name: AWS_SESSION_TOKEN, value: ''}, {name: V3IO_API, value: ''}]\n"));
    let after = policies(&policy("p", "  onConflict: Override\n  autoMount: {type: s3, params: secret_name=s}\n"));
    let edited = answer(&defaulted(&once(&review(&pod(json!({}))), &before).pod), &after);
    assert_eq!(env(&edited.pod, "AWS_ACCESS_KEY_ID")["secretKeyRef"]["name"], "s");
}

#[test]
fn a_policy_that_rejects_does_not_reject_what_another_policy_set() {
    let one = namespaced(
        "one",
        "  env: [{name: A, value: \"1\"}]\n  labels: {l: \"1\"}\n  nodeSelector: {s: \"1\"}\n  storage: [{pvc: {claimName: c1, mountPath: /d}}]",
    );
    let two = policy(
        "two",
        "  onConflict: Reject\n  env: [{name: A, value: \"2\"}]\n  labels: {l: \"2\"}\n  nodeSelector: {s: \"2\"}\n  storage: [{pvc: {claimName: c2, mountPath: /d}}]",
    );
    let answer = answer(&pod(json!({})), &policies(&format!("{one}{two}")));
    assert!(answer.is_allowed(), "{}", answer.message());
    assert_eq!(env(&answer.pod, "A"), "1");
}

#[test]
fn storage_by_hand_in_the_policys_own_words_stays_by_hand() {
    let text = policy("p", "  v3io: {username: u, accessKeySecret: {name: s}}\n  autoMount: {type: v3io_credentials}");
    let by_hand = pod(json!({"env": [{"name": "V3IO_API", "value": "http://v3io-webapi:8081"}]}));
    let answer = answer(&by_hand, &policies(&text));
    assert_eq!(env(&answer.pod, "V3IO_ACCESS_KEY"), Value::Null);
    assert_eq!(answer.warnings(), "");
}

#[test]
fn a_node_selector_that_preemption_takes_back_settles() {
    let text = policy(
        "p",
        "  nodeSelector: {spot: \"true\"}\n  tolerations: [{key: spot, operator: Exists}]\n  preemption: {nodeSelector: {spot: \"true\"}, tolerations: [{key: spot, operator: Exists}]}",
    );
    let answer = answer(&pod(json!({})), &policies(&text));
    assert!(answer.pod["spec"]["nodeSelector"]["spot"].is_null());
}

#[test]
fn a_node_selector_put_in_place_of_the_pods_and_taken_back_settles() {
    let text = policy(
        "p",
        "  onConflict: Override\n  nodeSelector: {pool: spot}\n  preemption: {mode: prevent, nodeSelector: {pool: spot}}\n",
    );
    let mut given = pod(json!({}));
    given["spec"]["nodeSelector"] = json!({"pool": "own"});
    answer(&given, &policies(&text));
}

#[test]
fn copied_thresholds_settle() {
    let config = json!({"spec": {"state_thresholds": {"running": "90m", "image_pull_backoff": "oops"}}}).to_string();
    let text = policy("p", "  stateThresholds: {running: 24h}");
    let answer = answer(&pod(json!({"env": [{"name": "MLRUN_EXEC_CONFIG", "value": config}]})), &policies(&text));
    assert_eq!(answer.pod["metadata"]["annotations"]["stowage.dev/state-thresholds"], "{\"running\":\"90m\"}");
    assert_eq!(answer.marker()["policies"][0]["applied"], json!(["stateThresholds"]));
}

#[test]
fn the_pods_own_thresholds_are_not_overwritten() {
    let config = json!({"spec": {"state_thresholds": {"running": "90m"}}}).to_string();
    let mut own = pod(json!({"env": [{"name": "MLRUN_EXEC_CONFIG", "value": config}]}));
    own["metadata"]["annotations"] = json!({"stowage.dev/running-threshold": "5m"});
    let answer = answer(&own, &policies(&policy("p", "  stateThresholds: {running: 24h}")));
    assert!(answer.pod["metadata"]["annotations"]["stowage.dev/state-thresholds"].is_null());
}

#[test]
fn defaults_settle_and_a_pods_own_word_stays() {
    let text = policy(
        "p",
        "  defaults: {resources: {requests: {cpu: 100m}, limits: {memory: 1024Mi}}, imagePullSecrets: [{name: a}], serviceAccountName: runner, securityContext: {fsGroup: 100}}",
    );
    let mut bare = pod(json!({}));
    bare["spec"]["serviceAccountName"] = "default".into();
    bare["spec"]["serviceAccount"] = "default".into();
    let given = answer(&bare, &policies(&text));
    let spec = &given.pod["spec"];
    assert_eq!((&spec["serviceAccountName"], &spec["serviceAccount"]), (&json!("runner"), &json!("runner")));
    assert_eq!(spec["securityContext"]["fsGroup"], 100);
    assert_eq!(given.marker()["serviceAccount"], "default");
    bare["spec"]["imagePullSecrets"] = json!([{"name": "own"}]);
    bare["spec"]["serviceAccountName"] = "own".into();
    let given = answer(&bare, &policies(&text));
    assert_eq!(given.pod["spec"]["imagePullSecrets"], json!([{"name": "own"}]));
    let applied = given.marker()["policies"][0]["applied"].clone();
    assert!(!applied.to_string().contains("imagePullSecrets"), "{applied}");
}

#[test]
fn quantities_and_zero_partitions_come_back_in_another_form() {
    for source in [
        "{emptyDir: {sizeLimit: 1000000}}",
        "{emptyDir: {sizeLimit: 0.5Gi}}",
        "{gcePersistentDisk: {pdName: d, partition: 0}}",
        "{downwardAPI: {items: [{path: a, resourceFieldRef: {resource: limits.cpu, containerName: main}}]}}",
        "{ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1024Mi}}}}}}",
    ] {
        let text = policy("p", &format!("  storage: [{{volume: {{name: v, source: {source}, mountPath: /v}}}}]"));
        let snapshot = policies(&text);
        let first = answer(&pod(json!({})), &snapshot);
        let mut back = defaulted(&first.pod);
        if let Some(disk) = back.pointer_mut("/spec/volumes/0/gcePersistentDisk").and_then(Value::as_object_mut) {
            disk.remove("partition");
        }
        assert_eq!(once(&review(&back), &snapshot).patch, json!([]), "{source}");
    }
}

#[test]
fn a_pod_without_metadata_annotations_or_spec_is_patched_or_left_alone() {
    let text = policy("p", "  labels: {a: b}\n  annotations: {c: d}\n  nodeSelector: {e: f}");
    for metadata in [json!(null), json!({}), json!({"labels": null, "annotations": null})] {
        let pod = json!({"metadata": metadata, "spec": {"containers": [{"name": "main"}]}});
        let answer = answer(&pod, &policies(&text));
        assert_eq!(answer.pod["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(answer.pod["metadata"]["annotations"]["c"], "d");
    }
    for pod in [json!({}), json!({"spec": null}), json!({"metadata": {"name": "p"}})] {
        assert_eq!(once(&review(&pod), &policies(&text)).patch, json!([]));
    }
}

#[test]
fn a_duplicate_variable_of_the_pod_is_judged_by_its_last() {
    let twice = pod(json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}));
    let text = policy("p", "  onConflict: Override\n  env: [{name: A, value: \"3\"}]");
    let answer = answer(&twice, &policies(&text));
    let env = &container(&answer.pod, "main")["env"];
    assert_eq!(*env, json!([{"name": "A", "value": "1"}, {"name": "A", "value": "3"}]));
    assert_eq!(env_of(&json!({"env": [env[1].clone()]}), "A"), "3");
}
