//! One mistake with the path of its field, and how such paths are written.

use crate::names;

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FieldError {
    /// Path of the field, such as `spec.storage[2].pvc.claimName`; empty for the whole document.
    pub path: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl FieldError {
    /// An error at `path`.
    #[must_use]
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }

    /// The same mistake, of a block that stands at `parent`.
    #[must_use]
    pub fn below(self, parent: &str) -> Self {
        Self { path: below(parent, &self.path), ..self }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.path, self.message) }
    }
}

/// Everything that is wrong with a block, each with its path below the block's own.
pub type Problems = Vec<FieldError>;

/// A field's path below `parent`: `parent.name`, or `parent["odd/name"]`.
#[must_use]
pub fn field(parent: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match (parent.is_empty(), plain) {
        (true, true) => name.to_owned(),
        (false, true) => format!("{parent}.{name}"),
        (_, false) => format!("{parent}[{name:?}]"),
    }
}

/// An item's path below `parent`: `parent[3]`.
#[must_use]
pub fn item(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

/// `relative` below `parent`, where `relative` may itself begin with an index.
#[must_use]
pub fn below(parent: &str, relative: &str) -> String {
    match relative.as_bytes().first() {
        None => parent.to_owned(),
        Some(b'[') => format!("{parent}{relative}"),
        Some(_) if parent.is_empty() => relative.to_owned(),
        Some(_) => format!("{parent}.{relative}"),
    }
}

/// Adds what is wrong with `value`, which stands at `path`.
pub(crate) fn check(path: &str, value: &str, outcome: names::Check, problems: &mut Problems) {
    if let Err(allowed) = outcome {
        problems.push(FieldError::new(path, format!("{value:?} {allowed}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_paths() {
        assert_eq!(field("spec", "a"), "spec.a");
        assert_eq!(field("spec.labels", "a.b/c"), "spec.labels[\"a.b/c\"]");
        assert_eq!(below("spec.x", "[0].y"), "spec.x[0].y");
        assert_eq!(below("spec.x", "y"), "spec.x.y");
        assert_eq!(below("spec.x", ""), "spec.x");
    }
}
