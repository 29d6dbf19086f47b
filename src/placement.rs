//! Where a pod may be scheduled: its `nodeSelector`, `tolerations` and `affinity`.
//!
//! [`Placement`] is a working copy of the three fields. Policies merge into it, preemption reworks
//! it last, and [`Placement::write`] gives the RFC 6902 operations that lead there from what the pod
//! brought. Everything that is not touched stays as it came, fields unknown to this release
//! included, since the operations name single elements.
//!
//! A field that is `null` counts as absent, as it does for the API server. A field of the wrong
//! type cannot come from an API server; read offline it is an error, or left alone where nested.

use std::{fmt::Display, rc::Rc};

use serde_json::{Map, Value};

use crate::{
    json::Raw,
    names::SYSTEM_CRITICAL_PRIORITY,
    patch::{Patch, diff},
    reason::{Note, Reason},
};

pub mod affinity;
pub mod preemption;
pub mod rules;
mod satisfiable;
pub mod toleration;

pub use affinity::{Affinity, TooManyTerms};
pub use toleration::Toleration;

use affinity::AffinityDraft;
use toleration::{OwnToleration, TolerationView, Tolerations};

/// A placement field of a pod that is not what the API defines.
///
/// What is there stays out of the message: it is the pod's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reading the pod: spec.{field} is not {wanted}")]
pub struct Malformed {
    field: &'static str,
    wanted: &'static str,
}

impl Malformed {
    /// The field of `spec` that it is.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }
}

/// A working copy of a pod's `nodeSelector`, `tolerations` and `affinity`. What the pod brought is shared by all copies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement<'a> {
    own_node_selector: Option<Rc<Map<String, Value>>>,
    node_selector: Option<Rc<Map<String, Value>>>,
    tolerations: Tolerations<'a>,
    affinity: AffinityDraft<'a>,
}

/// One of the three fields of a [`Placement`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PlacementField {
    /// `nodeSelector`.
    NodeSelector,
    /// `tolerations`.
    Tolerations,
    /// `affinity`.
    Affinity,
}

impl PlacementField {
    /// All of them, in the order in which they are worked on.
    pub const ALL: [Self; 3] = [Self::NodeSelector, Self::Tolerations, Self::Affinity];

    /// Its name in the pod's spec, in a policy's, and in `defaults`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NodeSelector => "nodeSelector",
            Self::Tolerations => "tolerations",
            Self::Affinity => "affinity",
        }
    }
}

impl<'a> Placement<'a> {
    /// Copies the three fields out of a pod's `spec`.
    ///
    /// # Errors
    ///
    /// A field that is not the object or list that the API defines.
    pub fn read(
        node_selector: Option<Raw<'_>>,
        tolerations: Option<Raw<'a>>,
        affinity: Option<Raw<'a>>,
    ) -> Result<Self, Malformed> {
        let malformed = |field, wanted| move || Malformed { field, wanted };
        let selector = node_selector.map(|raw| serde_json::from_str::<Option<Map<String, Value>>>(raw.get()));
        let selector = selector.transpose().map_err(|_| malformed("nodeSelector", "an object")())?;
        let selector = selector.flatten().map(Rc::new);
        Ok(Self {
            own_node_selector: selector.clone(),
            node_selector: selector,
            tolerations: Tolerations::read(tolerations).ok_or_else(malformed("tolerations", "a list"))?,
            affinity: AffinityDraft::read(affinity).ok_or_else(malformed("affinity", "an object"))?,
        })
    }

    /// The value that `nodeSelector` asks of `key`.
    #[must_use]
    pub fn node_selector(&self, key: &str) -> Option<&str> {
        self.node_selector.as_ref()?.get(key)?.as_str()
    }

    /// How many tolerations there are.
    #[must_use]
    pub fn tolerations(&self) -> usize {
        self.tolerations.views().count()
    }

