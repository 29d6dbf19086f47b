//! Verdicts for people (a table) and for programs (a JSON array).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::duration::{Threshold, rough};
use crate::threshold::resolve::Word;
use crate::threshold::{Action, Judgement, State, WatchedPod};

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// All pods.
    pub pods: usize,
    /// Those past their threshold, also where nothing is to be done about them.
    pub due: usize,
}

/// Writes verdicts as a JSON array, one object a line, each as it comes.
#[derive(Debug)]
pub struct JsonReport<W> {
    out: W,
    summary: Summary,
}

impl<W: Write> JsonReport<W> {
    /// Begins an array.
    pub fn new(out: W) -> Self {
        Self { out, summary: Summary::default() }
    }

    /// Writes one verdict.
    ///
    /// # Errors
    ///
    /// When the output cannot be written.
    pub fn push(&mut self, pod: &WatchedPod, judgement: &Judgement<'_>) -> io::Result<()> {
        self.out.write_all(if self.summary.pods == 0 { b"[\n" } else { b",\n" })?;
        self.summary.count(judgement);
        let verdict = &judgement.verdict;
        let row = JsonRow {
            namespace: &pod.metadata.namespace,
            name: &pod.metadata.name,
            uid: &pod.metadata.uid,
            state: verdict.state.name(),
            since: verdict.since.map(|since| since.to_string()),
            threshold: verdict.threshold.and_then(Threshold::length).map(Seconds),
            deadline: verdict.deadline.map(|deadline| deadline.to_string()),
            due: verdict.due,
            action: judgement.decision.action.name(),
            policy: judgement.limit.map(|limit| limit.policy.as_ref()),
            reason: reason(judgement),
        };
        serde_json::to_writer(&mut self.out, &row)?;
        Ok(())
    }

    /// Ends the array.
    ///
    /// # Errors
    ///
    /// When the output cannot be written.
    pub fn finish(mut self) -> io::Result<Summary> {
        let end: &[u8] = if self.summary.pods == 0 { b"[]\n" } else { b"\n]\n" };
        self.out.write_all(end)?;
        self.out.flush()?;
        Ok(self.summary)
    }
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

fn reason<'a>(judgement: &'a Judgement<'_>) -> Cow<'a, str> {
    let reason = &judgement.decision.reason;
    match judgement.limit {
        Some(limit) if limit.word == Word::Pod => format!("{reason} (the pod's own threshold)").into(),
        _ => Cow::Borrowed(reason),
    }
}

impl Summary {
    fn count(&mut self, judgement: &Judgement<'_>) {
        self.pods += 1;
        self.due += usize::from(judgement.verdict.due);
    }
}

/// Collects verdicts into a table: due ones first, then by the time left, then those that are never due. Among the due
/// ones those that are left alone come last.
///
/// All rows have to be there to be sorted; texts that repeat are kept once.
#[derive(Debug, Default)]
pub struct TableReport {
    rows: Vec<Row>,
    texts: HashSet<Arc<str>>,
    summary: Summary,
}

#[derive(Debug)]
struct Row {
    namespace: Arc<str>,
    name: Box<str>,
    reason: Arc<str>,
    whose: Option<Arc<str>>,
    since: Option<Timestamp>,
    deadline: Option<Timestamp>,
    threshold: Option<Threshold>,
    state: State,
    action: Action,
}

const HEADER: [&str; 9] = ["NAMESPACE", "NAME", "STATE", "SINCE", "THRESHOLD", "SET BY", "LEFT", "ACTION", "WHY"];

/// How a row or a cell is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tone {
    Plain,
    Bold,
    Red,
    Yellow,
    Dim,
}

impl TableReport {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one verdict.
    pub fn push(&mut self, pod: &WatchedPod, judgement: &Judgement<'_>) {
        self.summary.count(judgement);
        let verdict = &judgement.verdict;
        let whose = judgement.limit.map(|limit| match limit.word {
            Word::Pod => self.text("pod"),
            Word::Policy => self.text(&limit.policy),
        });
        let row = Row {
            namespace: self.text(&pod.metadata.namespace),
            name: printable(&pod.metadata.name).into(),
            reason: self.text(&judgement.decision.reason),
            whose,
            since: verdict.since,
            deadline: verdict.deadline,
            threshold: verdict.threshold,
            state: verdict.state,
            action: judgement.decision.action,
        };
        self.rows.push(row);
    }

