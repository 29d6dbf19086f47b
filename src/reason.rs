//! What is told of a decision, and why.

/// Something worth telling about a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether the user has to know.
    pub severity: Severity,
    /// One short line, with keys and values of node labels and taints, never of env or secrets.
    pub text: String,
}

/// How a [`Note`] is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// What was done and why; `explain` prints it.
    Info,
    /// Something the user would not expect; it belongs into the answer's warnings too.
    Warning,
}

impl Note {
    /// A line for `explain`.
    pub fn info(text: impl Into<String>) -> Self {
        Self { severity: Severity::Info, text: text.into() }
    }

    /// A line for the answer's warnings and `explain`.
    pub fn warning(text: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, text: text.into() }
    }

    /// Whether the user has to know.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        self.severity == Severity::Warning
    }
}
