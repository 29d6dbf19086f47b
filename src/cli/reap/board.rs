//! What the board shows, as JSON.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    reaper::{
        board::{BoardRow, RowFilter},
        watcher::Watcher,
    },
    server::board::Question,
    threshold::State,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    now: Timestamp,
    /// Whether this replica acts.
    leader: bool,
    dry_run: bool,
    /// Whether all pods were read once.
    synced: bool,
    tracked: usize,
    /// By name, with how many are tracked.
    states: Vec<(&'static str, usize)>,
    /// What the circuit breaker holds.
    breaker: Vec<&'static str>,
    /// Calls that the API server forbids.
    forbidden: Vec<&'static str>,
    next_deadline: Option<Timestamp>,
    /// Whether there are more rows than were asked for.
    more: bool,
    rows: Vec<BoardRow>,
}

/// Answers a question. Whoever asked may be gone.
pub(super) fn answer(watcher: &mut Watcher, question: Question, now: Timestamp, leader: bool, synced: bool) {
    let Question { namespace, state, limit, answer } = question;
    let known = state.as_deref().map(State::from_name);
    let mut rows = match known {
        // A state that is none has no pods.
        Some(None) => Vec::new(),
        _ => watcher.rows(now, &RowFilter { namespace, state: known.flatten(), limit: limit.saturating_add(1) }),
    };
    let more = rows.len() > limit;
    rows.truncate(limit);
    let counts = watcher.counts(now);
    let page = Page {
        now,
        leader,
        dry_run: watcher.options().dry_run,
        synced,
        tracked: counts.tracked.iter().map(|(_, pods)| pods).sum(),
        states: counts.tracked.iter().map(|(state, pods)| (state.name(), *pods)).collect(),
        breaker: counts.open.iter().map(|group| group.name()).collect(),
        forbidden: counts.disabled.iter().map(|(kind, _)| kind.name()).collect(),
        next_deadline: counts.next_deadline,
        more,
        rows,
    };
    // Plain values are always written.
    let _ = answer.send(serde_json::to_string(&page).unwrap_or_default());
}
