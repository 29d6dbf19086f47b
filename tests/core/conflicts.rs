//! Keep, Override and Reject, for everything that a pod can bring itself.

use serde_json::{Value, json};

use crate::harness::{answer, container, env, injected, mount, namespaced, pod, policies, policy, volume};

/// What comes out under each word, or the refusal.
fn each(given: &Value, spec: &str) -> [Result<Value, String>; 3] {
    ["Keep", "Override", "Reject"].map(|word| {
        let answer = answer(given, &policies(&policy("p", &format!("  onConflict: {word}\n{spec}"))));
        if answer.is_allowed() {
            assert_eq!(word == "Keep", !answer.warnings().is_empty(), "{word}: {}", answer.warnings());
            Ok(answer.pod)
        } else {
            Err(answer.message().to_owned())
        }
    })
}

#[test]
fn variables() {
    let given = pod(json!({"env": [{"name": "X", "value": "x"}, {"name": "A", "value": "pod"}]}));
    let [keep, over, reject] = each(&given, "  env: [{name: A, value: policy}, {name: B, value: b}]");
    assert_eq!(env(keep.as_ref().unwrap(), "A"), "pod");
    assert_eq!(env(&keep.unwrap(), "B"), "b");
    assert_eq!(env(&over.unwrap(), "A"), "policy");
    assert!(reject.unwrap_err().contains("the pod sets A in main"));
}

#[test]
fn credentials_are_one_unit() {
    let given = pod(json!({"env": [{"name": "AWS_ACCESS_KEY_ID", "value": "pod"}]}));
    let [keep, over, reject] = each(&given, "  storage: [{s3: {secretName: s, region: eu}}]");
    let keep = keep.unwrap();
    assert_eq!(env(&keep, "AWS_SECRET_ACCESS_KEY"), Value::Null);
    assert_eq!(env(&keep, "AWS_REGION"), Value::Null, "endpoint and region come with the keys or not at all");
    let over = over.unwrap();
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        assert_eq!(env(&over, name), json!({"secretKeyRef": {"name": "s", "key": name}}));
    }
    assert!(reject.unwrap_err().contains("AWS_ACCESS_KEY_ID"));
}

#[test]
fn a_session_token_belongs_to_the_keys_it_came_with() {
    let given = pod(
        json!({"env": [{"name": "Z", "value": "z"}, {"name": "AWS_SESSION_TOKEN", "value": "pod"}, {"name": "Y", "value": "y"}]}),
    );
    let [keep, over, reject] = each(&given, "  storage: [{s3: {secretName: s}}]");
    assert_eq!(env(&keep.unwrap(), "AWS_ACCESS_KEY_ID"), Value::Null);
    let over = over.unwrap();
    assert_eq!(env(&over, "AWS_SESSION_TOKEN"), Value::Null);
    assert_eq!((env(&over, "Z"), env(&over, "Y")), (json!("z"), json!("y")));
    assert_eq!(env(&over, "AWS_ACCESS_KEY_ID")["secretKeyRef"]["name"], "s");
    assert!(reject.unwrap_err().contains("AWS_SESSION_TOKEN"));
}

#[test]
fn a_unit_half_present_and_equal_is_the_pods() {
    let half = json!({"name": "AZURE_STORAGE_KEY", "valueFrom": {"secretKeyRef": {"name": "a", "key": "AZURE_STORAGE_KEY", "optional": true}}});
    let given = pod(json!({"env": [half]}));
    let [keep, over, reject] = each(&given, "  storage: [{azure: {secretName: a}}]");
    assert_eq!(container(&keep.unwrap(), "main")["env"].as_array().unwrap().len(), 1);
    assert_eq!(container(&over.unwrap(), "main")["env"].as_array().unwrap().len(), 3);
    assert!(reject.is_err());
}

#[test]
fn username_and_access_key_are_one_unit() {
    let given = pod(json!({"env": [{"name": "V3IO_USERNAME", "value": "other"}]}));
    let [keep, over, _] = each(&given, "  v3io: {username: u, accessKeySecret: {name: s}}\n  storage: [{v3io: {}}]");
    let keep = keep.unwrap();
    assert_eq!(env(&keep, "V3IO_ACCESS_KEY"), Value::Null);
    assert_eq!(env(&keep, "V3IO_API"), Value::Null, "the pod's own credentials go nowhere else");
    assert_eq!(env(&over.unwrap(), "V3IO_USERNAME"), "u");
}

