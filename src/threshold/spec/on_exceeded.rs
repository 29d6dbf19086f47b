//! `onExceeded`: what is done about a pod past its threshold, by one word or by one for each state.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::TimeString;
use crate::duration::Threshold;
use crate::field_error::{FieldError, field};
use crate::threshold::{PerState, State};

/// What happens to a pod that is past its threshold. Without `stateThresholds` beside it, it says what happens to pods
/// whose threshold is their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OnExceededSpec {
    /// `Auto`, `Delete` (the pod), `Owner` (what makes it again), `Evict` or `Report` (an Event); or one for each state, as
    /// `{default: Auto, pendingScheduled: Report}`. `Auto` deletes a bare pod, the owner of others, or the pod alone while
    /// its siblings work, and reports the rest.
    #[serde(default)]
    pub action: ActionsSpec,
    /// Seconds that the pod gets to end; absent: the pod's own `terminationGracePeriodSeconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_period_seconds: Option<u32>,
    /// How long before its deadline a pod's Event announces what will be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice_before: Option<TimeString>,
}

/// `onExceeded.action` as written: a word, or an object of words. No structural schema can say that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionsSpec(Value);

/// What is done about a due pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ActionSpec {
    /// A pod without a controller is deleted; of a known controller what makes the pod again is deleted, or the pod alone
    /// while its siblings are at work; for any other there is an Event.
    #[default]
    Auto,
    /// The pod is deleted.
    Delete,
    /// The controller is deleted, where it is a known kind.
    Owner,
    /// The pod is evicted, as far as its disruption budget allows.
    Evict,
    /// An Event, and nothing else.
    Report,
}

/// A compiled `onExceeded`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OnExceeded {
    /// What is done, by state.
    pub actions: Actions,
    /// Seconds that the pod gets to end.
    pub grace_period_seconds: Option<u32>,
    /// How long before the deadline it is announced.
    pub notice_before: Option<Duration>,
}

/// The action for each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Actions {
    default: ActionSpec,
    own: PerState<ActionSpec>,
}

impl ActionSpec {
    const ALL: [(&'static str, Self); 5] = [
        ("Auto", Self::Auto),
        ("Delete", Self::Delete),
        ("Owner", Self::Owner),
        ("Evict", Self::Evict),
        ("Report", Self::Report),
    ];

    fn read(value: &Value, path: &str, errors: &mut Vec<FieldError>) -> Option<Self> {
        let found = value.as_str().and_then(|word| Self::ALL.into_iter().find(|(name, _)| *name == word));
        if found.is_none() {
            let names = Self::ALL.map(|(name, _)| name).join(", ");
            errors.push(FieldError::new(path, format!("{value} is not allowed; use one of {names}")));
        }
        found.map(|(_, action)| action)
    }
}

impl Actions {
    /// One action for every state.
    pub fn all(action: ActionSpec) -> Self {
        Self { default: action, own: PerState::default() }
    }

    /// The action for pods in that state.
    pub fn of(&self, state: State) -> ActionSpec {
        self.own.own(state).copied().unwrap_or(self.default)
    }
}

impl OnExceededSpec {
    /// The compiled form.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, with its field below `onExceeded`.
    pub fn compile(&self) -> Result<OnExceeded, Vec<FieldError>> {
        let mut errors = Vec::new();
        let actions = self.action.compile(&mut errors);
        let notice_before = match self.notice_before.as_ref().map(TimeString::parse) {
            Some(Ok(Threshold::After(before))) => Some(before),
            Some(Ok(Threshold::Never)) => {
                let why = "never is no time before a deadline; leave it out, or write a time such as `10m`";
                errors.push(FieldError::new("noticeBefore", why));
                None
            }
            Some(Err(why)) => {
                errors.push(FieldError::new("noticeBefore", why));
                None
            }
            None => None,
        };
        let compiled = OnExceeded { actions, grace_period_seconds: self.grace_period_seconds, notice_before };
        if errors.is_empty() { Ok(compiled) } else { Err(errors) }
    }
}

impl ActionsSpec {
    fn compile(&self, errors: &mut Vec<FieldError>) -> Actions {
        match &self.0 {
            Value::Null => Actions::default(),
            Value::Object(words) => by_state(words, errors),
            word => ActionSpec::read(word, "action", errors).map_or_else(Actions::default, Actions::all),
        }
    }
}

fn by_state(words: &Map<String, Value>, errors: &mut Vec<FieldError>) -> Actions {
    let mut actions = Actions::default();
    for (key, value) in words {
        let path = field("action", key);
        let state = State::ALL.into_iter().find(|state| state.field() == key);
        let state = state.or_else(|| (key == "executing").then_some(State::Running));
        if key != "default" && state.is_none() {
            let states = State::ALL.map(State::field).join(", ");
            errors.push(FieldError::new(path, format!("no state is called so; use default or one of {states}")));
            continue;
        }
        let Some(action) = ActionSpec::read(value, &path, errors) else { continue };
        match state {
            None => actions.default = action,
            Some(state) if actions.own.own(state).is_some() => {
                errors
                    .push(FieldError::new(path, "running and executing are two names of one state; give one of them"));
            }
            Some(state) => actions.own.set(state, action),
        }
    }
    actions
}

impl Default for ActionsSpec {
    fn default() -> Self {
        Self(Value::from("Auto"))
    }
}

impl From<&str> for ActionsSpec {
    fn from(word: &str) -> Self {
        Self(word.into())
    }
}

impl JsonSchema for ActionsSpec {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Actions".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"x-kubernetes-preserve-unknown-fields": true})
    }
}
