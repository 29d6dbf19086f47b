//! What the API server or the kubelet would refuse of every pod is refused of the policy, by its field.

use serde_json::{Value, json};

use crate::harness::{load, policy};

/// What is said of a policy whose spec has these blocks: errors and notes, one a line.
fn said(spec: &Value) -> (String, String) {
    let blocks: Vec<String> =
        spec.as_object().unwrap().iter().map(|(name, value)| format!("  {name}: {value}")).collect();
    let loaded = load(&policy("p", &blocks.join("\n")));
    let lines = |lines: Vec<String>| lines.join("\n");
    (
        lines(loaded.errors.iter().map(ToString::to_string).collect()),
        lines(loaded.notes.iter().map(ToString::to_string).collect()),
    )
}

/// A table of sources, right and wrong, that the tests before a real API server hold against it too.
fn table(text: &str) -> Vec<Value> {
    let Ok(Value::Array(rows)) = serde_json::from_str(text) else { panic!("a list") };
    rows
}

/// Every wrong one is refused by its field, and what is right is not. `spec` makes the policy's blocks, and the source
/// stands at `at`.
fn hold(rows: &[Value], at: &str, spec: impl Fn(&str, &Value) -> Value) {
    for row in rows {
        let kind = row["kind"].as_str().unwrap();
        for source in row["right"].as_array().unwrap() {
            assert_eq!(said(&spec(kind, source)).0, "", "{kind}: {source}");
        }
        for wrong in row["wrong"].as_array().unwrap() {
            let (errors, _) = said(&spec(kind, &wrong["source"]));
            let field = wrong["at"].as_str().unwrap();
            let field = if field.is_empty() { String::new() } else { format!(".{field}") };
            assert!(errors.contains(&format!("{at}.{kind}{field}: ")), "{kind}: {wrong}: {errors}");
        }
    }
}

#[test]
fn sources_of_volumes() {
    let rows = table(include_str!("../fixtures/admissible/sources.json"));
    hold(
        &rows,
        "spec.storage[0].volume.source",
        |kind, source| json!({"storage": [{"volume": {"name": "v", "source": {kind: source}, "mountPath": "/m"}}]}),
    );
    // The modifiers that have items of their own are held to the same.
    for modifier in ["configMap: {name: m", "secret: {secretName: s"] {
        let of = |item: &str| {
            load(&policy("p", &format!("  storage: [{{{modifier}, mountPath: /m, items: [{item}]}}}}]"))).errors
        };
        assert_eq!(of("{key: k, path: p}"), []);
        assert!(of("{key: k, path: ..p}")[0].to_string().contains("items[0].path"), "{modifier}");
        assert!(of("{key: k, path: p, mode: 1000}")[0].to_string().contains("items[0].mode"), "{modifier}");
    }
}

#[test]
fn values_of_variables() {
    let rows = table(include_str!("../fixtures/admissible/variables.json"));
    hold(&rows, "spec.env[0].valueFrom", |kind, source| json!({"env": [{"name": "A", "valueFrom": {kind: source}}]}));
    for block in [
        json!({"env": [{"name": "A", "value": "a\u{0}b"}]}),
        json!({"storage": [{"env": {"variables": {"A": "a\u{0}b"}}}]}),
    ] {
        assert!(said(&block).0.contains("has a NUL"), "{block}");
    }
}

#[test]
fn what_a_person_should_know_of_a_source_is_noted() {
    let note = |source: Value, sub_path: &str| {
        let volume = json!({"name": "v", "source": source, "mountPath": "/m", "subPath": sub_path});
        said(&json!({"storage": [{"volume": volume}]})).1
    };
    assert!(note(json!({"image": {"reference": "i:1"}}), "").contains("older than Kubernetes 1.35"));
    assert!(note(json!({"gitRepo": {"repository": "r"}}), "").contains("1.33"));
    assert!(note(json!({"emptyDir": {"medium": "HugePages"}}), "").contains("request huge pages"));
    let read_only = json!({"persistentVolumeClaim": {"claimName": "c", "readOnly": true}});
    assert!(note(read_only.clone(), "x").contains("no folder is made in it"));
    assert_eq!(note(read_only, ""), "");
    assert_eq!(note(json!({"persistentVolumeClaim": {"claimName": "c"}}), "x"), "");
}