#[test]
fn a_volume_and_its_mounts_stand_or_fall_together() {
    let mut given = pod(json!({"volumeMounts": [{"name": "own", "mountPath": "/User/"}]}));
    given["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "side"}));
    given["spec"]["volumes"] = json!([{"name": "own", "emptyDir": {}}]);
    let [keep, over, reject] =
        each(&given, "  v3io: {username: u, accessKeySecret: {name: s}}\n  storage: [{v3ioFuse: {}}]");
    let keep = keep.unwrap();
    assert_eq!(keep["spec"]["volumes"], given["spec"]["volumes"]);
    assert!(container(&keep, "side")["volumeMounts"].is_null());
    let over = over.unwrap();
    assert_eq!(mount(&over, "/User")["name"], "v3io");
    assert_eq!(container(&over, "side")["volumeMounts"].as_array().unwrap().len(), 2);
    assert!(reject.unwrap_err().contains("/User in main"));
}

#[test]
fn a_key_file_and_its_variable_are_both_there_or_neither() {
    let given = pod(json!({"env": [{"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": "/own"}]}));
    let [keep, over, reject] = each(&given, "  storage: [{gcs: {secretName: g}}]");
    assert!(keep.unwrap()["spec"]["volumes"].is_null());
    let path = "/var/run/secrets/stowage/gcs/g";
    let over = over.unwrap();
    assert_eq!(env(&over, "GOOGLE_APPLICATION_CREDENTIALS"), format!("{path}/key.json"));
    assert_eq!(mount(&over, path)["readOnly"], true);
    assert!(reject.is_err());
    let taken = pod(json!({"volumeMounts": [{"name": "own", "mountPath": path}]}));
    let [keep, ..] = each(&taken, "  storage: [{gcs: {secretName: g}}]");
    assert_eq!(env(&keep.unwrap(), "GOOGLE_APPLICATION_CREDENTIALS"), Value::Null);
}

#[test]
fn labels_annotations_node_selector_and_priority_class() {
    let mut given = pod(json!({}));
    given["metadata"]["labels"] = json!({"l": "pod"});
    given["metadata"]["annotations"] = json!({"a": "pod"});
    given["spec"]["nodeSelector"] = json!({"n": "pod"});
    given["spec"]["priorityClassName"] = "pod".into();
    given["spec"]["priority"] = 5.into();
    given["spec"]["preemptionPolicy"] = "Never".into();
    for (spec, pointer) in [
        ("  labels: {l: policy}", "/metadata/labels/l"),
        ("  annotations: {a: policy}", "/metadata/annotations/a"),
        ("  nodeSelector: {n: policy}", "/spec/nodeSelector/n"),
        ("  priorityClassName: policy", "/spec/priorityClassName"),
    ] {
        let [keep, over, reject] = each(&given, spec);
        let over = over.unwrap();
        assert_eq!(keep.unwrap().pointer(pointer).unwrap(), "pod", "{spec}");
        assert_eq!(over.pointer(pointer).unwrap(), "policy", "{spec}");
        assert!(reject.is_err(), "{spec}");
        let resolved = over["spec"]["priority"].is_null() && over["spec"]["preemptionPolicy"].is_null();
        assert_eq!(resolved, spec.contains("priorityClass"));
    }
}

#[test]
fn the_pull_policy_is_set_whatever_the_word() {
    let [keep, over, reject] = ["Keep", "Override", "Reject"].map(|word| {
        injected(&pod(json!({})), &policy("p", &format!("  onConflict: {word}\n  imagePullPolicy: Always")))
    });
    for pod in [keep, over, reject] {
        assert_eq!(container(&pod, "main")["imagePullPolicy"], "Always");
    }
}

#[test]
fn equal_content_is_no_conflict_and_no_operation() {
    let text = policy(
        "p",
        "  onConflict: Reject\n  storage: [{secret: {secretName: s, mountPath: /s, items: [{key: a, path: b}]}}]\n  env: [{name: A, value: \"\"}]\n  tolerations: [{key: t, value: v}]",
    );
    let mut given = pod(json!({
        "env": [{"name": "A"}], "volumeMounts": [{"name": "mine", "mountPath": "//s/.", "readOnly": false, "subPath": ""}]
    }));
    given["spec"]["volumes"] = json!([{"name": "mine", "secret": {"secretName": "s", "defaultMode": 420, "optional": false, "items": [{"key": "a", "path": "b"}]}}]);
    given["spec"]["tolerations"] = json!([{"key": "t", "operator": "Equal", "value": "v", "tolerationSeconds": 5}]);
    let answer = answer(&given, &policies(&text));
    let paths: Vec<&str> = answer.patch.as_array().unwrap().iter().map(|op| op["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/metadata/annotations"], "only the marker");
}

#[test]
fn a_claim_that_is_there_is_reused_and_a_taken_name_gets_a_suffix() {
    let mut given = pod(json!({}));
    given["spec"]["volumes"] = json!([
        {"name": "mine", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "pipeline", "emptyDir": {}},
        {"name": "pipeline-2", "emptyDir": {}}
    ]);
    let text = policy(
        "p",
        "  storage:\n  - pvc: {claimName: c, mountPath: /c}\n  - pvc: {claimName: d, mountPath: /d}\n  - volume: {name: pipeline, source: {emptyDir: {medium: Memory}}, mountPath: /e}",
    );
    let pod = injected(&given, &text);
    assert_eq!(mount(&pod, "/c")["name"], "mine");
    assert_eq!(mount(&pod, "/d")["name"], "pipeline-3");
    assert_eq!(mount(&pod, "/e")["name"], "pipeline-4");
    assert_eq!(volume(&pod, "pipeline-3")["persistentVolumeClaim"]["claimName"], "d");
    assert_eq!(pod["spec"]["volumes"].as_array().unwrap().len(), 5);
}

#[test]
fn other_modes_items_or_flags_are_another_volume() {
    let mut given = pod(json!({}));
    given["spec"]["volumes"] = json!([
        {"name": "secret", "secret": {"secretName": "s", "defaultMode": 256}},
        {"name": "ro", "persistentVolumeClaim": {"claimName": "c", "readOnly": true}}
    ]);
    let text = policy("p", "  storage:\n  - secret: {secretName: s, mountPath: /s}\n  - pvc: {claimName: c}");
    let pod = injected(&given, &text);
    assert_eq!(mount(&pod, "/s")["name"], "secret-2");
    assert_eq!(mount(&pod, "/mnt/pipeline")["name"], "pipeline");
}

#[test]
fn long_names_keep_to_63_characters_with_their_suffix() {
    let name = "a".repeat(63);
    let mut given = pod(json!({}));
    given["spec"]["volumes"] = json!([{"name": name, "emptyDir": {}}]);
    let pod = injected(&given, &policy("p", &format!("  storage: [{{pvc: {{claimName: c, volumeName: {name}}}}}]")));
    assert_eq!(mount(&pod, "/mnt/pipeline")["name"], format!("{}-2", "a".repeat(61)));
}

#[test]
fn between_policies_the_first_wins_and_the_other_warns() {
    let cluster = policy(
        "aaa",
        "  priority: 1000\n  onConflict: Override\n  env: [{name: A, value: cluster}, {name: S, value: same}]\n  storage: [{pvc: {claimName: cluster, mountPath: /d}}]\n  autoMount: {type: env, params: \"X=1\"}\n  persistence: {data: {d: {mountPath: /cat}}}\n  preemption: {nodeSelector: {spot: \"1\"}}",
    );
    let own = namespaced(
        "zzz",
        "  env: [{name: A, value: namespace}, {name: S, value: same}]\n  storage: [{pvc: {claimName: own, mountPath: /d}}]\n  autoMount: {type: env, params: \"Y=1\"}\n  persistence: {data: {e: {mountPath: /own}}}\n  preemption: {mode: allow, tolerations: [{key: spot, operator: Exists}]}",
    );
    for text in [format!("{cluster}{own}"), format!("{own}{cluster}")] {
        let answer = answer(&pod(json!({})), &policies(&text));
        let pod = &answer.pod;
        assert_eq!(env(pod, "A"), "namespace");
        assert_eq!((env(pod, "X"), env(pod, "Y")), (Value::Null, json!("1")));
        assert_eq!(volume(pod, "pipeline")["persistentVolumeClaim"]["claimName"], "own");
        assert!(mount(pod, "/cat").is_null() && pod["spec"]["affinity"].is_null());
        let warnings = answer.warnings();
        for told in [
            "aaa env: skipped A in container main",
            "aaa storage[0].pvc: skipped",
            "aaa autoMount: skipped",
            "aaa persistence: skipped",
            "aaa preemption: skipped",
        ] {
            assert!(warnings.contains(told), "{told}: {warnings}");
        }
        assert!(!warnings.contains("skipped S "), "{warnings}");
    }
}

#[test]
fn a_cluster_policy_that_forbids_overriding_binds_pods_and_namespaced_policies() {
    let own = namespaced("own", "  preemption: {mode: allow, tolerations: [{key: spot, operator: Exists}]}");
    let cluster = policy("all", "  preemption: {mode: prevent, overridable: false, nodeSelector: {spot: \"1\"}}");
    let mut asks = pod(json!({}));
    asks["metadata"]["labels"] = json!({"stowage.dev/preemption-mode": "none"});
    let answer = answer(&asks, &policies(&format!("{own}{cluster}")));
    let terms = &answer.pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(terms["nodeSelectorTerms"][0]["matchExpressions"][0]["operator"], "NotIn");
    assert!(answer.pod["spec"]["tolerations"].is_null());
    assert!(answer.warnings().contains("does not allow another"), "{}", answer.warnings());
    let loose = policy("all", "  preemption: {mode: prevent, nodeSelector: {spot: \"1\"}}");
    let free = crate::harness::answer(&asks, &policies(&loose));
    assert!(free.pod["spec"]["affinity"].is_null());
}

#[test]
fn what_the_namespaces_pod_security_would_refuse_is_left_out() {
    let spec = "  v3io: {username: u, accessKeySecret: {name: s}}\n  storage:\n  - hostPath: {path: /h, mountPath: /h}\n  - v3ioFuse: {mounts: [{path: /f}]}\n  - volume: {name: nfs, source: {nfs: {server: s, path: /n}}, mountPath: /n}\n  - pvc: {claimName: c, mountPath: /c}\n  - volume: {name: i, source: {image: {reference: \"q:1\"}}, mountPath: /i}\n  defaults: {securityContext: {runAsUser: 0, fsGroup: 5}}";
    for (level, paths, user) in [
        ("privileged", "/h /f /n /c /i", json!(0)),
        ("baseline", "/f /n /c /i", json!(0)),
        ("restricted", "/c /i", Value::Null),
    ] {
        let namespace = format!(
            "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: team, labels: {{pod-security.kubernetes.io/enforce: {level}}}}}\n"
        );
        let answer = answer(&pod(json!({})), &policies(&format!("{}{namespace}", policy("p", spec))));
        let mounts = container(&answer.pod, "main")["volumeMounts"].as_array().unwrap().clone();
        let mounted: Vec<&str> = mounts.iter().map(|mount| mount["mountPath"].as_str().unwrap()).collect();
        assert_eq!(mounted.join(" "), paths, "{level}");
        assert_eq!(answer.pod["spec"]["securityContext"]["runAsUser"], user);
        assert_eq!(answer.warnings().is_empty(), level == "privileged");
    }
}

#[test]
fn which_containers_are_touched() {
    let given = json!({"metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "main"}, {"name": "istio-proxy"}],
        "initContainers": [{"name": "init"}, {"name": "native", "restartPolicy": "Always"}],
        "ephemeralContainers": [{"name": "debug"}]
    }});
    for (containers, touched) in [
        ("", "init native main istio-proxy"),
        ("  containers: {exclude: [istio-proxy]}\n", "init native main"),
        ("  containers: {include: [main]}\n", "main"),
        ("  containers: {exclude: [istio-proxy], initContainers: false}\n", "main"),
    ] {
        let pod = injected(&given, &policy("p", &format!("{containers}  env: [{{name: A, value: b}}]")));
        let lists = ["initContainers", "containers"].map(|list| pod["spec"][list].as_array().unwrap().clone());
        let got: Vec<String> = lists
            .iter()
            .flatten()
            .filter(|c| !c["env"].is_null())
            .map(|c| c["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(got.join(" "), touched);
        assert!(pod["spec"]["ephemeralContainers"][0]["env"].is_null());
    }
}

#[test]
fn a_mount_that_counts_on_our_volume_gets_it() {
    let given = pod(json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]}));
    let policy = policy(
        "p",
        "  storage:\n  - pvc: {claimName: team, volumeName: data, mountPath: /data}\n  \
         - pvc: {claimName: other, volumeName: data, mountPath: /other}",
    );
    let out = injected(&given, &policy);
    assert_eq!(volume(&out, "data")["persistentVolumeClaim"]["claimName"], "team");
    assert_eq!(mount(&out, "/data")["name"], "data");
    assert_eq!(volume(&out, "data-2")["persistentVolumeClaim"]["claimName"], "other");
}

