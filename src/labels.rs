//! Label selectors, parsed once.

use std::fmt;

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
    requirements: Box<[Requirement]>,
}

/// One condition on one label.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What must hold of its value.
    pub condition: LabelCondition,
}

/// Values of a label, sorted, each of them once. A set in the standard library takes room for eleven, and most policies
/// name one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LabelValues(Box<[String]>);

/// What must hold of a label's value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LabelCondition {
    /// It is one of these.
    In(LabelValues),
    /// It is absent, or none of these.
    NotIn(LabelValues),
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
                condition: LabelCondition::In([value.clone()].into_iter().collect()),
            });
        }
        for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
            let at = item(&field(path, "matchExpressions"), index);
            check(&field(&at, "key"), &expression.key, names::label_key(&expression.key), errors);
            let values: LabelValues = expression.values.iter().flatten().cloned().collect();
            for value in values.iter() {
                check(&field(&at, "values"), value, names::label_value(value), errors);
            }
            let takes_values = matches!(expression.operator.as_str(), "In" | "NotIn");
            let takes_none = matches!(expression.operator.as_str(), "Exists" | "DoesNotExist");
            if takes_values && values.is_empty() || takes_none && !values.is_empty() {
                let message = if takes_values { "needs at least one value" } else { "takes no values" };
                errors.push(FieldError::new(field(&at, "values"), format!("{} {message}", expression.operator)));
            }
            let condition = match expression.operator.as_str() {
                "In" => LabelCondition::In(values),
                "NotIn" => LabelCondition::NotIn(values),
                "Exists" => LabelCondition::Exists,
                "DoesNotExist" => LabelCondition::DoesNotExist,
                other => {
                    let message = format!("{other:?} is not allowed; use one of In, NotIn, Exists, DoesNotExist");
                    errors.push(FieldError::new(field(&at, "operator"), message));
                    continue;
                }
            };
            requirements.push(Requirement { key: expression.key.clone(), condition });
        }
        Self { requirements: requirements.into() }
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

impl LabelValues {
    /// Whether this value is one of them.
    #[must_use]
    pub fn contains(&self, value: &str) -> bool {
        self.0.binary_search_by(|own| own.as_str().cmp(value)).is_ok()
    }

    /// The values, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<String> for LabelValues {
    fn from_iter<I: IntoIterator<Item = String>>(iter: I) -> Self {
        let mut values: Vec<String> = iter.into_iter().collect();
        values.sort_unstable();
        values.dedup();
        Self(values.into())
    }
}

impl LabelCondition {
    /// Whether no value can satisfy this and `other`; asked both ways.
    fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::In(one), Self::In(other)) => !one.iter().any(|value| other.contains(value)),
            (Self::In(one), Self::NotIn(other)) => one.iter().all(|value| other.contains(value)),
            (Self::In(_) | Self::Exists, Self::DoesNotExist) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Requirement {
    /// The words of a policy: `app In [a, b]`, `app Exists`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &LabelValues| values.0.join(", ");
        match &self.condition {
            LabelCondition::In(values) => write!(f, "{} In [{}]", self.key, list(values)),
            LabelCondition::NotIn(values) => write!(f, "{} NotIn [{}]", self.key, list(values)),
            LabelCondition::Exists => write!(f, "{} Exists", self.key),
            LabelCondition::DoesNotExist => write!(f, "{} DoesNotExist", self.key),
        }
    }
}

impl Requirement {
    /// Whether a label of this value, or none, satisfies the requirement.
    #[must_use]
    pub fn matches(&self, value: Option<&str>) -> bool {
        match &self.condition {
            LabelCondition::In(values) => value.is_some_and(|value| values.contains(value)),
            LabelCondition::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            LabelCondition::Exists => value.is_some(),
            LabelCondition::DoesNotExist => value.is_none(),
        }
    }
}
