//! Pods that the API server or a kubelet would refuse for what a policy sets, though it takes them as they came. A second
//! pass is inside every answer.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use stowage::policy::snapshot::{Classes, Namespaces, RuntimeClass, Snapshot};

use crate::harness::{NAMESPACE, answer, container, defaulted, load, once, pod, policies, policy, review, volume};

/// A pod with these fields of its spec.
fn with(fields: Value) -> Value {
    let mut pod = pod(json!({}));
    pod["spec"].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    pod
}

fn annotated(annotations: Value) -> Value {
    let mut pod = pod(json!({}));
    pod["metadata"]["annotations"] = annotations;
    pod
}

#[test]
fn kernel_parameters_are_not_set_on_the_node() {
    let text = policy("p", "  defaults: {securityContext: {sysctls: [{name: net.ipv4.tcp_syncookies, value: \"1\"}]}}");
    for (given, is_set) in [
        (with(json!({})), true),
        (with(json!({"hostIPC": true, "hostNetwork": false})), true),
        (with(json!({"hostNetwork": true})), false),
    ] {
        let answered = answer(&given, &policies(&text));
        assert_eq!(answered.pod["spec"]["securityContext"]["sysctls"].is_array(), is_set, "{given}");
        assert_eq!(answered.warnings().contains("the pod uses its node's network"), !is_set);
    }
}

#[test]
fn a_seccomp_annotation_is_the_pods_own_word() {
    let text = policy("p", "  defaults: {securityContext: {fsGroup: 5, seccompProfile: {type: RuntimeDefault}}}");
    for (own, is_set) in [("unconfined", false), ("runtime/default", true)] {
        let given = annotated(json!({"seccomp.security.alpha.kubernetes.io/pod": own}));
        let context = answer(&given, &policies(&text)).pod["spec"]["securityContext"].clone();
        assert_eq!((context["seccompProfile"].is_object(), &context["fsGroup"]), (is_set, &json!(5)), "{own}");
    }
}

#[test]
fn a_blank_annotation_of_app_armor_is_held_against_the_pods_field() {
    let text = policy("p", "  defaults: {securityContext: {fsGroup: 5, appArmorProfile: {type: RuntimeDefault}}}");
    for (own, is_set) in [("", false), ("unconfined", true)] {
        let given = annotated(json!({"container.apparmor.security.beta.kubernetes.io/main": own}));
        let context = answer(&given, &policies(&text)).pod["spec"]["securityContext"].clone();
        assert_eq!((context["appArmorProfile"].is_object(), &context["fsGroup"]), (is_set, &json!(5)), "{own:?}");
    }
}

#[test]
fn an_older_pod_security_standard_counts() {
    let sysctl = |name: &str| format!("  defaults: {{securityContext: {{sysctls: [{{name: {name}, value: \"1\"}}]}}}}");
    let is_set = |name: &str, version: &str| {
        let labels = [("enforce", "baseline"), ("enforce-version", version)]
            .map(|(key, value)| (format!("pod-security.kubernetes.io/{key}"), value.to_owned()));
        let namespaces: Namespaces = [(NAMESPACE, BTreeMap::from(labels))].into_iter().collect();
        let snapshot = Snapshot { namespaces: Arc::new(namespaces), ..policies(&policy("p", &sysctl(name))) };
        answer(&pod(json!({})), &snapshot).pod["spec"]["securityContext"].is_object()
    };
    assert!(is_set("net.ipv4.tcp_rmem", "v1.32") && is_set("net.ipv4.tcp_rmem", "latest"));
    assert!(!is_set("net.ipv4.tcp_rmem", "v1.31"));
    assert!(!is_set("net/ipv4/tcp_syncookies", "latest"), "the API server compares names as they are written");
}

