//! The watcher's state machine, rule by rule, on a small API server.

mod answers;
mod memory;
mod model;
mod owners;
mod rails;
mod said;
mod sim;
