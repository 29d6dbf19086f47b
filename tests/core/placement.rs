//! What policies do to a pod's placement, priority and defaults, as patches on its JSON.
use json_patch::PatchOperation;
use k8s_openapi::api::core::v1 as core;
use serde_json::{Value, json};
use stowage::{
    defaults::resources::Resources,
    json,
    patch::Patch,
    placement::{
        self, Affinity, Placement, PlacementFacts, Toleration, TooManyTerms,
        affinity::MAX_TERMS,
        preemption::{self, ConstrainWithoutLabels, Mode, Preemption},
    },
    reason::Note,
};

fn read(spec: &Value) -> Placement<'static> {
    let raw = |field: &str| Some(&*spec.get(field)?.to_string().leak());
    let fields = ["nodeSelector", "tolerations", "affinity"].map(raw);
    let [selector, tolerations, affinity] = fields.map(|text| text.map(|text| json::read(text).unwrap()));
    Placement::read(selector, tolerations, affinity).unwrap()
}

fn written(after: &Placement<'_>) -> Vec<PatchOperation> {
    let mut patch = Patch::default();
    after.write(&mut patch);
    patch.ops()
}

/// The operations of an edit on `spec`, after checking that a second pass makes none.
fn edited<'a>(spec: &Value, edit: impl Fn(&mut Placement<'a>)) -> (Value, Value) {
    let mut after = read(spec);
    edit(&mut after);
    let ops = written(&after);
    let mut document = json!({"spec": spec});
    json_patch::patch(&mut document, &ops).unwrap();
    let mut again = read(&document["spec"]);
    edit(&mut again);
    assert_eq!(again, read(&document["spec"]), "a second pass changes more");
    (serde_json::to_value(ops).unwrap(), document["spec"].take())
}

fn affinity(json: Value) -> &'static Affinity {
    Box::leak(Box::new(Affinity::from(&serde_json::from_value::<core::Affinity>(json).unwrap())))
}

fn tolerations(json: Value) -> Vec<Toleration> {
    let wire: Vec<core::Toleration> = serde_json::from_value(json).unwrap();
    wire.iter().map(Toleration::from).collect()
}

fn preemption(json: Value) -> Preemption {
    Preemption::compile(&serde_json::from_value(json).unwrap()).unwrap()
}

fn required(terms: Value) -> Value {
    json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}})
}

fn is_in(key: &str, value: &str) -> Value {
    json!({"key": key, "operator": "In", "values": [value]})
}

fn warnings(notes: &[Note]) -> Vec<&str> {
    let warnings = notes.iter().filter(|note| note.is_warning());
    warnings.map(|note| note.text.as_str()).collect()
}

#[test]
fn node_selector_pairs_are_set_one_by_one() {
    let spec = json!({"nodeSelector": {"disk": "ssd", "zone": "a"}});
    assert_eq!(read(&spec).node_selector("zone"), Some("a"));
    let (ops, _) = edited(&spec, |placement| {
        for (key, value) in [("disk", "ssd"), ("zone", "b"), ("gpu", "yes")] {
            placement.set_node_selector(key, value);
        }
    });
    assert_eq!(
        ops,
        json!([
            {"op": "replace", "path": "/spec/nodeSelector/zone", "value": "b"},
            {"op": "add", "path": "/spec/nodeSelector/gpu", "value": "yes"},
        ])
    );
}

#[test]
fn a_null_or_absent_field_is_added_once_and_whole() {
    for spec in [json!({"nodeSelector": null}), json!({})] {
        let (ops, _) = edited(&spec, |placement| {
            placement.set_node_selector("a", "x");
            placement.set_node_selector("b", "y");
        });
        assert_eq!(ops, json!([{"op": "add", "path": "/spec/nodeSelector", "value": {"a": "x", "b": "y"}}]));
    }
}

#[test]
fn only_tolerations_that_nothing_covers_are_added() {
    let spec = json!({"tolerations": [
        {"key": "spot", "operator": "Exists", "future": 1},
        {"key": "slow", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 5},
    ]});
    let wanted = tolerations(json!([
        {"key": "spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"},
        {"key": "slow", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 600},
        {"key": "gpu", "operator": "Exists"},
    ]));
    let (ops, _) = edited(&spec, |placement| drop(placement.merge_tolerations(&wanted)));
    let gpu = json!({"key": "gpu", "operator": "Exists"});
    assert_eq!(ops, json!([{"op": "add", "path": "/spec/tolerations/-", "value": gpu}]));
}