#[test]
fn what_prevent_takes_back_is_not_in_a_policys_way() {
    let given = |spec: Value| {
        let mut given = pod(json!({}));
        given["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        given
    };
    let prevent = |placement: &str| {
        policy(
            "p",
            &format!(
                "{placement}\n  preemption: {{nodeSelector: {{lifecycle: spot}}, tolerations: [{{key: spot, operator: Exists}}]}}"
            ),
        )
    };
    // `answer`, below `injected`, holds that a second pass has nothing to do.
    let out =
        injected(&given(json!({"nodeSelector": {"lifecycle": "spot"}})), &prevent("  nodeSelector: {lifecycle: paid}"));
    assert_eq!(out["spec"]["nodeSelector"], json!({"lifecycle": "paid"}));
    let covering = json!({"tolerations": [{"key": "spot", "operator": "Exists"}]});
    let out = injected(&given(covering), &prevent("  tolerations: [{key: spot, value: \"true\", effect: NoSchedule}]"));
    assert_eq!(out["spec"]["tolerations"], json!([{"key": "spot", "value": "true", "effect": "NoSchedule"}]));
}

#[test]
fn a_relative_mount_path_is_the_absolute_one_that_the_kubelet_makes_of_it() {
    let mut given = pod(json!({"volumeMounts": [{"name": "own", "mountPath": "etc/ca"}]}));
    given["spec"]["volumes"] = json!([{"name": "own", "emptyDir": {}}]);
    let [keep, over, reject] = each(&given, "  storage: [{configMap: {name: ca, mountPath: /etc/ca}}]");
    assert_eq!(mount(&keep.unwrap(), "etc/ca")["name"], "own");
    assert_eq!(mount(&over.unwrap(), "/etc/ca")["name"], "configmap");
    assert!(reject.unwrap_err().contains("/etc/ca"));
}

#[test]
fn pull_secrets_go_only_to_pods_that_have_none() {
    let text = policy("p", "  defaults: {imagePullSecrets: [{name: regcred}]}");
    for own in [json!(null), json!([])] {
        let mut given = pod(json!({}));
        given["spec"]["imagePullSecrets"] = own;
        assert_eq!(injected(&given, &text)["spec"]["imagePullSecrets"], json!([{"name": "regcred"}]));
    }
    let mut given = pod(json!({}));
    given["spec"]["imagePullSecrets"] = json!([{"name": "own"}]);
    assert_eq!(injected(&given, &text)["spec"]["imagePullSecrets"], json!([{"name": "own"}]));
}

#[test]
fn a_service_account_replaces_only_the_default_one() {
    let text = policy("p", "  defaults: {serviceAccountName: trainer}");
    for (own, alias, comes_out) in [
        (json!("own"), json!(null), "own"),
        (json!("trainer"), json!("trainer"), "trainer"),
        (json!(null), json!(null), "trainer"),
        (json!("default"), json!("default"), "trainer"),
    ] {
        let mut given = pod(json!({}));
        given["spec"]["serviceAccountName"] = own;
        given["spec"]["serviceAccount"] = alias.clone();
        let spec = injected(&given, &text)["spec"].clone();
        assert_eq!(spec["serviceAccountName"], comes_out);
        assert!(alias.is_null() || spec["serviceAccount"] == comes_out);
    }
}

#[test]
fn a_security_context_is_filled_in_field_by_field() {
    let text = policy(
        "p",
        "  defaults: {securityContext: {fsGroup: 100, runAsUser: 0, seccompProfile: {type: RuntimeDefault}}}",
    );
    let wanted = json!({"fsGroup": 100, "runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}});
    let filled = |own: Value, os: Value| {
        let mut given = pod(json!({}));
        given["spec"]["securityContext"] = own;
        given["spec"]["os"] = os;
        let answer = answer(&given, &policies(&text));
        (answer.pod["spec"]["securityContext"].clone(), answer.warnings().lines().count())
    };
    let own = json!({"fsGroup": 5, "runAsUser": 7, "seccompProfile": {"type": "Localhost", "localhostProfile": "p"}});
    assert_eq!(filled(own.clone(), json!(null)), (own, 0));
    let rest = json!({"runAsNonRoot": true, "fsGroup": 100, "seccompProfile": {"type": "RuntimeDefault"}});
    assert_eq!(filled(json!({"runAsNonRoot": true}), json!(null)), (rest, 1));
    assert_eq!(filled(json!(null), json!(null)), (wanted, 0));
    assert_eq!(filled(json!({}), json!({"name": "windows"})), (json!({}), 3));
}
