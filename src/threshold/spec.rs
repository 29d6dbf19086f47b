//! `stateThresholds` and `onExceeded` of a policy: as written, and compiled.
//!
//! The wire types mirror the CRD; [`StateThresholdsSpec::compile`] says everything that is wrong with one at once, each
//! with its field, and what it returns cannot be wrong.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Threshold;
use crate::field_error::FieldError;
use crate::threshold::{PerState, State};

mod on_exceeded;
mod time_string;

pub use on_exceeded::{ActionSpec, Actions, OnExceeded, OnExceededSpec};
pub use time_string::TimeString;

/// How long a pod may stay in each state. A state that is not named here has no threshold from this policy.
///
/// Times are written as MLRun's: `90m`, `1 day 5h`, `1.5h`; `-1` or `forever` for never.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!(has(self.running) && has(self.executing))",
    "message": "running and executing are two names of one state: give one of them"
}]))]
pub struct StateThresholdsSpec {
    /// On a node, and not yet running for no more exact reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_scheduled: Option<TimeString>,
    /// Waiting for a node, since its creation or since its scheduling gates were seen to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_not_scheduled: Option<TimeString>,
    /// An image cannot be pulled, since the container could have begun to pull.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_backoff: Option<TimeString>,
    /// Running, since the last app container's first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<TimeString>,
    /// MLRun's name of `running`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executing: Option<TimeString>,
    /// Held back by a scheduling gate, since its creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling_gated: Option<TimeString>,
    /// A container cannot be created or started. Without it `pendingScheduled` holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_error: Option<TimeString>,
    /// Init containers at work or crashing. Without it `pendingScheduled` holds, for them and what comes after together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initializing: Option<TimeString>,
    /// Being deleted, since the end of the grace period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminating: Option<TimeString>,
    /// Ended well, since the last container's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<TimeString>,
    /// Failed or evicted, since the last container's end or the eviction; where the object tells neither, since it was
    /// first seen so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<TimeString>,
    /// On a node that is lost, since the node's Ready changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<TimeString>,
    /// The defaults of this MLRun installation, where they are not MLRun's own (1h, -1, 1h, 24h). MLRun writes them into
    /// every run, so only what differs from them is a run's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mlrun_defaults: Option<MlrunDefaultsSpec>,
    /// What pods, and below a ClusterInjectionPolicy InjectionPolicies, may say themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<OverridesSpec>,
}

/// MLRun's `function.spec.state_thresholds.default`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!(has(self.running) && has(self.executing))",
    "message": "running and executing are two names of one state: give one of them"
}]))]
pub struct MlrunDefaultsSpec {
    /// `pending_scheduled`, 1h in MLRun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_scheduled: Option<TimeString>,
    /// `pending_not_scheduled`, -1 in MLRun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_not_scheduled: Option<TimeString>,
    /// `image_pull_backoff`, 1h in MLRun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_backoff: Option<TimeString>,
    /// `executing`, 24h in MLRun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<TimeString>,
    /// `executing`, 24h in MLRun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executing: Option<TimeString>,
}

/// Whether and how far a threshold may be overridden. Binds every state, also one that this policy does not name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OverridesSpec {
    /// `false`: nobody overrides, what others say is left out with a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = true))]
    pub allow: Option<bool>,
    /// A shorter override is raised to this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<TimeString>,
    /// A longer override, never included, is cut to this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<TimeString>,
}

/// A compiled `stateThresholds`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateThresholds {
    /// The policy's thresholds.
    pub thresholds: PerState<Threshold>,
    /// What MLRun writes into every run here.
    pub mlrun_defaults: MlrunDefaults,
    /// What others may say.
    pub overrides: Overrides,
}

/// The thresholds that MLRun gives a run which says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MlrunDefaults(PerState<Threshold>);

/// Compiled `overrides`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrides {
    /// Whether there may be any.
    pub allow: bool,
    /// The shortest.
    pub min: Option<Threshold>,
    /// The longest.
    pub max: Option<Threshold>,
}

