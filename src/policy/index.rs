//! From a pod's namespace and labels to the policies that match it, at a cost that follows the matches.
//!
//! Every policy is filed under its rarest requirement: a label with one of its values, or a label that must be there.
//! A pod's labels are then looked up, and only what is found is held against its whole selector. Equal to a linear scan,
//! which a property test shows. Where a scope has a few policies only, as most namespaces have, they are scanned: maps for
//! them would take more room than they do.
//!
//! An index is shared by the snapshots that hold it and changed by copying what a change touches: the map of one label
//! key, of one scope. What requires the label of another key, or another namespace, stays shared.

use std::{collections::HashMap, sync::Arc};

use crate::{
    labels::{LabelCondition, Labels, Selector},
    policy::{Policy, Scope},
};

/// How many policies of one scope are scanned before they are filed.
const FEW: usize = 8;

/// Policies, findable by what they match.
#[derive(Clone, Debug, Default)]
pub struct PolicyIndex {
    by_namespace: HashMap<Arc<str>, Arc<Filing>>,
    cluster: Arc<Filing>,
}

/// The policies of one scope, filed under a requirement of theirs.
#[derive(Clone, Debug, Default)]
struct Filing {
    pod: HashMap<Arc<str>, Arc<Shelf>>,
    namespace: HashMap<Arc<str>, Arc<Shelf>>,
    /// What has nothing to be filed under; all of them, as long as they are few.
    always: Vec<Arc<Policy>>,
    /// Whether policies are filed: they are, or were, more than a few.
    is_filed: bool,
    count: usize,
}

/// What is filed under one label key.
#[derive(Clone, Debug, Default)]
struct Shelf {
    present: Filed,
    by_value: HashMap<Arc<str>, Filed>,
}

/// What is filed under one requirement.
#[derive(Clone, Debug, Default)]
struct Filed {
    /// How many policies have the requirement, filed here or elsewhere: how rare it is.
    candidates: usize,
    filed: Vec<Arc<Policy>>,
}

/// A requirement that a policy can be filed under.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct FiledUnder<'p> {
    on: On,
    key: &'p str,
    /// The value that the label must have; `None`: any.
    value: Option<&'p str>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum On {
    Pod,
    Namespace,
}

impl PolicyIndex {
    /// An index of `policies`, whatever order they come in.
    #[must_use]
    pub fn new(policies: impl IntoIterator<Item = Arc<Policy>>) -> Self {
        let mut of_namespaces: HashMap<Arc<str>, Vec<Arc<Policy>>> = HashMap::new();
        let mut of_cluster = Vec::new();
        for policy in policies {
            match &policy.id.scope {
                Scope::Cluster => of_cluster.push(policy),
                Scope::Namespace(namespace) => of_namespaces.entry(Arc::clone(namespace)).or_default().push(policy),
            }
        }
        let of_namespaces = of_namespaces.into_iter();
        Self {
            by_namespace: of_namespaces.map(|(name, policies)| (name, Arc::new(Filing::new(policies)))).collect(),
            cluster: Arc::new(Filing::new(of_cluster)),
        }
    }

    /// Adds a policy.
    pub fn insert(&mut self, policy: Arc<Policy>) {
        self.filing(&policy.id.scope).insert(policy);
    }

    /// Takes out a policy that [`insert`](Self::insert) or [`new`](Self::new) was given: the very same one.
    pub fn remove(&mut self, policy: &Arc<Policy>) {
        let filing = self.filing(&policy.id.scope);
        filing.take_out(policy);
        if let Scope::Namespace(namespace) = &policy.id.scope
            && filing.count == 0
        {
            self.by_namespace.remove(namespace);
        }
    }

    /// How many policies there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cluster.count + self.by_namespace.values().map(|filing| filing.count).sum::<usize>()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The policies that match a pod of `namespace`, in the order in which they act.
    #[must_use]
    pub fn matching(&self, namespace: &str, namespace_labels: &dyn Labels, pod: &dyn Labels) -> Vec<&Arc<Policy>> {
        let mut found = Vec::new();
        if let Some(filing) = self.by_namespace.get(namespace) {
            filing.collect(namespace_labels, pod, &mut found);
        }
        self.cluster.collect(namespace_labels, pod, &mut found);
        found.retain(|policy| matches(policy, namespace, namespace_labels, pod));
        found.sort_by(|a, b| a.order(b));
        // A label that stands twice in a pod finds its policies twice.
        found.dedup_by(|a, b| Arc::ptr_eq(a, b));
        found
    }

    /// All policies, in the order in which they act.
    #[must_use]
    pub fn policies(&self) -> Vec<&Arc<Policy>> {
        let mut all = Vec::with_capacity(self.len());
        for filing in self.by_namespace.values().chain([&self.cluster]) {
            all.extend(&filing.always);
            for shelf in filing.pod.values().chain(filing.namespace.values()) {
                all.extend(&shelf.present.filed);
                all.extend(shelf.by_value.values().flat_map(|slot| &slot.filed));
            }
        }
        all.sort_by(|a, b| a.order(b));
        all.dedup_by(|a, b| Arc::ptr_eq(a, b));
        all
    }

    fn filing(&mut self, scope: &Scope) -> &mut Filing {
        Arc::make_mut(match scope {
            Scope::Cluster => &mut self.cluster,
            Scope::Namespace(namespace) => self.by_namespace.entry(Arc::clone(namespace)).or_default(),
        })
    }
}

/// Whether `policy` is for a pod with these labels in this namespace.
#[must_use]
pub fn matches(policy: &Policy, namespace: &str, namespace_labels: &dyn Labels, pod: &dyn Labels) -> bool {
    let here = match &policy.id.scope {
        Scope::Cluster => policy.namespaces.as_ref().is_none_or(|selector| selector.matches(namespace_labels)),
        Scope::Namespace(own) => **own == *namespace,
    };
    here && policy.pods.matches(pod)
}

