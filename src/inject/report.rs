//! What a decision did, step by step, and why it left things out.

use std::{borrow::Cow, fmt};

use crate::{inject::draft::StepId, policy::Policy, reason::Note};

/// Every step of a decision, in order.
#[derive(Debug, Default)]
pub struct Report<'a> {
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
    pub outcome: Outcome,
    /// Why, and what else a person should know.
    pub remarks: Vec<Remark>,
    /// How many more there were than are kept.
    pub more: usize,
}

/// Remarks that are kept of a step. A pod with thousands of containers would give as many, of which nobody reads the
/// rest.
const REMARKS: usize = 32;

/// What came of a modifier.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Outcome {
    /// Nothing of it is in the pod.
    #[default]
    Skipped,
    /// All that could be done was done before.
    Present,
    /// The pod was changed.
    Applied,
}

/// Something said of a step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Remark {
    /// One line, without values of variables.
    pub text: String,
    /// Whether the client is told; `explain` shows all.
    pub warns: bool,
}

/// The pod is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Names the policy or key, the value and what is allowed.
    pub message: String,
}

impl<'a> Report<'a> {
    /// A report without steps.
    #[must_use]
    pub const fn none() -> Self {
        Self { steps: Vec::new() }
    }

    /// Begins a step.
    pub fn begin(&mut self, policy: &'a Policy, modifier: impl Into<Cow<'a, str>>) -> StepId {
        let step = Step { policy, modifier: modifier.into(), outcome: Outcome::Skipped, remarks: Vec::new(), more: 0 };
        self.steps.push(step);
        self.steps.len() - 1
    }

    /// Something came of the step; the most counts.
    pub fn came_of(&mut self, step: StepId, outcome: Outcome) {
        if let Some(step) = self.steps.get_mut(step) {
            step.outcome = step.outcome.max(outcome);
        }
    }

    /// Says something that the client is told.
    pub fn warn(&mut self, step: StepId, text: impl Into<String>) {
        self.remark(step, Remark { text: text.into(), warns: true });
    }

    /// Says something that `explain` shows.
    pub fn say(&mut self, step: StepId, text: impl Into<String>) {
        self.remark(step, Remark { text: text.into(), warns: false });
    }

    /// Takes over the notes of placement.
    pub fn notes(&mut self, step: StepId, notes: Vec<Note>) {
        for note in notes {
            let warns = note.is_warning();
            self.remark(step, Remark { text: note.text, warns });
        }
    }

    /// How a step is named to others: `policy mlrun storage[2].pvc`.
    #[must_use]
    pub fn name(&self, step: StepId) -> String {
        self.steps.get(step).map(ToString::to_string).unwrap_or_default()
    }

    /// The steps.
    #[must_use]
    pub fn steps(&self) -> &[Step<'a>] {
        &self.steps
    }

    /// What the client is told, one line each.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.steps.iter().flat_map(|step| {
            let warnings = step.remarks.iter().filter(|remark| remark.warns);
            warnings.map(move |remark| format!("stowage: {step}: {}", remark.text))
        })
    }

    fn remark(&mut self, step: StepId, remark: Remark) {
        let Some(step) = self.steps.get_mut(step) else { return };
        if step.remarks.contains(&remark) {
            return;
        }
        if step.remarks.len() < REMARKS {
            step.remarks.push(remark);
        } else {
            step.more += 1;
        }
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy {} {}", self.policy.id, self.modifier)
    }
}

impl Outcome {
    /// The word that `explain` shows.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Present => "present",
            Self::Applied => "applied",
        }
    }
}
