//! The decision core, judged from outside: bytes of reviews in, answers out.
//!
//! One binary, so that it is linked once. Whatever a test asks of [`harness::answer`] is held against the promises that
//! hold for every pod: two implementations of RFC 6902 agree on the patch, and a second pass over the result, as the API
//! server gives it back, has nothing to do.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::or_fun_call,
    reason = "a test fails by panicking, in its helpers too"
)]

mod admissible;
mod binding;
mod conflicts;
mod conformance;
mod deadlines;
mod default_placement;
mod fuzz;
mod golden;
mod growth;
mod harness;
mod holders;
mod hostile;
mod index;
mod json;
mod kept;
mod layering;
mod marker;
mod placement;
mod pod_fields;
mod policies;
mod polyaxon_defects;
mod preemption_model;
mod properties;
mod protocol;
mod refused;
mod reinvocation;
mod removal;
mod resolve;
mod rfc6902;
mod rules;
mod sub_path_expr;
mod threshold;
mod unharmed;
mod vocabulary;
mod watcher;
mod weight;
mod world;
