//! What the server asks for and is given: one body in, one answer out.

use hyper::StatusCode;
use tracing::{debug, info};

use crate::metrics::{Label, Outcome};

/// Decides on the body of one request to `/mutate`.
///
/// Called on the connection's own task, so it must be quick, as a usual
/// decision's ten microseconds are, and wait for nothing.
pub trait Decide: Send + Sync + 'static {
    /// The answer to one AdmissionReview, whatever the bytes are.
    fn decide(&self, body: &[u8]) -> Answer;
}

/// The answer to one request.
#[derive(Debug)]
pub struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    pub(super) outcome: Outcome,
    pub(super) record: Option<Record>,
}

/// What the log says about one decision. Names and counts; never a value of
/// the pod's environment, nor its body.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The request's namespace.
    pub namespace: String,
    /// The pod's name, or its `generateName` where it has none yet.
    pub pod: String,
    /// The request's uid, which the API server's audit log has too.
    pub uid: String,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// The policies that matched, by name.
    pub policies: Vec<String>,
    /// How many JSON Patch operations the answer holds.
    pub operations: usize,
    /// How many modifiers were left out.
    pub skipped: usize,
}

impl Answer {
    /// An AdmissionReview, as JSON, with status 200.
    #[must_use]
    pub fn review(body: Vec<u8>, outcome: Outcome) -> Self {
        Self { status: StatusCode::OK, body, outcome, record: None }
    }

    /// Status 400, with the one line that says why the body is no review. It
    /// must not quote the body.
    #[must_use]
    pub fn unreadable(reason: &str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            body: line(reason).into_bytes(),
            outcome: Outcome::Unreadable,
            record: None,
        }
    }

    /// The same answer, with what the log says about it.
    #[must_use]
    pub fn with_record(self, record: Record) -> Self {
        Self { record: Some(record), ..self }
    }
}

impl Record {
    /// One event: at `info` where the pod was changed or refused.
    pub(super) fn log(&self, outcome: Outcome) {
        macro_rules! event {
            ($level:ident) => {
                $level!(
                    outcome = outcome.text(),
                    namespace = self.namespace,
                    pod = self.pod,
                    uid = self.uid,
                    dry_run = self.dry_run,
                    policies = self.policies.join(","),
                    operations = self.operations,
                    skipped = self.skipped,
                    "decided"
                )
            };
        }
        match outcome {
            Outcome::Patched | Outcome::Refused => event!(info),
            _ => event!(debug),
        }
    }
}

/// One line of text, whatever came in.
pub(super) fn line(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_even_if_it_was_more() {
        let answer = Answer::unreadable("first\r\nsecond");
        assert_eq!(answer.body, b"first  second\n");
    }
}
