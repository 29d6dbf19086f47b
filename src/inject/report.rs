//! What a decision did, step by step, and why it left things out.

use std::{
    borrow::Cow,
    fmt::{self, Display},
};

use crate::{
    policy::Policy,
    reason::{Note, Reason},
};

/// Number of a step in the report.
pub(super) type StepId = usize;

/// Every step of a decision, in order.
#[derive(Debug, Default)]
pub struct Steps<'a> {
    steps: Vec<Step<'a>>,
}

/// What one modifier of one policy did.
#[derive(Debug)]
pub struct Step<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// Path within its spec, such as `storage[2].pvc`.
    pub modifier: Cow<'a, str>,
    /// What came of it.
    pub outcome: StepOutcome,
    /// Why, and what else a person should know.
    pub notes: Vec<Note>,
    /// How many more notes there were than are kept.
    pub more: usize,
}

/// Notes that are kept of a step. A pod with thousands of containers would give as many, of which nobody reads the rest.
const NOTES: usize = 32;

/// What came of a modifier.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum StepOutcome {
    /// Nothing of it is in the pod.
    #[default]
    Skipped,
    /// All that could be done was done before.
    Present,
    /// The pod was changed.
    Applied,
}

/// The pod is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The policy that refuses it: `name`, or `namespace/name` of an InjectionPolicy; empty where it is the pod's own form.
    pub policy: String,
    /// The modifier of the policy, the key under which the pod says something, or the field of the pod.
    pub field: String,
    /// Why.
    pub reason: Reason,
    /// Names the policy or key, the value and what is allowed.
    pub message: String,
}

impl Refusal {
    /// The pod's own `field` cannot be worked on.
    pub(super) fn of_pod(field: &str, reason: Reason, why: &dyn Display) -> Self {
        Self { policy: String::new(), field: field.to_owned(), reason, message: reason.with(&[why]) }
    }

    /// The pod says something under `key` that is refused, for the policy that acts on it.
    pub(super) fn of_control(policy: Option<&Policy>, key: &str, reason: Reason, words: &[&dyn Display]) -> Self {
        let policy = policy.map(|policy| policy.id.to_string()).unwrap_or_default();
        Self { policy, field: key.to_owned(), reason, message: reason.with(words) }
    }
}

impl<'a> Steps<'a> {
    /// A report without steps.
    #[must_use]
    pub const fn none() -> Self {
        Self { steps: Vec::new() }
    }

    /// Begins a step.
    pub fn begin(&mut self, policy: &'a Policy, modifier: impl Into<Cow<'a, str>>) -> StepId {
        let (outcome, notes) = (StepOutcome::Skipped, Vec::new());
        self.steps.push(Step { policy, modifier: modifier.into(), outcome, notes, more: 0 });
        self.steps.len() - 1
    }

    /// Something came of the step; the most counts.
    pub fn came_of(&mut self, step: StepId, outcome: StepOutcome) {
        if let Some(step) = self.steps.get_mut(step) {
            step.outcome = step.outcome.max(outcome);
        }
    }

    /// Tells something of the step, with the words that the reason's text has room for.
    pub fn tell(&mut self, step: StepId, reason: Reason, words: &[&dyn Display]) {
        if let Some(step) = self.steps.get_mut(step)
            && step.notes.len() >= NOTES
        {
            // Nobody reads it, so its text is not made.
            step.more += 1;
            return;
        }
        self.note(step, reason.note(words));
    }

    /// Takes over what placement and defaults tell.
    pub fn notes(&mut self, step: StepId, notes: impl IntoIterator<Item = Note>) {
        for note in notes {
            self.note(step, note);
        }
    }

    /// How a step is named to others: `policy mlrun storage[2].pvc`.
    #[must_use]
    pub fn name(&self, step: StepId) -> String {
        self.steps.get(step).map(ToString::to_string).unwrap_or_default()
    }

    /// The path of a step's modifier.
    #[must_use]
    pub fn modifier(&self, step: StepId) -> &str {
        self.steps.get(step).map_or("", |step| &step.modifier)
    }

    /// The policy of a step.
    #[must_use]
    pub fn policy(&self, step: StepId) -> Option<&'a Policy> {
        self.steps.get(step).map(|step| step.policy)
    }

    /// What came of a step.
    #[must_use]
    pub fn outcome(&self, step: StepId) -> StepOutcome {
        self.steps.get(step).map_or(StepOutcome::Skipped, |step| step.outcome)
    }

    /// Whether a step of the policy has told the reason.
    #[must_use]
    pub fn has_told(&self, policy: &Policy, reason: Reason) -> bool {
        let mut own = self.steps.iter().filter(|step| step.policy.id == policy.id);
        own.any(|step| step.notes.iter().any(|note| note.reason == reason))
    }

    /// The steps.
    #[must_use]
    pub fn steps(&self) -> &[Step<'a>] {
        &self.steps
    }

    /// What the client is told, one line each.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.steps.iter().flat_map(|step| {
            let warnings = step.notes.iter().filter(|note| note.is_warning());
            warnings.map(move |note| format!("stowage: {step}: {}", note.text))
        })
    }

    fn note(&mut self, step: StepId, note: Note) {
        let Some(step) = self.steps.get_mut(step) else { return };
        if step.notes.contains(&note) {
            return;
        }
        if step.notes.len() < NOTES {
            step.notes.push(note);
        } else {
            step.more += 1;
        }
    }
}

impl Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy {} {}", self.policy.id, self.modifier)
    }
}

impl StepOutcome {
    /// The word that `explain` shows.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Present => "unchanged",
            Self::Applied => "applied",
        }
    }
}
