//! What is said of a policy in its `Accepted` condition, and whether it need be written.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::{
    field_error::FieldError,
    policy::{PolicyId, spec::PolicyStatus},
};

/// Type of the condition.
pub const ACCEPTED: &str = "Accepted";

/// Most characters of a condition's message. The API server takes 32,768; nobody reads them.
const LONGEST: usize = 1024;

/// The verdict on one generation of a policy: its `Accepted` condition without the times.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Acceptance {
    /// `metadata.generation` that it speaks of.
    pub generation: i64,
    /// The verdict.
    pub reason: AcceptanceReason,
    /// Field paths with what is wrong or worth knowing, bounded; for an older generation in force, which.
    pub message: String,
}

/// `reason` of the condition: a closed set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AcceptanceReason {
    /// In force, and there is nothing to say of it.
    Valid,
    /// In force, with something that a person should know.
    ValidWithNotes,
    /// Refused, and nothing of the policy is in force.
    Refused,
    /// Refused; an older generation stays in force.
    RefusedOlderInForce,
}

/// Something new to say of a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusChange {
    /// Which policy.
    pub id: PolicyId,
    /// `metadata.uid`; `None` for the policy of a file, which has no status to write.
    pub uid: Option<String>,
    /// What is to be said.
    pub acceptance: Acceptance,
    /// What this process said last of the same object.
    pub previous: Option<Acceptance>,
    /// The status that the object was seen with.
    pub seen: Option<PolicyStatus>,
}

impl Acceptance {
    /// The verdict on a generation that is in force.
    #[must_use]
    pub fn of_valid(generation: i64, notes: &[FieldError]) -> Self {
        let reason = if notes.is_empty() { AcceptanceReason::Valid } else { AcceptanceReason::ValidWithNotes };
        Self { generation, reason, message: joined("", notes) }
    }

    /// The verdict on a generation that is refused; `in_force` is the older one that stays.
    #[must_use]
    pub fn of_refused(generation: i64, errors: &[FieldError], in_force: Option<i64>) -> Self {
        match in_force {
            None => Self { generation, reason: AcceptanceReason::Refused, message: joined("", errors) },
            Some(older) => Self {
                generation,
                reason: AcceptanceReason::RefusedOlderInForce,
                message: joined(&format!("generation {older} stays in force: "), errors),
            },
        }
    }

    /// Whether this generation is in force.
    #[must_use]
    pub const fn is_accepted(&self) -> bool {
        matches!(self.reason, AcceptanceReason::Valid | AcceptanceReason::ValidWithNotes)
    }

    /// Whether `status` says the same of the same generation, or of a newer one.
    fn is_said_by(&self, status: &PolicyStatus, previous: Option<&Self>) -> bool {
        let Some(condition) = accepted(status) else { return false };
        let observed = condition.observed_generation.or(status.observed_generation).unwrap_or(0);
        if observed != self.generation {
            // Somebody has seen a newer one already, and says what is to be said of it.
            return observed > self.generation;
        }
        let is_ours = previous.is_some_and(|previous| previous.message == condition.message);
        // The same in other words is another release's: it is left alone, or the two would write in turns.
        condition.status == self.status_word()
            && condition.reason == self.reason.as_str()
            && (condition.message == self.message || !is_ours)
    }

    const fn status_word(&self) -> &'static str {
        if self.is_accepted() { "True" } else { "False" }
    }
}

impl StatusChange {
    /// The status to write over `current`, the newest that is known; `None` where it says the same already.
    ///
    /// Conditions of other types stay. The transition time is `now` only where the verdict turns.
    #[must_use]
    pub fn to_write(&self, current: Option<&PolicyStatus>, now: Timestamp) -> Option<PolicyStatus> {
        if current.is_some_and(|status| self.acceptance.is_said_by(status, self.previous.as_ref())) {
            return None;
        }
        let turned = current.and_then(accepted).filter(|condition| condition.status == self.acceptance.status_word());
        let condition = Condition {
            type_: ACCEPTED.to_owned(),
            status: self.acceptance.status_word().to_owned(),
            reason: self.acceptance.reason.as_str().to_owned(),
            message: self.acceptance.message.clone(),
            observed_generation: Some(self.acceptance.generation),
            last_transition_time: turned.map_or(Time(now), |condition| condition.last_transition_time.clone()),
        };
        let others = current.into_iter().flat_map(|status| &status.conditions);
        let others = others.filter(|condition| condition.type_ != ACCEPTED).cloned();
        Some(PolicyStatus {
            observed_generation: Some(self.acceptance.generation),
            conditions: std::iter::once(condition).chain(others).collect(),
        })
    }
}

impl AcceptanceReason {
    /// The word in the condition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "Valid",
            Self::ValidWithNotes => "ValidWithNotes",
            Self::Refused => "Refused",
            Self::RefusedOlderInForce => "RefusedOlderInForce",
        }
    }
}

