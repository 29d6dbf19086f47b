//! What holds for every pod and every policy.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use stowage::{
    admission::admit,
    inject::{PodContext, decide, report::StepOutcome},
    pod::PodView,
    policy::{
        document,
        index::PolicyIndex,
        loaded::Loaded,
        snapshot::Snapshot,
        template::{Kind, Template},
    },
};

use crate::harness::{answer, defaulted, load, once, review};

/// How many cases a property runs: `PROPTEST_CASES`, or few enough for every run of the tests.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
}

fn word() -> impl Strategy<Value = String> {
    "[abc]"
}

/// Names that pods and policies both use: plain ones, and those that make up credentials.
const VARIABLES: [&str; 14] = [
    "A",
    "B",
    "V3IO_API",
    "V3IO_USERNAME",
    "V3IO_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AZURE_STORAGE_KEY",
    "k.json",
    "KEY_JSON",
    "K_JSON",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

fn env() -> impl Strategy<Value = Value> {
    (proptest::sample::select(VARIABLES.as_slice()), word(), 0..4_u8).prop_map(|(name, value, kind)| match kind {
        0 => json!({"name": name, "value": value}),
        1 => json!({"name": name, "valueFrom": {"secretKeyRef": {"name": value, "key": name}}}),
        2 => json!({"name": name, "value": ""}),
        _ => json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}),
    })
}

/// Required and preferred node affinity, over the labels that preemption and node selectors speak of.
fn affinity() -> impl Strategy<Value = Value> {
    let expression =
        ("[abl]", 0..4_u8, proptest::collection::btree_set("[abc]", 1..3)).prop_map(|(key, operator, values)| {
            match operator {
                0 => json!({"key": key, "operator": "Exists"}),
                1 => json!({"key": key, "operator": "NotIn", "values": values}),
                _ => json!({"key": key, "operator": "In", "values": values}),
            }
        });
    let term = proptest::collection::vec(expression, 1..3).prop_map(|all| json!({"matchExpressions": all}));
    let preferred = term.clone().prop_map(|term| json!([{"weight": 1, "preference": term}]));
    (proptest::collection::vec(term, 1..4), proptest::option::of(preferred)).prop_map(|(terms, preferred)| {
        let mut node = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        if let Some(preferred) = preferred {
            node["preferredDuringSchedulingIgnoredDuringExecution"] = preferred;
        }
        json!({"nodeAffinity": node})
    })
}

