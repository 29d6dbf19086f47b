//! From a pod's namespace and labels to the policies that match it, at a cost that follows the matches.
//!
//! Every policy is filed under its rarest requirement: a label with one of its values, or a label that must be there.
//! A pod's labels are then looked up, and only what is found is held against its whole selector. Equal to a linear scan,
//! which a property test shows.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    labels::{Condition, Labels, Selector},
    policy::{Policy, Scope},
};

/// Policies in the order in which they act, findable by what they match.
#[derive(Clone, Debug, Default)]
pub struct PolicyIndex {
    policies: Vec<Arc<Policy>>,
    by_namespace: HashMap<String, Buckets>,
    cluster: Buckets,
}

/// Policies filed under a requirement of theirs; numbers are places in the order.
#[derive(Clone, Debug, Default)]
struct Buckets {
    pod: Requirements,
    namespace: Requirements,
    always: Vec<u32>,
}

/// By label key.
#[derive(Clone, Debug, Default)]
struct Requirements(HashMap<String, Filed>);

/// What is filed under one label.
#[derive(Clone, Debug, Default)]
struct Filed {
    /// Where it must be there.
    present: Vec<u32>,
    /// By the value that it must have.
    equal: HashMap<String, Vec<u32>>,
}

/// A requirement that a policy can be filed under.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Key<'p> {
    Equal(On, &'p str, &'p str),
    Present(On, &'p str),
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum On {
    Pod,
    Namespace,
}

impl PolicyIndex {
    /// An index of `policies`, whatever order they come in.
    #[must_use]
    pub fn new(policies: impl IntoIterator<Item = Arc<Policy>>) -> Self {
        let mut policies: Vec<Arc<Policy>> = policies.into_iter().collect();
        policies.sort_by(|a, b| a.order(b));
        let rarity = rarity(&policies);
        let mut index = Self::default();
        for (place, policy) in (0..).zip(&policies) {
            let buckets = match &policy.id.scope {
                Scope::Cluster => &mut index.cluster,
                Scope::Namespace(namespace) => index.by_namespace.entry(namespace.clone()).or_default(),
            };
            match rarest(policy, &rarity) {
                Some(keys) => keys.into_iter().for_each(|key| buckets.file(key, place)),
                None => buckets.always.push(place),
            }
        }
        index.policies = policies;
        index
    }

    /// The policies that match a pod of `namespace`, in the order in which they act.
    #[must_use]
    pub fn matching(&self, namespace: &str, namespace_labels: &dyn Labels, pod: &dyn Labels) -> Vec<&Arc<Policy>> {
        let mut places = Vec::new();
        if let Some(buckets) = self.by_namespace.get(namespace) {
            buckets.collect(namespace_labels, pod, &mut places);
        }
        self.cluster.collect(namespace_labels, pod, &mut places);
        places.sort_unstable();
        places.dedup();
        places
            .into_iter()
            .filter_map(|place| self.policies.get(usize::try_from(place).ok()?))
            .filter(|policy| matches(policy, namespace, namespace_labels, pod))
            .collect()
    }

    /// All policies, in the order in which they act.
    #[must_use]
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }
}

/// Whether `policy` is for a pod with these labels in this namespace.
#[must_use]
pub fn matches(policy: &Policy, namespace: &str, namespace_labels: &dyn Labels, pod: &dyn Labels) -> bool {
    let here = match &policy.id.scope {
        Scope::Cluster => policy.namespaces.as_ref().is_none_or(|selector| selector.matches(namespace_labels)),
        Scope::Namespace(own) => own == namespace,
    };
    here && policy.pods.matches(pod)
}

impl Buckets {
    fn file(&mut self, key: Key<'_>, place: u32) {
        let of = |on| match on {
            On::Pod => 0,
            On::Namespace => 1,
        };
        let mut requirements = [&mut self.pod, &mut self.namespace];
        match key {
            Key::Equal(on, key, value) => {
                if let Some(requirements) = requirements.get_mut(of(on)) {
                    let filed = requirements.0.entry(key.to_owned()).or_default();
                    filed.equal.entry(value.to_owned()).or_default().push(place);
                }
            }
            Key::Present(on, key) => {
                if let Some(requirements) = requirements.get_mut(of(on)) {
                    requirements.0.entry(key.to_owned()).or_default().present.push(place);
                }
            }
        }
    }

    fn collect(&self, namespace: &dyn Labels, pod: &dyn Labels, places: &mut Vec<u32>) {
        places.extend(&self.always);
        self.pod.collect(pod, places);
        self.namespace.collect(namespace, places);
    }
}

impl Requirements {
    fn collect(&self, labels: &dyn Labels, places: &mut Vec<u32>) {
        if self.0.is_empty() {
            return;
        }
        labels.each(&mut |key, value| {
            let Some(filed) = self.0.get(key) else { return };
            places.extend(&filed.present);
            if let Some(found) = filed.equal.get(value) {
                places.extend(found);
            }
        });
    }
}

fn keys(policy: &Policy) -> Vec<Vec<Key<'_>>> {
    let mut keys = selector_keys(&policy.pods, On::Pod);
    if let Some(selector) = &policy.namespaces {
        keys.extend(selector_keys(selector, On::Namespace));
    }
    keys
}

/// For every requirement that can be looked up, the keys under which its policy would be filed.
fn selector_keys(selector: &Selector, on: On) -> Vec<Vec<Key<'_>>> {
    selector
        .requirements()
        .iter()
        .filter_map(|requirement| match &requirement.condition {
            Condition::In(values) => Some(in_keys(on, &requirement.key, values)),
            Condition::Exists => Some(vec![Key::Present(on, &requirement.key)]),
            // Absence cannot be looked up.
            Condition::NotIn(_) | Condition::DoesNotExist => None,
        })
        .collect()
}

fn in_keys<'p>(on: On, key: &'p str, values: &'p BTreeSet<String>) -> Vec<Key<'p>> {
    values.iter().map(|value| Key::Equal(on, key, value)).collect()
}

/// How many policies could be filed under each key.
fn rarity(policies: &[Arc<Policy>]) -> HashMap<Key<'_>, usize> {
    let mut rarity = HashMap::new();
    for policy in policies {
        for key in keys(policy).into_iter().flatten() {
            *rarity.entry(key).or_insert(0) += 1;
        }
    }
    rarity
}

fn rarest<'p>(policy: &'p Policy, rarity: &HashMap<Key<'_>, usize>) -> Option<Vec<Key<'p>>> {
    let crowd = |keys: &Vec<Key<'p>>| keys.iter().map(|key| rarity.get(key).copied().unwrap_or(0)).sum::<usize>();
    keys(policy).into_iter().min_by_key(crowd)
}
