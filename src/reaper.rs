//! The watcher: what removes pods that are past their state thresholds.

pub mod input;
pub mod report;