    /// Writes the table and a line that sums it up.
    ///
    /// # Errors
    ///
    /// When the output cannot be written.
    pub fn write(mut self, mut out: impl Write, now: Timestamp, color: bool) -> io::Result<Summary> {
        self.rows.sort_unstable_by(|a, b| {
            let key = |row: &Row| (row.rank(now), row.deadline);
            key(a).cmp(&key(b)).then_with(|| a.namespace.cmp(&b.namespace)).then_with(|| a.name.cmp(&b.name))
        });
        if !self.rows.is_empty() {
            let mut widths = HEADER.map(str::len);
            for row in &self.rows {
                for (width, cell) in widths.iter_mut().zip(row.cells(now)) {
                    *width = (*width).max(cell.chars().count());
                }
            }
            let header = HEADER.map(Cow::Borrowed);
            write_row(&mut out, &header, &widths, |_| tone_if(color, Tone::Bold))?;
            for row in &self.rows {
                let cells = row.cells(now);
                write_row(&mut out, &cells, &widths, |column| tone_if(color, row.tone(column, now)))?;
            }
            writeln!(out)?;
        }
        writeln!(out, "{}", self.closing(now))?;
        out.flush()?;
        Ok(self.summary)
    }

    /// `5 pods: 2 due (1 delete, 1 report), 2 to come, the next in 12m, 1 never`.
    fn closing(&self, now: Timestamp) -> String {
        let Summary { pods, due } = self.summary;
        if pods == 0 {
            return "no pods".to_owned();
        }
        let mut actions: BTreeMap<Action, usize> = BTreeMap::new();
        let mut to_come = 0_usize;
        let mut next: Option<Timestamp> = None;
        for row in &self.rows {
            match row.deadline {
                Some(deadline) if deadline > now => {
                    to_come += 1;
                    next = Some(next.map_or(deadline, |next| next.min(deadline)));
                }
                Some(_) => *actions.entry(row.action).or_default() += 1,
                None => {}
            }
        }
        let mut line = format!("{pods} pod{}: {due} due", if pods == 1 { "" } else { "s" });
        if due > 0 {
            let actions: Vec<String> = actions.iter().map(|(action, n)| format!("{n} {action}")).collect();
            // Writing to a String does not fail.
            let _ = write!(line, " ({})", actions.join(", "));
        }
        let _ = write!(line, ", {to_come} to come");
        if let Some(next) = next {
            let _ = write!(line, " (the next in {})", rough(between(now, next)));
        }
        let _ = write!(line, ", {} never", pods - due - to_come);
        line
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        let text = printable(text);
        if let Some(known) = self.texts.get(text.as_ref()) {
            return known.clone();
        }
        let new: Arc<str> = text.as_ref().into();
        self.texts.insert(new.clone());
        new
    }
}

impl Row {
    /// Due and acted upon, due and left alone, to come, never.
    fn rank(&self, now: Timestamp) -> u8 {
        match self.deadline {
            Some(deadline) if deadline > now => 2,
            Some(_) => u8::from(self.action == Action::None),
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
        let is_due = self.deadline.is_some_and(|deadline| deadline <= now);
        [
            Cow::Borrowed(self.namespace.as_ref()),
            Cow::Borrowed(self.name.as_ref()),
            Cow::Borrowed(self.state.name()),
            since,
            threshold,
            Cow::Borrowed(self.whose.as_deref().unwrap_or("-")),
            left,
            Cow::Borrowed(if is_due { self.action.name() } else { "-" }),
            Cow::Borrowed(self.reason.as_ref()),
        ]
    }

    /// Red for what is due, yellow for the last tenth of the time, dim for what nothing will happen to.
    fn tone(&self, column: usize, now: Timestamp) -> Tone {
        let Some(deadline) = self.deadline.filter(|_| self.rank(now) != 1) else {
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

fn write_row(
    out: &mut impl Write,
    cells: &[Cow<'_, str>; 9],
    widths: &[usize; 9],
    tone: impl Fn(usize) -> Tone,
) -> io::Result<()> {
    let mut line = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let (on, off) = match tone(column) {
            Tone::Plain => ("", ""),
            Tone::Bold => ("\x1b[1m", "\x1b[0m"),
            Tone::Red => ("\x1b[31m", "\x1b[0m"),
            Tone::Yellow => ("\x1b[33m", "\x1b[0m"),
            Tone::Dim => ("\x1b[2m", "\x1b[0m"),
        };
        line.push_str(on);
        line.push_str(cell);
        line.push_str(off);
        if column + 1 < cells.len() {
            let padding = width.saturating_sub(cell.chars().count()) + 2;
            line.extend(std::iter::repeat_n(' ', padding));
        }
    }
    writeln!(out, "{}", line.trim_end())
}

fn tone_if(color: bool, tone: Tone) -> Tone {
    if color { tone } else { Tone::Plain }
}

fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    later.duration_since(earlier).try_into().unwrap_or_default()
}

/// A name out of a file reaches a terminal: no control characters.
fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) { text.replace(char::is_control, "\u{fffd}").into() } else { text.into() }
}