#[test]
fn required_terms_are_multiplied_and_what_the_pod_says_stays() {
    let pods = json!([
        {"matchExpressions": [is_in("a", "1")], "future": true},
        {"matchFields": [is_in("metadata.name", "n1")]},
        {},
    ]);
    let ours = affinity(required(json!([
        {"matchExpressions": [is_in("zone", "x")]},
        {"matchExpressions": [is_in("zone", "y")]},
    ])));
    let (ops, spec) = edited(&json!({"affinity": required(pods)}), |placement| {
        placement.merge_affinity(ours).unwrap();
    });
    let terms = spec.pointer("/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms");
    assert_eq!(
        terms.unwrap(),
        &json!([
            {"matchExpressions": [is_in("a", "1"), is_in("zone", "x")], "future": true},
            {"matchFields": [is_in("metadata.name", "n1")], "matchExpressions": [is_in("zone", "x")]},
            {},
            {"matchExpressions": [is_in("a", "1"), is_in("zone", "y")], "future": true},
            {"matchFields": [is_in("metadata.name", "n1")], "matchExpressions": [is_in("zone", "y")]},
        ])
    );
    let kinds: Vec<&str> = ops.as_array().unwrap().iter().map(|op| op["op"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["add"; 4]);
}

#[test]
fn equal_terms_of_a_pod_are_not_multiplied_twice() {
    let twice = json!([{"matchExpressions": [is_in("a", "1")]}, {"matchExpressions": [is_in("a", "1")]}]);
    let ours = affinity(required(json!([
        {"matchExpressions": [is_in("zone", "x")]},
        {"matchExpressions": [is_in("zone", "y")]},
    ])));
    let merge = |placement: &mut Placement<'_>| drop(placement.merge_affinity(ours).unwrap());
    let (_, spec) = edited(&json!({"affinity": required(twice)}), merge);
    let terms =
        &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    assert_eq!(terms.as_array().unwrap().len(), 3);
}

#[test]
fn preferences_and_pod_terms_are_appended_and_found_again_as_the_api_server_writes_them() {
    let wanted = json!({
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
            [{"weight": 5, "preference": {"matchExpressions": [is_in("a", "1")], "matchFields": []}}]},
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            [{"topologyKey": "host", "namespaces": [], "labelSelector": {"matchLabels": {"app": "x"}, "matchExpressions": []}}]},
    });
    let stored = json!({
        "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
            [{"weight": 5, "preference": {"matchExpressions": [is_in("a", "1")]}}]},
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            [{"topologyKey": "host", "labelSelector": {"matchLabels": {"app": "x"}}}]},
    });
    let wanted = affinity(wanted);
    let merge = |placement: &mut Placement<'_>| drop(placement.merge_affinity(wanted).unwrap());
    assert_eq!(edited(&json!({}), merge).1, json!({"affinity": stored}));
    assert_eq!(edited(&json!({"affinity": stored}), merge).0, json!([]));
    let own = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}}});
    let (ops, _) = edited(&own, merge);
    assert_eq!(ops[0]["path"], "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/-");
}

#[test]
fn too_many_terms_are_refused_and_nothing_is_changed() {
    let many: Vec<Value> = (0..MAX_TERMS).map(|n| json!({"matchExpressions": [is_in("a", &n.to_string())]})).collect();
    let spec = json!({"affinity": required(many.into())});
    let settings = preemption(json!({"mode": "constrain", "nodeSelector": {"x": "1", "y": "2"}}));
    let before = read(&spec);
    let mut placement = before.clone();
    let refused = preemption::apply(&settings, Mode::Constrain, &mut placement);
    assert_eq!(refused, Err(TooManyTerms { terms: 2 * MAX_TERMS, requirements: MAX_TERMS }));
    assert_eq!(placement, before);
    assert!(preemption::apply(&settings, Mode::Prevent, &mut placement).is_ok());
}

#[test]
fn modes_are_named_and_anything_else_is_refused_with_what_is_allowed() {
    for mode in [Mode::Allow, Mode::Constrain, Mode::Prevent, Mode::None] {
        assert_eq!(mode.as_str().parse(), Ok(mode));
    }
    for text in ["", "Prevent", "never", "prevent "] {
        let message = text.parse::<Mode>().unwrap_err().to_string();
        assert!(message.contains("allow, constrain, prevent, prefer and none"), "{message}");
    }
    assert_eq!(preemption(json!({})).mode(), Mode::Prevent);
}

#[test]
fn a_pod_may_ask_for_what_the_policy_can_keep() {
    let labels = preemption(json!({"nodeSelector": {"lc": "spot"}}));
    assert_eq!(labels.resolve(None), Ok((Mode::Prevent, None)));
    assert_eq!(labels.resolve(Some(Mode::Constrain)), Ok((Mode::Constrain, None)));
    let bare = preemption(json!({"tolerations": [{"key": "spot", "operator": "Exists"}]}));
    assert_eq!(bare.resolve(Some(Mode::Constrain)), Err(ConstrainWithoutLabels));
    let fixed = preemption(json!({"nodeSelector": {"lc": "spot"}, "overridable": false}));
    let (mode, note) = fixed.resolve(Some(Mode::Allow)).unwrap();
    assert_eq!(mode, Mode::Prevent);
    assert!(note.unwrap().is_warning());
}

