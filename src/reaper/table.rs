//! Verdicts for people (a table) and for programs (a JSON array).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::columns::{Columns, Tone, printable};
use crate::duration::{Threshold, rough};
use crate::threshold::action::named;
use crate::threshold::resolve::{Limit, Word};
use crate::threshold::{Action, Caveat, Removal, State, Verdict};

/// One verdict, as it is shown.
#[derive(Debug, Clone)]
pub struct VerdictRow {
    namespace: Arc<str>,
    name: Box<str>,
    uid: Arc<str>,
    state: State,
    since: Option<Timestamp>,
    threshold: Option<Threshold>,
    deadline: Option<Timestamp>,
    due: bool,
    action: Action,
    /// What `delete-owner` deletes, now or when the pod is due.
    owner: Option<Arc<str>>,
    /// The owner's uid.
    owner_uid: Option<Arc<str>>,
    policy: Option<Arc<str>>,
    is_own_word: bool,
    reason: Arc<str>,
}

/// What the verdicts come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerdictCount {
    /// All pods.
    pub pods: usize,
    /// Those past their threshold, also where nothing is to be done about them.
    pub due: usize,
    /// Those of them that something is to be done about, if only a report.
    pub to_do: usize,
}

impl VerdictRow {
    /// A row for the pod of that namespace, name and uid. Texts that repeat are kept once, in `texts`.
    pub fn new(
        (namespace, name, uid): (Arc<str>, Box<str>, Arc<str>),
        verdict: &Verdict,
        limit: Option<&Limit>,
        removal: &Removal,
        caveat: Option<Caveat>,
        texts: &mut HashSet<Arc<str>>,
    ) -> Self {
        let mut text = |text: &str| match texts.get(text) {
            Some(known) => known.clone(),
            None => {
                let new: Arc<str> = text.into();
                texts.insert(new.clone());
                new
            }
        };
        let is_own_word = limit.is_some_and(|limit| limit.word == Word::Pod);
        let caveat = caveat.filter(|_| verdict.deadline.is_some());
        let caveat = caveat.map_or_else(String::new, |caveat| format!("; {}", caveat.words()));
        Self {
            namespace,
            name,
            uid,
            state: verdict.state,
            since: verdict.since,
            threshold: verdict.threshold,
            deadline: verdict.deadline,
            due: verdict.due,
            action: removal.action,
            owner: removal.owner.as_ref().map(|owner| text(&named(owner))),
            owner_uid: removal.owner.as_ref().map(|owner| text(&owner.uid)),
            policy: limit.map(|limit| limit.policy.clone()),
            is_own_word,
            reason: text(&format!("{}{caveat}", removal.reason)),
        }
    }
}

/// What the rows come to.
pub fn count(rows: &[VerdictRow]) -> VerdictCount {
    VerdictCount {
        pods: rows.len(),
        due: rows.iter().filter(|row| row.due).count(),
        to_do: rows.iter().filter(|row| row.due && row.action != Action::None).count(),
    }
}

/// Writes the rows as a JSON array, one object a line.
///
/// # Errors
///
/// When the output cannot be written.
pub fn write_json(rows: &[VerdictRow], mut out: impl Write) -> io::Result<()> {
    for (index, row) in rows.iter().enumerate() {
        out.write_all(if index == 0 { b"[\n" } else { b",\n" })?;
        let row = JsonRow {
            namespace: &row.namespace,
            name: &row.name,
            uid: &row.uid,
            state: row.state.name(),
            since: row.since.map(|since| since.to_string()),
            threshold: row.threshold.and_then(Threshold::length).map(Seconds),
            deadline: row.deadline.map(|deadline| deadline.to_string()),
            due: row.due,
            action: row.action.name(),
            owner: row.owner.as_deref(),
            policy: row.policy.as_deref(),
            reason: match row.is_own_word {
                true => format!("{} (the pod's own threshold)", row.reason).into(),
                false => Cow::Borrowed(&*row.reason),
            },
        };
        serde_json::to_writer(&mut out, &row)?;
    }
    out.write_all(if rows.is_empty() { b"[]\n" } else { b"\n]\n" })?;
    out.flush()
}

#[derive(Serialize)]
struct JsonRow<'a> {
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
    state: &'static str,
    since: Option<String>,
    threshold: Option<Seconds>,
    deadline: Option<String>,
    due: bool,
    action: &'static str,
    owner: Option<&'a str>,
    policy: Option<&'a str>,
    reason: Cow<'a, str>,
}

/// An integer where it is whole.
struct Seconds(Duration);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.subsec_nanos() == 0 {
            serializer.serialize_u64(self.0.as_secs())
        } else {
            serializer.serialize_f64(self.0.as_secs_f64())
        }
    }
}

const HEADER: [&str; 9] = ["NAMESPACE", "NAME", "STATE", "SINCE", "THRESHOLD", "SET BY", "LEFT", "ACTION", "WHY"];

