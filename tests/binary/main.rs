//! The binary and the pages about it: what a person types, reads and is shown.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy.toml excuses test functions, not what they share"
)]

mod cli;
mod disagreement;
mod drift;
mod examples;
mod manifests;
mod offline;
mod platforms;
mod policy_page;
mod reap;
mod soak;
mod webhook;