impl StateThresholdsSpec {
    /// The compiled form.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, in the order of the fields.
    pub fn compile(&self) -> Result<StateThresholds, Vec<FieldError>> {
        let mut errors = Vec::new();
        let thresholds = compile_states(
            [
                (State::PendingScheduled, "pendingScheduled", &self.pending_scheduled),
                (State::PendingNotScheduled, "pendingNotScheduled", &self.pending_not_scheduled),
                (State::ImagePullBackoff, "imagePullBackoff", &self.image_pull_backoff),
                (State::Running, "running", &self.running),
                (State::Running, "executing", &self.executing),
                (State::SchedulingGated, "schedulingGated", &self.scheduling_gated),
                (State::ContainerError, "containerError", &self.container_error),
                (State::Initializing, "initializing", &self.initializing),
                (State::Terminating, "terminating", &self.terminating),
                (State::Succeeded, "succeeded", &self.succeeded),
                (State::Failed, "failed", &self.failed),
                (State::Unknown, "unknown", &self.unknown),
            ],
            "",
            &mut errors,
        );
        let mlrun_defaults =
            self.mlrun_defaults.as_ref().map_or_else(MlrunDefaults::default, |defaults| defaults.compile(&mut errors));
        let overrides =
            self.overrides.as_ref().map_or_else(Overrides::default, |overrides| overrides.compile(&mut errors));
        if errors.is_empty() { Ok(StateThresholds { thresholds, mlrun_defaults, overrides }) } else { Err(errors) }
    }
}

impl MlrunDefaultsSpec {
    fn compile(&self, errors: &mut Vec<FieldError>) -> MlrunDefaults {
        let mut defaults = MlrunDefaults::default();
        let set = compile_states(
            [
                (State::PendingScheduled, "pendingScheduled", &self.pending_scheduled),
                (State::PendingNotScheduled, "pendingNotScheduled", &self.pending_not_scheduled),
                (State::ImagePullBackoff, "imagePullBackoff", &self.image_pull_backoff),
                (State::Running, "running", &self.running),
                (State::Running, "executing", &self.executing),
            ],
            "mlrunDefaults.",
            errors,
        );
        for (state, threshold) in set.iter() {
            defaults.0.set(state, *threshold);
        }
        defaults
    }
}

impl OverridesSpec {
    fn compile(&self, errors: &mut Vec<FieldError>) -> Overrides {
        let min = compile_time("overrides.min", self.min.as_ref(), errors);
        let max = compile_time("overrides.max", self.max.as_ref(), errors);
        if min == Some(Threshold::Never) {
            errors.push(FieldError::new(
                "overrides.min",
                "never is no lower bound; write a time such as `10m`, or `allow: false`".to_owned(),
            ));
        } else if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            errors.push(FieldError::new(
                "overrides.min",
                format!("{min} is longer than overrides.max, {max}; nothing could be between them"),
            ));
        }
        Overrides { allow: self.allow.unwrap_or(true), min, max }
    }
}

impl Default for MlrunDefaults {
    /// MLRun's own (`mlrun/config.py`, `function.spec.state_thresholds.default`): 1h, -1, 1h, 24h.
    fn default() -> Self {
        let hours = |hours: u64| Threshold::After(std::time::Duration::from_secs(hours * 3_600));
        Self(PerState::from_iter([
            (State::PendingScheduled, hours(1)),
            (State::PendingNotScheduled, Threshold::Never),
            (State::ImagePullBackoff, hours(1)),
            (State::Running, hours(24)),
        ]))
    }
}

impl MlrunDefaults {
    /// What MLRun writes for the state; `None` for a state that MLRun does not know.
    pub fn threshold(&self, state: State) -> Option<Threshold> {
        self.0.own(state).copied()
    }
}

impl Default for Overrides {
    fn default() -> Self {
        Self { allow: true, min: None, max: None }
    }
}

fn compile_states<const N: usize>(
    fields: [(State, &str, &Option<TimeString>); N],
    prefix: &str,
    errors: &mut Vec<FieldError>,
) -> PerState<Threshold> {
    let mut compiled = PerState::default();
    let mut given: Vec<State> = Vec::new();
    for (state, field, value) in fields {
        if value.is_none() {
            continue;
        }
        let path = format!("{prefix}{field}");
        if given.contains(&state) {
            errors.push(FieldError::new(
                &path,
                "`running` and `executing` are two names of one state; give one of them".to_owned(),
            ));
        }
        given.push(state);
        if let Some(threshold) = compile_time(&path, value.as_ref(), errors) {
            compiled.set(state, threshold);
        }
    }
    compiled
}

fn compile_time(path: &str, value: Option<&TimeString>, errors: &mut Vec<FieldError>) -> Option<Threshold> {
    match value?.parse() {
        Ok(threshold) => Some(threshold),
        Err(message) => {
            errors.push(FieldError::new(path, message));
            None
        }
    }
}

#[cfg(test)]
mod tests;
