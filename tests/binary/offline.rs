//! `stowage inject` decides offline as the webhook does in a cluster, and says what it does not read.

use serde_json::{Value, json};

use crate::cli::Case;

const STATEFUL_SET: &str = include_str!("../fixtures/offline/stateful-set.yaml");
const ITS_POD: &str = include_str!("../fixtures/offline/stateful-set-pod.yaml");
const CLAIM_POLICY: &str = include_str!("../fixtures/offline/claim-policy.yaml");

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_claims_of_a_stateful_set_are_volumes_of_its_pods() {
    let case = Case::new();
    case.write("set.yaml", STATEFUL_SET);
    case.write("its-pod.yaml", ITS_POD);
    case.write("claim.yaml", CLAIM_POLICY);
    let (pod, _) = case.succeeds("inject -f its-pod.yaml --policies claim.yaml -o json");
    let (set, _) = case.succeeds("inject -f set.yaml --policies claim.yaml -o json");
    let (pod, set) = (json_of(&pod), json_of(&set));
    let template = &set["spec"]["template"]["spec"];
    assert_eq!(template["containers"][0]["volumeMounts"], pod["spec"]["containers"][0]["volumeMounts"]);
    let ours = json!({"name": "data-2", "persistentVolumeClaim": {"claimName": "shared"}});
    assert_eq!(template["volumes"], json!([ours]), "the claims themselves are never printed");
    assert_eq!(pod["spec"]["volumes"][1], ours);
}

#[test]
fn a_claim_template_is_storage_by_hand_for_auto_mount() {
    let case = Case::new();
    case.write("set.yaml", STATEFUL_SET);
    let auto = CLAIM_POLICY.replace(
        "  storage:\n  - pvc: {claimName: shared, volumeName: data, mountPath: /data}",
        "  autoMount: {type: pvc, params: \"pvc_name=shared\"}",
    );
    assert_ne!(auto, CLAIM_POLICY);
    case.write("auto.yaml", &auto);
    let (patch, _) = case.succeeds("inject -f set.yaml --policies auto.yaml -o patch");
    assert_eq!(json_of(&patch), json!([]));
}

#[test]
fn a_claim_template_takes_the_place_of_a_volume_of_its_name() {
    let case = Case::new();
    let both =
        STATEFUL_SET.replace("      containers:", "      volumes: [{name: data, emptyDir: {}}]\n      containers:");
    case.write("set.yaml", &both);
    case.write("claim.yaml", CLAIM_POLICY);
    let (set, _) = case.succeeds("inject -f set.yaml --policies claim.yaml -o json");
    let volumes = json_of(&set)["spec"]["template"]["spec"]["volumes"].clone();
    assert_eq!(volumes[0], json!({"name": "data", "emptyDir": {}}), "what is printed is the object's own");
    assert_eq!(volumes[1]["name"], "data-2");
}

