//! How much of a pod a decision works on.
//!
//! A webhook is called before the API server validates, with whatever somebody sends, and three bytes of a list become
//! dozens in memory. Reading stops keeping where a bound is passed, and the pod is refused where a policy may match it:
//! leaving it alone would be a way out of injection.

use crate::pod::{ContainerView, PodView};

/// Most containers of a pod, init containers included.
pub const CONTAINERS: usize = 1_000;
/// Most elements of a list that a decision works on.
pub const ELEMENTS: usize = 10_000;
/// Most elements in the lists of all containers together. An earlier pass adds at most what a patch holds, so no pod that
/// was let through once is refused here at the second pass.
pub const CONTAINER_ELEMENTS: usize = 200_000;
/// Longest patch, in bytes. etcd takes 1.5 MiB for a whole object.
pub const PATCH: usize = 4 << 20;

/// A pod that has, or would get, more than a decision works on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: more than {limit} {unit}; at most {limit} are allowed in a pod that a policy matches")]
pub struct TooMany {
    /// The field of the pod, or `patch`.
    pub field: String,
    /// The bound.
    pub limit: usize,
    /// What is counted.
    pub unit: &'static str,
}

impl TooMany {
    /// More than [`ELEMENTS`] elements of the list `field`.
    #[must_use]
    pub fn elements(field: impl Into<String>) -> Self {
        Self { field: field.into(), limit: ELEMENTS, unit: "elements" }
    }

    /// A patch over [`PATCH`].
    #[must_use]
    pub fn patch() -> Self {
        Self { field: "patch".to_owned(), limit: PATCH, unit: "bytes" }
    }
}

impl PodView<'_> {
    /// Holds the lists that were read against their bounds. What stays raw is counted where it is read.
    ///
    /// # Errors
    ///
    /// The first bound that is passed.
    pub fn bounded(&self) -> Result<(), TooMany> {
        let Some(spec) = &self.spec else { return Ok(()) };
        if spec.volumes.as_ref().is_some_and(|volumes| volumes.len() > ELEMENTS) {
            return Err(TooMany::elements("spec.volumes"));
        }
        let owners = self.metadata.as_ref().and_then(|metadata| metadata.owner_references.as_ref());
        if owners.is_some_and(|owners| owners.len() > ELEMENTS) {
            return Err(TooMany::elements("metadata.ownerReferences"));
        }
        let mut elements = 0;
        for (number, (list, index, container)) in self.containers().enumerate() {
            if number >= CONTAINERS {
                return Err(TooMany { field: "spec.containers".to_owned(), limit: CONTAINERS, unit: "containers" });
            }
            if let Some((name, _)) = container.lists().into_iter().find(|(_, length)| *length > ELEMENTS) {
                return Err(TooMany::elements(format!("spec.{list}[{index}].{name}")));
            }
            elements += container.elements();
            if elements > CONTAINER_ELEMENTS {
                let unit = "elements in the lists of all containers";
                return Err(TooMany { field: "spec.containers".to_owned(), limit: CONTAINER_ELEMENTS, unit });
            }
        }
        Ok(())
    }
}

impl ContainerView<'_> {
    /// The lists that were read, with their lengths.
    fn lists(&self) -> [(&'static str, usize); 3] {
        [
            ("env", self.env.as_ref().map_or(0, Vec::len)),
            ("envFrom", self.env_from.as_ref().map_or(0, Vec::len)),
            ("volumeMounts", self.volume_mounts.as_ref().map_or(0, Vec::len)),
        ]
    }

    /// The elements of all of them.
    pub(super) fn elements(&self) -> usize {
        self.lists().into_iter().map(|(_, length)| length).sum()
    }
}
