//! The core's decision, as the server asks for it.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{
    admission::{self, Admitted, Summary, admit},
    metrics::Outcome,
    policy::snapshot::Snapshot,
    server::{Answer, Decide, Record},
};

/// Decides on the snapshot that is in force.
pub(super) struct Decider {
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
}

impl Decide for Decider {
    fn decide(&self, body: &[u8]) -> Answer {
        let snapshot = self.snapshot.load();
        match admit(body, &snapshot) {
            Ok(Admitted { body, outcome, summary }) => {
                Answer::review(body, label(outcome)).with_record(record(summary))
            }
            Err(unreadable) => Answer::unreadable(&unreadable.to_string()),
        }
    }
}

const fn label(outcome: admission::Outcome) -> Outcome {
    match outcome {
        admission::Outcome::Patched => Outcome::Patched,
        admission::Outcome::Unchanged => Outcome::Unchanged,
        admission::Outcome::NoMatch => Outcome::NoMatch,
        admission::Outcome::Excluded => Outcome::Skipped,
        admission::Outcome::Refused => Outcome::Refused,
    }
}

fn record(summary: Summary) -> Record {
    let Summary { uid, namespace, pod, dry_run, policies, operations, skipped } = summary;
    Record { namespace, pod, uid, dry_run, policies, operations, skipped }
}