fn source() -> impl Strategy<Value = (&'static str, Value)> {
    (word(), 0..7_u8, any::<bool>()).prop_map(|(name, kind, flag)| match kind {
        0 if flag => ("persistentVolumeClaim", json!({"claimName": name, "readOnly": true})),
        0 => ("persistentVolumeClaim", json!({"claimName": name})),
        1 if flag => ("secret", json!({"secretName": name, "defaultMode": 256})),
        1 => ("secret", json!({"secretName": name})),
        2 => ("configMap", json!({"name": name})),
        3 if flag => ("emptyDir", json!({"sizeLimit": "1024Mi"})),
        3 => ("emptyDir", json!({})),
        4 => ("hostPath", json!({"path": format!("/{name}")})),
        5 => ("projected", json!({"sources": [{"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]})),
        _ => ("ephemeral", json!({"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}}}})),
    })
}

fn volumes() -> impl Strategy<Value = Value> {
    proptest::collection::btree_map("[abcv]", source(), 0..4).prop_map(|volumes| {
        volumes
            .into_iter()
            .map(|(name, (kind, source))| json!({"name": name, kind: source, "futureField": 1}))
            .collect()
    })
}

fn container(name: &'static str) -> impl Strategy<Value = Value> {
    let mount = ("[abcv]", "/[abd]/?")
        .prop_map(|(name, path)| json!({"name": name, "mountPath": path, "recursiveReadOnly": "Disabled"}));
    let list = |of: BoxedStrategy<Value>| proptest::option::of(proptest::collection::vec(of, 0..4));
    (list(env().boxed()), list(mount.boxed()), proptest::option::of(word())).prop_map(move |(env, mounts, from)| {
        let mut container = json!({"name": name, "image": "i:1", "imagePullPolicy": "IfNotPresent", "futureField": {"deep": [1, null]}});
        if let Some(env) = env {
            container["env"] = env.into();
        }
        // Two mounts of one path are refused by the API server.
        if let Some(mut mounts) = mounts {
            let mut seen = Vec::new();
            mounts.retain(|mount| {
                let path = mount["mountPath"].as_str().unwrap().trim_end_matches('/').to_owned();
                let fresh = !seen.contains(&path);
                seen.push(path);
                fresh
            });
            container["volumeMounts"] = mounts.into();
        }
        if let Some(name) = from {
            container["envFrom"] = json!([{"secretRef": {"name": name}}]);
        }
        container
    })
}

fn pod() -> impl Strategy<Value = Value> {
    let labels = || proptest::collection::btree_map("[abl]", word(), 0..3);
    let affinity = proptest::option::weighted(0.4, affinity());
    let containers = (container("main"), proptest::option::of(container("init")));
    (volumes(), containers, labels(), labels(), labels(), 0..4_u8, affinity).prop_map(
        |(volumes, (main, init), labels, annotations, selector, more, affinity)| {
            let mut pod = json!({
                "apiVersion": "v1", "kind": "Pod", "futureField": [true],
                "metadata": {"name": "p", "labels": labels, "annotations": annotations, "futureField": "x"},
                "spec": {"volumes": volumes, "containers": [main], "futureField": {"a": 1}},
            });
            if let Some(init) = init {
                pod["spec"]["initContainers"] = json!([init]);
            }
            if more & 1 == 1 {
                pod["spec"]["nodeSelector"] = json!(selector);
                pod["spec"]["tolerations"] = json!([{"key": "spot", "operator": "Exists"}, {"key": "a", "value": "b"}]);
            }
            if more & 2 == 2 {
                pod["spec"]["serviceAccountName"] = "default".into();
                pod["spec"]["priorityClassName"] = "own".into();
                pod["spec"]["priority"] = 5.into();
            }
            if let Some(affinity) = affinity {
                pod["spec"]["affinity"] = affinity;
            }
            pod
        },
    )
}

fn block() -> impl Strategy<Value = (&'static str, Value)> {
    let volume = (source(), "[abcv]", "/[abde]").prop_map(
        |((kind, source), name, path)| json!({"volume": {"name": name, "source": {kind: source}, "mountPath": path}}),
    );
    let modifier = prop_oneof![
        volume.boxed(),
        ("[abc]", "/[abde]").prop_map(|(claim, path)| json!({"pvc": {"claimName": claim, "mountPath": path}})).boxed(),
        ("/[abde]", "[AB]").prop_map(|(path, name)| json!({"pvc": {"claimName": "runs", "mountPath": path, "subPathExpr": format!("x/$({name})")}})).boxed(),
        (word(), any::<bool>(), any::<bool>())
            .prop_map(|(secret, token, plain)| {
                let endpoint = if plain { json!({}) } else { json!("http://minio:9000") };
                let mut s3 = json!({"secretName": secret, "sessionToken": token});
                if endpoint.is_string() {
                    s3["endpointUrl"] = endpoint;
                }
                json!({"s3": s3})
            })
            .boxed(),
        word().prop_map(|secret| json!({"gcs": {"secretName": secret}})).boxed(),
        word().prop_map(|secret| json!({"azure": {"secretName": secret}})).boxed(),
        Just(json!({"v3io": {}})).boxed(),
        Just(json!({"v3ioFuse": {"mounts": [{"path": "/a"}, {"path": "/f"}]}})).boxed(),
        word().prop_map(|secret| json!({"secretEnv": {"secretName": secret}})).boxed(),
    ];
    prop_oneof![
        proptest::collection::vec(modifier, 1..4).prop_map(|list| ("storage", json!(list))),
        proptest::sample::select(vec!["auto", "v3io_credentials", "v3io_fuse", "none"]).prop_map(|kind| ("autoMount", json!({"type": kind}))),
        word().prop_map(|secret| ("autoMount", json!({"type": "s3", "params": format!("secret_name={secret}")}))),
        ("/[abde]", word()).prop_map(|(path, claim)| ("persistence", json!({
            "data": {"one": {"mountPath": path, "existingClaim": claim}, "two": {"store": "gcs", "bucket": "gs://b", "secret": claim, "secretKey": "k.json"},
                "three": {"store": "s3", "bucket": "s3://b", "secret": "other", "secretKey": "k.json"}},
            "outputs": {"o": {"mountPath": "/o"}}
        }))),
        proptest::collection::vec(env(), 1..4).prop_map(|env| {
            let mut seen = std::collections::BTreeSet::new();
            let env = env.into_iter().filter(|env| seen.insert(env["name"].to_string()));
            ("env", env.collect())
        }),
        word().prop_map(|name| ("envFrom", json!([{"secretRef": {"name": name}}]))),
        ("[abl]", word()).prop_map(|(key, value)| ("labels", json!({key: value}))),
        ("[abl]", word()).prop_map(|(key, value)| ("annotations", json!({key: value}))),
        ("[abl]", word()).prop_map(|(key, value)| ("nodeSelector", json!({key: value}))),
        proptest::sample::select(vec!["allow", "constrain", "prevent", "none", "prefer"])
            .prop_map(|mode| ("preemption", json!({"mode": mode, "nodeSelector": {"a": "b"}, "tolerations": [{"key": "spot", "operator": "Exists"}]}))),
        Just(("tolerations", json!([{"key": "spot", "operator": "Exists"}]))),
        affinity().prop_map(|affinity| ("affinity", affinity)),
        Just(("priorityClassName", json!("high"))),
        Just(("imagePullPolicy", json!("Always"))),
        Just(("defaults", json!({"resources": {"requests": {"cpu": "1"}}, "imagePullSecrets": [{"name": "r"}], "serviceAccountName": "runner", "securityContext": {"fsGroup": 1}}))),
        ("[abl]", word(), proptest::option::of(affinity())).prop_map(|(key, value, affinity)| {
            let mut defaults = json!({"nodeSelector": {key: value}, "tolerations": [{"key": "spot", "operator": "Exists"}, {"key": "gpu", "operator": "Exists"}]});
            if let Some(affinity) = affinity {
                defaults["affinity"] = affinity;
            }
            ("defaults", defaults)
        }),
        Just(("stateThresholds", json!({"running": "1h"}))),
    ]
}

fn policy() -> impl Strategy<Value = Value> {
    let word = proptest::sample::select(vec!["Keep", "Override", "Reject"]);
    let selector = prop_oneof![3 => Just(json!({})), 1 => Just(json!({"matchLabels": {"a": "a"}}))];
    (proptest::collection::vec(block(), 1..5), word, -1..2_i32, any::<bool>(), selector).prop_map(
        |(blocks, conflict, priority, cluster, selector)| {
            let mut spec = json!({
                "match": {"podSelector": selector}, "priority": priority, "onConflict": conflict,
                "v3io": {"username": "u", "accessKeySecret": {"name": "b"}},
            });
            for (name, block) in blocks {
                spec[name] = block;
            }
            // A policy that replaces a label which another selects by is refused.
            let labels = spec.get_mut("labels").and_then(Value::as_object_mut);
            if let Some(labels) = labels.filter(|_| conflict == "Override")
                && let Some(value) = labels.remove("a")
            {
                labels.insert("b".into(), value);
            }
            let kind = if cluster { "ClusterInjectionPolicy" } else { "InjectionPolicy" };
            let metadata = if cluster { json!({}) } else { json!({"namespace": crate::harness::NAMESPACE}) };
            json!({"apiVersion": "stowage.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
        },
    )
}

fn loaded(policies: &[Value]) -> Loaded {
    let items: Vec<Value> = policies
        .iter()
        .enumerate()
        .map(|(number, policy)| {
            let mut policy = policy.clone();
            policy["metadata"]["name"] = format!("p{number}").into();
            policy
        })
        .collect();
    let loaded = load(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
    assert!(loaded.errors.is_empty(), "{}", loaded.errors[0]);
    loaded
}

/// The pod with everything that policies may speak of taken out.
fn untouched(pod: &Value) -> Value {
    let mut pod = pod.clone();
    let metadata = pod["metadata"].as_object_mut().unwrap();
    metadata.retain(|name, _| !matches!(name.as_str(), "labels" | "annotations"));
    let spec = pod["spec"].as_object_mut().unwrap();
    let fields = [
        "nodeSelector",
        "tolerations",
        "affinity",
        "priorityClassName",
        "priority",
        "preemptionPolicy",
        "securityContext",
        "imagePullSecrets",
        "serviceAccountName",
        "serviceAccount",
        "volumes",
    ];
    spec.retain(|name, _| !fields.contains(&name.as_str()));
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let fields = ["env", "envFrom", "volumeMounts", "resources", "imagePullPolicy"];
            container.as_object_mut().unwrap().retain(|name, _| !fields.contains(&name.as_str()));
        }
    }
    pod
}

fn maps(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap()
}

/// The pod without anything that a policy could be at odds with.
fn bare(pod: &Value) -> Value {
    let mut pod = untouched(pod);
    pod["metadata"]["labels"] = json!({});
    for list in ["containers", "initContainers"] {
        for container in pod["spec"].get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            container["imagePullPolicy"] = "IfNotPresent".into();
        }
    }
    pod
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// `answer` holds that two implementations agree on the patch and that a second pass has nothing to do.
    #[test]
    fn settles_at_once_and_touches_only_what_policies_speak_of(
        pod in pod(), policies in proptest::collection::vec(policy(), 1..4),
    ) {
        let snapshot = loaded(&policies).snapshot();
        let answer = answer(&pod, &snapshot);
        prop_assert_eq!(untouched(&answer.pod), untouched(&pod));
        let volumes = |pod: &Value| pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        let (before, after) = (volumes(&pod), volumes(&answer.pod));
        prop_assert_eq!(&after[..before.len()], &before[..], "the pod's own volumes stay, in order");
        let mut names: Vec<&str> = after.iter().map(|volume| volume["name"].as_str().unwrap()).collect();
        names.sort_unstable();
        names.dedup();
        prop_assert_eq!(names.len(), after.len(), "no name twice");
        let text = pod.to_string();
        let view: PodView<'_> = stowage::json::read(&text).unwrap();
        let place = PodContext { namespace: crate::harness::NAMESPACE, template: false, daemon_set: false };
        if let Ok(decision) = decide(&view, &place, &snapshot) {
            for step in decision.report.steps() {
                let told = step.outcome != StepOutcome::Skipped || !step.notes.is_empty();
                prop_assert!(told, "{step} is left out and does not say why");
            }
        }
        for op in answer.patch.as_array().unwrap() {
            let whole = ["/spec/volumes", "/spec/tolerations", "/metadata/labels"];
            let path = op["path"].as_str().unwrap();
            if let Some(list) = pod.pointer(path).filter(|_| whole.contains(&path)) {
                prop_assert!(list.is_null(), "{} is replaced whole", path);
            }
        }
    }

    #[test]
    fn without_a_matching_policy_nothing_is_done(pod in pod(), policy in policy()) {
        let mut policy = policy;
        policy["spec"]["match"]["podSelector"] = json!({"matchLabels": {"nobody": "has"}});
        let answer = answer(&pod, &loaded(&[policy]).snapshot());
        prop_assert_eq!(answer.response, json!({"uid": "u-1", "allowed": true}));
    }

    #[test]
    fn the_order_in_which_policies_were_loaded_does_not_matter(
        pod in pod(), policies in proptest::collection::vec(policy(), 2..5), turn in 1..4_usize,
    ) {
        let mut compiled = loaded(&policies).policies;
        let index = |policies: &[std::sync::Arc<stowage::policy::Policy>]| Snapshot {
            policies: std::sync::Arc::new(PolicyIndex::new(policies.iter().cloned())), ..Snapshot::default()
        };
        let first = once(&review(&pod), &index(&compiled));
        let turn = turn % compiled.len();
        compiled.rotate_left(turn);
        compiled.swap(0, 1);
        prop_assert_eq!(once(&review(&pod), &index(&compiled)).response, first.response);
    }

    /// What an earlier pass made is ours, so no edit makes a policy refuse it.
    #[test]
    fn a_policy_edited_between_two_passes_settles_and_refuses_nothing_of_ours(
        pod in pod(), edits in proptest::collection::vec((policy(), policy()), 1..3),
    ) {
        let (before, after): (Vec<Value>, Vec<Value>) = edits.into_iter().map(|(mut before, mut after)| {
            before["spec"]["match"] = json!({"podSelector": {}});
            for field in ["kind", "metadata"] {
                after[field] = before[field].clone();
            }
            after["spec"]["match"] = before["spec"]["match"].clone();
            (before, after)
        }).unzip();
        let (before, after) = (loaded(&before).snapshot(), loaded(&after).snapshot());
        // What the pod itself brought may well be refused, in either pass.
        let first = once(&review(&bare(&pod)), &before);
        prop_assert!(first.is_allowed(), "{}", first.message());
        let edited = answer(&defaulted(&first.pod), &after);
        prop_assert!(edited.is_allowed(), "{}", edited.message());
        let given = defaulted(&once(&review(&pod), &before).pod);
        prop_assert_eq!(untouched(&answer(&given, &after).pod), untouched(&defaulted(&pod)));
    }

    #[test]
    fn a_container_added_by_another_webhook_settles_too(
        pod in pod(), late in container("late"), policies in proptest::collection::vec(policy(), 1..3),
    ) {
        let policies: Vec<Value> = policies.into_iter().map(|mut policy| {
            if policy["spec"]["onConflict"] == "Reject" {
                policy["spec"]["onConflict"] = "Keep".into();
            }
            policy
        }).collect();
        let snapshot = loaded(&policies).snapshot();
        let mut between = defaulted(&answer(&pod, &snapshot).pod);
        between["spec"]["containers"].as_array_mut().unwrap().push(late);
        let answer = answer(&between, &snapshot);
        prop_assert_eq!(untouched(&answer.pod), untouched(&between));
        prop_assert!(maps(&answer.pod["metadata"]).contains_key("futureField"));
    }

    #[test]
    fn a_plain_policy_gives_exactly_what_it_says(env in proptest::collection::btree_map("[A-Z]{1,3}", "[ -~]{0,8}", 1..5), claim in "[a-z]{1,5}") {
        let vars: Value = env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        if env.values().any(|value| value.contains('{')) {
            return Ok(());
        }
        let policy = json!({"apiVersion": "stowage.dev/v1alpha1", "kind": "ClusterInjectionPolicy", "metadata": {},
            "spec": {"match": {"podSelector": {}}, "env": vars, "storage": [{"pvc": {"claimName": claim}}]}});
        let given = crate::harness::pod(json!({}));
        let mut wanted = given.clone();
        wanted["spec"]["volumes"] = json!([{"name": "pipeline", "persistentVolumeClaim": {"claimName": claim}}]);
        wanted["spec"]["containers"][0]["env"] = vars;
        wanted["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "pipeline", "mountPath": "/mnt/pipeline"}]);
        let mut got = answer(&given, &loaded(&[policy]).snapshot()).pod;
        maps(&got["metadata"]["annotations"]).get("stowage.dev/injected").expect("a marker");
        got["metadata"].as_object_mut().unwrap().shift_remove("annotations");
        prop_assert_eq!(got, wanted);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,80}") {
        let snapshot = Snapshot::default();
        let _ = admit(&bytes, &snapshot);
        let _ = admit(text.as_bytes(), &snapshot);
        let _ = document::parse(&text);
        load(&text);
        for kind in [Kind::Secret, Kind::SubPath, Kind::Volume, Kind::Username, Kind::Bucket, Kind::Claim] {
            let _ = Template::parse(&text, kind);
        }
    }

    #[test]
    fn a_review_with_a_byte_changed_never_panics(pod in pod(), policy in policy(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = review(&pod).to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = admit(&bytes, &loaded(std::slice::from_ref(&policy)).snapshot());
        let mut text = policy.to_string().into_bytes();
        let at = at % text.len();
        text[at] = byte;
        load(&String::from_utf8_lossy(&text));
    }
}
