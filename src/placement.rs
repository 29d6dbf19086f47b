//! Where a pod may be scheduled: its `nodeSelector`, `tolerations` and `affinity`.
//!
//! [`Placement`] is a working copy of the three fields. Policies merge into it, preemption reworks
//! it last, and [`Placement::write`] compares it with the copy taken before to give the RFC 6902
//! operations. Everything that is not touched stays as it came, fields unknown to this release
//! included, since the operations name single elements.
//!
//! A field that is `null` counts as absent, as it does for the API server. A field of the wrong
//! type cannot come from an API server; read offline it is an error, or left alone where nested.

use std::fmt::Display;

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

/// A working copy of a pod's `nodeSelector`, `tolerations` and `affinity`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement<'a> {
    node_selector: Option<Map<String, Value>>,
    tolerations: Tolerations<'a>,
    affinity: Option<Map<String, Value>>,
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
        affinity: Option<Raw<'_>>,
    ) -> Result<Self, Malformed> {
        Ok(Self {
            node_selector: read("nodeSelector", "an object", node_selector)?,
            tolerations: Tolerations::read(tolerations).ok_or(Malformed { field: "tolerations", wanted: "a list" })?,
            affinity: read("affinity", "an object", affinity)?,
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
        self.node_selector.get_or_insert_default().insert(key.to_owned(), Value::from(value));
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
    pub fn merge_affinity(&mut self, wanted: &Affinity) -> Result<Vec<Note>, TooManyTerms> {
        affinity::merge(&mut self.affinity, wanted)
    }

    /// Whether the pod says nothing in a field: it is empty, or holds only the tolerations that the API server fills in
    /// before a webhook is called.
    #[must_use]
    pub fn says_nothing(&self, field: PlacementField) -> bool {
        match field {
            PlacementField::NodeSelector => self.node_selector.as_ref().is_none_or(Map::is_empty),
            PlacementField::Tolerations => self.tolerations.views().all(|own| own.is_filled_in()),
            PlacementField::Affinity => self.affinity.iter().flat_map(Map::values).all(is_blank),
        }
    }

    /// Whether `nodeSelector` and the required node affinity contradict each other, so that no node
    /// whatever can match. `false` says only that this pod alone does not show it.
    #[must_use]
    pub fn is_contradictory(&self) -> bool {
        satisfiable::is_contradictory(self.node_selector.as_ref(), affinity::required(&self.affinity))
    }

    /// Brings terms that say the same as in `before` to the form that they had there.
    pub fn settle(&mut self, before: &Self) {
        affinity::settle(&mut self.affinity, &before.affinity);
    }

    pub(crate) fn affinity_mut(&mut self) -> &mut Option<Map<String, Value>> {
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
        own.shift_remove(key).is_some()
    }

    /// Drops the tolerations for which `is_unwanted`, and gives them.
    pub(crate) fn remove_tolerations(
        &mut self,
        is_unwanted: impl FnMut(&TolerationView<'_>) -> bool,
    ) -> Vec<OwnToleration<'a>> {
        self.tolerations.remove(is_unwanted)
    }

    /// Writes the operations that turn a pod with `before` into one with this placement.
    ///
    /// Lists are never replaced: elements are removed by index, from the end, and added, at the end by `/-`; a term of
    /// the node affinity is edited inside. A list or map that removals empty stays behind empty, which the API server
    /// drops.
    pub fn write(&self, before: &Self, patch: &mut Patch) {
        diff::write("/spec/nodeSelector", before.node_selector.as_ref(), self.node_selector.as_ref(), patch);
        self.tolerations.write(&before.tolerations, patch);
        diff::write("/spec/affinity", before.affinity.as_ref(), self.affinity.as_ref(), patch);
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

/// Whether a value holds nothing, however deep.
fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(members) => members.values().all(is_blank),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn read<T: serde::de::DeserializeOwned>(
    field: &'static str,
    wanted: &'static str,
    raw: Option<Raw<'_>>,
) -> Result<Option<T>, Malformed> {
    let Some(raw) = raw else { return Ok(None) };
    serde_json::from_str(raw.get()).map_err(|_| Malformed { field, wanted })
}
