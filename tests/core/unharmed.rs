//! Pods that would have been admitted and would have run are not lost through us, and keep their own identity.

use serde_json::{Value, json};

use crate::harness::{answer, container, env, load, mount, pod, policies, policy};

const S3: &str = "  storage: [{s3: {secretName: s, endpointUrl: http://minio:9000, region: us-east-1}}]";

#[test]
fn an_identity_of_the_pods_keeps_keys_endpoint_and_region_away() {
    for own in [
        json!([{"name": "AWS_ROLE_ARN", "value": "r"}, {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/t"}]),
        json!([{"name": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "value": "http://169.254.170.23/v1/credentials"}]),
        json!([{"name": "AWS_PROFILE", "value": "p"}]),
        json!([{"name": "AWS_ACCESS_KEY_ID", "value": "i"}, {"name": "AWS_SECRET_ACCESS_KEY", "value": "s"}]),
    ] {
        let given = pod(json!({"env": own}));
        let kept = answer(&given, &policies(&policy("p", S3)));
        assert_eq!(container(&kept.pod, "main")["env"], own);
        assert!(kept.warnings().contains("AWS_ENDPOINT_URL_S3"), "{}", kept.warnings());
        let over = answer(&given, &policies(&policy("p", &format!("  onConflict: Override\n{S3}"))));
        assert_eq!(env(&over.pod, "AWS_ACCESS_KEY_ID")["secretKeyRef"]["name"], "s");
        assert_eq!(env(&over.pod, "AWS_ENDPOINT_URL_S3"), "http://minio:9000");
        assert!(env(&over.pod, "AWS_ROLE_ARN").is_null() && env(&over.pod, "AWS_PROFILE").is_null());
        let auto = policy("p", "  autoMount: {type: s3, params: \"secret_name=s\"}");
        assert_eq!(container(&answer(&given, &policies(&auto)).pod, "main")["env"], own);
    }
    let azure = pod(json!({"env": [{"name": "AZURE_CLIENT_ID", "value": "i"}]}));
    let kept = answer(&azure, &policies(&policy("p", "  storage: [{azure: {secretName: a}}]")));
    assert_eq!(env(&kept.pod, "AZURE_STORAGE_KEY"), Value::Null);
    let region = pod(json!({"env": [{"name": "AWS_REGION", "value": "eu-west-1"}]}));
    let with_region = answer(&region, &policies(&policy("p", S3)));
    assert_eq!(env(&with_region.pod, "AWS_REGION"), "eu-west-1", "a region does not say whose credentials they are");
    assert_eq!(env(&with_region.pod, "AWS_ACCESS_KEY_ID")["secretKeyRef"]["name"], "s");
}

#[test]
fn a_source_of_ours_stands_where_its_policy_does_in_the_order() {
    let from = |name: &str| json!({"secretRef": {"name": name}});
    let text = |word: &str| {
        let two = "[{secretRef: {name: a1}}, {secretRef: {name: a2}}]";
        policy("a", &format!("  priority: 1\n  onConflict: {word}\n  envFrom: {two}"))
            + &policy("b", &format!("  onConflict: {word}\n  storage: [{{secretEnv: {{secretName: b}}}}]"))
    };
    let own = pod(json!({"envFrom": [from("own")]}));
    for (given, word, sources) in [
        (&own, "Keep", json!([from("b"), from("a1"), from("a2"), from("own")])),
        (&own, "Override", json!([from("own"), from("b"), from("a1"), from("a2")])),
        (&pod(json!({})), "Keep", json!([from("b"), from("a1"), from("a2")])),
    ] {
        assert_eq!(container(&answer(given, &policies(&text(word))).pod, "main")["envFrom"], sources);
    }
}

#[test]
fn variables_of_ours_stand_before_those_of_the_pod_that_may_refer_to_them() {
    let given = pod(json!({
        "env": [{"name": "URL", "value": "$(HOST)/x"}, {"name": "OWN", "value": "o"}],
        "envFrom": [{"secretRef": {"name": "own"}}],
    }));
    let ours = policy(
        "p",
        "  env: [{name: HOST, value: h}, {name: BACK, value: \"$(OWN)\"}, {name: LAST, value: \"$(BACK)\"}]",
    );
    let answered = answer(&given, &policies(&ours));
    let env = container(&answered.pod, "main")["env"].as_array().unwrap().clone();
    let names: Vec<&str> = env.iter().map(|env| env["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["HOST", "URL", "OWN", "BACK", "LAST"]);
    let hidden = "HOST may hide what the pod's secretRef own brings";
    assert!(answered.warnings().contains(hidden), "{}", answered.warnings());
}

#[test]
fn block_devices_and_propagation_cost_no_pod() {
    let mut given = pod(json!({"volumeDevices": [{"name": "raw", "devicePath": "/dev/xvda/"}]}));
    given["spec"]["volumes"] = json!([{"name": "raw", "persistentVolumeClaim": {"claimName": "c"}}]);
    for storage in ["{pvc: {claimName: c}}", "{pvc: {claimName: d, mountPath: /dev/xvda}}"] {
        for word in ["Keep", "Override", "Reject"] {
            let text = policy("p", &format!("  onConflict: {word}\n  storage: [{storage}]"));
            let answered = answer(&given, &policies(&text));
            assert!(answered.is_allowed() && container(&answered.pod, "main")["volumeMounts"].is_null());
            assert!(answered.warnings().contains("block device"), "{}", answered.warnings());
        }
    }
    let text = policy(
        "p",
        "  storage: [{volume: {name: v, source: {hostPath: {path: /h}}, mountPath: /h, mountPropagation: Bidirectional}}]",
    );
    let mut given = pod(json!({"securityContext": {"privileged": true}}));
    given["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "side"}));
    let answered = answer(&given, &policies(&text));
    assert_eq!(mount(&answered.pod, "/h")["mountPropagation"], "Bidirectional");
    assert!(container(&answered.pod, "side")["volumeMounts"].is_null());
    assert!(answered.warnings().contains("needs a privileged container"));
}

#[test]
fn a_pod_is_windows_by_its_nodes_too() {
    let text = policy("p", "  defaults: {securityContext: {fsGroup: 5}}");
    let windows = json!({"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["windows"]}]});
    let other = json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]});
    let required = |terms: Value| {
        let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        json!({"affinity": {"nodeAffinity": required}})
    };
    for (spec, is_windows) in [
        (json!({"nodeSelector": {"kubernetes.io/os": "windows"}}), true),
        (required(json!([windows])), true),
        (required(json!([windows, other])), false),
        (json!({"nodeSelector": {"kubernetes.io/os": "linux"}}), false),
    ] {
        let mut given = pod(json!({}));
        given["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let answered = answer(&given, &policies(&text));
        assert_eq!(answered.pod["spec"]["securityContext"].is_null(), is_windows, "{spec}");
        assert_eq!(answered.warnings().contains("windows"), is_windows);
    }
}

#[test]
fn a_label_that_a_controller_may_select_by_is_not_replaced() {
    let text = policy("p", "  onConflict: Override\n  labels: {app: ours, new: one}");
    let mut given = pod(json!({}));
    given["metadata"]["labels"] = json!({"app": "own"});
    assert_eq!(answer(&given, &policies(&text)).pod["metadata"]["labels"], json!({"app": "ours", "new": "one"}));
    given["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true}]);
    let answered = answer(&given, &policies(&text));
    assert_eq!(answered.pod["metadata"]["labels"], json!({"app": "own", "new": "one"}));
    assert!(answered.warnings().contains("label app"), "{}", answered.warnings());
}

#[test]
fn a_mount_in_a_read_only_one_is_warned_of_where_its_folder_cannot_be_made() {
    let data = |source: &str, read_only: bool| {
        format!("{{volume: {{name: data, source: {source}, mountPath: /data, readOnly: {read_only}}}}}")
    };
    let out = "{volume: {name: out, source: {emptyDir: {}}, mountPath: /data/out/runs}}";
    let storage = |modifiers: &[&str]| policy("p", &format!("  storage: [{}]", modifiers.join(", ")));
    let claim = "{persistentVolumeClaim: {claimName: c}}";
    let between = "{volume: {name: b, source: {emptyDir: {}}, mountPath: /data/out}}";
    let told = "/data/out/runs in container main lies in the read-only mount /data:";
    let table = [
        (vec![data(claim, true)], true),
        (vec![data("{image: {reference: \"i:1\"}}", false)], true),
        (vec![data(claim, false)], false),
        (vec![data("{configMap: {name: m}}", true)], false),
        (vec![data(claim, true).replace("/data", "/dat")], false),
    ];
    for (outer, is_told) in table {
        let outer: Vec<&str> = outer.iter().map(String::as_str).collect();
        for order in [[&outer[..], &[out]].concat(), [&[out], &outer[..]].concat()] {
            let answered = answer(&pod(json!({})), &policies(&storage(&order)));
            assert_eq!(answered.warnings().contains(told), is_told, "{order:?}: {}", answered.warnings());
            let notes: Vec<String> = load(&storage(&order)).notes.iter().map(ToString::to_string).collect();
            let noted = notes.iter().any(|note| note.contains("/data/out/runs lies in the read-only mount /data of"));
            assert_eq!(noted, is_told, "{order:?}: {notes:?}");
        }
    }
    // What lies between counts: its folder is the one that cannot be made.
    let answered = answer(&pod(json!({})), &policies(&storage(&[&data(claim, true), between, out])));
    assert!(!answered.warnings().contains(told) && answered.warnings().contains("/data/out in container main"));
    // The pod's own mounts count as well, on both sides.
    let own = |path: &str, read_only: bool| {
        let mut pod = pod(json!({"volumeMounts": [{"name": "own", "mountPath": path, "readOnly": read_only}]}));
        pod["spec"]["volumes"] = json!([{"name": "own", "emptyDir": {}}]);
        pod
    };
    for (given, modifier, is_told) in [
        (own("/data/", true), out.to_owned(), true),
        (own("/data", false), out.to_owned(), false),
        (own("/data/out/runs", false), data(claim, true), true),
        (own("/data-2/out/runs", false), data(claim, true), false),
    ] {
        let answered = answer(&given, &policies(&storage(&[&modifier])));
        assert_eq!(answered.warnings().contains(told), is_told, "{given}: {}", answered.warnings());
    }
}

#[test]
fn a_policy_that_names_no_container_of_the_pod_is_warned_of_once() {
    let named = |include: &str| {
        let both = "  storage: [{pvc: {claimName: c}}]\n  env: [{name: A, value: b}]";
        answer(&pod(json!({})), &policies(&policy("p", &format!("  containers: {{{include}}}\n{both}"))))
    };
    let said = named("include: [mian, trian]").warnings();
    assert_eq!(
        said.matches("no container that the policy's containers.include names (mian, trian)").count(),
        1,
        "{said}"
    );
    for silent in ["include: [mian, main]", "include: [\"m*\"]", "exclude: [main]"] {
        assert_eq!(named(silent).warnings(), "", "{silent}");
    }
    // The pod's own word is no mistake of the policy's.
    let mut excluding = pod(json!({}));
    excluding["metadata"]["annotations"] = json!({"stowage.dev/exclude-containers": "main"});
    let text = policy("p", "  containers: {include: [main]}\n  env: [{name: A, value: b}]");
    assert_eq!(answer(&excluding, &policies(&text)).warnings(), "");
}