#[test]
fn what_always_pull_images_sets_back_stays() {
    let volume_of = "{volume: {name: model, source: {image: {reference: \"i:1\"}}, mountPath: /model}}";
    for block in ["  imagePullPolicy: IfNotPresent".to_owned(), format!("  storage: [{volume_of}]")] {
        let snapshot = policies(&policy("p", &block));
        let mut given = pod(json!({"imagePullPolicy": "Always"}));
        let first = answer(&given, &snapshot).pod;
        // The plugin runs again after the webhook, and holds what comes out in the end to what it set.
        let mut set_back = defaulted(&first);
        let always = |pod: &mut Value| {
            pod["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
            if let Some(image) = pod.pointer_mut("/spec/volumes/0/image") {
                image["pullPolicy"] = json!("Always");
            }
        };
        always(&mut set_back);
        // A container that another webhook added in between.
        set_back["spec"]["containers"]
            .as_array_mut()
            .unwrap()
            .push(json!({"name": "side", "imagePullPolicy": "Always"}));
        let last = once(&review(&set_back), &snapshot);
        assert_eq!(container(&last.pod, "main")["imagePullPolicy"], "Always", "{block}");
        let image = &volume(&last.pod, "model")["image"];
        assert!(image.is_null() || image["pullPolicy"] == "Always", "{image}");
        let said = last.warnings().contains("container main: its pull policy was set back to Always");
        assert_eq!(said, block.contains("imagePullPolicy"), "{}", last.warnings());
        always(&mut given);
    }
}

/// Policies, and the runtime class `gvisor`, which selects nodes.
fn with_class(text: &str) -> Snapshot {
    let class = RuntimeClass { node_selector: [("runtime".to_owned(), "gvisor".to_owned())].into_iter().collect() };
    let classes = Classes { priority: None, runtime: Some([("gvisor".into(), class)].into_iter().collect()) };
    Snapshot { classes: Arc::new(classes), ..policies(text) }
}

#[test]
fn a_default_that_chooses_nodes_is_not_for_a_pod_that_has_its_node() {
    let spread = "{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}";
    let text = policy("p", &format!("  defaults: {{runtimeClassName: gvisor, topologySpreadConstraints: [{spread}]}}"));
    let snapshot = with_class(&text);
    let mut of_daemon_set = with(json!({"affinity": {"nodeAffinity": {
    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}
    ]}}}}));
    of_daemon_set["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": true}]);
    for (given, is_set) in [
        (with(json!({})), true),
        (with(json!({"nodeName": "n"})), false),
        (with(json!({"priorityClassName": "system-node-critical"})), false),
        (of_daemon_set, false),
    ] {
        let answered = answer(&given, &snapshot);
        let spec = &answered.pod["spec"];
        let is_there = (spec["runtimeClassName"].is_string(), spec["topologySpreadConstraints"].is_array());
        assert_eq!(is_there, (is_set, is_set), "{given}");
        assert_eq!(answered.warnings().matches("placement is not applied").count(), if is_set { 0 } else { 2 });
    }
}

#[test]
fn the_node_selector_of_a_pods_runtime_class_is_not_replaced() {
    let given = with(json!({"runtimeClassName": "gvisor", "nodeSelector": {"runtime": "gvisor", "zone": "a"}}));
    let text = policy("p", "  onConflict: Override\n  nodeSelector: {runtime: runc, zone: b}");
    let answered = answer(&given, &with_class(&text));
    assert_eq!(answered.pod["spec"]["nodeSelector"], json!({"runtime": "gvisor", "zone": "b"}));
    assert!(answered.warnings().contains("gvisor asks for another value of runtime"), "{}", answered.warnings());
}

#[test]
fn annotations_stay_below_what_the_api_server_allows() {
    const MOST: usize = 256 * 1024;
    let text = policy("p", "  annotations: {one: \"1\", two: \"2\"}");
    for (room, kept) in [(5000, vec!["one", "two"]), (8, vec!["one", "two"]), (7, vec!["one"]), (3, vec![])] {
        let given = annotated(json!({"own": "x".repeat(MOST - "own".len() - room)}));
        let answered = answer(&given, &policies(&text));
        let annotations = answered.pod["metadata"]["annotations"].as_object().unwrap();
        let weight: usize = annotations.iter().map(|(key, value)| key.len() + value.as_str().unwrap().len()).sum();
        assert!(weight <= MOST, "{room}: {weight}");
        let ours: Vec<&str> =
            annotations.keys().map(String::as_str).filter(|key| ["one", "two"].contains(key)).collect();
        assert_eq!(ours, kept, "{room}");
        assert_eq!(answered.warnings().matches("skipped annotation").count(), 2 - kept.len(), "{room}");
    }
    // The thresholds of MLRun's run are an annotation as well.
    let run = json!({"spec": {"state_thresholds": {"executing": "3h"}}}).to_string();
    let mut given = pod(json!({"env": [{"name": "MLRUN_EXEC_CONFIG", "value": run}]}));
    given["metadata"]["annotations"] = json!({"own": "x".repeat(MOST - "own".len() - 10)});
    let answered = answer(&given, &policies(&policy("p", "  stateThresholds: {running: 24h}")));
    assert_eq!(answered.pod["metadata"]["annotations"].as_object().unwrap().len(), 1, "{}", answered.warnings());
    assert!(answered.warnings().contains("skipped annotation stowage.dev/state-thresholds"), "{}", answered.warnings());
}

