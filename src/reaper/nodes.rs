//! Which nodes are ready.

use std::collections::HashMap;

use crate::threshold::{NodeReadiness, WatchedNode};

/// The readiness of every node, by name.
#[derive(Debug, Default)]
pub struct Nodes {
    by_name: HashMap<Box<str>, (NodeReadiness, u32)>,
    round: u32,
    is_listed: bool,
}

impl Nodes {
    /// That of the node of that name. A node that is not there counts as not ready, once the nodes have been listed; the
    /// empty name is that of a pod which has none.
    #[must_use]
    pub fn readiness(&self, name: &str) -> NodeReadiness {
        if name.is_empty() || !self.is_listed {
            return NodeReadiness::Unheard;
        }
        self.by_name.get(name).map_or(NodeReadiness::Missing, |(readiness, _)| *readiness)
    }

    /// Whether all nodes were told once.
    #[must_use]
    pub const fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// A list begins.
    pub const fn begin(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// The list is complete: the names of the nodes that were not in it, which are forgotten.
    pub fn end(&mut self) -> Vec<Box<str>> {
        self.is_listed = true;
        let round = self.round;
        self.by_name.extract_if(|_, (_, seen)| *seen != round).map(|(name, _)| name).collect()
    }

    /// Takes in a node. Says whether its readiness is another.
    pub fn set(&mut self, node: &WatchedNode) -> bool {
        let readiness = node.readiness();
        let round = self.round;
        match self.by_name.get_mut(node.metadata.name.as_str()) {
            Some(known) => {
                let before = std::mem::replace(known, (readiness, round));
                before.0 != readiness
            }
            None => {
                self.by_name.insert(node.metadata.name.as_str().into(), (readiness, round));
                true
            }
        }
    }

    /// A node is gone. Says whether it was known.
    pub fn remove(&mut self, name: &str) -> bool {
        self.by_name.remove(name).is_some()
    }
}
