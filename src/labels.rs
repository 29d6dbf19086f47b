//! Label selectors, parsed once.

use std::{collections::BTreeSet, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::{
    field_error::{FieldError, check, field, item},
    names,
};

/// Labels by key.
pub trait Labels: fmt::Debug {
    /// The value of the label `key`.
    fn label(&self, key: &str) -> Option<&str>;
    /// Calls `visit` with every label.
    fn each<'s>(&'s self, visit: &mut dyn FnMut(&'s str, &'s str));
}

/// A `metav1.LabelSelector` that is valid: all requirements must hold, none is everything.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One condition on one label.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What must hold of its value.
    pub condition: Condition,
}

/// What must hold of a label's value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Condition {
    /// It is one of these.
    In(BTreeSet<String>),
    /// It is absent, or none of these.
    NotIn(BTreeSet<String>),
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
}

impl Selector {
    /// Parses a selector found at `path`; what is wrong is added to `errors`.
    ///
    /// Follows `metav1.LabelSelectorAsSelector` and its validation.
    pub fn parse(selector: &LabelSelector, path: &str, errors: &mut Vec<FieldError>) -> Self {
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            let at = field(&field(path, "matchLabels"), key);
            check(&at, key, names::label_key(key), errors);
            check(&at, value, names::label_value(value), errors);
            requirements.push(Requirement {
                key: key.clone(),
                condition: Condition::In([value.clone()].into_iter().collect()),
            });
        }
        for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
            let at = item(&field(path, "matchExpressions"), index);
            check(&field(&at, "key"), &expression.key, names::label_key(&expression.key), errors);
            let values: BTreeSet<String> = expression.values.iter().flatten().cloned().collect();
            for value in &values {
                check(&field(&at, "values"), value, names::label_value(value), errors);
            }
            let takes_values = matches!(expression.operator.as_str(), "In" | "NotIn");
            let takes_none = matches!(expression.operator.as_str(), "Exists" | "DoesNotExist");
            if takes_values && values.is_empty() || takes_none && !values.is_empty() {
                let message = if takes_values { "needs at least one value" } else { "takes no values" };
                errors.push(FieldError::new(field(&at, "values"), format!("{} {message}", expression.operator)));
            }
            let condition = match expression.operator.as_str() {
                "In" => Condition::In(values),
                "NotIn" => Condition::NotIn(values),
                "Exists" => Condition::Exists,
                "DoesNotExist" => Condition::DoesNotExist,
                other => {
                    let message = format!("{other:?} is not allowed; use one of In, NotIn, Exists, DoesNotExist");
                    errors.push(FieldError::new(field(&at, "operator"), message));
                    continue;
                }
            };
            requirements.push(Requirement { key: expression.key.clone(), condition });
        }
        Self { requirements }
    }

    /// Whether the labels satisfy every requirement.
    #[must_use]
    pub fn matches(&self, labels: &dyn Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels.label(&requirement.key)))
    }

    /// Whether no labels can satisfy both selectors, as far as one requirement of each shows it. Requirements on the keys
    /// `but` are not looked at.
    #[must_use]
    pub fn excludes(&self, other: &Self, but: &[&str]) -> bool {
        self.requirements.iter().filter(|one| !but.contains(&one.key.as_str())).any(|one| {
            other.requirements.iter().any(|other| {
                one.key == other.key
                    && (one.condition.excludes(&other.condition) || other.condition.excludes(&one.condition))
            })
        })
    }

    /// The conditions.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

impl Condition {
    /// Whether no value can satisfy this and `other`; asked both ways.
    fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::In(one), Self::In(other)) => one.is_disjoint(other),
            (Self::In(one), Self::NotIn(other)) => one.is_subset(other),
            (Self::In(_) | Self::Exists, Self::DoesNotExist) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Requirement {
    /// The words of a policy: `app In [a, b]`, `app Exists`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &BTreeSet<String>| values.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        match &self.condition {
            Condition::In(values) => write!(f, "{} In [{}]", self.key, list(values)),
            Condition::NotIn(values) => write!(f, "{} NotIn [{}]", self.key, list(values)),
            Condition::Exists => write!(f, "{} Exists", self.key),
            Condition::DoesNotExist => write!(f, "{} DoesNotExist", self.key),
        }
    }
}

impl Requirement {
    /// Whether a label of this value, or none, satisfies the requirement.
    #[must_use]
    pub fn matches(&self, value: Option<&str>) -> bool {
        match &self.condition {
            Condition::In(values) => value.is_some_and(|value| values.contains(value)),
            Condition::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Condition::Exists => value.is_some(),
            Condition::DoesNotExist => value.is_none(),
        }
    }
}
