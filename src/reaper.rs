//! The watcher: what removes pods that are past their state thresholds.
//!
//! Pure: [`watcher`] is a state machine that is fed with pods, nodes, policies and answers, and says what is to be read,
//! removed and told. [`dump`], [`input`] and [`table`] are the same judgement of a file, touching nothing.

pub mod acted;
pub mod answer;
pub mod board;
pub mod breaker;
pub mod deadlines;
pub mod dump;
pub mod input;
pub mod missed;
pub mod nodes;
pub mod options;
pub mod owner;
pub mod rate;
pub mod said;
pub mod siblings;
pub mod step;
pub mod table;
pub mod terms;
pub mod watcher;
