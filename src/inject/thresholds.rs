//! The run's own thresholds, copied to where the watcher reads them.
//!
//! MLRun writes `spec.state_thresholds` into the variable `MLRUN_EXEC_CONFIG`. The watcher reads metadata and status
//! only, so the webhook copies what differs from MLRun's defaults into the annotation, where a matching policy has
//! thresholds and the pod says nothing itself. Whatever is wrong here is a warning, never a refusal.

use serde_json::Value;

use super::{
    Pass,
    controls::{STATE_THRESHOLDS, word},
    report::Outcome,
};
use crate::{
    duration,
    json::Str,
    threshold::{State, mlrun::run_words},
};

const EXEC_CONFIG: &str = "MLRUN_EXEC_CONFIG";

impl<'a, 'p: 'a> Pass<'a, 'p> {
    /// Copies the run's thresholds and warns of time strings that the watcher will not understand.
    pub(super) fn thresholds(&mut self, warnings: &mut Vec<String>) {
        let own = self.own_words(warnings);
        let Some(policy) = self.policies.iter().find(|policy| policy.thresholds.is_some()).copied() else { return };
        let Some(block) = policy.thresholds.as_ref() else { return };
        let named = |name: &Option<Str<'_>>| name.as_ref().is_some_and(|name| name.as_str() == EXEC_CONFIG);
        let variables = self.draft.pod.containers().flat_map(|(.., container)| container.env.iter().flatten());
        let Some(config) = variables.filter(|env| named(&env.name)).find_map(|env| env.value?.text()) else { return };
        let step = self.report.begin(policy, "stateThresholds");
        let run = run_words(&config, &block.mlrun_defaults);
        let copy = run.as_ref().map(|run| serde_json::to_string(&run.words).unwrap_or_default());
        if own && copy.as_deref().ok() != self.draft.pod.annotation(STATE_THRESHOLDS).as_deref() {
            self.report.say(step, "the pod says its thresholds itself");
            return;
        }
        match run {
            Ok(run) => {
                for warning in run.warnings {
                    self.report.warn(step, warning);
                }
                if run.words.is_empty() {
                    self.report.say(step, "the run says nothing but MLRun's defaults");
                    return;
                }
                // An earlier pass has copied them.
                if own {
                    self.report.came_of(step, Outcome::Present);
                    return;
                }
                let json = serde_json::to_string(&run.words).unwrap_or_default();
                self.annotations.push((STATE_THRESHOLDS, json.into()));
                self.report.came_of(step, Outcome::Applied);
            }
            Err(error) => self.report.warn(step, error.to_string()),
        }
    }

    /// Whether the pod says a threshold itself; wrong time strings are named, and the policy's threshold stands.
    fn own_words(&self, warnings: &mut Vec<String>) -> bool {
        let pod = self.draft.pod;
        let mut said = false;
        for state in State::ALL {
            let key = state.pod_key();
            if let Some(word) = word(pod, self.before, key) {
                said = true;
                if let Err(why) = duration::parse(&word.text) {
                    warnings.push(format!("stowage: {key}: {why}; the policy's threshold stands"));
                }
            }
        }
        let Some(json) = pod.annotation(STATE_THRESHOLDS) else { return said };
        match serde_json::from_str::<serde_json::Map<String, Value>>(&json) {
            Err(_) => warnings.push(format!("stowage: {STATE_THRESHOLDS} is not a JSON object of time strings")),
            Ok(words) => {
                for (name, value) in words {
                    let name: String = name.chars().take(64).collect();
                    let wrong = match (State::from_name(&name), value.as_str()) {
                        (None, _) => Some("is not a state".to_owned()),
                        (_, None) => Some("must be a time string".to_owned()),
                        (_, Some(text)) => duration::parse(text).err().map(|why| why.to_string()),
                    };
                    if let Some(why) = wrong {
                        warnings.push(format!("stowage: {STATE_THRESHOLDS}: {name:?}: {why}"));
                    }
                }
            }
        }
        true
    }
}