impl Filing {
    fn new(mut policies: Vec<Arc<Policy>>) -> Self {
        let count = policies.len();
        if count <= FEW {
            policies.shrink_to_fit();
            return Self { always: policies, count, ..Self::default() };
        }
        let mut filing = Self { is_filed: true, count, ..Self::default() };
        // All are counted before the first is filed, so that rare is rare among all of them.
        for policy in &policies {
            filing.count(policy);
        }
        for policy in policies {
            filing.file(policy);
        }
        filing
    }

    fn insert(&mut self, policy: Arc<Policy>) {
        if self.is_filed {
            self.count += 1;
            self.count(&policy);
            self.file(policy);
        } else {
            let mut policies = std::mem::take(&mut self.always);
            policies.push(policy);
            *self = Self::new(policies);
        }
    }

    fn count(&mut self, policy: &Policy) {
        for place in places(policy).into_iter().flatten() {
            self.slot(place).candidates += 1;
        }
    }

    fn file(&mut self, policy: Arc<Policy>) {
        match self.rarest(&policy) {
            None => self.always.push(policy),
            Some(places) => {
                for place in places {
                    self.slot(place).filed.push(Arc::clone(&policy));
                }
            }
        }
    }

    fn take_out(&mut self, policy: &Arc<Policy>) {
        self.count = self.count.saturating_sub(1);
        self.always.retain(|other| !Arc::ptr_eq(other, policy));
        if !self.is_filed {
            return;
        }
        // Where it was filed followed from what was rare then, so all of its places are looked at.
        for place in places(policy).into_iter().flatten() {
            let slot = self.slot(place);
            slot.candidates = slot.candidates.saturating_sub(1);
            slot.filed.retain(|other| !Arc::ptr_eq(other, policy));
            if slot.candidates == 0 {
                self.clear(place);
            }
        }
    }

    /// The requirement that the fewest policies have, as the places to file under; `None` where nothing of the policy can
    /// be looked up.
    fn rarest<'p>(&self, policy: &'p Policy) -> Option<Vec<FiledUnder<'p>>> {
        let crowd = |places: &Vec<FiledUnder<'p>>| places.iter().map(|place| self.candidates(*place)).sum::<usize>();
        places(policy).into_iter().min_by_key(crowd)
    }

    fn candidates(&self, place: FiledUnder<'_>) -> usize {
        let shelves = match place.on {
            On::Pod => &self.pod,
            On::Namespace => &self.namespace,
        };
        let slot = shelves.get(place.key).and_then(|shelf| match place.value {
            None => Some(&shelf.present),
            Some(value) => shelf.by_value.get(value),
        });
        slot.map_or(0, |slot| slot.candidates)
    }

    fn slot(&mut self, place: FiledUnder<'_>) -> &mut Filed {
        let shelves = self.shelves(place.on);
        let shelf = Arc::make_mut(shelves.entry(place.key.into()).or_default());
        match place.value {
            None => &mut shelf.present,
            Some(value) => shelf.by_value.entry(value.into()).or_default(),
        }
    }

    /// Forgets a place that no policy has any more, or years of edits would leave their labels here.
    fn clear(&mut self, place: FiledUnder<'_>) {
        let shelves = self.shelves(place.on);
        let Some(shelf) = shelves.get_mut(place.key).map(Arc::make_mut) else { return };
        if let Some(value) = place.value {
            shelf.by_value.remove(value);
        }
        if shelf.by_value.is_empty() && shelf.present.candidates == 0 {
            shelves.remove(place.key);
        }
    }

    const fn shelves(&mut self, on: On) -> &mut HashMap<Arc<str>, Arc<Shelf>> {
        match on {
            On::Pod => &mut self.pod,
            On::Namespace => &mut self.namespace,
        }
    }

    fn collect<'i>(&'i self, namespace: &dyn Labels, pod: &dyn Labels, found: &mut Vec<&'i Arc<Policy>>) {
        found.extend(&self.always);
        collect(&self.pod, pod, found);
        collect(&self.namespace, namespace, found);
    }
}

fn collect<'i>(shelves: &'i HashMap<Arc<str>, Arc<Shelf>>, labels: &dyn Labels, found: &mut Vec<&'i Arc<Policy>>) {
    if shelves.is_empty() {
        return;
    }
    labels.each(&mut |key, value| {
        let Some(shelf) = shelves.get(key) else { return };
        found.extend(&shelf.present.filed);
        if let Some(slot) = shelf.by_value.get(value) {
            found.extend(&slot.filed);
        }
    });
}

/// For every requirement that can be looked up, the places under which its policy would be filed.
fn places(policy: &Policy) -> Vec<Vec<FiledUnder<'_>>> {
    let mut places = selector_places(&policy.pods, On::Pod);
    if let Some(selector) = &policy.namespaces {
        places.extend(selector_places(selector, On::Namespace));
    }
    places
}

fn selector_places(selector: &Selector, on: On) -> Vec<Vec<FiledUnder<'_>>> {
    selector
        .requirements()
        .iter()
        .filter_map(|requirement| {
            let key = requirement.key.as_str();
            match &requirement.condition {
                LabelCondition::In(values) => {
                    Some(values.iter().map(|value| FiledUnder { on, key, value: Some(value) }).collect::<Vec<_>>())
                }
                LabelCondition::Exists => Some(vec![FiledUnder { on, key, value: None }]),
                // Absence cannot be looked up.
                LabelCondition::NotIn(_) | LabelCondition::DoesNotExist => None,
            }
        })
        .collect()
}
