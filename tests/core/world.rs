//! Changes of the world, and the snapshots and statuses that follow from them.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use stowage::{
    field_error::FieldError,
    labels::Labels,
    policy::{
        Policy, PolicyId, Scope,
        roster::{Generation, PolicyChange, PolicyKind},
        snapshot::{Namespaces, PriorityClass, RuntimeClass, Snapshot},
        status::{AcceptanceReason, StatusChange},
        world::{Change, Watched, World},
    },
};

use crate::harness::{NAMESPACE, load, once, pod, review};

#[derive(Debug)]
struct OfJob;

impl Labels for OfJob {
    fn label(&self, key: &str) -> Option<&str> {
        (key == "class").then_some("job")
    }

    fn each<'s>(&'s self, visit: &mut dyn FnMut(&'s str, &'s str)) {
        visit("class", "job");
    }
}

fn id(name: &str) -> PolicyId {
    PolicyId { scope: Scope::Cluster, name: name.into() }
}

fn compiled(name: &str, generation: i64, value: &str) -> Arc<Policy> {
    let policy = json!({
        "apiVersion": "stowage.dev/v1alpha1", "kind": "ClusterInjectionPolicy",
        "metadata": {"name": name, "generation": generation},
        "spec": {"match": {"podSelector": {"matchLabels": {"class": "job"}}}, "labels": {"generation": value}}
    });
    let mut loaded = load(&policy.to_string());
    assert_eq!(loaded.errors, []);
    loaded.policies.pop().unwrap()
}

fn right(name: &str, uid: &str, generation: i64) -> PolicyChange {
    let compiled = Ok(compiled(name, generation, &generation.to_string()));
    PolicyChange::Applied(id(name), Generation { uid: uid.to_owned(), number: generation, status: None, compiled })
}

fn wrong(name: &str, uid: &str, generation: i64) -> PolicyChange {
    let compiled = Err(vec![FieldError::new("spec.env[0].name", "must not be empty")]);
    PolicyChange::Applied(id(name), Generation { uid: uid.to_owned(), number: generation, status: None, compiled })
}

/// The policies in force, each as `name@value`.
fn in_force(snapshot: &Snapshot) -> String {
    let found = snapshot.policies.matching("team", &snapshot.namespace("team"), &OfJob);
    let said: Vec<String> = found.iter().map(|p| format!("{}@{}", p.id, p.labels[0].1)).collect();
    said.join(" ")
}

fn said(statuses: &[StatusChange]) -> String {
    let said = statuses.iter().map(|s| {
        let message =
            if s.acceptance.message.is_empty() { String::new() } else { format!(": {}", s.acceptance.message) };
        format!("{}@{} {}{message}", s.id, s.acceptance.generation, s.acceptance.reason.as_str())
    });
    said.collect::<Vec<_>>().join("\n")
}

fn labels(value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("team".to_owned(), value.to_owned())])
}

#[test]
fn of_every_policy_the_last_accepted_generation_stays_in_force() {
    let error = "spec.env[0].name: must not be empty";
    let older = format!("a@2 RefusedOlderInForce: generation 1 stays in force: {error}");
    let again = format!("a@3 RefusedOlderInForce: generation 1 stays in force: {error}");
    let other = format!("a@1 Refused: {error}");
    let steps: [(&str, PolicyChange, &str, &str); 9] = [
        ("a new policy", right("a", "u", 1), "a@1", "a@1 Valid"),
        ("the same again", right("a", "u", 1), "a@1", "a@1 Valid"),
        ("a bad edit", wrong("a", "u", 2), "a@1", &older),
        ("another bad edit", wrong("a", "u", 3), "a@1", &again),
        ("mended", right("a", "u", 4), "a@4", "a@4 Valid"),
        ("made anew, and wrong", wrong("a", "v", 1), "", &other),
        ("mended", right("a", "v", 2), "a@2", "a@2 Valid"),
        ("deleted", PolicyChange::Deleted(id("a")), "", ""),
        ("deleted once more", PolicyChange::Deleted(id("a")), "", ""),
    ];
    let mut world = World::new(None);
    for (what, change, force, status) in steps {
        let (snapshot, statuses) = world.apply(Change::Policies(change));
        assert_eq!(in_force(&snapshot), force, "{what}");
        assert_eq!(said(&statuses), status, "{what}");
        assert_eq!(world.policies_in_force(), usize::from(!force.is_empty()), "{what}");
        assert_eq!(world.policies_refused(), usize::from(status.contains("Refused")), "{what}");
    }
}

