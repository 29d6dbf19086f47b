//! What the watcher says: log lines, Events and metrics.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::{info, warn};

use crate::{
    cluster::events::{Notice, Notices},
    duration::rough,
    metrics::{ActionTaken, Label, WatcherMetrics},
    reaper::{
        board::{Counts, Rail},
        said::{BreakerTurn, Group, ObjectRef, RemovalLog, Said},
        step::{ActKind, Answer, Report, What},
    },
    threshold::{State, resolve::Word},
};

/// Says things, and remembers what they are said of.
pub(super) struct Told {
    pub(super) notices: Notices,
    pub(super) metrics: Arc<WatcherMetrics>,
    /// The watcher's own Deployment, where it runs in one.
    pub(super) own: Option<ObjectRef>,
}

impl Told {
    pub(super) fn events(&self, said: Vec<Said>) {
        for Said { on, reason, action, text } in said {
            self.notices.send(notice(on, reason.name(), action, text));
        }
    }

    pub(super) fn turn(&self, turn: BreakerTurn, leads: bool) {
        let BreakerTurn { group, policy, open, due, of, common_policies, reason, text } = turn;
        let common = common_policies.join(", ");
        let (group, policy, reason) = (group.name(), policy.as_deref(), reason.name());
        if open {
            warn!(group, policy, due, of, common_policies = common, reason, "{text}");
        } else {
            info!(group, policy, due, of, common_policies = common, reason, "{text}");
        }
        if let Some(own) = self.own.as_ref().filter(|_| leads) {
            let action = if open { "Hold" } else { "Release" };
            self.notices.send(notice(own.clone(), reason, action, text));
        }
    }

    pub(super) fn report(&self, report: Report) {
        self.metrics.actions.count(ActionTaken::Report, Answer::Done);
        // What was said before is no news.
        if !report.said.is_empty() {
            removal(&report.log, "a pod past its threshold is reported");
        }
        self.events(report.said);
    }

    /// What came of a call.
    pub(super) fn answered(&self, kind: ActKind, answer: Answer, what: What) {
        self.metrics.actions.count(ActionTaken::By(kind), answer);
        match what {
            What::Removed { said, log, lateness } => {
                self.metrics.lateness.observe(lateness.as_secs_f64());
                removal(&log, "a pod past its threshold is removed");
                self.events(said);
            }
            What::Disabled(kind, until) => {
                warn!(action = kind.name(), %until, "the API server forbids it: such pods are only reported until then");
            }
            What::Gone | What::Later(_) | What::Unasked => {}
        }
    }

    pub(super) fn counts(&self, counts: &Counts) {
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        for state in State::ALL {
            let of_state = counts.tracked.iter().find(|(counted, _)| *counted == state);
            self.metrics.pods.set(state, of_state.map_or(0, |(_, pods)| number(*pods)));
            for rail in Rail::ALL {
                let held = counts.held.iter().find(|(by, counted, _)| (*by, *counted) == (rail, state));
                self.metrics.held.set(rail, state, held.map_or(0, |(_, _, pods)| number(*pods)));
            }
        }
        for group in <Group as Label>::ALL {
            self.metrics.breaker_open.set(*group, counts.open.contains(group).into());
        }
        for kind in ActKind::ALL {
            let is_forbidden = counts.disabled.iter().any(|(disabled, _)| *disabled == kind);
            self.metrics.forbidden.set(kind, is_forbidden.into());
        }
        self.metrics.next_deadline.set(counts.next_deadline.map_or(0, Timestamp::as_second));
        self.metrics.in_hand.set(number(counts.in_hand));
        let missed = &self.metrics.missed_injections;
        missed.inc_by(counts.missed.saturating_sub(missed.get()));
    }
}

fn notice(on: ObjectRef, reason: &str, action: &'static str, note: String) -> Notice {
    let ObjectRef { api_version, kind, namespace, name, uid } = on;
    Notice { api_version, kind, namespace, name, uid, reason: reason.to_owned(), action, note }
}

/// One line for each removal and each report; nothing of the pod but what judged it.
fn removal(log: &RemovalLog, words: &'static str) {
    let word = match log.word {
        Word::Pod => "pod",
        Word::Policy => "policy",
    };
    info!(
        namespace = &*log.namespace,
        pod = log.pod,
        uid = log.uid,
        state = log.state.text(),
        since = log.since.map(tracing::field::display),
        threshold = %log.threshold,
        word,
        policy = &*log.policy,
        age = rough(log.age),
        action = log.action,
        owner = log.owner,
        why = log.why,
        dry_run = log.dry_run,
        "{words}"
    );
}