#[test]
fn annotations_that_the_api_server_holds_against_the_pod() {
    let errors = |key: &str, value: &str| said(&json!({"annotations": {key: value}})).0;
    for (key, value) in [
        ("kubernetes.io/config.mirror", "x"),
        ("kubernetes.io/config.source", "file"),
        ("container.apparmor.security.beta.kubernetes.io/main", "unconfined"),
        ("seccomp.security.alpha.kubernetes.io/pod", "runtime/default"),
        ("scheduler.alpha.kubernetes.io/tolerations", "[]"),
        ("controller.kubernetes.io/pod-deletion-cost", "much"),
    ] {
        let errors = errors(key, value);
        assert!(errors.contains(&format!("spec.annotations[{key:?}]: ")), "{key}: {errors}");
    }
    assert_eq!(errors("controller.kubernetes.io/pod-deletion-cost", "-5"), "");
    // A text has 4096 characters at most, and there may be 64.
    let weighing = |each: usize| {
        let all: serde_json::Map<_, _> = (10..74).map(|key| (format!("a{key}"), json!("x".repeat(each)))).collect();
        said(&json!({"annotations": all})).0
    };
    assert_eq!(weighing(4093), "");
    assert!(weighing(4094).contains("spec.annotations: weigh more than the 256 KiB"), "{:.200}", weighing(4094));
}

#[test]
fn mounts_where_the_node_puts_files_of_its_own() {
    let mount = |path: &str, source: &str, read_only: bool| {
        let volume = format!("{{volume: {{name: v, source: {source}, mountPath: {path}, readOnly: {read_only}}}}}");
        let loaded = load(&policy("p", &format!("  storage: [{volume}]")));
        (loaded.errors.len(), loaded.notes.iter().any(|note| note.to_string().contains("puts")))
    };
    let (claim, map) = ("{persistentVolumeClaim: {claimName: c}}", "{configMap: {name: m}}");
    for path in ["/etc/", "/dev"] {
        assert_eq!(mount(path, map, false), (0, true), "{path}");
        assert_eq!(mount(path, claim, true), (0, true), "{path}");
        assert_eq!(mount(path, claim, false), (0, false), "{path}");
    }
    assert_eq!(mount("/etc/spark", map, false), (0, false));
    assert_eq!(mount("/dev/termination-log", claim, false).0, 1);
}

#[test]
fn keys_that_become_requirements_are_in_no_selector() {
    let spread = |selector: &str, key: &str| {
        let of = format!("labelSelector: {{{selector}}}, matchLabelKeys: [{key}]");
        let spread = format!("{{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, {of}}}");
        let affinity = format!(
            "{{podAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [{{topologyKey: zone, {of}}}]}}}}"
        );
        [format!("  defaults: {{topologySpreadConstraints: [{spread}]}}"), format!("  affinity: {affinity}")]
            .map(|spec| load(&policy("p", &spec)).errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    };
    assert_eq!(spread("matchLabels: {app: a}", "pod-template-hash"), ["", ""]);
    for errors in [
        spread("matchLabels: {app: a}", "app"),
        spread("matchExpressions: [{key: app, operator: Exists}]", "app"),
        spread("matchLabels: {app: a}", "\"a b\""),
    ]
    .concat()
    {
        assert!(errors.contains("matchLabelKeys[0]: "), "{errors}");
    }
}

#[test]
fn defaults_that_some_images_and_nodes_cannot_bear_are_noted() {
    let notes = |context: &str| {
        let loaded = load(&policy("p", &format!("  defaults: {{securityContext: {{{context}}}}}")));
        assert_eq!(loaded.errors, [], "{context}");
        loaded.notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    for (context, note) in [
        ("runAsNonRoot: true", "spec.defaults.securityContext.runAsNonRoot: an image whose user is root"),
        ("sysctls: [{name: vm.swappiness, value: \"1\"}]", "securityContext.sysctls[0]: \"vm.swappiness\""),
        ("supplementalGroupsPolicy: Strict", "supplementalGroupsPolicy: a node whose"),
        ("seccompProfile: {type: Localhost, localhostProfile: p}", "seccompProfile: containers start only on nodes"),
    ] {
        assert!(notes(context).contains(note), "{context}: {}", notes(context));
    }
    for silent in
        ["runAsNonRoot: true, runAsUser: 5", "sysctls: [{name: net/ipv4/tcp_syncookies, value: \"1\"}]", "fsGroup: 5"]
    {
        assert_eq!(notes(silent), "", "{silent}");
    }
}