#[test]
fn the_claim_of_an_ephemeral_volume_has_a_name_of_its_own() {
    let source = "{ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}}";
    let ephemeral =
        policy("p", &format!("  storage: [{{volume: {{name: scratch, source: {source}, mountPath: /s}}}}]"));
    let named = |name: &str| {
        let mut pod = pod(json!({}));
        pod["metadata"]["name"] = json!(name);
        pod
    };
    let long = "a".repeat(253 - "-scratch".len());
    assert!(volume(&answer(&named(&long), &policies(&ephemeral)).pod, "scratch").is_object());
    let longer = answer(&named(&format!("{long}a")), &policies(&ephemeral));
    assert!(longer.warnings().contains("can have no such name"), "{}", longer.warnings());
    assert!(longer.pod["spec"]["volumes"].is_null());
    let mut mounting = named("p");
    mounting["spec"]["volumes"] = json!([{"name": "own", "persistentVolumeClaim": {"claimName": "p-scratch"}}]);
    let mounting = answer(&mounting, &policies(&ephemeral));
    assert!(mounting.warnings().contains("the pod mounts by its name"), "{}", mounting.warnings());
    let mut making = named("p");
    making["spec"]["volumes"] = json!([{"name": "scratch", "ephemeral": {}}]);
    let pvc = policy("p", "  storage: [{pvc: {claimName: p-scratch}}]");
    let making = answer(&making, &policies(&pvc));
    assert!(making.warnings().contains("this modifier mounts by its name"), "{}", making.warnings());
    assert_eq!(making.pod["spec"]["volumes"].as_array().unwrap().len(), 1);
    assert!(volume(&answer(&pod(json!({})), &policies(&pvc)).pod, "pipeline").is_object());
}

#[test]
fn huge_pages_come_with_cpu_or_memory_of_the_containers_own() {
    let amounts = "{memory: 1Gi, hugepages-2Mi: 4Mi}";
    let text = policy("p", &format!("  defaults: {{resources: {{requests: {amounts}, limits: {amounts}}}}}"));
    let pages = |given: &Value| {
        let resources = container(&answer(given, &policies(&text)).pod, "main")["resources"].clone();
        ["requests", "limits"].map(|list| resources[list]["hugepages-2Mi"].is_string())
    };
    assert_eq!(pages(&pod(json!({}))), [true, true]);
    // Of what the pod says as a whole, nothing is said of its containers.
    let mut whole = with(json!({"resources": {"limits": {"memory": "2Gi"}}}));
    assert_eq!(pages(&whole), [false, false]);
    whole["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}});
    assert_eq!(pages(&whole), [true, true]);
    for (amount, page) in [("3Mi", "2Mi"), ("1Gi", "x"), ("0.5", "2Mi")] {
        let amounts = format!("{{memory: 1Gi, hugepages-{page}: {amount}}}");
        let errors = load(&policy("p", &format!("  defaults: {{resources: {{limits: {amounts}}}}}"))).errors;
        assert!(!errors.is_empty(), "{amount} {page}");
    }
}

#[test]
fn what_shows_the_resources_of_a_container_needs_the_container() {
    let of = |name: &str| format!("{{resource: limits.cpu, containerName: {name}}}");
    let env = |name: &str| {
        format!("  env: [{{name: A, valueFrom: {{resourceFieldRef: {}}}}}, {{name: B, value: b}}]", of(name))
    };
    let file = |name: &str| format!("{{items: [{{path: l, resourceFieldRef: {}}}]}}", of(name));
    let volume_of = |source: String| format!("  storage: [{{volume: {{name: v, mountPath: /m, source: {source}}}}}]");
    for (here, elsewhere) in [
        (env("main"), env("base")),
        (
            volume_of(format!("{{downwardAPI: {}}}", file("main"))),
            volume_of(format!("{{downwardAPI: {}}}", file("base"))),
        ),
        (
            volume_of(format!("{{projected: {{sources: [{{downwardAPI: {}}}]}}}}", file("main"))),
            volume_of(format!("{{projected: {{sources: [{{downwardAPI: {}}}]}}}}", file("base"))),
        ),
    ] {
        let given = pod(json!({}));
        assert_eq!(answer(&given, &policies(&policy("p", &here))).warnings(), "", "{here}");
        let answered = answer(&given, &policies(&policy("p", &elsewhere)));
        assert!(answered.warnings().contains("has no container base, whose resources"), "{}", answered.warnings());
        assert!(!answered.pod["spec"].to_string().contains("resourceFieldRef"), "{elsewhere}");
        let has_other = answered.pod["spec"].to_string().contains("\"B\"");
        assert_eq!(has_other, elsewhere.contains("env:"), "the other variable is there");
    }
}
