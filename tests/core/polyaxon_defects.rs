//! What Polyaxon and DigitalHub got wrong, one test each: the answer is in the test's name.

use serde_json::{Value, json};

use crate::harness::{answer, container, env, injected, load, mount, pod, policies, policy, volume};

fn catalogue(block: &str) -> String {
    policy("px", &format!("  persistence:\n{block}"))
}

fn labelled(key: &str, value: &str) -> Value {
    let mut pod = pod(json!({}));
    pod["metadata"]["labels"] = json!({key: value});
    pod
}

fn data_paths(pod: &Value) -> Value {
    serde_json::from_str(env(pod, "POLYAXON_RUN_DATA_PATHS").as_str().unwrap()).unwrap()
}

fn errors(text: &str) -> String {
    load(text).errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn d01_the_outputs_of_pods_that_name_none_are_said_by_default_outputs_else_the_first_by_name_with_a_warning() {
    let block = "    outputs: {zeta: {mountPath: /z, existingClaim: z}, alpha: {mountPath: /a, existingClaim: a}}";
    let answered = answer(&pod(json!({})), &policies(&catalogue(block)));
    assert_eq!(env(&answered.pod, "POLYAXON_RUN_OUTPUTS_PATH"), "/a");
    assert!(answered.warnings().contains("first by name"), "{}", answered.warnings());
    let chosen = answer(&pod(json!({})), &policies(&catalogue(&format!("{block}\n    defaultOutputs: zeta"))));
    assert_eq!(env(&chosen.pod, "POLYAXON_RUN_OUTPUTS_PATH"), "/z");
    assert_eq!(chosen.warnings(), "");
}

#[test]
fn d02_a_pod_can_ask_for_no_data_and_still_has_the_empty_list() {
    let text = catalogue("    data: {d: {mountPath: /d, hostPath: /h}}");
    let none = injected(&labelled("stowage.dev/data", "none"), &text);
    assert_eq!(env(&none, "POLYAXON_RUN_DATA_PATHS"), "{}");
    assert!(none["spec"]["volumes"].is_null());
}

const TWO_SECRETS: &str = "    data:\n      one: {store: s3, bucket: \"s3://one\", secret: s1, secretKey: key.json}\n      two: {store: s3, bucket: \"s3://two\", secret: s2, secretKey: key.json}";

#[test]
fn d03_of_two_secrets_under_one_key_the_first_has_the_variable_and_the_other_warns() {
    for conflict in ["Keep", "Override", "Reject"] {
        let text = policy("px", &format!("  onConflict: {conflict}\n  persistence:\n{TWO_SECRETS}"));
        let answered = answer(&pod(json!({})), &policies(&text));
        assert_eq!(env(&answered.pod, "key.json")["secretKeyRef"]["name"], "s1");
        let keys: Value =
            serde_json::from_str(env(&answered.pod, "POLYSTORES_RUN_STORES_ACCESS_KEYS").as_str().unwrap()).unwrap();
        assert_eq!(keys, json!({"s3://one": {"store": "s3", "secret_key": "key.json"}}));
        assert!(answered.warnings().contains("skipped key.json in container main"), "{}", answered.warnings());
        assert_eq!(data_paths(&answered.pod).as_object().unwrap().len(), 2);
    }
}

#[test]
fn d04_a_secret_key_that_is_no_shell_name_is_there_under_one_that_is() {
    let pod_ = injected(&pod(json!({})), &catalogue(TWO_SECRETS));
    assert_eq!(env(&pod_, "KEY_JSON"), env(&pod_, "key.json"));
    assert_eq!(env(&pod_, "KEY_JSON")["secretKeyRef"]["name"], "s1");
    let taken = pod(json!({"env": [{"name": "KEY_JSON", "value": "own"}]}));
    for conflict in ["Keep", "Override", "Reject"] {
        let text = policy(
            "px",
            &format!(
                "  onConflict: {conflict}\n  persistence: {{data: {{one: {{store: s3, bucket: \"s3://one\", secret: s1, secretKey: key.json}}}}}}"
            ),
        );
        let answered = answer(&taken, &policies(&text));
        assert_eq!(env(&answered.pod, "KEY_JSON"), "own");
        assert_eq!(answered.warnings(), "");
    }
    let plain = injected(
        &pod(json!({})),
        &catalogue("    data: {one: {store: s3, bucket: \"s3://b\", secret: s, secretKey: lower_case}}"),
    );
    assert!(env(&plain, "LOWER_CASE").is_null());
}

#[test]
fn d05_plain_sdks_work_and_the_first_store_of_a_cloud_has_their_variables() {
    let text = catalogue(
        "    data:\n      a: {store: s3, bucket: \"s3://a\", secret: s1}\n      b: {store: s3, bucket: \"s3://b\", secret: s2}\n      g: {store: gcs, bucket: \"gs://g\", secret: gs, secretKey: k.json}\n      z: {store: azure, bucket: \"wasbs://c@a.blob.core.windows.net/\", secret: az}",
    );
    let answered = answer(&pod(json!({})), &policies(&text));
    let pod = &answered.pod;
    assert_eq!(env(pod, "AWS_ACCESS_KEY_ID")["secretKeyRef"]["name"], "s1");
    assert_eq!(env(pod, "AZURE_STORAGE_KEY")["secretKeyRef"]["name"], "az");
    assert_eq!(env(pod, "GOOGLE_APPLICATION_CREDENTIALS"), "/var/run/secrets/stowage/gcs/gs/k.json");
    assert!(mount(pod, "/var/run/secrets/stowage/gcs/gs")["readOnly"] == true);
    assert!(answered.warnings().contains("persistence.data.a has the variables of s3 SDKs"), "{}", answered.warnings());
}

#[test]
fn d06_the_outputs_path_is_the_entrys_own_so_that_the_access_key_is_found_by_it() {
    let text = catalogue("    outputs: {o: {store: gcs, bucket: \"gs://b/path\", secret: s, secretKey: k.json}}");
    let pod = injected(&pod(json!({})), &text);
    let keys: Value = serde_json::from_str(env(&pod, "POLYSTORES_RUN_STORES_ACCESS_KEYS").as_str().unwrap()).unwrap();
    assert_eq!(keys[env(&pod, "POLYAXON_RUN_OUTPUTS_PATH").as_str().unwrap()]["secret_key"], "k.json");
}

#[test]
fn d07_volume_names_are_clean_free_and_settle_and_a_taken_path_leaves_out_that_entry_alone() {
    let text = catalogue(
        "    data:\n      My_Data: {mountPath: /my, existingClaim: c}\n      other: {mountPath: /other, existingClaim: o}",
    );
    let mut given = pod(json!({"volumeMounts": [{"name": "my-data", "mountPath": "/other/"}]}));
    given["spec"]["volumes"] = json!([{"name": "my-data", "emptyDir": {}}]);
    let answered = answer(&given, &policies(&text));
    assert_eq!(mount(&answered.pod, "/my")["name"], "my-data-2");
    assert_eq!(data_paths(&answered.pod), json!({"My_Data": "/my"}));
    assert!(answered.warnings().contains("persistence.data.other: skipped"), "{}", answered.warnings());
    let twice = catalogue("    data: {a: {mountPath: /x, hostPath: /h}, b: {mountPath: /x/, hostPath: /i}}");
    assert!(errors(&twice).contains("taken by another entry"));
}

#[test]
fn d08_one_claim_in_two_entries_is_one_volume_and_sub_path_is_honoured() {
    let text = catalogue(
        "    data: {a: {mountPath: /a, existingClaim: c, subPath: \"x/{namespace}\"}, b: {mountPath: /b, existingClaim: c, subPath: other}}",
    );
    let pod = injected(&pod(json!({})), &text);
    assert_eq!(pod["spec"]["volumes"].as_array().unwrap().len(), 1);
    assert_eq!((&mount(&pod, "/a")["subPath"], &mount(&pod, "/b")["subPath"]), (&json!("x/team"), &json!("other")));
}

#[test]
fn d09_a_host_path_has_a_type_and_an_empty_dir_is_told() {
    let text = catalogue(
        "    data: {r: {mountPath: /r, hostPath: /r, readOnly: true}, w: {mountPath: /w, hostPath: /w}, e: {mountPath: /e}}",
    );
    let pod = injected(&pod(json!({})), &text);
    assert_eq!(volume(&pod, "r")["hostPath"]["type"], "Directory");
    assert_eq!(volume(&pod, "w")["hostPath"]["type"], "DirectoryOrCreate");
    assert_eq!(volume(&pod, "e")["emptyDir"], json!({}));
    let notes: Vec<String> = load(&text).notes.iter().map(ToString::to_string).collect();
    assert!(
        notes.iter().any(|note| note.contains("spec.persistence.data.e") && note.contains("lost with the pod")),
        "{notes:?}"
    );
}

#[test]
fn d10_read_only_outputs_warn() {
    let text = catalogue("    outputs: {o: {mountPath: /o, existingClaim: c, readOnly: true}}");
    assert!(load(&text).notes.iter().any(|note| note.to_string().contains("cannot write")));
    let answered = answer(&pod(json!({})), &policies(&text));
    assert!(answered.warnings().contains("outputs o are read-only"), "{}", answered.warnings());
    assert_eq!(mount(&answered.pod, "/o")["readOnly"], true);
    assert_eq!(volume(&answered.pod, "o")["persistentVolumeClaim"]["readOnly"], true);
}

#[test]
fn d11_every_container_gets_the_same_and_a_policy_chooses_which() {
    let given = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main"}, {"name": "side"}], "initContainers": [{"name": "init"}]}});
    let block = "  persistence: {data: {d: {mountPath: /d, existingClaim: c}}}";
    let all = injected(&given, &policy("px", block));
    for name in ["side", "init"] {
        assert_eq!(container(&all, name)["volumeMounts"], container(&all, "main")["volumeMounts"]);
        assert_eq!(container(&all, name)["env"], container(&all, "main")["env"]);
    }
    let some = injected(&given, &policy("px", &format!("  containers: {{include: [main]}}\n{block}")));
    assert!(container(&some, "side")["volumeMounts"].is_null() && container(&some, "init")["env"].is_null());
}

#[test]
fn d12_a_bucket_is_matched_to_its_end() {
    for bucket in [
        "wasbs://c@a.blob.core.windows.net.evil.com/x",
        "wasbs://c@a.b.blob.core.windows.net/",
        "wasb://c@a.blob.core.windows.net",
    ] {
        let text = catalogue(&format!("    data: {{z: {{store: azure, bucket: \"{bucket}\", secret: s}}}}"));
        assert!(errors(&text).contains("spec.persistence.data.z.bucket"), "{}", errors(&text));
    }
    let text = catalogue("    data: {z: {store: s3, bucket: \"s3://{label:b}\", secret: s}}");
    let answered = answer(&pod(json!({})), &policies(&text));
    assert_eq!(env(&answered.pod, "POLYAXON_RUN_DATA_PATHS"), "{}");
    assert!(answered.warnings().contains("label b"), "{}", answered.warnings());
}

#[test]
fn d13_plain_string_items_are_refused_a_config_map_with_a_path_is_a_mount_and_several_env_froms_stay() {
    assert!(errors(&catalogue("    data: {d: /data}")).contains("spec.persistence.data.d: must be an object"));
    let text = policy(
        "px",
        "  storage: [{configMap: {name: cm, mountPath: /cm}}]\n  envFrom: [{configMapRef: {name: a}}, {secretRef: {name: a}}, {prefix: P_, secretRef: {name: a}}]",
    );
    let given = pod(json!({"envFrom": [{"configMapRef": {"name": "own"}}]}));
    let pod = injected(&given, &text);
    assert_eq!(mount(&pod, "/cm")["name"], "configmap");
    assert_eq!(container(&pod, "main")["envFrom"].as_array().unwrap().len(), 4);
}

#[test]
fn d14_read_only_and_host_paths_work_unknown_fields_are_refused_and_the_order_of_variables_is_the_policys() {
    let text = policy(
        "px",
        "  storage: [{pvc: {claimName: c, readOnly: true}}, {hostPath: {path: /h, mountPath: /h}}]\n  env: [{name: Z, value: \"1\"}, {name: A, value: \"2\"}, {name: M, value: \"3\"}]",
    );
    let pod = injected(&pod(json!({})), &text);
    assert_eq!(
        (&mount(&pod, "/mnt/pipeline")["readOnly"], &mount(&pod, "/h")["name"]),
        (&json!(true), &json!("hostpath"))
    );
    let names: Vec<&str> =
        container(&pod, "main")["env"].as_array().unwrap().iter().map(|env| env["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Z", "A", "M"]);
    for field in ["envs: []", "backoff_limit: 3", "schedule: x", "replicas: 2", "profile: x"] {
        let said = errors(&policy("px", &format!("  env: [{{name: A, value: b}}]\n  {field}")));
        assert!(said.contains("unknown field"), "{said}");
    }
}

#[test]
fn the_pods_own_list_decides_which_data_and_in_which_order() {
    let text = catalogue(
        "    data: {data1: {mountPath: /1, hostPath: /1}, data-foo: {mountPath: /f, hostPath: /f}, z: {mountPath: /z, hostPath: /z}}",
    );
    for (key, value) in [("annotations", "data-foo, data1"), ("labels", "data-foo_data1")] {
        let mut given = pod(json!({}));
        given["metadata"][key] = json!({"stowage.dev/data": value});
        let pod = injected(&given, &text);
        assert_eq!(env(&pod, "POLYAXON_RUN_DATA_PATHS"), "{\"data-foo\": \"/f\", \"data1\": \"/1\"}");
        assert!(mount(&pod, "/z").is_null());
    }
    let refused = answer(&labelled("stowage.dev/data", "nope"), &policies(&text));
    assert!(
        refused.message().contains("\"nope\" is not in the catalogue; use all, none or any of data-foo, data1, z"),
        "{}",
        refused.message()
    );
}
