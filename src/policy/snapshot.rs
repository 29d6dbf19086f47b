//! What a decision reads beside the pod: one immutable value, whose parts are shared with the snapshots before and after
//! it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{labels::Labels, policy::index::PolicyIndex};

/// Label that the API server puts on every namespace, with its name as the value.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Everything a decision reads beside the review. A clone shares everything.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The policies in force.
    pub policies: Arc<PolicyIndex>,
    /// Labels of the namespaces.
    pub namespaces: Arc<Namespaces>,
    /// Priority classes and runtime classes.
    pub classes: Arc<Classes>,
    /// Namespaces that are never touched beside `kube-system`: Stowage's own.
    pub untouched: Arc<[String]>,
    /// What became of asking for the namespace of one decision; see [`with_answer`](Self::with_answer).
    pub asked: Option<Arc<AskedNamespace>>,
    /// Service accounts that the namespace of one decision was found not to have; see
    /// [`without_account`](Self::without_account).
    pub absent_accounts: Arc<[String]>,
}

/// Labels of namespaces, by name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Namespaces {
    by_name: HashMap<Arc<str>, Arc<BTreeMap<String, String>>>,
}

/// The cluster's classes, as far as somebody watches them.
#[derive(Clone, Debug, Default)]
pub struct Classes {
    /// Priority classes by name; `None` where nobody watches them, so that none is said to be missing.
    pub priority: Option<HashMap<Arc<str>, PriorityClass>>,
    /// Runtime classes by name; `None` where nobody watches them.
    pub runtime: Option<HashMap<Arc<str>, RuntimeClass>>,
}

/// What is known of a priority class.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PriorityClass {
    /// `value`: higher is more important.
    pub value: i32,
    /// `globalDefault`: the API server gives it to pods that name none.
    pub global_default: bool,
}

/// What is known of a runtime class.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RuntimeClass {
    /// `scheduling.nodeSelector`: the API server adds it to the pod, and refuses a pod that says otherwise.
    pub node_selector: BTreeMap<String, String>,
}

/// What became of asking for a namespace that no watch has brought yet.
#[derive(Clone, Debug)]
pub struct AskedNamespace {
    /// Its name.
    pub name: String,
    /// Its labels; `None` where nothing answered in time.
    pub labels: Option<BTreeMap<String, String>>,
}

/// A namespace's labels; `kubernetes.io/metadata.name` is always among them.
#[derive(Clone, Copy, Debug)]
pub struct NamespaceLabels<'a> {
    name: &'a str,
    labels: Option<&'a BTreeMap<String, String>>,
}

impl Snapshot {
    /// The labels of the namespace `name`.
    #[must_use]
    pub fn namespace<'a>(&'a self, name: &'a str) -> NamespaceLabels<'a> {
        let asked = || self.asked.as_ref().filter(|asked| asked.name == name)?.labels.as_ref();
        NamespaceLabels { name, labels: self.namespaces.get(name).or_else(asked) }
    }

    /// Whether the labels of the namespace `name` are known. Where they are not, whoever can should ask for them before
    /// the decision, and decide by [`with_answer`](Self::with_answer).
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.namespace(name).labels.is_some()
    }

    /// The same, with what was answered when the namespace `name` was asked for: its labels, or `None` where nothing
    /// answered in time. It is for one decision; the watch brings the namespace for all that follow.
    #[must_use]
    pub fn with_answer(&self, name: &str, labels: Option<BTreeMap<String, String>>) -> Self {
        Self { asked: Some(Arc::new(AskedNamespace { name: name.to_owned(), labels })), ..self.clone() }
    }

    /// The same, where the namespace of one decision has no service account `name`. Nobody watches accounts, of which a
    /// cluster has more than of anything else here: whoever can asks for the one that a decision would set.
    #[must_use]
    pub fn without_account(&self, name: &str) -> Self {
        let absent = self.absent_accounts.iter().cloned().chain([name.to_owned()]);
        Self { absent_accounts: absent.collect(), ..self.clone() }
    }

    /// Whether the namespace `name` was asked for and nothing answered, so that a decision knows its name alone and has to
    /// say so.
    #[must_use]
    pub fn is_unanswered(&self, name: &str) -> bool {
        !self.knows(name) && self.asked.as_ref().is_some_and(|asked| asked.name == name)
    }
}

impl Namespaces {
    /// The labels of the namespace `name`, where it is known.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.by_name.get(name).map(Arc::as_ref)
    }

    /// Sets the labels of a namespace.
    pub fn insert(&mut self, name: impl Into<Arc<str>>, labels: BTreeMap<String, String>) {
        self.by_name.insert(name.into(), Arc::new(labels));
    }

    /// Forgets a namespace.
    pub fn remove(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The namespaces of `self`, and those of `beneath` that `self` does not know.
    #[must_use]
    pub(super) fn over(&self, beneath: &Self) -> Self {
        let mut all = beneath.clone();
        all.by_name.extend(self.by_name.iter().map(|(name, labels)| (Arc::clone(name), Arc::clone(labels))));
        all
    }
}

impl<N: Into<Arc<str>>> FromIterator<(N, BTreeMap<String, String>)> for Namespaces {
    fn from_iter<I: IntoIterator<Item = (N, BTreeMap<String, String>)>>(iter: I) -> Self {
        let mut namespaces = Self::default();
        iter.into_iter().for_each(|(name, labels)| namespaces.insert(name, labels));
        namespaces
    }
}

impl Classes {
    /// The name of the priority class that the API server gives to pods which name none: of several, the one of the least
    /// value, as its admission plugin chooses.
    #[must_use]
    pub fn global_default(&self) -> Option<&str> {
        let defaults = self.priority.iter().flatten().filter(|(_, class)| class.global_default);
        defaults.min_by_key(|(name, class)| (class.value, *name)).map(|(name, _)| &**name)
    }

    /// Whether there is a priority class `name`; `None` where nobody watches them.
    #[must_use]
    pub fn has_priority(&self, name: &str) -> Option<bool> {
        self.priority.as_ref().map(|classes| classes.contains_key(name))
    }
}

impl NamespaceLabels<'_> {
    /// Whether more than the name is known.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.labels.is_some()
    }
}

impl Labels for NamespaceLabels<'_> {
    fn label(&self, key: &str) -> Option<&str> {
        if key == NAMESPACE_NAME_LABEL {
            return Some(self.name);
        }
        self.labels?.get(key).map(String::as_str)
    }

    fn each<'s>(&'s self, visit: &mut dyn FnMut(&'s str, &'s str)) {
        visit(NAMESPACE_NAME_LABEL, self.name);
        for (key, value) in self.labels.into_iter().flatten().filter(|(key, _)| *key != NAMESPACE_NAME_LABEL) {
            visit(key, value);
        }
    }
}
