//! The core's decision, as the server asks for it.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use tokio::{runtime::Handle, task::block_in_place};

use crate::{
    admission::{self, Admitted, Advice, Summary, Unreadable, admit},
    cluster::{
        events::{Notice, Notices},
        namespaces::Lookup,
    },
    metrics::Outcome,
    policy::snapshot::Snapshot,
    server::{Answer, Decide, Record},
};

/// Decides on the snapshot that is in force.
pub(super) struct Decider {
    snapshot: Arc<ArcSwap<Snapshot>>,
    lookup: Option<Lookup>,
    notices: Option<Notices>,
}

impl Decider {
    pub(super) const fn new(snapshot: Arc<ArcSwap<Snapshot>>) -> Self {
        Self { snapshot, lookup: None, notices: None }
    }

    /// Asks for namespaces that are not known here.
    pub(super) fn ask(&mut self, lookup: Lookup) {
        self.lookup = Some(lookup);
    }

    /// Tells owners of pods here.
    pub(super) fn tell(&mut self, notices: Notices) {
        self.notices = Some(notices);
    }

    fn admit(&self, body: &[u8]) -> Result<Admitted, Unreadable> {
        let snapshot = self.snapshot.load();
        let admitted = admit(body, &snapshot)?;
        let namespace = &admitted.summary.namespace;
        let (Some(lookup), false) = (&self.lookup, namespace.is_empty() || snapshot.knows(namespace)) else {
            return Ok(admitted);
        };
        if admitted.outcome == admission::Outcome::Excluded {
            return Ok(admitted);
        }
        // It was made a moment before its pod. Deciding once more costs less than what every pod would pay for a look
        // ahead.
        let answered = snapshot.with_answer(namespace, self.wait(lookup, namespace));
        admit(body, &answered)
    }

    /// The one wait in a decision, at most 200 ms and for few at a time; the worker's other connections move on.
    fn wait(&self, lookup: &Lookup, namespace: &str) -> Option<BTreeMap<String, String>> {
        block_in_place(|| Handle::current().block_on(lookup.labels(namespace)))
    }
}

impl Decide for Decider {
    fn decide(&self, body: &[u8]) -> Answer {
        match self.admit(body) {
            Ok(Admitted { body, outcome, summary, advice }) => {
                if let (Some(notices), Some(advice)) = (&self.notices, advice) {
                    notices.send(notice(advice, &summary.namespace));
                }
                Answer::review(body, label(outcome)).with_record(record(summary))
            }
            Err(unreadable) => Answer::unreadable(&unreadable.to_string()),
        }
    }
}

fn notice(advice: Advice, namespace: &str) -> Notice {
    let Advice { api_version, kind, name, uid, reason, note } = advice;
    let namespace = namespace.to_owned();
    Notice { api_version, kind, namespace, name, uid, reason: reason.to_owned(), action: "Inject", note }
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