#[test]
fn wrong_settings_name_every_field() {
    let spec = json!({"mode": "constrain", "tolerations": [{"key": "a b"}, {"operator": "Exists", "value": "x"}]});
    let problems = Preemption::compile(&serde_json::from_value(spec).unwrap()).unwrap_err();
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["tolerations[0].key", "tolerations[1].value", "nodeSelector"]);
}

#[test]
fn what_still_leads_to_preemptible_nodes_is_told_where_no_label_keeps_off() {
    let only = preemption(json!({"tolerations": [{"key": "spot", "value": "true", "effect": "NoSchedule"}]}));
    let mut blanket = read(&json!({"tolerations": [{"operator": "Exists"}, {"key": "gpu", "operator": "Exists"}]}));
    let notes = preemption::apply(&only, Mode::Prevent, &mut blanket).unwrap();
    let [warning] = warnings(&notes)[..] else { panic!("one warning: {notes:?}") };
    assert!(warning.contains("any key") && !warning.contains("gpu"), "{warning}");
    let labels =
        preemption(json!({"nodeSelector": {"lc": "spot"}, "tolerations": [{"key": "spot", "operator": "Exists"}]}));
    let notes = preemption::apply(&labels, Mode::Prevent, &mut blanket).unwrap();
    assert_eq!(warnings(&notes), [""; 0]);
}

#[test]
fn a_pod_that_shows_that_no_node_is_left_is_warned() {
    let settings = preemption(json!({"nodeSelector": {"lc": "spot"}}));
    let mut placement = read(&json!({"nodeSelector": {"lc": "ondemand"}}));
    let notes = preemption::apply(&settings, Mode::Constrain, &mut placement).unwrap();
    assert!(warnings(&notes)[0].starts_with("no node can match"), "{notes:?}");
    let mut free = read(&json!({"nodeSelector": {"zone": "a"}}));
    let notes = preemption::apply(&settings, Mode::Constrain, &mut free).unwrap();
    assert_eq!(warnings(&notes), [""; 0]);
    assert!(notes[0].text.contains("lc=spot"), "{notes:?}");
}

#[test]
fn prevent_explains_what_it_took_away() {
    let settings =
        preemption(json!({"nodeSelector": {"lc": "spot"}, "tolerations": [{"key": "spot", "operator": "Exists"}]}));
    let spec = json!({
        "nodeSelector": {"lc": "spot"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "affinity": required(json!([{"matchExpressions": [is_in("lc", "spot")]}])),
    });
    let notes = preemption::apply(&settings, Mode::Prevent, &mut read(&spec)).unwrap();
    let texts: Vec<&str> = notes.iter().map(|note| note.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "removed toleration spot (any effect) (preemption mode prevent)",
            "removed lc=spot from nodeSelector (preemption mode prevent)",
            "removed lc In [spot] from the required node affinity (preemption mode prevent)",
            "required node affinity: 1 term(s) ask for lc NotIn [spot] (preemption mode prevent)",
        ]
    );
    let (ops, _) = edited(&spec, |placement| drop(preemption::apply(&settings, Mode::Prevent, placement)));
    let term = json!({"matchExpressions": [{"key": "lc", "operator": "NotIn", "values": ["spot"]}]});
    let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    assert_eq!(
        ops,
        json!([
            {"op": "remove", "path": "/spec/nodeSelector/lc"},
            {"op": "remove", "path": "/spec/tolerations/0"},
            {"op": "remove", "path": format!("{terms}/0")},
            {"op": "add", "path": format!("{terms}/-"), "value": term},
        ])
    );
}

#[test]
fn a_list_of_terms_that_came_empty_matches_nothing_and_is_left() {
    let settings = preemption(json!({"nodeSelector": {"lc": "spot"}}));
    for mode in [Mode::Constrain, Mode::Prevent] {
        let spec = json!({"affinity": required(json!([]))});
        let (ops, _) = edited(&spec, |placement| drop(preemption::apply(&settings, mode, placement)));
        assert_eq!(ops, json!([]));
    }
}

#[test]
fn placement_is_left_off_where_the_scheduler_has_no_choice() {
    let usual = PlacementFacts { priority: Some(1_000_000_000), node_name: Some(""), ..PlacementFacts::default() };
    assert_eq!(placement::left_off(&usual), None);
    let cases = [
        (PlacementFacts { is_daemon_set: true, ..usual }, "DaemonSet"),
        (PlacementFacts { node_name: Some("n1"), ..usual }, "n1"),
        (PlacementFacts { priority: Some(2_000_000_000), ..usual }, "2000000000"),
        (PlacementFacts { priority_class_name: Some("system-cluster-critical"), ..usual }, "system-cluster-critical"),
    ];
    for (facts, word) in cases {
        let note = placement::left_off(&facts).unwrap();
        assert!(note.is_warning() && note.text.contains(word), "{note:?}");
    }
}