/// Writes a table and a line that sums it up: due ones first, then by the time left, then those that are never due. Among
/// the due ones those that are left alone come last.
///
/// # Errors
///
/// When the output cannot be written.
pub fn write_table(rows: &mut [VerdictRow], mut out: impl Write, now: Timestamp, color: bool) -> io::Result<()> {
    rows.sort_unstable_by(|a, b| {
        let key = |row: &VerdictRow| (row.rank(), row.deadline);
        key(a).cmp(&key(b)).then_with(|| a.namespace.cmp(&b.namespace)).then_with(|| a.name.cmp(&b.name))
    });
    if !rows.is_empty() {
        let mut columns = Columns::new(HEADER);
        rows.iter().for_each(|row| columns.fit(&row.cells(now)));
        let tone_if = |tone| if color { tone } else { Tone::Plain };
        writeln!(out, "{}", columns.line(&HEADER, |_| tone_if(Tone::Bold)))?;
        for row in &*rows {
            writeln!(out, "{}", columns.line(&row.cells(now), |column| tone_if(row.tone(column, now))))?;
        }
        writeln!(out)?;
    }
    writeln!(out, "{}", closing(rows, now))?;
    out.flush()
}

/// `5 pods: 2 due (1 delete, 1 report), 2 to come (the next in 12m), 1 never`.
fn closing(rows: &[VerdictRow], now: Timestamp) -> String {
    let VerdictCount { pods, due, .. } = count(rows);
    if pods == 0 {
        return "no pods".to_owned();
    }
    let to_come = rows.iter().filter(|row| !row.due && row.deadline.is_some()).count();
    let next = rows.iter().filter(|row| !row.due).filter_map(|row| row.deadline).min();
    let mut line = format!("{pods} pod{}: {due} due", if pods == 1 { "" } else { "s" });
    if due > 0 {
        // Writing to a String does not fail.
        let _ = write!(line, " ({})", actions(rows).join(", "));
    }
    let _ = write!(line, ", {to_come} to come");
    if let Some(next) = next {
        let _ = write!(line, " (the next in {})", rough(between(now, next)));
    }
    let _ = write!(line, ", {} never", pods - due - to_come);
    line
}

/// How often each action would be taken: an owner goes once, however many of its pods are due.
fn actions(rows: &[VerdictRow]) -> Vec<String> {
    let mut pods: BTreeMap<Action, usize> = BTreeMap::new();
    let mut owners: HashSet<(&str, Option<&str>, Option<&str>)> = HashSet::new();
    for row in rows.iter().filter(|row| row.due) {
        *pods.entry(row.action).or_default() += 1;
        if row.action == Action::DeleteOwner {
            // A dump may hold owners without a uid.
            owners.insert((&row.namespace, row.owner.as_deref(), row.owner_uid.as_deref()));
        }
    }
    let words = pods.into_iter().map(|(action, pods)| match (action, pods) {
        (Action::DeleteOwner, 2..) => format!("{} {action} for {pods} pods", owners.len()),
        _ => format!("{pods} {action}"),
    });
    words.collect()
}

impl VerdictRow {
    /// Due and acted upon, due and left alone, to come, never.
    fn rank(&self) -> u8 {
        match self.deadline {
            Some(_) if self.due => u8::from(self.action == Action::None),
            Some(_) => 2,
            None => 3,
        }
    }

    fn cells(&self, now: Timestamp) -> [Cow<'_, str>; 9] {
        let since = self.since.map_or(Cow::Borrowed("-"), |since| {
            if since > now {
                format!("in {}", rough(between(now, since))).into()
            } else {
                format!("{} ago", rough(between(since, now))).into()
            }
        });
        let threshold = match self.threshold {
            None => Cow::Borrowed("-"),
            Some(Threshold::Never) => Cow::Borrowed("never"),
            Some(threshold) => threshold.to_string().into(),
        };
        let left = match self.deadline {
            None => Cow::Borrowed("-"),
            Some(deadline) if deadline > now => rough(between(now, deadline)).into(),
            Some(deadline) => format!("{} over", rough(between(deadline, now))).into(),
        };
        let whose = if self.is_own_word { Some("pod") } else { self.policy.as_deref() };
        [
            printable(&self.namespace),
            printable(&self.name),
            Cow::Borrowed(self.state.name()),
            since,
            threshold,
            printable(whose.unwrap_or("-")),
            left,
            Cow::Borrowed(if self.due { self.action.name() } else { "-" }),
            printable(&self.reason),
        ]
    }

    /// Red for what is due, yellow for the last tenth of the time, dim for what nothing will happen to.
    fn tone(&self, column: usize, now: Timestamp) -> Tone {
        let Some(deadline) = self.deadline.filter(|_| self.rank() != 1) else {
            return Tone::Dim;
        };
        let is_state_left_or_action = matches!(column, 2 | 6 | 7);
        if !is_state_left_or_action {
            return Tone::Plain;
        }
        let threshold = self.threshold.and_then(Threshold::length).unwrap_or_default();
        if deadline <= now {
            Tone::Red
        } else if between(now, deadline) <= threshold / 10 {
            Tone::Yellow
        } else {
            Tone::Plain
        }
    }
}

fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    later.duration_since(earlier).try_into().unwrap_or_default()
}