    /// The tolerations as they are compared.
    pub(crate) fn toleration_views(&self) -> impl Iterator<Item = TolerationView<'_>> {
        self.tolerations.views()
    }

    /// Sets one pair, whatever the pod had.
    pub fn set_node_selector(&mut self, key: &str, value: &str) {
        let selector = Rc::make_mut(self.node_selector.get_or_insert_default());
        selector.insert(key.to_owned(), Value::from(value));
    }

    /// Adds the tolerations that no toleration of the pod is equal to or covers, and says of each
    /// what was done.
    pub fn merge_tolerations(&mut self, wanted: &'a [Toleration]) -> Vec<Note> {
        self.merge_tolerations_for(wanted, &"")
    }

    /// The same, with `mode` behind what is said.
    pub(crate) fn merge_tolerations_for(&mut self, wanted: &'a [Toleration], mode: &dyn Display) -> Vec<Note> {
        let mut notes = Vec::new();
        self.tolerations.merge(wanted, |view, held| match held {
            Some(own) if own.is_same(&view) => {}
            Some(own) => notes.push(Reason::TolerationCovered.note(&[&view, &own, mode])),
            None => notes.push(Reason::TolerationAdded.note(&[&view, mode])),
        });
        notes
    }

    /// Merges an affinity into the pod's: required node terms are conjoined to the pod's, term by
    /// term; everything else is appended where it is not there already.
    ///
    /// # Errors
    ///
    /// [`TooManyTerms`], and nothing is changed, where conjoining would multiply the terms beyond
    /// [`affinity::MAX_TERMS`].
    pub fn merge_affinity(&mut self, wanted: &'a Affinity) -> Result<Vec<Note>, TooManyTerms> {
        self.affinity.merge(wanted)
    }

    /// Whether the pod says nothing in a field: it is empty, or holds only the tolerations that the API server fills in
    /// before a webhook is called.
    #[must_use]
    pub fn says_nothing(&self, field: PlacementField) -> bool {
        match field {
            PlacementField::NodeSelector => self.node_selector.as_ref().is_none_or(|selector| selector.is_empty()),
            PlacementField::Tolerations => self.tolerations.views().all(|own| own.is_filled_in()),
            PlacementField::Affinity => self.affinity.says_nothing(),
        }
    }

    /// Whether `nodeSelector` and the required node affinity contradict each other, so that no node
    /// whatever can match. `false` says only that this pod alone does not show it.
    #[must_use]
    pub fn is_contradictory(&self) -> bool {
        self.affinity
            .required()
            .is_some_and(|terms| satisfiable::is_contradictory(self.node_selector.as_deref(), terms))
    }

    /// Brings terms that say the same as in the pod to the form that they have there.
    pub fn settle(&mut self) {
        self.affinity.settle();
    }

    pub(crate) fn affinity_mut(&mut self) -> &mut AffinityDraft<'a> {
        &mut self.affinity
    }

    /// Drops a `nodeSelector` pair; whether it was there.
    pub(crate) fn remove_node_selector(&mut self, key: &str, value: &str) -> bool {
        let Some(own) = self.node_selector.as_mut() else {
            return false;
        };
        if own.get(key).and_then(Value::as_str) != Some(value) {
            return false;
        }
        Rc::make_mut(own).shift_remove(key).is_some()
    }

    /// Drops the tolerations for which `is_unwanted`, and gives them.
    pub(crate) fn remove_tolerations(
        &mut self,
        is_unwanted: impl FnMut(&TolerationView<'_>) -> bool,
    ) -> Vec<OwnToleration<'a>> {
        self.tolerations.remove(is_unwanted)
    }

    /// Writes the operations that turn the pod into one with this placement.
    ///
    /// Lists are never replaced: elements are removed by index, from the end, and added, at the end by `/-`; a term of
    /// the node affinity is edited inside. A list or map that removals empty stays behind empty, which the API server
    /// drops.
    pub fn write(&self, patch: &mut Patch) {
        diff::write("/spec/nodeSelector", self.own_node_selector.as_deref(), self.node_selector.as_deref(), patch);
        self.tolerations.write(patch);
        self.affinity.write(patch);
    }
}

/// What decides whether placement is applied to a pod at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlacementFacts<'a> {
    /// The pod's controller is a DaemonSet, or the workload itself is one.
    pub is_daemon_set: bool,
    /// `spec.nodeName`.
    pub node_name: Option<&'a str>,
    /// `spec.priority`, resolved by the API server before a webhook is called.
    pub priority: Option<i64>,
    /// `spec.priorityClassName`.
    pub priority_class_name: Option<&'a str>,
}

/// Why `nodeSelector`, `tolerations`, `affinity` and `preemption` are left off a pod, or `None`.
///
/// A DaemonSet's pod is bound by its controller to one node by affinity, so that a requirement of
/// ours would leave it Pending there; a pod with a node name is past scheduling; and pods of
/// system priority have to run wherever they were put.
#[must_use]
pub fn left_off(facts: &PlacementFacts<'_>) -> Option<Note> {
    let critical =
        facts.priority_class_name.filter(|name| matches!(*name, "system-node-critical" | "system-cluster-critical"));
    let why = if facts.is_daemon_set {
        "it belongs to a DaemonSet".to_owned()
    } else if let Some(node) = facts.node_name.filter(|node| !node.is_empty()) {
        format!("spec.nodeName is already {node:?}")
    } else if let Some(name) = critical {
        format!("its priority class is {name}")
    } else {
        let priority = facts.priority.filter(|value| *value >= SYSTEM_CRITICAL_PRIORITY)?;
        format!("its priority {priority} is a system priority")
    };
    Some(Reason::PlacementLeftOff.note(&[&why]))
}

/// Whether the pod's maker chose its node: it has a node name, and is none of those that Kubernetes needs where they are.
#[must_use]
pub fn picks_its_node(facts: &PlacementFacts<'_>) -> bool {
    let of_the_system = left_off(&PlacementFacts { node_name: None, ..*facts }).is_some();
    facts.node_name.is_some_and(|node| !node.is_empty()) && !of_the_system
}
