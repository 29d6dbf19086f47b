//! Whether the webhook should be called: a few named checks, each with its
//! reason.
//!
//! The parts that know set their own check; nothing here looks at anything.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// The checks by name.
#[derive(Debug)]
pub struct Readiness {
    checks: Mutex<BTreeMap<&'static str, ReadinessCheck>>,
}

/// What a check says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadinessCheck {
    /// All is well.
    Passing,
    /// All is well until this moment, after which it failed for this reason.
    PassingUntil(Timestamp, String),
    /// All is not well, for this reason.
    Failing(String),
}

/// All checks at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadinessReport {
    /// Whether every check passes.
    pub ready: bool,
    /// One line for each check, as the API server's `/readyz?verbose` has them.
    pub text: String,
}

impl Readiness {
    /// These checks, all failing because they have not been reached yet.
    #[must_use]
    pub fn awaiting(checks: &[&'static str]) -> Self {
        let pending = ReadinessCheck::Failing("not reached yet".to_owned());
        Self { checks: Mutex::new(checks.iter().map(|name| (*name, pending.clone())).collect()) }
    }

    /// Sets one check.
    pub fn set(&self, name: &'static str, check: ReadinessCheck) {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).insert(name, check);
    }

    /// What all checks say at `now`.
    #[must_use]
    pub fn report(&self, now: Timestamp) -> ReadinessReport {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        let mut ready = true;
        for (name, check) in checks.iter() {
            match check.failure(now) {
                None => {
                    let _ = writeln!(text, "[+]{name} ok");
                }
                Some(reason) => {
                    ready = false;
                    let _ = writeln!(text, "[-]{name} failed: {reason}");
                }
            }
        }
        text.push_str(if ready { "readyz check passed\n" } else { "readyz check failed\n" });
        ReadinessReport { ready, text }
    }
}

impl ReadinessCheck {
    fn failure(&self, now: Timestamp) -> Option<&str> {
        match self {
            Self::Passing => None,
            Self::PassingUntil(end, reason) => (now > *end).then_some(reason),
            Self::Failing(reason) => Some(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_when_every_check_passes_and_tells_which_does_not() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let readiness = Readiness::awaiting(&["policies", "certificate"]);
        readiness.set("policies", ReadinessCheck::Passing);
        assert_eq!(
            readiness.report(at(0)),
            ReadinessReport {
                ready: false,
                text: "[-]certificate failed: not reached yet\n[+]policies ok\n\
                       readyz check failed\n"
                    .to_owned()
            }
        );
        let expired = "expired at 1970-01-01T00:00:10Z".to_owned();
        readiness.set("certificate", ReadinessCheck::PassingUntil(at(10), expired));
        assert!(readiness.report(at(10)).ready);
        let late = readiness.report(at(11));
        assert!(!late.ready);
        assert!(late.text.contains("[-]certificate failed: expired at 1970-01-01T00:00:10Z\n"));
    }
}
