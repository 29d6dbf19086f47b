//! The run's own thresholds, copied to where the watcher reads them.
//!
//! MLRun writes `spec.state_thresholds` into the variable `MLRUN_EXEC_CONFIG`. The watcher reads metadata and status
//! only, so the webhook copies what differs from MLRun's defaults into the annotation, where a matching policy has
//! thresholds and the pod says nothing itself. Whatever is wrong here is a warning, never a refusal.

use crate::{
    inject::{Injection, controls::word, report::StepOutcome},
    json::Str,
    reason::{Note, Reason},
    threshold::{
        mlrun::run_words,
        words::{PodWords, STATE_THRESHOLDS},
    },
};

const EXEC_CONFIG: &str = "MLRUN_EXEC_CONFIG";

impl<'a, 'p: 'a> Injection<'a, 'p> {
    /// Copies the run's thresholds and warns of time strings that the watcher will not understand.
    pub(super) fn thresholds(&mut self, warnings: &mut Vec<Note>) {
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
            self.report.tell(step, Reason::ThresholdsOfPod, &[]);
            return;
        }
        match run {
            Ok(run) => {
                for warning in run.warnings {
                    self.report.tell(step, Reason::RunThresholdIgnored, &[&warning]);
                }
                if run.words.is_empty() {
                    self.report.tell(step, Reason::ThresholdsAreDefaults, &[]);
                    return;
                }
                // An earlier pass has copied them.
                if own {
                    self.report.came_of(step, StepOutcome::Present);
                    return;
                }
                let json = serde_json::to_string(&run.words).unwrap_or_default();
                if !self.has_room(STATE_THRESHOLDS, &json) {
                    self.report.tell(step, Reason::AnnotationTooHeavy, &[&STATE_THRESHOLDS]);
                    return;
                }
                self.annotations_weight += STATE_THRESHOLDS.len() + json.len();
                self.annotations.push((STATE_THRESHOLDS, json.into()));
                self.report.came_of(step, StepOutcome::Applied);
            }
            Err(error) => self.report.tell(step, Reason::RunThresholdIgnored, &[&error]),
        }
    }

    /// Whether the pod says a threshold itself. What the watcher will not understand is warned of in its words.
    fn own_words(&self, warnings: &mut Vec<Note>) -> bool {
        let pod = self.draft.pod;
        let json = pod.annotation(STATE_THRESHOLDS);
        let words = PodWords::read(|key| word(pod, self.original, key).map(|word| word.text), json.as_deref());
        warnings.extend(words.warnings.iter().map(|warning| Reason::ThresholdIgnored.note(&[warning])));
        words.says_thresholds
    }
}