/// The `Accepted` condition of a status.
#[must_use]
pub fn accepted(status: &PolicyStatus) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.type_ == ACCEPTED)
}

/// Remarks in one text of at most [`LONGEST`] characters; those that do not fit are counted.
fn joined(prefix: &str, remarks: &[FieldError]) -> String {
    let mut text = prefix.to_owned();
    for (index, remark) in remarks.iter().enumerate() {
        let remark = remark.to_string();
        let left = remarks.len() - index;
        let room = LONGEST.saturating_sub(text.chars().count() + 32);
        let separator = if index == 0 { "" } else { "; " };
        if remark.chars().count() + separator.len() > room {
            if index > 0 {
                text.push_str(&format!("; and {left} more"));
                return text;
            }
            text.extend(remark.chars().take(room));
            text.push('…');
            continue;
        }
        text.push_str(separator);
        text.push_str(&remark);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Scope;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn errors(count: usize) -> Vec<FieldError> {
        (0..count).map(|n| FieldError::new(format!("spec.env[{n}].name"), "must not be empty")).collect()
    }

    fn change(acceptance: Acceptance, previous: Option<Acceptance>) -> StatusChange {
        let id = PolicyId { scope: Scope::Cluster, name: "p".into() };
        StatusChange { id, uid: Some("u".to_owned()), acceptance, previous, seen: None }
    }

    #[test]
    fn a_status_that_says_the_same_need_not_be_written() {
        let first = change(Acceptance::of_valid(1, &[]), None);
        let written = first.to_write(None, at(1)).unwrap();
        assert_eq!(first.to_write(Some(&written), at(2)), None);
        assert_eq!(written.observed_generation, Some(1));
        let condition = accepted(&written).unwrap();
        assert_eq!((&*condition.status, &*condition.reason, &*condition.message), ("True", "Valid", ""));
    }

    #[test]
    fn the_transition_time_moves_only_where_the_verdict_turns() {
        let written = change(Acceptance::of_valid(1, &[]), None).to_write(None, at(1)).unwrap();
        let again = change(Acceptance::of_valid(2, &errors(1)), None).to_write(Some(&written), at(2)).unwrap();
        assert_eq!(accepted(&again).unwrap().last_transition_time.0, at(1));
        assert_eq!(accepted(&again).unwrap().observed_generation, Some(2));
        let refused = change(Acceptance::of_refused(3, &errors(1), Some(2)), None);
        let refused = refused.to_write(Some(&again), at(3)).unwrap();
        let condition = accepted(&refused).unwrap();
        assert_eq!(condition.last_transition_time.0, at(3));
        assert_eq!(condition.reason, "RefusedOlderInForce");
        assert_eq!(condition.message, "generation 2 stays in force: spec.env[0].name: must not be empty");
    }

    #[test]
    fn a_newer_generation_in_the_status_is_left_alone() {
        let newer = change(Acceptance::of_valid(5, &[]), None).to_write(None, at(1)).unwrap();
        assert_eq!(change(Acceptance::of_refused(4, &errors(1), None), None).to_write(Some(&newer), at(2)), None);
    }

    #[test]
    fn two_releases_with_other_words_do_not_write_in_turns() {
        let said = |text: &str| Acceptance::of_refused(1, &[FieldError::new("spec.env", text)], None);
        let old = change(said("old words"), None).to_write(None, at(1)).unwrap();
        assert_eq!(change(said("new words"), None).to_write(Some(&old), at(2)), None);
        // What this process itself has said is for it to correct.
        let corrected = change(said("new words"), Some(said("old words"))).to_write(Some(&old), at(2)).unwrap();
        assert_eq!(accepted(&corrected).unwrap().message, "spec.env: new words");
        // Another verdict is news, whoever said the first.
        assert!(change(Acceptance::of_valid(1, &[]), None).to_write(Some(&old), at(2)).is_some());
    }

    #[test]
    fn conditions_of_other_types_stay() {
        let mut status = change(Acceptance::of_valid(1, &[]), None).to_write(None, at(1)).unwrap();
        let other = Condition { type_: "Other".to_owned(), ..status.conditions[0].clone() };
        status.conditions.push(other.clone());
        let written = change(Acceptance::of_valid(2, &[]), None).to_write(Some(&status), at(2)).unwrap();
        assert!(written.conditions.contains(&other), "{written:?}");
        assert_eq!(written.conditions.len(), 2);
    }

    #[test]
    fn a_message_is_bounded_and_counts_what_it_leaves_out() {
        let message = Acceptance::of_refused(1, &errors(500), None).message;
        assert!(message.chars().count() <= LONGEST, "{}", message.chars().count());
        let told = message.matches("must not be empty").count();
        assert!(message.ends_with(&format!("; and {} more", 500 - told)), "{message}");
        let long = Acceptance::of_valid(1, &[FieldError::new("spec", "ä".repeat(5000))]).message;
        assert!(long.chars().count() <= LONGEST && long.ends_with('…'), "{}", long.chars().count());
    }
}
