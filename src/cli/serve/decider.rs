//! The core's decision, as the server asks for it.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::time::Instant;

use crate::{
    admission::{Admitted, Advice, Outcome, Unreadable, admit},
    cluster::{
        accounts::{self, Accounts},
        events::{Notice, Notices},
        namespaces::Lookup,
    },
    names,
    policy::snapshot::Snapshot,
    server::{Decide, HttpAnswer},
};

/// Service accounts that one decision asks for at most; the next policy's stands as it is.
const ACCOUNTS: usize = 4;

/// Decides on the snapshot that is in force.
pub(super) struct Decider {
    snapshot: Arc<ArcSwap<Snapshot>>,
    questions: Option<Questions>,
    notices: Option<Notices>,
}

/// What a decision may ask the API server.
struct Questions {
    namespaces: Lookup,
    accounts: Accounts,
}

impl Decider {
    pub(super) const fn new(snapshot: Arc<ArcSwap<Snapshot>>) -> Self {
        Self { snapshot, questions: None, notices: None }
    }

    /// Asks for namespaces that are not known here, and for service accounts that policies would set.
    pub(super) fn ask(&mut self, namespaces: Lookup, accounts: Accounts) {
        self.questions = Some(Questions { namespaces, accounts });
    }

    /// Tells owners of pods here.
    pub(super) fn tell(&mut self, notices: Notices) {
        self.notices = Some(notices);
    }

    /// The usual decision waits for nothing. Where the namespace is not known here, it was made a moment before its pod:
    /// then it is asked for, at most 200 ms and for few at a time, and deciding once more costs less than what every pod
    /// would pay for a look ahead. So it is with a service account that a policy would set; nearly always it is there, and
    /// what was decided stands.
    async fn admit(&self, body: &[u8]) -> Result<Admitted, Unreadable> {
        let snapshot = self.snapshot.load();
        let admitted = admit(body, &snapshot)?;
        let namespace = &admitted.summary.namespace;
        let is_known = namespace.is_empty() || snapshot.knows(namespace);
        let Some(questions) = self.questions.as_ref().filter(|_| !is_known || admitted.account.is_some()) else {
            return Ok(admitted);
        };
        // What is no name never reaches the API server as a part of a path.
        if admitted.outcome == Outcome::Excluded || names::namespace(namespace).is_err() {
            return Ok(admitted);
        }
        let snapshot = Guard::into_inner(snapshot);
        if is_known {
            return questions.with_account(body, &snapshot, admitted).await;
        }
        let answered = snapshot.with_answer(namespace, questions.namespaces.labels(namespace).await);
        let admitted = admit(body, &answered)?;
        questions.with_account(body, &answered, admitted).await
    }
}

impl Questions {
    /// What is decided without the service accounts that the pod's namespace does not have.
    async fn with_account(
        &self,
        body: &[u8],
        snapshot: &Snapshot,
        mut admitted: Admitted,
    ) -> Result<Admitted, Unreadable> {
        let deadline = Instant::now() + accounts::PATIENCE;
        let mut without: Option<Snapshot> = None;
        for _ in 0..ACCOUNTS {
            let Some(name) = admitted.account.as_deref() else { break };
            if self.accounts.has(&admitted.summary.namespace, name, deadline).await != Some(false) {
                break;
            }
            let absent = without.as_ref().unwrap_or(snapshot).without_account(name);
            admitted = admit(body, &absent)?;
            without = Some(absent);
        }
        Ok(admitted)
    }
}

impl Decide for Decider {
    async fn decide(&self, body: &[u8]) -> HttpAnswer {
        match self.admit(body).await {
            Ok(Admitted { body, outcome, summary, advice, .. }) => {
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
