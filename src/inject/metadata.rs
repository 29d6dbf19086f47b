//! Labels, annotations and the marker.

use std::{borrow::Cow, collections::BTreeSet};

use crate::{
    inject::{
        Injection,
        claims::{Asker, Carried, Existing, Subject, Thing},
        controls::{INJECT, INJECTED},
        marker::Marker,
        report::{Refusal, StepId, StepOutcome},
    },
    json::{Fields, Json},
    labels::Labels,
    names::ANNOTATIONS_MAX,
    pod::PodView,
    policy::{Policy, spec::OnConflict},
    reason::{Note, Reason},
};

/// A label or an annotation that a policy sets.
#[derive(Clone, Copy)]
struct Pair<'p> {
    is_label: bool,
    key: &'p str,
    value: &'p str,
}

impl<'a, 'p: 'a> Injection<'a, 'p> {
    /// Labels and annotations of every policy. `ours` are the labels that an earlier pass set where the pod had none, and
    /// gains those of this one.
    pub(super) fn metadata(&mut self, ours: &mut BTreeSet<String>) -> Result<(), Refusal> {
        let pod = self.draft.pod;
        let (mut labels, mut annotations) = (Vec::new(), Vec::new());
        for policy in self.policies {
            if !policy.labels.is_empty() {
                let step = self.report.begin(policy, "labels");
                for (key, value) in &policy.labels {
                    let now = pod.label(key);
                    if self.pair(policy, step, Pair { is_label: true, key, value }, now)? {
                        if now.is_none() {
                            ours.insert(key.clone());
                        }
                        labels.push((key.as_str(), value.as_str()));
                    }
                }
            }
            if !policy.annotations.is_empty() {
                let step = self.report.begin(policy, "annotations");
                for (key, value) in &policy.annotations {
                    let now = pod.annotation(key);
                    if self.pair(policy, step, Pair { is_label: false, key, value }, now.as_deref())? {
                        annotations.push((key.as_str(), Cow::Borrowed(value.as_str())));
                    }
                }
            }
        }
        let has_labels = pod.metadata.as_ref().is_some_and(|metadata| metadata.labels.is_some());
        if !labels.is_empty() {
            self.ensure_metadata();
        }
        self.patch.merge("/metadata/labels", has_labels, &labels);
        self.annotations.extend(annotations);
        Ok(())
    }

    /// Whether the pair is to be set.
    fn pair(&mut self, policy: &'p Policy, step: StepId, pair: Pair<'p>, now: Option<&str>) -> Result<bool, Refusal> {
        let Pair { is_label, key, value } = pair;
        let (kind, thing, subject) = if is_label {
            ("label", Thing::Label(key), Subject::Label(key))
        } else {
            ("annotation", Thing::Annotation(key), Subject::Annotation(key))
        };
        let carried = match now {
            None => Carried::Nothing,
            Some(now) if now == value => Carried::Same,
            Some(_) => Carried::Other,
        };
        let asker = Asker { policy, modifier: if is_label { "labels" } else { "annotations" } };
        let content = || Cow::Borrowed(now.unwrap_or_default());
        let existing = self.claims.standing(asker, &thing, subject, carried, content, |held| held == Some(value));
        let is_set = match existing {
            Existing::Agreed | Existing::Same | Existing::SameOfOurs | Existing::SameOfAnother => {
                self.report.came_of(step, StepOutcome::Present);
                false
            }
            Existing::OfStep(first) => {
                let first = self.report.name(first);
                self.report.tell(step, Reason::KeyOfPolicy, &[&kind, &key, &first]);
                false
            }
            Existing::OfThePod if policy.on_conflict == OnConflict::Reject => {
                return Err(self.rejection(step, Reason::KeyRejected, &[&kind, &key]));
            }
            Existing::OfThePod | Existing::OfOverride if policy.on_conflict != OnConflict::Override => {
                self.report.tell(step, Reason::KeyOfPod, &[&kind, &key]);
                return Ok(false);
            }
            // It would count one pod less, and make another, without end.
            Existing::OfThePod if is_label && self.draft.pod.controllers().next().is_some() => {
                self.report.tell(step, Reason::LabelOfController, &[&key]);
                return Ok(false);
            }
            Existing::Nothing | Existing::OfEarlierPass | Existing::OfThePod | Existing::OfOverride
                if !is_label && !self.has_room(key, value) =>
            {
                self.report.tell(step, Reason::AnnotationTooHeavy, &[&key]);
                return Ok(false);
            }
            Existing::Nothing | Existing::OfEarlierPass | Existing::OfThePod | Existing::OfOverride => {
                self.report.came_of(step, StepOutcome::Applied);
                self.annotations_weight += if is_label { 0 } else { key.len() + value.len() };
                true
            }
        };
        self.claims.record(policy, subject, value, existing);
        self.claims.hold(thing, step, Some(value.into()));
        Ok(is_set)
    }

    /// Whether the API server allows the annotations of the pod one more, or another in the place of one.
    pub(super) fn has_room(&self, key: &str, value: &str) -> bool {
        self.annotations_weight + key.len() + value.len() <= ANNOTATIONS_MAX
    }

    /// A pod template may have no metadata at all.
    fn ensure_metadata(&mut self) {
        if self.draft.pod.metadata.is_none() && !std::mem::replace(&mut self.metadata_made, true) {
            self.patch.set("/metadata", &Json::borrowed("{}"));
        }
    }

    /// Writes the annotations.
    pub(super) fn finish_metadata(&mut self, pod: &PodView<'_>) {
        let there = pod.metadata.as_ref().is_some_and(|metadata| metadata.annotations.is_some());
        let annotations = std::mem::take(&mut self.annotations);
        if !annotations.is_empty() {
            self.ensure_metadata();
        }
        let annotations: Vec<(&str, &str)> = annotations.iter().map(|(key, value)| (*key, &**value)).collect();
        self.patch.merge("/metadata/annotations", there, &annotations);
    }

    /// Adds the marker where there is something new to record.
    pub(super) fn mark(
        &mut self,
        pod: &PodView<'_>,
        marker: &Marker,
        earlier: Option<&Marker>,
        warnings: &mut Vec<Note>,
    ) {
        let carried = pod.raw_annotation(INJECTED).is_some();
        let stands = !self.is_changed() && earlier.is_some_and(|earlier| marker.confirms(earlier));
        let unasked = self.policies.is_empty() && self.original.label(INJECT) != Some("true");
        if stands || unasked && !carried {
            return;
        }
        let text = marker.to_text();
        if !self.has_room(INJECTED, &text) {
            warnings.push(Reason::MarkerTooHeavy.note(&[&INJECTED]));
            return;
        }
        self.annotations.push((INJECTED, Cow::Owned(text)));
    }
}

/// What the pod's annotations weigh beside the marker, as the API server counts: keys and values, without escapes.
pub(super) fn weight(pod: &PodView<'_>) -> usize {
    let own = || {
        let annotations = pod.metadata.iter().filter_map(|metadata| metadata.annotations.as_ref());
        annotations.flat_map(Fields::iter).filter(|(key, _)| *key != INJECTED)
    };
    let escaped: usize = own().map(|(key, value)| key.len() + value.get().len()).sum();
    if escaped < ANNOTATIONS_MAX / 2 {
        return escaped;
    }
    own().map(|(key, value)| key.len() + value.text().map_or_else(|| value.get().len(), |text| text.len())).sum()
}