#[test]
fn a_status_that_is_there_is_not_said_again() {
    let mut world = World::new(None);
    let (_, first) = world.apply(Change::Policies(right("a", "u", 1)));
    let written = first[0].to_write(None, "2026-01-01T00:00:00Z".parse().unwrap());
    let mut seen = right("a", "u", 1);
    if let PolicyChange::Applied(_, generation) = &mut seen {
        generation.status = written;
    }
    let (_, again) = world.apply(Change::Policies(seen));
    assert_eq!(again, []);
}

#[test]
fn a_relisted_kind_drops_what_is_gone_and_leaves_the_other_kind() {
    let mut world = World::new(None);
    world.apply(Change::Policies(right("a", "u", 1)));
    world.apply(Change::Policies(right("b", "u", 1)));
    let namespaced = PolicyChange::Relisted(PolicyKind::Namespaced, Vec::new());
    assert_eq!(in_force(&world.apply(Change::Policies(namespaced)).0), "a@1 b@1");
    let PolicyChange::Applied(id, generation) = right("b", "u", 2) else { unreachable!() };
    let relisted = PolicyChange::Relisted(PolicyKind::Cluster, vec![(id, generation)]);
    let (snapshot, statuses) = world.apply(Change::Policies(relisted));
    assert_eq!(in_force(&snapshot), "b@2");
    assert_eq!(said(&statuses), "b@2 Valid");
}

#[test]
fn a_file_goes_before_a_policy_of_the_same_name_and_the_cluster_is_told() {
    let mut world = World::new(None);
    world.apply(Change::Policies(right("a", "u", 1)));
    let files = |policies| Change::Files { policies, namespaces: Namespaces::default() };
    let (snapshot, statuses) = world.apply(files(vec![compiled("a", 0, "file"), compiled("f", 0, "file")]));
    assert_eq!(in_force(&snapshot), "a@file f@file");
    assert_eq!(statuses.len(), 1);
    assert_eq!(statuses[0].acceptance.reason, AcceptanceReason::Refused);
    assert!(statuses[0].acceptance.message.contains("policy file"), "{}", statuses[0].acceptance.message);
    let (snapshot, statuses) = world.apply(files(Vec::new()));
    assert_eq!(in_force(&snapshot), "a@1");
    assert_eq!(said(&statuses), "a@1 Valid");
}

#[test]
fn snapshots_share_what_did_not_change() {
    let mut world = World::new(["stowage".to_owned()]);
    let mut before = world.apply(Change::Policies(right("a", "u", 1))).0;
    let priority = |value| PriorityClass { value, global_default: false };
    let runtime = || RuntimeClass { node_selector: labels("gpu") };
    let steps: [(Change, [bool; 3]); 10] = [
        (Change::Namespaces(Watched::Applied("n".into(), labels("one"))), [true, false, true]),
        (Change::Namespaces(Watched::Applied("n".into(), labels("two"))), [true, false, true]),
        // An annotation, say.
        (Change::Namespaces(Watched::Applied("n".into(), labels("two"))), [true, true, true]),
        (Change::Namespaces(Watched::Relisted(vec![("n".into(), labels("two"))])), [true, true, true]),
        (Change::PriorityClasses(Watched::Applied("p".into(), priority(1))), [true, true, false]),
        (Change::PriorityClasses(Watched::Relisted(vec![("p".into(), priority(1))])), [true, true, true]),
        (Change::RuntimeClasses(Watched::Applied("r".into(), runtime())), [true, true, false]),
        (Change::Policies(right("b", "u", 1)), [false, true, true]),
        // A status that somebody wrote.
        (Change::Policies(right("b", "u", 1)), [true, true, true]),
        (Change::Policies(wrong("b", "u", 2)), [true, true, true]),
    ];
    for (change, shared) in steps {
        let what = format!("{change:?}");
        let after = world.apply(change).0;
        assert_eq!(Arc::ptr_eq(&before.policies, &after.policies), shared[0], "policies after {what}");
        assert_eq!(Arc::ptr_eq(&before.namespaces, &after.namespaces), shared[1], "namespaces after {what}");
        assert_eq!(Arc::ptr_eq(&before.classes, &after.classes), shared[2], "classes after {what}");
        assert_eq!(&*after.untouched, ["stowage".to_owned()]);
        before = after;
    }
}