/// The resources of a container that has them from a policy's defaults, and what is told of it.
fn with_resources(own: Value, wanted: &Resources, pod_level: Option<&Value>) -> (Value, Vec<Note>) {
    let missing = wanted.missing(Some(&own), pod_level, "base");
    let mut filled = own.clone();
    for (list, resource, amount) in &missing.amounts {
        filled[list][resource] = json!(amount);
    }
    let again = wanted.missing(Some(&filled), pod_level, "base");
    assert_eq!(again.amounts, [], "a second pass changes more");
    assert!(missing.amounts.iter().all(|(list, resource, _)| again.equal.contains(&(list, resource))));
    (filled, missing.notes)
}

fn usual() -> Resources {
    Resources::compile([("cpu", "1"), ("memory", "1Gi")], [("cpu", "2"), ("memory", "2Gi")]).unwrap()
}

#[test]
fn resources_fill_in_what_a_container_does_not_say() {
    let whole = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}});
    assert_eq!(with_resources(Value::Null, &usual(), None).0, whole);
    assert_eq!(with_resources(json!({}), &usual(), None).0, whole);
    let (half, notes) = with_resources(json!({"requests": {"cpu": "1500m"}, "limits": null}), &usual(), None);
    assert_eq!(half, json!({"requests": {"cpu": "1500m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}}));
    assert_eq!(notes, []);
}

#[test]
fn a_default_never_puts_a_request_over_its_limit() {
    let (low, notes) = with_resources(json!({"limits": {"cpu": "500m"}}), &usual(), None);
    assert_eq!(low, json!({"limits": {"cpu": "500m", "memory": "2Gi"}, "requests": {"memory": "1Gi"}}));
    assert!(notes[0].text.contains("cpu request 1"), "{notes:?}");
    let (high, notes) = with_resources(json!({"requests": {"memory": "3Gi"}}), &usual(), None);
    assert_eq!(high, json!({"requests": {"memory": "3Gi", "cpu": "1"}, "limits": {"cpu": "2"}}));
    assert!(notes[0].text.contains("memory limit 2Gi"), "{notes:?}");
}

#[test]
fn gpus_of_any_name_survive_and_stay_in_limits_only() {
    for gpu in ["nvidia.com/gpu", "amd.com/gpu", "nvidia.com/mig-1g.5gb"] {
        let (kept, _) = with_resources(json!({"limits": {gpu: "1"}}), &usual(), None);
        assert_eq!(kept["limits"], json!({gpu: "1", "cpu": "2", "memory": "2Gi"}));
        assert_eq!(kept["requests"], json!({"cpu": "1", "memory": "1Gi"}));
        let ours = Resources::compile([], [(gpu, "4")]).unwrap();
        for own in [json!({"limits": {gpu: "1"}}), json!({"requests": {gpu: "1"}})] {
            assert_eq!(with_resources(own.clone(), &ours, None).0, own);
        }
        assert_eq!(with_resources(json!({}), &ours, None).0, json!({"limits": {gpu: "4"}}));
    }
}

#[test]
fn a_resource_of_the_whole_pod_is_left_to_it() {
    let pod_level = json!({"limits": {"cpu": "1"}});
    let (filled, _) = with_resources(json!({}), &usual(), Some(&pod_level));
    assert_eq!(filled, json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}}));
}

#[test]
fn wrong_default_resources_are_refused_by_name() {
    type Pairs = &'static [(&'static str, &'static str)];
    let table: [(Pairs, Pairs, &[&str]); 7] = [
        (&[("cpu", "2")], &[("cpu", "1")], &["requests.cpu"]),
        (&[("gpu", "1")], &[("cpu", "1K")], &["requests.gpu", "limits.cpu"]),
        (&[("memory", "-1")], &[], &["requests.memory"]),
        (&[("nvidia.com/gpu", "1")], &[], &["requests[\"nvidia.com/gpu\"]"]),
        (&[("nvidia.com/gpu", "1")], &[("nvidia.com/gpu", "2")], &["requests[\"nvidia.com/gpu\"]"]),
        (&[], &[("nvidia.com/gpu", "500m")], &["limits[\"nvidia.com/gpu\"]"]),
        (&[], &[("hugepages-2Mi", "4Mi")], &["limits"]),
    ];
    for (requests, limits, expected) in table {
        let problems = Resources::compile(requests.iter().copied(), limits.iter().copied()).unwrap_err();
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, expected, "{problems:?}");
    }
}
