//! Labels, annotations and the marker.

use std::{borrow::Cow, collections::BTreeMap};

use crate::{
    inject::{
        Pass,
        controls::{INJECT, INJECTED},
        marker::Marker,
        report::{Outcome, Refusal},
    },
    json::{Fields, Json},
    labels::Labels,
    pod::PodView,
    policy::{Policy, spec::OnConflict},
};

/// What the API server allows the annotations of an object to weigh (`apimachinery/pkg/api/validation`), in bytes.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// What becomes of one key.
enum Fate {
    Set,
    Present,
    Leave,
}

/// What policies want of the pod's labels, or of its annotations.
#[derive(Default)]
struct Wanted<'p> {
    /// What is to be set.
    set: Vec<(&'p str, &'p str)>,
    /// Keys that are as a policy wants them, set now or there already: they are that policy's.
    held: Vec<(&'p str, &'p str)>,
}

impl<'p> Wanted<'p> {
    fn add(&mut self, key: &'p str, value: &'p str, fate: Fate) {
        match fate {
            Fate::Set => {
                self.set.push((key, value));
                self.held.push((key, value));
            }
            Fate::Present => self.held.push((key, value)),
            Fate::Leave => {}
        }
    }
}

impl<'a, 'p: 'a> Pass<'a, 'p> {
    /// Labels and annotations of every policy. `ours` is what an earlier pass recorded of labels, and gains what is set now.
    pub(super) fn metadata(&mut self, ours: &mut BTreeMap<String, Option<String>>) -> Result<(), Refusal> {
        let pod = self.draft.pod;
        let (mut labels, mut annotations) = (Wanted::default(), Wanted::default());
        for policy in self.policies {
            if !policy.labels.is_empty() {
                let step = self.report.begin(policy, "labels");
                for (key, value) in &policy.labels {
                    let now = pod.label(key);
                    let recorded = ours.contains_key(key);
                    let fate = self.key(policy, step, ("label", key, value), now, recorded, &labels)?;
                    if let Fate::Set = fate {
                        ours.insert(key.clone(), now.map(str::to_owned));
                    }
                    labels.add(key, value, fate);
                }
            }
            if !policy.annotations.is_empty() {
                let step = self.report.begin(policy, "annotations");
                for (key, value) in &policy.annotations {
                    let now = pod.annotation(key);
                    let fate =
                        self.key(policy, step, ("annotation", key, value), now.as_deref(), false, &annotations)?;
                    annotations.add(key, value, fate);
                }
            }
        }
        let metadata = pod.metadata.as_ref();
        let there = metadata.is_some_and(|metadata| metadata.labels.is_some());
        if !labels.set.is_empty() {
            self.ensure_metadata();
        }
        self.patch.merge("/metadata/labels", there, &labels.set);
        let annotations = annotations.set.into_iter().map(|(key, value)| (key, Cow::Borrowed(value)));
        self.annotations.extend(annotations);
        Ok(())
    }

    fn key(
        &mut self,
        policy: &Policy,
        step: usize,
        (what, key, value): (&str, &str, &str),
        now: Option<&str>,
        recorded: bool,
        wanted: &Wanted<'_>,
    ) -> Result<Fate, Refusal> {
        if let Some((_, first)) = wanted.held.iter().find(|(other, _)| *other == key) {
            if *first != value {
                self.report.warn(step, format!("{what} {key} left alone: an earlier policy sets it"));
                return Ok(Fate::Leave);
            }
            self.report.came_of(step, Outcome::Present);
            return Ok(Fate::Present);
        }
        match now {
            None => {}
            Some(now) if now == value => {
                self.report.came_of(step, Outcome::Present);
                return Ok(Fate::Present);
            }
            Some(_) => match policy.on_conflict {
                OnConflict::Override => {}
                OnConflict::Keep => {
                    let whose = if recorded { "an earlier policy sets it" } else { "the pod sets it" };
                    self.report.warn(step, format!("{what} {key} left alone: {whose}"));
                    return Ok(Fate::Leave);
                }
                OnConflict::Reject => return Err(self.rejection(step, &format!("the pod sets the {what} {key}"))),
            },
        }
        self.report.came_of(step, Outcome::Applied);
        Ok(Fate::Set)
    }

    /// A pod template may have no metadata at all.
    fn ensure_metadata(&mut self) {
        if self.draft.pod.metadata.is_none() && !std::mem::replace(&mut self.metadata_made, true) {
            self.patch.set("/metadata", &Json::text("{}".into()));
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
        warnings: &mut Vec<String>,
    ) {
        let carried = pod.raw_annotation(INJECTED).is_some();
        let stands = !self.is_changed() && earlier.is_some_and(|earlier| marker.confirms(earlier));
        let unasked = self.policies.is_empty() && self.before.label(INJECT) != Some("true");
        if stands || unasked && !carried {
            return;
        }
        let text = marker.to_text();
        let ours = self.annotations.iter().map(|(key, value)| key.len() + value.len());
        if weight(pod) + ours.sum::<usize>() + INJECTED.len() + text.len() > ANNOTATIONS_LIMIT {
            warnings.push(format!("stowage: {INJECTED} is left out: the pod's annotations would pass 256 KiB"));
            return;
        }
        self.annotations.push((INJECTED, Cow::Owned(text)));
    }
}

/// What the pod's annotations weigh beside the marker, as the API server counts: keys and values, without escapes.
fn weight(pod: &PodView<'_>) -> usize {
    let own = || {
        let annotations = pod.metadata.iter().filter_map(|metadata| metadata.annotations.as_ref());
        annotations.flat_map(Fields::iter).filter(|(key, _)| *key != INJECTED)
    };
    let escaped: usize = own().map(|(key, value)| key.len() + value.get().len()).sum();
    if escaped < ANNOTATIONS_LIMIT / 2 {
        return escaped;
    }
    own().map(|(key, value)| key.len() + value.text().map_or_else(|| value.get().len(), |text| text.len())).sum()
}
