//! What is wrong with a policy, gathered while it is compiled.

use std::collections::BTreeSet;

use crate::{
    field_error::{FieldError, below},
    names,
    policy::{
        spec::{PolicySpec, V3ioSpec},
        template::{Kind, Template, looks_like_placeholder},
    },
};

/// Gathers what is wrong while a spec is compiled. Paths are relative to the spec until they are reported.
pub(super) struct Checker<'s> {
    pub(super) spec: &'s PolicySpec,
    pub(super) v3io: Option<&'s V3ioSpec>,
    /// Who `{username}` is, where another than the v3io block says so.
    pub(super) user: Option<Template>,
    pub(super) errors: Vec<FieldError>,
    pub(super) notes: Vec<FieldError>,
    /// Fields whose text was read as a template.
    pub(super) templated: BTreeSet<String>,
    /// Labels of pods that placeholders read.
    pub(super) placeholder_labels: BTreeSet<String>,
}

impl<'s> Checker<'s> {
    pub(super) const fn new(spec: &'s PolicySpec) -> Self {
        Self {
            spec,
            v3io: spec.v3io.as_ref(),
            user: None,
            errors: Vec::new(),
            notes: Vec::new(),
            templated: BTreeSet::new(),
            placeholder_labels: BTreeSet::new(),
        }
    }

    /// An error at `path` below the spec.
    pub(super) fn error(&mut self, path: &str, message: impl Into<String>) {
        self.errors.push(FieldError::new(below("spec", path), message));
    }

    /// Something a person should know, though the policy is accepted.
    pub(super) fn note(&mut self, path: &str, message: impl Into<String>) {
        let note = FieldError::new(path, message);
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(super) fn extend(&mut self, parent: &str, problems: impl IntoIterator<Item = FieldError>) {
        self.errors.extend(problems.into_iter().map(|problem| problem.below(parent).below("spec")));
    }

    /// Checks a name that takes no placeholders.
    pub(super) fn name(&mut self, value: &str, check: fn(&str) -> names::Check, path: &str) {
        if let Err(allowed) = check(value) {
            self.error(path, format!("{value:?} {allowed}"));
        }
    }

    /// Parses a text that takes placeholders; a field whose text comes here is one that takes them.
    pub(super) fn template(&mut self, text: &str, kind: Kind, path: &str) -> Option<Template> {
        self.templated.insert(path.to_owned());
        let mut template = match Template::parse(text, kind) {
            Ok(template) => template,
            Err(why) => {
                self.error(path, why);
                return None;
            }
        };
        if template.has_username() && self.v3io.is_none() {
            self.error(path, "{username} needs spec.v3io");
        }
        if let Some(user) = &self.user {
            template = template.with_username(user);
        }
        self.placeholder_labels.extend(template.labels().map(str::to_owned));
        if kind == Kind::Secret {
            self.secret_name(&template, path);
        }
        Some(template)
    }

    /// Whoever makes a pod sets its labels. One may choose a credential only where the policy says so.
    fn secret_name(&mut self, template: &Template, path: &str) {
        let mut keys: Vec<String> = template.labels().map(str::to_owned).collect();
        if template.has_username()
            && let Some(Ok(username)) = self.v3io.map(|v3io| Template::parse(&v3io.username, Kind::Username))
        {
            keys.extend(username.labels().map(str::to_owned));
        }
        for key in keys {
            if self.spec.trusted_labels.contains(&key) {
                let why = format!("whoever sets the label {key} on a pod chooses the credential ({path})");
                self.note("trustedLabels", why);
            } else {
                let why = "whoever makes a pod sets its labels, and this one would choose the credential";
                self.error(path, format!("the label {key} is not in trustedLabels: {why}"));
            }
        }
    }

    /// The v3io block, for a modifier at `path` that needs one.
    pub(super) fn v3io_block(&mut self, path: &str) -> Option<&'s V3ioSpec> {
        if self.v3io.is_none() {
            self.error(path, "needs spec.v3io");
        }
        self.v3io
    }

    /// A template of a text at `path` that has placeholders; `None` where it has none.
    pub(super) fn text_template(&mut self, text: &str, path: &str) -> Option<Template> {
        if !looks_like_placeholder(text) {
            return None;
        }
        self.template(text, Kind::Bucket, path)
    }
}