#[test]
fn a_job_has_the_labels_and_the_index_that_its_controller_gives_its_pods() {
    let case = Case::new();
    let policy = "\
apiVersion: stowage.dev/v1alpha1
kind: ClusterInjectionPolicy
metadata: {name: jobs}
spec:
  match: {podSelector: {matchLabels: {job-name: train}}}
  env: [{name: JOB_COMPLETION_INDEX, value: \"7\"}, {name: A, value: a}]
";
    let job = "\
apiVersion: batch/v1
kind: Job
metadata: {name: train}
spec:
  completionMode: Indexed
  template: {spec: {containers: [{name: main, image: \"a:1\"}]}}
";
    case.write("policy.yaml", policy);
    case.write("job.yaml", job);
    let (out, talk) = case.succeeds("inject -f job.yaml --policies policy.yaml -o json");
    let template = &json_of(&out)["spec"]["template"];
    assert_eq!(template["spec"]["containers"][0]["env"], json!([{"name": "A", "value": "a"}]), "{talk}");
    assert!(talk.contains("JOB_COMPLETION_INDEX"), "{talk}");
    assert_eq!(template.pointer("/metadata/labels/job-name"), None);
}

#[test]
fn a_file_mode_is_octal_as_for_kubectl() {
    let case = Case::new();
    case.write(
        "mode.yaml",
        "\
apiVersion: v1
kind: Pod
metadata: {name: train, namespace: ml, labels: {team: vision}}
spec:
  containers: [{name: main, image: \"a:1\"}]
  volumes: [{name: keys, secret: {secretName: keys, defaultMode: 0400}}]
",
    );
    let (out, _) = case.succeeds("inject -f mode.yaml --policies policy.yaml");
    assert!(out.contains("defaultMode: 256"), "{out}");
    case.write(
        "octal.yaml",
        "\
apiVersion: stowage.dev/v1alpha1
kind: ClusterInjectionPolicy
metadata: {name: keys}
spec:
  match: {podSelector: {}}
  storage: [{secret: {secretName: keys, mountPath: /keys, defaultMode: 0400}}]
",
    );
    let (out, _) = case.succeeds("inject -f pod.yaml --policies octal.yaml -o json");
    assert_eq!(json_of(&out)["spec"]["volumes"][0]["secret"]["defaultMode"], 256);
}

#[test]
fn texts_that_look_like_other_things_are_printed_as_texts() {
    let case = Case::new();
    let texts = ["0400", "yes", "off", "1_000", "0x1F", "1e3", "null", "~", "", " a", "a: b", "- a", "#a", "12:30:45"];
    let annotations: serde_json::Map<String, Value> =
        texts.iter().enumerate().map(|(number, text)| (format!("k{number}"), json!(text))).collect();
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "ml", "annotations": annotations},
        "spec": {"containers": [{"name": "main", "image": "a:1"}]}});
    case.write("texts.json", &pod.to_string());
    let (yaml, _) = case.succeeds("inject -f texts.json --policies policy.yaml");
    case.write("again.yaml", &yaml);
    let (out, _) = case.succeeds("inject -f again.yaml --policies policy.yaml -o json");
    assert_eq!(json_of(&out)["metadata"]["annotations"], pod["metadata"]["annotations"], "{yaml}");
}

#[test]
fn a_kind_without_a_pod_is_said_to_be_one_whatever_the_output() {
    let case = Case::new();
    let ray = "apiVersion: ray.io/v1\nkind: RayCluster\nmetadata: {name: ray, namespace: ml}\nspec: {}\n";
    let volcano =
        "apiVersion: batch.volcano.sh/v1alpha1\nkind: Job\nmetadata: {name: v}\nspec: {template: {spec: {}}}\n";
    for (object, name) in [(ray, "RayCluster ml/ray"), (volcano, "Job v")] {
        case.write("other.yaml", object);
        for output in ["yaml", "json", "patch", "explain"] {
            let (out, talk) = case.succeeds(&format!("inject -f other.yaml --policies policy.yaml -o {output}"));
            assert!(
                talk.contains(&format!("{name} is passed over: stowage inject reads pods out of Pod, Job,")),
                "{talk}"
            );
            match output {
                "patch" => assert_eq!(out, "[]\n"),
                "explain" => assert_eq!(out, ""),
                _ => assert!(out.contains(object.split_whitespace().nth(3).unwrap()), "{out}"),
            }
        }
    }
    case.write("job.yaml", "apiVersion: batch/v1\nkind: Job\nmetadata: {name: empty}\nspec: {}\n");
    let (_, talk) = case.succeeds("inject -f job.yaml --policies policy.yaml -o patch");
    assert!(talk.contains("Job empty is passed over: it has no spec.template"), "{talk}");
}

#[test]
fn a_namespace_among_the_objects_is_known_with_its_labels() {
    let case = Case::new();
    let guarded = "\
apiVersion: stowage.dev/v1alpha1
kind: ClusterInjectionPolicy
metadata: {name: guarded}
spec:
  match:
    podSelector: {matchLabels: {team: vision}}
    namespaceSelector: {matchLabels: {stowage.dev/injection: enabled}}
  env: [{name: A, value: a}]
";
    case.write("policy.yaml", guarded);
    let namespace =
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: ml, labels: {stowage.dev/injection: enabled}}\n---\n";
    let pod = std::fs::read_to_string(case.path("pod.yaml")).unwrap();
    case.write("both.yaml", &format!("{namespace}{pod}"));
    let (patch, talk) = case.succeeds("inject -f both.yaml --policies policy.yaml -o patch");
    assert!(!json_of(&patch).as_array().unwrap().is_empty(), "{patch}");
    assert_eq!(talk, "");
}

#[test]
fn explain_names_the_requirement_that_keeps_a_policy_away() {
    let case = Case::new();
    let guarded = "\
apiVersion: stowage.dev/v1alpha1
kind: ClusterInjectionPolicy
metadata: {name: guarded}
spec:
  match:
    podSelector: {matchLabels: {team: vision}, matchExpressions: [{key: tier, operator: In, values: [gold, silver]}]}
    namespaceSelector: {matchLabels: {stowage.dev/injection: enabled}}
  env: [{name: A, value: a}]
---
apiVersion: stowage.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: elsewhere, namespace: other}
spec:
  match: {podSelector: {}}
  env: [{name: A, value: a}]
";
    case.write("policy.yaml", guarded);
    let explain = |labels: &str| {
        case.write(
            "asks.yaml",
            &std::fs::read_to_string(case.path("pod.yaml")).unwrap().replace("team: vision", labels),
        );
        case.succeeds("inject -f asks.yaml --policies policy.yaml -o explain").0
    };
    let said = |out: &str, text: &str| assert!(out.contains(text), "{text}\n{out}");
    said(
        &explain("team: vision, tier: gold"),
        "policy guarded does not match: match.namespaceSelector asks for stowage.dev/injection In [enabled], and the \
         namespace has no such label\n",
    );
    said(
        &explain("team: vision, tier: iron"),
        "match.namespaceSelector asks for stowage.dev/injection In [enabled], and the namespace has no such label (and 1 \
         more)\n",
    );
    let out = case
        .succeeds(
            "inject -f asks.yaml --policies policy.yaml -o explain --namespace-labels stowage.dev/injection=enabled",
        )
        .0;
    said(&out, "match.podSelector asks for tier In [gold, silver], and the pod has \"iron\"\n");
    assert!(!out.contains("elsewhere"), "{out}");
}

#[test]
fn beside_a_policy_that_acts_only_those_that_miss_by_one_requirement_are_named() {
    let case = Case::new();
    let policy = |name: &str, labels: &str| {
        format!(
            "---\napiVersion: stowage.dev/v1alpha1\nkind: ClusterInjectionPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
             match: {{podSelector: {{matchLabels: {{{labels}}}}}}}\n  env: [{{name: {name}, value: a}}]\n"
        )
    };
    let policies = [policy("acts", "team: vision"), policy("near", "a: a"), policy("far", "a: a, b: b")].concat();
    case.write("policy.yaml", &policies);
    let (out, _) = case.succeeds("inject -f pod.yaml --policies policy.yaml -o explain");
    assert!(out.contains("policy near does not match: match.podSelector asks for a In [a]"), "{out}");
    assert!(!out.contains("far"), "{out}");
}

#[test]
fn a_policy_for_pods_that_request_something_says_so_where_they_do_not() {
    let case = Case::new();
    let policy = "apiVersion: stowage.dev/v1alpha1\nkind: ClusterInjectionPolicy\nmetadata: {name: gpu}\nspec:\n  \
                  match: {podSelector: {}, requests: [nvidia.com/gpu, amd.com/gpu]}\n  env: [{name: A, value: a}]\n";
    case.write("policy.yaml", policy);
    let said = "policy gpu does not match: match.requests asks for nvidia.com/gpu or amd.com/gpu, and no container \
                requests it\n";
    let (out, _) = case.succeeds("inject -f pod.yaml --policies policy.yaml -o explain");
    assert!(out.contains(said), "{out}");
    case.write("policy.yaml", &policy.replace("podSelector: {}", "podSelector: {matchLabels: {a: b}}"));
    let (out, _) = case.succeeds("inject -f pod.yaml --policies policy.yaml -o explain");
    assert!(out.contains("match.podSelector asks for a In [b], and the pod has no such label (and 1 more)"), "{out}");
}
