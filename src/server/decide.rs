//! What the server asks for and is given: one body in, one answer out.

use hyper::StatusCode;
use tracing::{debug, info};

use crate::admission::{Outcome, Summary};
use crate::metrics::{Label, RequestEnd, Undecided};

/// Decides on the body of one request to `/mutate`.
///
/// A usual decision takes ten microseconds, on the connection's own task, and
/// waits for nothing. One that must know something first may wait for it, a
/// moment and no longer: the API server waits too.
pub trait Decide: Send + Sync + 'static {
    /// The answer to one AdmissionReview, whatever the bytes are.
    fn decide(&self, body: &[u8]) -> impl Future<Output = HttpAnswer> + Send;
}

/// The answer to one request.
#[derive(Debug)]
pub struct HttpAnswer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    pub(super) end: RequestEnd,
    pub(super) summary: Option<Summary>,
}

/// Names of policies that a log line holds; of more it says how many.
const NAMES: usize = 8;

impl HttpAnswer {
    /// An AdmissionReview, as JSON, with status 200.
    #[must_use]
    pub fn review(body: Vec<u8>, outcome: Outcome) -> Self {
        Self { status: StatusCode::OK, body, end: RequestEnd::Decided(outcome), summary: None }
    }

    /// Status 400, with the one line that says why the body is no review. It
    /// must not quote the body.
    #[must_use]
    pub fn unreadable(reason: &str) -> Self {
        Self::undecided(StatusCode::BAD_REQUEST, Undecided::Unreadable, reason)
    }

    /// Another status, with one line that says why.
    pub(super) fn undecided(status: StatusCode, why: Undecided, reason: &str) -> Self {
        Self { status, body: line(reason).into_bytes(), end: RequestEnd::Undecided(why), summary: None }
    }

    /// The same answer, with what the log says about it.
    #[must_use]
    pub fn with_summary(self, summary: Summary) -> Self {
        Self { summary: Some(summary), ..self }
    }

    /// One event: at `info` where the pod was changed or refused, and where the
    /// body could not be read, of which nobody else would tell.
    pub(super) fn log(&self, bytes: usize) {
        match (self.end, &self.summary) {
            (RequestEnd::Decided(outcome), Some(summary)) => log_decision(outcome, summary),
            (RequestEnd::Undecided(Undecided::Unreadable), _) => {
                let error = String::from_utf8_lossy(&self.body);
                info!(outcome = self.end.text(), bytes, error = error.trim_end(), "answered with status 400");
            }
            _ => {}
        }
    }
}

fn log_decision(outcome: Outcome, summary: &Summary) {
    let mut policies = summary.policies.iter().take(NAMES).map(String::as_str).collect::<Vec<_>>().join(",");
    if summary.policies.len() > NAMES {
        policies = format!("{policies} and {} more", summary.policies.len() - NAMES);
    }
    let refusal = summary.refusal.as_ref();
    macro_rules! event {
        ($level:ident) => {
            $level!(
                outcome = outcome.word(),
                namespace = summary.namespace,
                pod = summary.pod,
                uid = summary.uid,
                dry_run = summary.dry_run,
                policies,
                operations = summary.operations,
                skipped = summary.skipped,
                refused_by = refusal.map(|refusal| refusal.policy.as_str()),
                field = refusal.map(|refusal| refusal.field.as_str()),
                reason = refusal.map(|refusal| refusal.reason.name()),
                refusal = refusal.map(|refusal| refusal.message.as_str()),
                "decided"
            )
        };
    }
    match outcome {
        Outcome::Patched | Outcome::Refused => event!(info),
        _ => event!(debug),
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
        let answer = HttpAnswer::unreadable("first\r\nsecond");
        assert_eq!(answer.body, b"first  second\n");
    }
}
