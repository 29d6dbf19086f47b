//! All that is known, and how a change of it makes the next snapshot.
//!
//! One writer owns the world and applies every change to it, from files and from watches alike. The snapshots that come
//! out share what did not change. Pure: the same changes in the same order give the same snapshots and statuses.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::policy::{
    Policy,
    index::PolicyIndex,
    loaded::Loaded,
    roster::{PolicyChange, Roster, Settled},
    snapshot::{Classes, Namespaces, PriorityClass, RuntimeClass, Snapshot},
    status::StatusChange,
};

/// Classes by name, where somebody watches them.
type KnownClasses<T> = Option<HashMap<Arc<str>, T>>;

/// Policies that turned above which a new index is cheaper than changing the old one.
const REBUILD: usize = 64;

/// All that is known. What it says is in its [`snapshot`](Self::snapshot).
#[derive(Debug, Default)]
pub struct World {
    roster: Roster,
    /// Namespaces that policy files describe; the cluster's stand before them.
    described: Namespaces,
    /// Namespaces of the cluster.
    watched: Namespaces,
    snapshot: Snapshot,
}

/// Something that changed.
#[derive(Clone, Debug)]
pub enum Change {
    /// What policy files hold, all of it: it replaces what they held before.
    Files {
        /// Their policies, all of them right.
        policies: Vec<Arc<Policy>>,
        /// The namespaces that they describe.
        namespaces: Namespaces,
    },
    /// Policies of the cluster.
    Policies(PolicyChange),
    /// Namespaces of the cluster, with their labels.
    Namespaces(Watched<BTreeMap<String, String>>),
    /// Priority classes.
    PriorityClasses(Watched<PriorityClass>),
    /// Runtime classes.
    RuntimeClasses(Watched<RuntimeClass>),
}

/// What a watch brings, by name.
#[derive(Clone, Debug)]
pub enum Watched<T> {
    /// One was made or changed, or was seen again.
    Applied(Arc<str>, T),
    /// One is gone.
    Deleted(Arc<str>),
    /// The whole list; what is not in it is gone.
    Relisted(Vec<(Arc<str>, T)>),
}

impl From<Loaded> for Change {
    fn from(loaded: Loaded) -> Self {
        Self::Files { policies: loaded.policies, namespaces: loaded.namespaces }
    }
}

impl World {
    /// An empty world, in which these namespaces are never touched beside `kube-system`.
    #[must_use]
    pub fn new(untouched: impl IntoIterator<Item = String>) -> Self {
        let snapshot = Snapshot { untouched: untouched.into_iter().collect(), ..Snapshot::default() };
        Self { snapshot, ..Self::default() }
    }

    /// What a decision reads now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    /// How many policies are in force, in whatever generation.
    #[must_use]
    pub fn policies_in_force(&self) -> usize {
        self.roster.in_force()
    }

    /// How many policies of the cluster have a newest generation that is refused.
    #[must_use]
    pub fn policies_refused(&self) -> usize {
        self.roster.refused()
    }

    /// Takes in a change: the snapshot that follows from it, and what is new to be said of policies.
    ///
    /// Whoever takes in many changes at once publishes the last snapshot only: parts that no published snapshot holds are
    /// changed in place.
    pub fn apply(&mut self, change: Change) -> (Snapshot, Vec<StatusChange>) {
        let statuses = match change {
            Change::Files { policies, namespaces } => {
                self.described = namespaces;
                self.snapshot.namespaces = Arc::new(self.watched.over(&self.described));
                let settled = self.roster.files(policies);
                self.turn(settled)
            }
            Change::Policies(change) => {
                let settled = self.roster.cluster(change);
                self.turn(settled)
            }
            Change::Namespaces(change) => {
                self.namespaces(change);
                Vec::new()
            }
            Change::PriorityClasses(change) => {
                self.classes(|classes| &mut classes.priority, |classes| &classes.priority, change);
                Vec::new()
            }
            Change::RuntimeClasses(change) => {
                self.classes(|classes| &mut classes.runtime, |classes| &classes.runtime, change);
                Vec::new()
            }
        };
        (self.snapshot(), statuses)
    }

    /// Brings the index up to date.
    fn turn(&mut self, settled: Settled) -> Vec<StatusChange> {
        let Settled { turned, statuses } = settled;
        if turned.len() > REBUILD {
            self.snapshot.policies = Arc::new(PolicyIndex::new(self.roster.policies().cloned()));
        } else if !turned.is_empty() {
            let index = Arc::make_mut(&mut self.snapshot.policies);
            for policy in turned {
                if let Some(out) = policy.out {
                    index.remove(&out);
                }
                if let Some(into) = policy.into {
                    index.insert(into);
                }
            }
        }
        statuses
    }

    fn namespaces(&mut self, change: Watched<BTreeMap<String, String>>) {
        match change {
            // A change of an annotation, say.
            Watched::Applied(name, labels) if self.watched.get(&name) == Some(&labels) => {}
            Watched::Applied(name, labels) => {
                self.watched.insert(Arc::clone(&name), labels.clone());
                Arc::make_mut(&mut self.snapshot.namespaces).insert(name, labels);
            }
            Watched::Deleted(name) => {
                self.watched.remove(&name);
                let namespaces = Arc::make_mut(&mut self.snapshot.namespaces);
                match self.described.get(&name) {
                    Some(labels) => namespaces.insert(name, labels.clone()),
                    None => namespaces.remove(&name),
                }
            }
            Watched::Relisted(list) => {
                let watched: Namespaces = list.into_iter().collect();
                if watched != self.watched {
                    self.watched = watched;
                    self.snapshot.namespaces = Arc::new(self.watched.over(&self.described));
                }
            }
        }
    }

    fn classes<T: PartialEq>(
        &mut self,
        of_mut: fn(&mut Classes) -> &mut KnownClasses<T>,
        of: fn(&Classes) -> &KnownClasses<T>,
        change: Watched<T>,
    ) {
        let known = of(&self.snapshot.classes).as_ref();
        match change {
            Watched::Applied(name, class) if known.and_then(|known| known.get(&name)) == Some(&class) => {}
            Watched::Applied(name, class) => {
                of_mut(Arc::make_mut(&mut self.snapshot.classes)).get_or_insert_default().insert(name, class);
            }
            Watched::Deleted(name) => {
                of_mut(Arc::make_mut(&mut self.snapshot.classes)).get_or_insert_default().remove(&name);
            }
            Watched::Relisted(list) => {
                let listed: HashMap<Arc<str>, T> = list.into_iter().collect();
                if known != Some(&listed) {
                    *of_mut(Arc::make_mut(&mut self.snapshot.classes)) = Some(listed);
                }
            }
        }
    }
}
