//! Pods made to be slow or large: about a megabyte each, with thousands of whatever there can be thousands of. What time
//! they take as they grow is held in `growth`.

use serde_json::{Value, json};
use stowage::admission::Outcome;

use crate::harness::{once, policies, policy, review};

fn everything(conflict: &str) -> String {
    policy(
        "p",
        &format!(
            "  onConflict: {conflict}
  v3io: {{username: u, accessKeySecret: {{name: s}}}}
  storage:
  - v3io: {{}}
  - v3ioFuse: {{}}
  - pvc: {{claimName: c, volumeName: data}}
  - volume: {{name: data, source: {{emptyDir: {{medium: Memory}}}}, mountPath: /m}}
  - s3: {{secretName: s}}
  - gcs: {{secretName: g}}
  autoMount: {{type: v3io_fuse}}
  persistence: {{data: {{d: {{mountPath: /d, existingClaim: e}}, s: {{store: s3, bucket: \"s3://b\", secret: s, secretKey: k.json}}}}}}
  env: [{{name: A, value: b}}]
  envFrom: [{{secretRef: {{name: e}}}}]
  labels: {{l: v}}
  annotations: {{a: v}}
  nodeSelector: {{n: v}}
  tolerations: [{{key: t, operator: Exists}}]
  preemption: {{nodeSelector: {{spot: \"1\"}}, tolerations: [{{key: spot, value: \"1\"}}]}}
  imagePullPolicy: Always
  defaults: {{resources: {{requests: {{cpu: 1}}}}, securityContext: {{fsGroup: 1}}}}
  stateThresholds: {{running: 1h}}"
        ),
    )
}

fn many(count: usize, make: impl Fn(usize) -> Value) -> Value {
    (0..count).map(make).collect()
}

fn with(spec: Value, metadata: Value) -> Value {
    let mut pod = json!({"metadata": metadata, "spec": {"containers": [{"name": "main"}]}});
    pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    pod
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn pods() -> Vec<(&'static str, Value)> {
    let container = |n: usize, fields: Value| {
        let mut container = json!({"name": format!("c{n}")});
        container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        container
    };
    let keys = |count: usize, prefix: &str| -> Value {
        Value::Object((0..count).map(|n| (format!("{prefix}{n}"), json!("v"))).collect())
    };
    let exclude: Vec<String> = (0..100_000).map(|n| format!("x{n}")).collect();
    let forged: Value = keys(15_000, "label");
    vec![
        (
            "volumes with the names of suffixes",
            with(json!({"volumes": many(12_000, |n| json!({"name": format!("data-{n}"), "emptyDir": {}}))}), json!({})),
        ),
        (
            "claims",
            with(
                json!({"volumes": many(12_000, |n| json!({"name": format!("v{n}"), "persistentVolumeClaim": {"claimName": format!("x{n}")}}))}),
                json!({}),
            ),
        ),
        (
            "volumes of one name",
            with(json!({"volumes": many(12_000, |_| json!({"name": "data", "emptyDir": {}}))}), json!({})),
        ),
        ("containers", with(json!({"containers": many(3_000, |n| container(n, json!({})))}), json!({}))),
        (
            "containers in conflict",
            with(
                json!({"containers": many(2_000, |n| container(n, json!({"env": [{"name": "V3IO_API", "value": "x"}, {"name": "A"}], "volumeMounts": [{"name": "x", "mountPath": "/d"}]})))}),
                json!({}),
            ),
        ),
        (
            "containers that are excluded",
            with(
                json!({"containers": many(3_000, |n| container(n, json!({})))}),
                json!({"annotations": {"stowage.dev/exclude-containers": exclude.join(",")}}),
            ),
        ),
        (
            "variables of our names",
            with(
                json!({"containers": [container(0, json!({"env": many(20_000, |_| json!({"name": "AWS_SESSION_TOKEN", "value": "x"}))}))]}),
                json!({}),
            ),
        ),
        (
            "variables",
            with(
                json!({"containers": [container(0, json!({"env": many(20_000, |n| json!({"name": format!("V{n}"), "value": "x"}))}))]}),
                json!({}),
            ),
        ),
        (
            "mounts",
            with(
                json!({"containers": [container(0, json!({"volumeMounts": many(15_000, |n| json!({"name": "v", "mountPath": format!("/x/{n}/../y/")}))}))]}),
                json!({}),
            ),
        ),
        (
            "envFrom",
            with(
                json!({"containers": [container(0, json!({"envFrom": many(15_000, |n| json!({"secretRef": {"name": format!("s{n}")}}))}))]}),
                json!({}),
            ),
        ),
        (
            "unknown keys",
            with(
                json!({}),
                json!({"annotations": keys(30_000, "stowage.dev/x"), "labels": keys(10_000, "stowage.dev/y")}),
            ),
        ),
        (
            "a long unknown key",
            with(json!({}), json!({"annotations": {format!("stowage.dev/{}", "auto-mount".repeat(80_000)): "x"}})),
        ),
        (
            "labels and a forged marker",
            with(
                json!({}),
                json!({"labels": keys(30_000, "label"), "annotations": {"stowage.dev/injected": json!({"policies": [], "labels": forged}).to_string()}}),
            ),
        ),
        (
            "a long list in a label",
            with(json!({}), json!({"labels": {"stowage.dev/exclude-containers": "a_".repeat(400_000)}})),
        ),
        (
            "tolerations",
            with(
                json!({"tolerations": many(12_000, |n| json!({"key": format!("k{}", n % 7), "value": "1"}))}),
                json!({}),
            ),
        ),
        (
            "wishes in one term",
            with(
                json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": many(8_000, |n| {
                    json!({"key": if n % 2 == 0 { "spot".to_owned() } else { format!("k{n}") }, "operator": "In", "values": ["1"]})
                })}]}}}}),
                json!({}),
            ),
        ),
        (
            "terms",
            with(
                json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": many(8_000, |n| json!({"matchExpressions": [{"key": if n % 2 == 0 { "spot" } else { "k" }, "operator": "In", "values": ["1"]}]}))}}}}),
                json!({}),
            ),
        ),
        ("annotations", with(json!({}), json!({"annotations": keys(40_000, "k")}))),
        ("a deep value", {
            let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
            json!({"deep": deep, "metadata": {}, "spec": {"containers": [{"name": "main"}]}})
        }),
    ]
}

#[test]
fn hostile_pods_are_answered_within_a_bound_of_memory() {
    let mut found = Vec::new();
    for conflict in ["Keep", "Override"] {
        let snapshot = policies(&everything(conflict));
        for (what, pod) in pods() {
            let text = review(&pod).to_string();
            let decide = || drop(stowage::admission::admit(text.as_bytes(), &snapshot).unwrap());
            let memory = allocation_counter::measure(decide).bytes_max;
            // Sixteen times the body and the longest patch there is.
            let allowed = u64::try_from(16 * (text.len() + (4 << 20)) + (1 << 20)).unwrap();
            if memory > allowed {
                found.push(format!("{what} under {conflict}: {memory} bytes for a body of {}", text.len()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_second_pass_over_many_containers_has_nothing_to_do() {
    let snapshot = policies(&everything("Override"));
    let containers: Value = (0..300)
        .map(|n| json!({"name": format!("c{n}"), "env": [{"name": "A", "value": "x"}, {"name": "AWS_SESSION_TOKEN"}]}))
        .collect();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": containers}});
    let first = once(&review(&pod), &snapshot);
    assert_eq!(once(&review(&first.pod), &snapshot).patch, json!([]));
}

#[test]
fn nested_beyond_reason_is_an_answer_or_an_error_and_no_crash() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    for field in ["tolerations", "affinity", "nodeSelector", "securityContext", "x"] {
        let text = format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","resource":{{"group":"","version":"v1","resource":"pods"}},"namespace":"team","operation":"CREATE","object":{{"metadata":{{}},"spec":{{"containers":[{{"name":"main"}}],"{field}":{deep}}}}}}}}}"#
        );
        let answered = stowage::admission::admit(text.as_bytes(), &policies(&everything("Keep")));
        assert!(answered.is_ok() || answered.is_err_and(|error| error.to_string().len() < 200));
    }
}

#[test]
fn more_than_a_bound_refuses_a_pod_that_a_policy_matches_and_names_it() {
    let snapshot = policies(&policy("p", "  env: [{name: A, value: b}]").replace("{}", "{matchLabels: {a: b}}"));
    let container = |list: &str, count: usize| json!({"containers": [{"name": "main"}, {"name": "other", list: many(count, |_| json!({}))}]});
    let both = |init: usize, app: usize| json!({"initContainers": many(init, |_| json!({})), "containers": many(app, |_| json!({}))});
    let terms = |count: usize, expressions: usize| {
        let term = json!({"matchExpressions": many(expressions, |_| json!({"key": "a", "operator": "Exists"}))});
        let required = json!({"nodeSelectorTerms": many(count, |_| term.clone())});
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}, "containers": []})
    };
    let crowd = |each: usize| json!({"containers": many(25, |n| json!({"name": format!("c{n}"), "env": many(each, |_| json!({"name": "B"}))}))});
    for (within, beyond, said) in [
        (both(500, 500), both(500, 501), "spec.containers: more than 1000 containers"),
        (both(0, 1_000), both(0, 50_000), "spec.containers: more than 1000 containers"),
        (container("env", 9_999), container("env", 10_001), "spec.containers[1].env: more than 10000 elements"),
        (
            container("envFrom", 9_999),
            container("envFrom", 90_000),
            "spec.containers[1].envFrom: more than 10000 elements",
        ),
        (
            container("volumeMounts", 10_000),
            container("volumeMounts", 10_002),
            "spec.containers[1].volumeMounts: more than 10000 elements",
        ),
        (container("args", 20_000), crowd(8_001), "spec.containers: more than 200000 elements in the lists of all"),
        (
            json!({"volumes": many(10_000, |_| json!({})), "containers": []}),
            json!({"volumes": many(10_001, |_| json!({})), "containers": []}),
            "spec.volumes: more than 10000 elements",
        ),
        (
            json!({"tolerations": many(10_000, |_| json!({})), "containers": []}),
            json!({"tolerations": many(10_001, |_| json!({})), "containers": []}),
            "spec.tolerations: more than 10000 elements",
        ),
        (terms(1_024, 1), terms(1_025, 1), "spec.affinity.nodeAffinity: more than 1024 node selector terms"),
        (terms(2, 5_000), terms(2, 10_001), "spec.affinity: more than 10000 elements"),
        (terms(900, 10), terms(900, 120), "spec.affinity: more than 100000 elements in all"),
    ] {
        let matched = |spec: &Value| json!({"metadata": {"labels": {"a": "b"}}, "spec": spec});
        let beyond = matched(&beyond);
        let refused = once(&review(&beyond), &snapshot);
        assert_eq!(refused.outcome, Outcome::Refused, "{said}");
        assert_eq!(refused.response["status"]["code"], 422);
        let message = refused.response["status"]["message"].as_str().unwrap();
        assert!(message.contains(said), "{message}");
        assert_ne!(once(&review(&matched(&within)), &snapshot).outcome, Outcome::Refused, "{said}");
        let unmatched = json!({"metadata": {}, "spec": beyond["spec"]});
        assert_eq!(once(&review(&unmatched), &snapshot).outcome, Outcome::NoMatch, "{said}");
    }
}
