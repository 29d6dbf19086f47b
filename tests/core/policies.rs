//! Policy files: all that is wrong at once, with file, line and field path.

use serde_json::{Value, json};

use crate::harness::{answer, env, injected, load, loaded, namespaced, pod, policies, policy};

fn errors(text: &str) -> Vec<String> {
    load(text).errors.iter().map(ToString::to_string).collect()
}

/// Holds that a spec is refused with a line that has all of these words.
fn refuses(spec: &str, words: &[&str]) {
    let found = errors(&policy("p", spec));
    assert!(found.iter().any(|line| words.iter().all(|word| line.contains(word))), "{spec}: {found:?} lacks {words:?}");
}

fn notes(spec: &str) -> String {
    let loaded = load(&policy("p", spec));
    assert!(loaded.errors.is_empty(), "{}", loaded.errors[0]);
    loaded.notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn names_file_line_and_field_path_of_everything_at_once() {
    let text = "apiVersion: stowage.dev/v1alpha1\nkind: ClusterInjectionPolicy\nmetadata: {name: p}\nspec:\n  match: {podSelector: {}}\n  onConflict: keep\n  storage:\n  - pvc:\n      claimname: x\n  - s3: {secretName: 5}\n  lables: {a: b}\n";
    let found = errors(text);
    for line in [
        "policy.yaml:6: spec.onConflict: \"keep\" is not allowed; use one of Keep, Override, Reject (did you mean Keep?)",
        "policy.yaml:9: spec.storage[0].pvc.claimname: unknown field; did you mean claimName?",
        "policy.yaml:8: spec.storage[0].pvc.claimName: required",
        "policy.yaml:10: spec.storage[1].s3.secretName: must be a string, not a number",
        "policy.yaml:11: spec.lables: unknown field; did you mean labels?",
    ] {
        assert!(found.contains(&line.to_owned()), "{found:#?} lacks {line}");
    }
}

#[test]
fn unknown_fields_are_refused_at_every_depth_with_the_nearest_name() {
    refuses("  preemtion: {}", &["spec.preemtion", "did you mean preemption?"]);
    let found = errors(&policy("p", "  labels: {a: b}").replace("podSelector", "podSelectr"));
    assert!(
        found.iter().any(|line| line.contains("spec.match.podSelectr: unknown field; did you mean podSelector?")),
        "{found:?}"
    );
    refuses("  tolerations: [{kee: a}]", &["spec.tolerations[0].kee", "did you mean key?"]);
    refuses(
        "  storage: [{volume: {name: v, mountPath: /v, source: {emptyDir: {sizelimit: 1}}}}]",
        &["source.emptyDir.sizelimit", "did you mean sizeLimit?"],
    );
    refuses("  storage: [{pvcs: {claimName: c}}]", &["spec.storage[0].pvcs", "did you mean pvc?"]);
    refuses(
        "  persistence: {data: {d: {mountpath: /x}}}",
        &["spec.persistence.data.d.mountpath", "did you mean mountPath?"],
    );
    refuses("  stateThresholds: {runing: 1h}", &["spec.stateThresholds.runing", "did you mean running?"]);
    let found =
        errors("apiVersion: stowage.dev/v1alpha1\nkind: ClusterInjectionPolicy\nmetadata: {name: p}\nspecs: {}\n");
    assert!(found.iter().any(|line| line.contains("specs: unknown field; did you mean spec?")), "{found:?}");
}

#[test]
fn a_policy_without_a_block_that_does_something_is_refused() {
    for spec in [
        "",
        "  priority: 5",
        "  labels: {}",
        "  nodeSelector: {}",
        "  env: []",
        "  defaults: {}",
        "  affinity: {}",
        "  priorityClassName: \"\"",
        "  v3io: {username: u, accessKeySecret: {name: s}}",
        "  containers: {include: [a]}",
    ] {
        refuses(spec, &["spec: the policy changes nothing"]);
    }
    for spec in ["  autoMount: {}", "  onExceeded: {action: Report}", "  imagePullPolicy: Always"] {
        assert_eq!(errors(&policy("p", spec)), [""; 0], "{spec}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_no_pod_could_bear_is_refused() {
    for (spec, words) in [
        ("  storage: [{pvc: {claimName: Bad_Name}}]", ["spec.storage[0].pvc.claimName", "Bad_Name"]),
        ("  storage: [{pvc: {claimName: c, mountPath: rel}}]", ["spec.storage[0].pvc.mountPath", "rel"]),
        ("  storage: [{pvc: {claimName: c, subPath: a/../b}}]", ["spec.storage[0].pvc.subPath", ".."]),
        ("  storage: [{pvc: {claimName: c}, s3: {secretName: s}}]", ["spec.storage[0]", "exactly one of"]),
        ("  storage: [{}]", ["spec.storage[0]", "exactly one of"]),
        (
            "  storage: [{volume: {name: v, mountPath: /v, source: {emptyDir: {}, nfs: {server: a, path: /b}}}}]",
            ["spec.storage[0].volume.source", "exactly one"],
        ),
        (
            "  storage: [{volume: {name: v, mountPath: /v, source: {emptyDir: {sizeLimit: 1Gx}}}}]",
            ["source.emptyDir.sizeLimit", "number with an optional suffix"],
        ),
        (
            "  storage: [{volume: {name: v, mountPath: /v, source: {ephemeral: {volumeClaimTemplate: {spec: {resources: {requests: {storage: lots}}}}}}}}]",
            ["resources.requests.storage", "number with an optional suffix"],
        ),
        ("  storage: [{v3io: {}}]", ["spec.storage[0]", "needs spec.v3io"]),
        ("  storage: [{hostPath: {path: /a/../b, mountPath: /x}}]", ["spec.storage[0].hostPath.path", ".."]),
        ("  storage: [{hostPath: {path: /a, mountPath: /x, type: Folder}}]", ["hostPath.type", "DirectoryOrCreate"]),
        ("  storage: [{secret: {secretName: s, mountPath: /x, defaultMode: 777}}]", ["defaultMode", "511"]),
        ("  storage: [{configMap: {name: c, mountPath: /x, items: [{key: a/b, path: p}]}}]", ["items[0].key", "a/b"]),
        ("  env: [{name: A, value: a}, {name: A, value: b}]", ["spec.env[1].name", "given twice"]),
        ("  env: [{name: \"A=B\", value: a}]", ["spec.env[0].name", "A=B"]),
        (
            "  env: [{name: A, value: a, valueFrom: {fieldRef: {fieldPath: x}}}]",
            ["spec.env[0].valueFrom", "cannot both"],
        ),
        ("  env: [{name: A, valueFrom: {}}]", ["spec.env[0].valueFrom", "exactly one source"]),
        ("  envFrom: [{secretRef: {name: a}, configMapRef: {name: b}}]", ["spec.envFrom[0]", "exactly one of"]),
        ("  labels: {\"a b\": c}", ["spec.labels[\"a b\"]", "a b"]),
        ("  labels: {a: \"x/y\"}", ["spec.labels.a", "x/y"]),
        ("  labels: {stowage.dev/inject: \"true\"}", ["stowage.dev/inject", "pod's own word"]),
        (
            "  containers: {include: [a], exclude: [b]}\n  env: [{name: A, value: b}]",
            ["spec.containers", "cannot both"],
        ),
        (
            "  preemption: {mode: constrain, tolerations: [{key: a, operator: Exists}]}",
            ["spec.preemption.nodeSelector", "at least one label"],
        ),
        ("  tolerations: [{operator: Exists, value: x, key: a}]", ["spec.tolerations[0].value", "must be empty"]),
        ("  nodeSelector: {a: \"b c\"}", ["spec.nodeSelector", "b c"]),
        (
            "  defaults: {resources: {requests: {cpu: 2}, limits: {cpu: 1}}}",
            ["spec.defaults.resources", "over its limit"],
        ),
        ("  stateThresholds: {running: 1M}", ["spec.stateThresholds.running", "minute or month"]),
        (
            "  persistence: {data: {d: {mountPath: /d, hostPath: /h, existingClaim: c}}}",
            ["spec.persistence.data.d", "only one of"],
        ),
        (
            "  persistence: {data: {d: {mountPath: /d, existingClaim: c, store: s3, bucket: \"s3://b\"}}}",
            ["spec.persistence.data.d", "only one of"],
        ),
        ("  persistence: {data: {d: {store: ftp, bucket: x}}}", ["spec.persistence.data.d.store", "s3"]),
        ("  persistence: {outputs: {o: {mountPath: /o}}, defaultOutputs: x}", ["defaultOutputs", "is not one of"]),
        ("  autoMount: {type: pvc}", ["spec.autoMount.params", "pvc_name"]),
        (
            "  autoMount: {type: secret_env, params: \"eyJzZWNyZXRfbmFtZSI6InMiLCJrZXlzIjoiQSIsImNsZWFydGV4dF9lbnYiOiJBOjEifQ==\"}",
            ["spec.autoMount.params", "both keys and cleartext_env"],
        ),
        (
            "  match: {podSelector: {matchExpressions: [{key: a, operator: In}]}}\n  env: [{name: A, value: b}]",
            ["matchExpressions[0].values", "at least one"],
        ),
    ] {
        if spec.starts_with("  match") {
            let text = policy("p", "").replace("  match: {podSelector: {}}\n", "") + spec;
            assert!(
                errors(&text).iter().any(|line| words.iter().all(|word| line.contains(word))),
                "{:?}",
                errors(&text)
            );
        } else {
            refuses(spec, &words);
        }
    }
}

#[test]
fn lists_and_maps_are_bounded() {
    let many = |n: usize| (0..n).map(|n| format!("{{name: V{n}, value: x}}")).collect::<Vec<_>>().join(", ");
    assert_eq!(errors(&policy("p", &format!("  env: [{}]", many(64)))), [""; 0]);
    refuses(&format!("  env: [{}]", many(65)), &["spec.env: 65 items; at most 64 are allowed"]);
}

#[test]
fn namespaced_policies_need_a_namespace_and_select_none() {
    let found = errors(&policy("p", "  labels: {a: b}").replace("Cluster", ""));
    assert!(found.iter().any(|line| line.contains("metadata.namespace")), "{found:?}");
    let text =
        namespaced("p", "  labels: {a: b}").replace("{podSelector: {}}", "{podSelector: {}, namespaceSelector: {}}");
    assert!(
        errors(&text).iter().any(|line| line.contains("spec.match.namespaceSelector: unknown field")),
        "{:?}",
        errors(&text)
    );
}

#[test]
fn placeholders_resolve_where_they_may_and_are_refused_elsewhere() {
    let text = policy(
        "p",
        "  v3io: {username: \"{label:owner}\", accessKeySecret: {name: \"k-{username}\"}}\n  trustedLabels: [owner]\n  storage:\n  - pvc: {claimName: \"c-{namespace}\", volumeName: \"v-{serviceAccount}\", subPath: \"u/{username}\"}\n  env: [{name: S, valueFrom: {secretKeyRef: {name: \"s-{label:owner}\", key: k}}}]",
    );
    let mut given = pod(json!({}));
    given["metadata"]["labels"] = json!({"owner": "iris"});
    let injected = injected(&given, &text);
    assert_eq!(
        injected["spec"]["volumes"][0],
        json!({"name": "v-default", "persistentVolumeClaim": {"claimName": "c-team"}})
    );
    assert_eq!(injected["spec"]["containers"][0]["volumeMounts"][0]["subPath"], "u/iris");
    assert_eq!(env(&injected, "S")["secretKeyRef"]["name"], "s-iris");
    for (spec, path) in [
        ("  env: [{name: A, value: \"{namespace}\"}]", "spec.env[0].value"),
        ("  labels: {username: \"{namespace}\"}", "spec.labels.username"),
        ("  annotations: {bucket: \"{namespace}\"}", "spec.annotations.bucket"),
        ("  storage: [{env: {variables: {secretName: \"{label:x}\"}}}]", "spec.storage[0].env.variables.secretName"),
        (
            "  storage: [{volume: {name: v, mountPath: /v, source: {csi: {driver: d, volumeAttributes: {secretName: \"{label:x}\"}}}}}]",
            "volumeAttributes.secretName",
        ),
        ("  storage: [{pvc: {claimName: c, mountPath: \"/{namespace}\"}}]", "spec.storage[0].pvc.mountPath"),
        ("  storage: [{s3: {secretName: s, endpointUrl: \"http://{namespace}\"}}]", "spec.storage[0].s3.endpointUrl"),
        ("  envFrom: [{configMapRef: {name: \"{namespace}\"}}]", "spec.envFrom[0].configMapRef.name"),
        ("  persistence: {data: {secret: {mountPath: \"/{namespace}\"}}}", "spec.persistence.data.secret.mountPath"),
    ] {
        refuses(spec, &[path, "placeholders resolve only in"]);
    }
    refuses("  storage: [{pvc: {claimName: \"{user}\"}}]", &["unknown placeholder {user}"]);
    refuses("  storage: [{pvc: {claimName: \"{username}\"}}]", &["{username} needs spec.v3io"]);
}

#[test]
fn a_label_chooses_a_secret_only_where_it_is_trusted_and_check_says_so() {
    for spec in [
        "  storage: [{s3: {secretName: \"{label:x}\"}}]",
        "  storage: [{volume: {name: v, mountPath: /v, source: {secret: {secretName: \"{label:x}\"}}}}]",
        "  envFrom: [{secretRef: {name: \"{label:x}\"}}]",
        "  autoMount: {type: s3, params: \"secret_name={label:x}\"}",
        "  persistence: {data: {d: {store: s3, bucket: \"s3://b\", secret: \"{label:x}\"}}}",
        "  v3io: {username: \"{label:x}\", accessKeySecret: {name: \"{username}\"}}\n  storage: [{v3io: {}}]",
    ] {
        refuses(spec, &["the label x is not in trustedLabels"]);
        assert!(
            notes(&format!("  trustedLabels: [x]\n{spec}"))
                .contains("whoever sets the label x on a pod chooses the credential"),
            "{spec}"
        );
    }
}

#[test]
fn a_placeholder_that_gives_no_valid_name_skips_its_modifier_with_a_warning() {
    let text =
        policy("p", "  trustedLabels: [o]\n  storage: [{s3: {secretName: \"k-{label:o}\"}}, {pvc: {claimName: c}}]");
    for value in ["", "Iris_B", "..", "a/b"] {
        let mut given = pod(json!({}));
        given["metadata"]["labels"] = json!({"o": value});
        let answer = answer(&given, &policies(&text));
        assert!(answer.warnings().contains("storage[0].s3: skipped"), "{value}: {}", answer.warnings());
        assert_eq!(env(&answer.pod, "AWS_ACCESS_KEY_ID"), Value::Null);
        assert_eq!(answer.pod["spec"]["volumes"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn literal_credentials_work_and_are_flagged_without_being_shown() {
    let spec = "  autoMount: {type: s3, params: \"aws_access_key=id,aws_secret_key=hunter2\"}";
    let said = notes(spec);
    assert!(said.contains("literal credential") && !said.contains("hunter2"), "{said}");
    assert_eq!(env(&injected(&pod(json!({})), &policy("p", spec)), "AWS_SECRET_ACCESS_KEY"), "hunter2");
    assert!(notes("  autoMount: {type: pvc, params: \"pvc_name=c,claim=x\"}").contains("\"claim\" is not one of pvc"));
}

#[test]
fn reads_lists_json_several_documents_and_passes_over_what_is_no_policy() {
    let one: Value = json!({"apiVersion": "stowage.dev/v1alpha1", "kind": "ClusterInjectionPolicy", "metadata": {"name": "a"}, "spec": {"match": {"podSelector": {}}, "labels": {"a": "b"}}});
    let mut two = one.clone();
    two["metadata"]["name"] = "b".into();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [one, two, {"apiVersion": "v1", "kind": "Pod"}]});
    let mut loaded = loaded();
    loaded.add("list.json", &list.to_string());
    loaded.add(
        "more.yaml",
        &format!("{}---\n# nothing\n---\napiVersion: v1\nkind: ConfigMap\n", policy("c", "  labels: {a: b}")),
    );
    assert!(loaded.errors.is_empty(), "{}", loaded.errors[0]);
    assert_eq!((loaded.policies.len(), loaded.others.len()), (3, 2));
    two["spec"]["labels"] = json!({"a b": "c"});
    let wrong = json!({"apiVersion": "v1", "kind": "List", "items": [two]}).to_string();
    assert!(errors(&wrong)[0].contains("items[0].spec.labels[\"a b\"]"), "{:?}", errors(&wrong));
}

#[test]
fn a_name_given_twice_is_refused_with_the_first_place() {
    let mut loaded = loaded();
    loaded.add("one.yaml", &policy("p", "  labels: {a: b}"));
    loaded.add("two.yaml", &policy("p", "  labels: {c: d}"));
    assert_eq!(loaded.policies.len(), 1);
    let said = loaded.errors[0].to_string();
    assert!(said.starts_with("two.yaml:") && said.contains("given twice; first in one.yaml:"), "{said}");
}

#[test]
fn other_versions_and_kinds_of_ours_are_refused() {
    let found = errors(&policy("p", "  labels: {a: b}").replace("v1alpha1", "v2"));
    assert!(found.iter().any(|line| line.contains("apiVersion: must be stowage.dev/v1alpha1")), "{found:?}");
    let found = errors("apiVersion: stowage.dev/v1alpha1\nkind: InjectPolicy\nmetadata: {name: p}\n");
    assert!(found.iter().any(|line| line.contains("use ClusterInjectionPolicy or InjectionPolicy")), "{found:?}");
    assert!(!errors("a: b\n").is_empty());
}

#[test]
fn a_user_of_the_auto_mount_params_is_the_user_of_everything() {
    let spec = "  v3io: {username: bob, accessKeySecret: {name: \"v3io-{username}\"}}\n  \
                autoMount: {type: v3io_fuse, params: \"user=alice\"}";
    let pod = injected(&pod(json!({})), &policy("p", spec));
    let text = pod.to_string();
    assert_eq!(env(&pod, "V3IO_USERNAME"), "alice");
    assert_eq!(env(&pod, "V3IO_ACCESS_KEY")["secretKeyRef"]["name"], "v3io-alice");
    assert!(text.contains("users/alice") && text.contains("users//alice"), "{text}");
    assert!(!text.contains("bob"), "{text}");
}

#[test]
fn a_label_that_chooses_the_user_of_the_params_must_be_trusted() {
    let spec = |trusted: &str| {
        format!(
            "  v3io: {{username: bob, accessKeySecret: {{name: \"v3io-{{username}}\"}}}}\n  \
             autoMount: {{type: v3io_fuse, params: \"user={{label:mlrun/owner}}\"}}\n  trustedLabels: [{trusted}]"
        )
    };
    refuses(&spec(""), &["autoMount.params", "label mlrun/owner is not in trustedLabels"]);
    assert!(notes(&spec("mlrun/owner")).contains("whoever sets the label mlrun/owner"));
}

#[test]
fn a_key_with_a_slash_has_one_path_and_its_own_line() {
    for block in ["nodeSelector", "labels"] {
        let found =
            errors(&policy("p", &format!("  {block}:\n    a: b\n    app.iguazio.com/lifecycle: \"not valid!\"")));
        let wanted = format!("policy.yaml:9: spec.{block}[\"app.iguazio.com/lifecycle\"]: \"not valid!\"");
        assert!(found[0].starts_with(&wanted), "{found:?}");
    }
    let term = "{labelSelector: {matchLabels: {x.io/y: \"not valid!\"}}, topologyKey: a}";
    let spec = format!("  affinity: {{podAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [{term}]}}}}");
    refuses(&spec, &["labelSelector.matchLabels[\"x.io/y\"]: \"not valid!\""]);
    refuses(
        "  defaults: {resources: {requests: {example.com/gpu: \"1\"}}}",
        &["defaults.resources.requests[\"example.com/gpu\"]"],
    );
}

#[test]
fn a_name_that_yaml_reads_as_something_else_is_told_its_type() {
    let found = errors(&policy("y", "  labels: {a: b}"));
    assert_eq!(found, ["policy.yaml:4: metadata.name: must be a string, not a boolean"]);
    let found = errors(&policy("5", "  labels: {a: b}"));
    assert_eq!(found, ["policy.yaml:4: metadata.name: must be a string, not a number"]);
    let found = errors(&namespaced("p", "  labels: {a: b}").replace("namespace: team", "namespace: on"));
    assert_eq!(found, ["policy.yaml:4: metadata.namespace: must be a string, not a boolean"]);
}

#[test]
fn a_policy_that_changes_nothing_is_refused() {
    for spec in ["", "  priority: 5", "  labels: {}\n  env: []", "  v3io: {username: u, accessKeySecret: {name: s}}"] {
        refuses(spec, &["spec: the policy changes nothing"]);
    }
    assert!(load(&policy("p", "  onExceeded: {action: Report}")).errors.is_empty());
    assert!(load(&policy("p", "  autoMount: {}")).errors.len() <= 1);
}

#[test]
fn what_no_pod_could_ever_want_is_refused_early() {
    for path in ["/", "//", "/./", "/proc", "/proc/self"] {
        refuses(
            &format!("  storage: [{{pvc: {{claimName: c, mountPath: {path}}}}}]"),
            &["storage[0].pvc.mountPath", "no container starts"],
        );
    }
    refuses("  persistence: {data: {a: {mountPath: /, existingClaim: c}}}", &["persistence.data.a.mountPath"]);
    assert!(load(&policy("p", "  storage: [{pvc: {claimName: c, mountPath: /process}}]")).errors.is_empty());
    refuses(
        "  storage: [{pvc: {claimName: c, subPath: \"$(POD_NAME)\"}}]",
        &["storage[0].pvc.subPath", "a subPath is not expanded"],
    );
    let volume = "{name: v, source: {emptyDir: {}}, mountPath: /v, mountPropagation: Bidirectional}";
    assert!(notes(&format!("  storage: [{{volume: {volume}}}]")).contains("privileged containers only"));
}

#[test]
fn a_star_in_a_container_name_is_any_text() {
    let spec = |containers: &str| format!("  containers: {{{containers}}}\n  env: [{{name: A, value: b}}]");
    for (containers, gets) in [
        ("include: [\"m*\"]", true),
        ("include: [\"x*\"]", false),
        ("exclude: [\"*ain\"]", false),
        ("exclude: [\"*-proxy\"]", true),
    ] {
        let found = env(&injected(&pod(json!({})), &policy("p", &spec(containers))), "A");
        assert_eq!(found == "b", gets, "{containers}");
    }
    refuses(&spec("include: [\"A*\"]"), &["containers.include[0]", "'*' is any text"]);
    refuses(&spec("include: [\"a.*\"]"), &["containers.include[0]"]);
}

#[test]
fn a_policy_may_be_for_pods_that_request_a_resource() {
    let spec = "  env: [{name: A, value: b}]";
    let with = |requests: &str| {
        policy("p", spec).replace("podSelector: {}", &format!("podSelector: {{}}, requests: [{requests}]"))
    };
    let gpu = "nvidia.com/gpu";
    for (resources, gets) in [
        (json!({"limits": {"nvidia.com/gpu": "1"}}), true),
        (json!({"requests": {"nvidia.com/gpu": 2}}), true),
        (json!({"requests": {"nvidia.com/gpu": "0"}}), false),
        (json!({"requests": {"amd.com/gpu": "1"}}), false),
        (json!({}), false),
        (Value::Null, false),
    ] {
        let found = env(&answer(&pod(json!({"resources": resources})), &policies(&with(gpu))).pod, "A");
        assert_eq!(found == "b", gets, "{resources}");
    }
    let plain = pod(json!({}));
    assert!(answer(&plain, &policies(&with("amd.com/gpu, cpu"))).warnings().is_empty());
    let found = errors(&with("gpu"));
    assert!(found[0].contains("match.requests[0]: \"gpu\" must be"), "{found:?}");
    let watched = with(gpu).replace(spec, "  stateThresholds: {running: 1h}");
    assert!(errors(&watched).is_empty(), "the watcher sees what containers request: {:?}", errors(&watched));
}

#[test]
fn a_resource_that_a_default_sets_cannot_be_asked_for() {
    let mut loaded = loaded();
    let asks =
        policy("asks", "  env: [{name: A, value: b}]").replace("podSelector: {}", "podSelector: {}, requests: [cpu]");
    loaded.add("asks.yaml", &asks);
    loaded.add("sets.yaml", &policy("sets", "  defaults: {resources: {requests: {cpu: 1}}}"));
    loaded.finish();
    let errors: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("spec.match.requests[0]: policy sets sets cpu in defaults.resources"), "{errors:?}");
}

#[test]
fn waiting_for_capacity_is_said_not_to_be_stuck() {
    let said = notes("  stateThresholds: {pendingNotScheduled: 2h}");
    assert!(
        said.contains("stateThresholds.pendingNotScheduled: a pod of a Job that waits 2h for a node is removed"),
        "{said}"
    );
    for quiet in [
        "  stateThresholds: {pendingNotScheduled: '-1'}",
        "  stateThresholds: {pendingScheduled: 2h}",
        "  stateThresholds: {pendingNotScheduled: 2h}\n  onExceeded: {action: {pendingNotScheduled: Report}}",
    ] {
        assert_eq!(notes(quiet), "", "{quiet}");
    }
}
