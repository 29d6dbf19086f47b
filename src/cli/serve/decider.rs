//! The core's decision, as the server asks for it.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::{
    admission::{Admitted, Advice, Outcome, Unreadable, admit},
    cluster::{
        events::{Notice, Notices},
        namespaces::Lookup,
    },
    names,
    policy::snapshot::Snapshot,
    server::{Decide, HttpAnswer},
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

    /// The usual decision waits for nothing. Where the namespace is not known here, it was made a moment before its pod:
    /// then it is asked for, at most 200 ms and for few at a time, and deciding once more costs less than what every pod
    /// would pay for a look ahead.
    async fn admit(&self, body: &[u8]) -> Result<Admitted, Unreadable> {
        let snapshot = self.snapshot.load();
        let admitted = admit(body, &snapshot)?;
        let namespace = &admitted.summary.namespace;
        let (Some(lookup), false) = (&self.lookup, namespace.is_empty() || snapshot.knows(namespace)) else {
            return Ok(admitted);
        };
        // What is no name never reaches the API server as a part of a path.
        if admitted.outcome == Outcome::Excluded || names::namespace(namespace).is_err() {
            return Ok(admitted);
        }
        let snapshot = Guard::into_inner(snapshot);
        let answered = snapshot.with_answer(namespace, lookup.labels(namespace).await);
        admit(body, &answered)
    }
}

impl Decide for Decider {
    async fn decide(&self, body: &[u8]) -> HttpAnswer {
        match self.admit(body).await {
            Ok(Admitted { body, outcome, summary, advice }) => {
                if let (Some(notices), Some(advice)) = (&self.notices, advice) {
                    notices.send(notice(advice, &summary.namespace));
                }
                HttpAnswer::review(body, outcome).with_summary(summary)
            }
            Err(unreadable) => HttpAnswer::unreadable(&unreadable.to_string()),
        }
    }
}

fn notice(advice: Advice, namespace: &str) -> Notice {
    let Advice { api_version, kind, name, uid, reason, note } = advice;
    let namespace = namespace.to_owned();
    Notice { api_version, kind, namespace, name, uid, reason: reason.name().to_owned(), action: "Inject", note }
}