#[test]
fn a_namespace_of_the_cluster_goes_before_one_that_a_file_describes() {
    let mut world = World::new(None);
    let namespaces: Namespaces = [("n", labels("file")), ("m", labels("file"))].into_iter().collect();
    world.apply(Change::Files { policies: Vec::new(), namespaces });
    let team = |snapshot: &Snapshot, name: &str| snapshot.namespace(name).label("team").map(str::to_owned);
    let snapshot = world.apply(Change::Namespaces(Watched::Applied("n".into(), labels("cluster")))).0;
    assert_eq!((team(&snapshot, "n"), team(&snapshot, "m")), (Some("cluster".into()), Some("file".into())));
    let snapshot = world.apply(Change::Namespaces(Watched::Deleted("n".into()))).0;
    assert_eq!(team(&snapshot, "n"), Some("file".into()));
    let snapshot = world.apply(Change::Files { policies: Vec::new(), namespaces: Namespaces::default() }).0;
    assert_eq!(team(&snapshot, "n"), None);
    assert!(!snapshot.knows("n"));
}

#[test]
fn a_namespace_that_was_asked_for_is_known_to_that_decision_alone() {
    let mut world = World::new(None);
    let snapshot = world.apply(Change::Namespaces(Watched::Applied("old".into(), labels("a")))).0;
    assert!(snapshot.knows("old") && !snapshot.knows("new") && !snapshot.is_unanswered("new"));
    let answered = snapshot.with_answer("new", Some(labels("b")));
    assert!(answered.knows("new") && !answered.is_unanswered("new"));
    assert_eq!(answered.namespace("new").label("team"), Some("b"));
    assert_eq!(answered.namespace("old").label("team"), Some("a"));
    assert!(!snapshot.knows("new"));
    let unanswered = snapshot.with_answer("new", None);
    assert!(unanswered.is_unanswered("new") && !unanswered.is_unanswered("old"));
    assert_eq!(unanswered.namespace("new").label("kubernetes.io/metadata.name"), Some("new"));
}

#[test]
fn classes_are_unknown_until_somebody_watches_them() {
    let mut world = World::new(None);
    let snapshot = world.snapshot();
    assert_eq!((snapshot.classes.has_priority("high"), snapshot.classes.global_default()), (None, None));
    let class = |value, global_default| PriorityClass { value, global_default };
    let listed = vec![("high".into(), class(9, false)), ("b".into(), class(5, true)), ("a".into(), class(7, true))];
    let classes = world.apply(Change::PriorityClasses(Watched::Relisted(listed))).0.classes;
    assert_eq!((classes.has_priority("high"), classes.has_priority("low")), (Some(true), Some(false)));
    // The API server takes the one of the least value.
    assert_eq!(classes.global_default(), Some("b"));
    assert_eq!(classes.runtime, None);
}

