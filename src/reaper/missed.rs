//! Pods that were created while no replica of the webhook answered.

use jiff::Timestamp;

use crate::labels::Selector;

/// What the live registration sends to the webhook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registration {
    /// `namespaceSelector` of the entry.
    pub namespaces: Selector,
    /// `objectSelector` of the entry.
    pub objects: Selector,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
}
