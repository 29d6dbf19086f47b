//! The only module that speaks to an API server.
//!
//! It is thin: what is watched becomes changes of values, and what values say
//! is written back. [`calls`] lists every call that is made; the installed
//! roles are held against it.

pub mod accounts;
pub mod calls;
pub mod certificates;
pub mod classes;
pub mod client;
pub mod deployment;
pub mod events;
pub mod inquiry;
pub mod lease;
#[cfg(test)]
pub(crate) mod mock;
pub mod namespaces;
pub mod nodes;
pub mod pods;
pub mod policies;
mod registration;
pub mod removals;
mod slim;
pub mod status;
pub mod watch;

pub use self::registration::{ENTRY, REGISTRATION, follow_scope};

/// How our writes are told from those of others.
pub const FIELD_MANAGER: &str = "stowage";

/// Whether the API server answered that somebody else was first: the object changed, is there already, or is gone.
fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409))
}
