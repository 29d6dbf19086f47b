//! Stowage: storage, credentials and placement for machine-learning pods, at admission; and the removal of pods that are
//! stuck.
//!
//! The core ([`json`], [`policy`], [`pod`], [`inject`], [`patch`], [`duration`], [`threshold`], [`admission`]) is pure: bytes and
//! values in, values out. Everything else is an edge, and only [`cli`] wires them.

#![forbid(unsafe_code)]

pub mod admission;
pub mod certs;
pub mod cli;
pub mod cluster;
pub mod columns;
pub mod defaults;
pub mod duration;
pub mod field_error;
pub mod files;
pub mod inject;
pub mod json;
pub mod labels;
pub mod metrics;
pub mod names;
pub mod patch;
pub mod placement;
pub mod pod;
pub mod policy;
pub mod quantity;
pub mod reaper;
pub mod reason;
pub mod server;
pub mod shutdown;
pub mod standalone;
pub mod tasks;
pub mod telemetry;
pub mod threshold;