/// Whatever the order of edits, the index finds what one made at once finds.
#[test]
fn an_index_that_was_changed_finds_what_a_new_one_finds() {
    let policy = |name: &str, selector: Value| {
        let policy = json!({
            "apiVersion": "stowage.dev/v1alpha1", "kind": "ClusterInjectionPolicy", "metadata": {"name": name},
            "spec": {"match": {"podSelector": selector}, "labels": {"generation": name}}
        });
        load(&policy.to_string()).policies.pop().unwrap()
    };
    let job = json!({"matchLabels": {"class": "job"}});
    let any = json!({"matchExpressions": [{"key": "class", "operator": "Exists"}]});
    let several = json!({"matchExpressions": [{"key": "class", "operator": "In", "values": ["job", "spark"]}]});
    let not = json!({"matchExpressions": [{"key": "class", "operator": "NotIn", "values": ["spark"]}]});
    let both = json!({"matchLabels": {"class": "job", "owner": "iris"}});
    let all: Vec<Arc<Policy>> = [("a", job), ("b", any), ("c", several), ("d", not), ("e", both), ("f", json!({}))]
        .into_iter()
        .map(|(name, selector)| policy(name, selector))
        .collect();
    let mut index = stowage::policy::index::PolicyIndex::default();
    let found = |index: &stowage::policy::index::PolicyIndex| {
        let snapshot = Snapshot { policies: Arc::new(index.clone()), ..Snapshot::default() };
        in_force(&snapshot)
    };
    for round in 0..all.len() {
        for policy in all.iter().cycle().skip(round).take(all.len()) {
            index.insert(Arc::clone(policy));
        }
        assert_eq!(found(&index), "a@a b@b c@c d@d f@f");
        assert_eq!(index.len(), all.len());
        for (left, policy) in all.iter().enumerate().rev() {
            index.remove(policy);
            let fresh = stowage::policy::index::PolicyIndex::new(all[..left].iter().cloned());
            assert_eq!(found(&index), found(&fresh));
        }
        assert!(index.is_empty());
    }
}

#[test]
fn a_decision_about_a_namespace_that_nobody_could_name_says_so() {
    let mut world = World::new(None);
    let snapshot = world.apply(Change::Policies(right("a", "u", 1))).0;
    let pod = pod(json!({}));
    let said = once(&review(&pod), &snapshot.with_answer(NAMESPACE, None)).warnings();
    assert!(said.contains("the labels of namespace team could not be read in time"), "{said}");
    assert_eq!(once(&review(&pod), &snapshot.with_answer(NAMESPACE, Some(labels("a")))).warnings(), "");
    assert_eq!(once(&review(&pod), &snapshot).warnings(), "");
}

/// A policy whose spec is this beside `onConflict: Override`.
fn overriding(name: &str, namespace: Option<&str>, spec: Value) -> (PolicyId, Generation) {
    let (kind, scope) = match namespace {
        None => ("ClusterInjectionPolicy", Scope::Cluster),
        Some(namespace) => ("InjectionPolicy", Scope::Namespace(namespace.into())),
    };
    let mut whole = json!({"onConflict": "Override"});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let policy = json!({
        "apiVersion": "stowage.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "generation": 1}, "spec": whole
    });
    let mut loaded = load(&policy.to_string());
    assert_eq!(loaded.errors, []);
    let compiled = Ok(loaded.policies.pop().unwrap());
    let generation = Generation { uid: name.to_owned(), number: 1, status: None, compiled };
    (PolicyId { scope, name: name.into() }, generation)
}

fn selecting(selector: &str, labels: Value) -> Value {
    let (key, value) = selector.split_once('=').unwrap();
    json!({"match": {"podSelector": {"matchLabels": {key: value}}}, "labels": labels})
}

