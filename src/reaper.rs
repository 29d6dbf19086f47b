//! The watcher: what removes pods that are past their state thresholds.

pub mod dump;
pub mod input;
pub mod table;