/// Of two policies that meet over a label, which are in force whatever the order in which they come.
#[test]
fn a_policy_that_reads_a_label_which_another_replaces_is_refused_whatever_the_order() {
    let reads = || selecting("team=a", json!({"x": "y"}));
    let placeholder =
        || json!({"match": {"podSelector": {}}, "storage": [{"pvc": {"claimName": "c", "subPath": "{label:team}"}}]});
    let replaces = || selecting("class=job", json!({"team": "b"}));
    let apart = || selecting("class=spark", json!({"x": "y"}));
    type Side = (Option<&'static str>, Value);
    let table: [(&str, Side, Side, &str); 8] = [
        ("reads in its selector", (None, reads()), (None, replaces()), "two"),
        ("reads in a placeholder", (None, placeholder()), (None, replaces()), "two"),
        ("reads in a namespace what the platform replaces", (Some("n"), reads()), (None, replaces()), "two"),
        ("a namespace may not put the platform's policy out", (None, reads()), (Some("n"), replaces()), "one"),
        ("in one namespace", (Some("n"), reads()), (Some("n"), replaces()), "two"),
        ("in two namespaces they never meet", (Some("n"), reads()), (Some("m"), replaces()), "one two"),
        ("another label", (None, selecting("team2=a", json!({"x": "y"}))), (None, replaces()), "one two"),
        ("pods of another class", (None, apart()), (None, selecting("class=job", json!({"z": "b"}))), "one two"),
    ];
    for (what, one, two, force) in table {
        let one = overriding("one", one.0, one.1);
        let two = overriding("two", two.0, two.1);
        for order in [[&one, &two], [&two, &one]] {
            let mut world = World::new(None);
            let mut last = Vec::new();
            for (id, generation) in order {
                let (_, statuses) =
                    world.apply(Change::Policies(PolicyChange::Applied(id.clone(), generation.clone())));
                last.extend(statuses);
            }
            let snapshot = world.snapshot();
            let mut found: Vec<&str> = snapshot.policies.policies().iter().map(|policy| &*policy.id.name).collect();
            found.sort_unstable();
            assert_eq!(found.join(" "), force, "{what}");
            let refused = last.iter().rfind(|status| !status.acceptance.is_accepted());
            assert_eq!(refused.is_none(), force == "one two", "{what}");
            if let Some(refused) = refused {
                let other = if &*refused.id.name == "one" { "two" } else { "one" };
                assert!(refused.acceptance.message.contains(other), "{what}: {}", refused.acceptance.message);
            }
        }
    }
}

#[test]
fn a_policy_comes_back_when_the_one_that_replaced_its_label_goes() {
    let mut world = World::new(None);
    let (id, generation) = overriding("reads", None, selecting("team=a", json!({"x": "y"})));
    world.apply(Change::Policies(PolicyChange::Applied(id, generation)));
    let (replacing, generation) = overriding("replaces", None, selecting("class=job", json!({"team": "b"})));
    let (_, statuses) = world.apply(Change::Policies(PolicyChange::Applied(replacing.clone(), generation)));
    let why = "policy replaces replaces the label team under onConflict: Override";
    assert!(
        said(&statuses).contains(&format!("reads@1 Refused: spec.match.podSelector: {why}")),
        "{}",
        said(&statuses)
    );
    assert_eq!((world.policies_in_force(), world.policies_refused()), (1, 1));
    let (_, statuses) = world.apply(Change::Policies(PolicyChange::Deleted(replacing)));
    assert_eq!(said(&statuses), "reads@1 Valid");
}

#[test]
fn a_policy_may_replace_a_label_that_it_selects_by_with_a_value_that_it_selects() {
    for (spec, is_right) in
        [(selecting("team=a", json!({"team": "a"})), true), (selecting("team=a", json!({"team": "b"})), false)]
    {
        let (id, generation) = overriding("one", None, spec);
        let mut world = World::new(None);
        world.apply(Change::Policies(PolicyChange::Applied(id, generation)));
        assert_eq!(world.policies_in_force() == 1, is_right);
    }
}

#[test]
fn files_are_refused_for_labels_that_they_replace_among_themselves() {
    let mut loaded = crate::harness::loaded();
    let reads = crate::harness::policy("reads", "  labels: {x: z}").replace("{}}\n", "{matchLabels: {team: a}}}\n");
    loaded.add("reads.yaml", &reads);
    loaded.add("replaces.yaml", &crate::harness::policy("replaces", "  onConflict: Override\n  labels: {team: b}"));
    loaded.finish();
    let errors: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("reads.yaml:2: spec.match.podSelector: policy replaces replaces"), "{errors:?}");
    assert_eq!((loaded.policies.len(), loaded.refused), (1, 1));
}
