//! What a pod itself says to Stowage, in annotations or labels under `stowage.dev/`.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashSet},
};

use crate::{
    inject::report::Refusal,
    json::Fields,
    labels::Labels,
    placement::preemption::Mode,
    pod::PodView,
    policy::{Policy, schema::nearest, spec::AutoMountType},
    reason::{Note, Reason},
    threshold::{
        State,
        words::{EXECUTING_KEY, REAP, STATE_THRESHOLDS},
    },
};

/// `"false"`: no injection; `"true"` is a label that selectors may ask for.
pub const INJECT: &str = "stowage.dev/inject";
/// An auto-mount type; `none` is MLRun's `disable_auto_mount`.
pub const AUTO_MOUNT: &str = "stowage.dev/auto-mount";
/// A preemption mode.
pub const PREEMPTION_MODE: &str = "stowage.dev/preemption-mode";
/// Polyaxon's `environment.persistence.data`.
pub const DATA: &str = "stowage.dev/data";
/// Polyaxon's `environment.persistence.outputs`.
pub const OUTPUTS: &str = "stowage.dev/outputs";
/// Containers that are left alone.
pub const EXCLUDE_CONTAINERS: &str = "stowage.dev/exclude-containers";
/// Stowage's own record.
pub const INJECTED: &str = "stowage.dev/injected";

const PREFIX: &str = "stowage.dev/";
const KNOWN: [&str; 9] =
    [INJECT, AUTO_MOUNT, PREEMPTION_MODE, DATA, OUTPUTS, EXCLUDE_CONTAINERS, STATE_THRESHOLDS, REAP, INJECTED];

/// Warnings of one kind; the webhook is called before anybody has counted a pod's annotations, and the client is shown
/// ten.
const WARNED: usize = 16;
/// Longest key that is looked at; the API server refuses a name of more than 63 characters behind the prefix.
const LONGEST_KEY: usize = PREFIX.len() + 63;
/// Longest label value that the API server accepts, in bytes.
const LABEL_VALUE: usize = 63;

const TYPES: &str = "none, auto, v3io_credentials, v3io_fuse, pvc, s3, env, secret_env";

const AUTO_MOUNT_TYPES: [AutoMountType; 8] = [
    AutoMountType::None,
    AutoMountType::Auto,
    AutoMountType::V3ioCredentials,
    AutoMountType::V3ioFuse,
    AutoMountType::Pvc,
    AutoMountType::S3,
    AutoMountType::Env,
    AutoMountType::SecretEnv,
];

/// What the pod says, where a matched policy has the block that it speaks of.
#[derive(Clone, Debug, Default)]
pub struct Controls<'a> {
    /// The auto-mount type it asks for.
    pub auto_mount: Option<AutoMountType>,
    /// The preemption mode it asks for.
    pub preemption_mode: Option<Mode>,
    /// The data entries it asks for.
    pub data: Option<ControlWord<'a>>,
    /// The outputs entry it asks for.
    pub outputs: Option<ControlWord<'a>>,
    exclude: HashSet<String>,
}

/// A value, and whether a label carries it. Labels hold no commas, so their lists are joined by `_`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ControlWord<'a> {
    /// The value.
    pub text: Cow<'a, str>,
    /// Whether a label carries it.
    pub label: bool,
}

/// The value of a key: the annotation, else the label.
pub fn word<'a>(pod: &'a PodView<'a>, labels: &'a dyn Labels, key: &str) -> Option<ControlWord<'a>> {
    match pod.annotation(key) {
        Some(text) => Some(ControlWord { text, label: false }),
        None => labels.label(key).map(|text| ControlWord { text: Cow::Borrowed(text), label: true }),
    }
}

/// Whether the pod wants no injection.
pub fn opts_out(pod: &PodView<'_>, labels: &dyn Labels) -> bool {
    match pod.annotation(INJECT) {
        Some(text) => text == "false",
        None => labels.label(INJECT) == Some("false"),
    }
}

/// Whether the pod says anything to Stowage, its record aside.
#[must_use]
pub fn has_controls(pod: &PodView<'_>) -> bool {
    let annotations = pod.metadata.iter().filter_map(|metadata| metadata.annotations.as_ref());
    let mut keys = annotations.flat_map(Fields::iter).map(|(key, _)| key);
    let is_ours = |key: &str| key.starts_with(PREFIX) && key != INJECTED;
    keys.any(is_ours) || pod.labels().any(|(key, _)| is_ours(key))
}

impl<'a> Controls<'a> {
    /// Reads what the pod says to these policies; what it says to none of them is a warning.
    ///
    /// # Errors
    ///
    /// A value that is not allowed, under a key that a policy acts on.
    pub fn read(
        pod: &'a PodView<'a>,
        labels: &'a dyn Labels,
        policies: &[&Policy],
        warnings: &mut Vec<Note>,
    ) -> Result<Self, Refusal> {
        let mut controls = Self::default();
        let mut reader = Reader { pod, labels, warnings };
        let first = |has: fn(&Policy) -> bool| policies.iter().copied().find(|policy| has(policy));
        reader.value(INJECT, policies.first().copied(), "true, false", |text| {
            matches!(text, "true" | "false").then_some(())
        })?;
        let asks = first(|policy| policy.auto_mount.is_some());
        controls.auto_mount = reader.value(AUTO_MOUNT, asks, TYPES, |text| {
            AUTO_MOUNT_TYPES.into_iter().find(|kind| auto_mount_word(*kind) == text)
        })?;
        let asks = first(|policy| policy.preemption.is_some());
        let modes = "allow, constrain, prevent, prefer, none";
        controls.preemption_mode = reader.value(PREEMPTION_MODE, asks, modes, |text| text.parse().ok())?;
        let catalogue = first(|policy| policy.persistence.is_some());
        controls.data = reader.word(DATA, catalogue);
        controls.outputs = reader.word(OUTPUTS, catalogue);
        if let Some(word) = word(pod, labels, EXCLUDE_CONTAINERS) {
            controls.exclude = reader.containers(&word);
        }
        reader.unknown_keys();
        Ok(controls)
    }

    /// Whether the pod wants the container `name` left alone.
    #[must_use]
    pub fn excludes(&self, name: &str) -> bool {
        !self.exclude.is_empty() && self.exclude.contains(name)
    }
}

impl ControlWord<'_> {
    /// The names of a list, each once: by comma, in a label by `_`. A name that itself holds `_` is found among `known`.
    #[must_use]
    pub fn names(&self, known: &[&str]) -> Vec<String> {
        if !self.label {
            let mut seen = HashSet::new();
            let names = self.text.split(',').map(str::trim).filter(|name| !name.is_empty() && seen.insert(*name));
            return names.map(str::to_owned).collect();
        }
        let mut names = Vec::new();
        // The pod is refused for a longer one, so nothing hangs on how it is split.
        let known = if self.text.len() > LABEL_VALUE { &[] } else { known };
        let mut rest = &*self.text;
        while !rest.is_empty() {
            let whole = known.iter().filter(|name| {
                rest.strip_prefix(**name).is_some_and(|after| after.is_empty() || after.starts_with('_'))
            });
            let name = whole.max_by_key(|name| name.len()).copied();
            let name = name.unwrap_or_else(|| rest.split('_').next().unwrap_or(rest));
            names.push(name.to_owned());
            rest = rest.get(name.len()..).unwrap_or_default().trim_start_matches('_');
        }
        names.retain(|name| !name.is_empty());
        names
    }
}

struct Reader<'r, 'a> {
    pod: &'a PodView<'a>,
    labels: &'a dyn Labels,
    warnings: &'r mut Vec<Note>,
}

impl<'a> Reader<'_, 'a> {
    /// The value of `key`, parsed. Wrong is refused where a policy acts on the key, and a warning elsewhere.
    fn value<T>(
        &mut self,
        key: &str,
        acted_on: Option<&Policy>,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(word) = word(self.pod, self.labels, key) else { return Ok(None) };
        match parse(&word.text) {
            Some(value) if acted_on.is_some() => Ok(Some(value)),
            Some(_) => {
                self.warn_not_acted_on(key, &word.text);
                Ok(None)
            }
            None => {
                let text: String = word.text.chars().take(64).collect();
                let text = format!("{text:?}");
                let words: [&dyn std::fmt::Display; 3] = [&key, &text, &allowed];
                if acted_on.is_some() {
                    return Err(Refusal::of_control(acted_on, key, Reason::ControlNotAllowed, &words));
                }
                self.warnings.push(Reason::ControlIgnored.note(&words));
                Ok(None)
            }
        }
    }

    fn word(&mut self, key: &str, acted_on: Option<&Policy>) -> Option<ControlWord<'a>> {
        let word = word(self.pod, self.labels, key)?;
        if acted_on.is_none() {
            self.warn_not_acted_on(key, &word.text);
        }
        Some(word).filter(|_| acted_on.is_some())
    }

    /// Who asks for nothing gets it, whoever acts on the key.
    fn warn_not_acted_on(&mut self, key: &str, value: &str) {
        if key == INJECT || value == "none" {
            return;
        }
        self.warnings.push(Reason::ControlWithoutPolicy.note(&[&key]));
    }

    fn containers(&mut self, word: &ControlWord<'_>) -> HashSet<String> {
        let pod = self.pod;
        let known: HashSet<&str> =
            pod.containers().filter_map(|(.., view)| Some(view.name.as_ref()?.as_str())).collect();
        let (mut excluded, mut unknown) = (HashSet::new(), BTreeSet::new());
        let mut take = |name: &str| match known.contains(name) {
            true => drop(excluded.insert(name.to_owned())),
            false if unknown.len() < WARNED => drop(unknown.insert(name.chars().take(64).collect::<String>())),
            false => {}
        };
        if word.label && word.text.len() <= LABEL_VALUE {
            let known: Vec<&str> = known.iter().copied().collect();
            word.names(&known).iter().for_each(|name| take(name));
        } else {
            // A list may be long, and most of it names nothing.
            let separator = if word.label { '_' } else { ',' };
            word.text.split(separator).map(str::trim).filter(|name| !name.is_empty()).for_each(take);
        }
        for name in unknown {
            let name = format!("{name:?}");
            self.warnings.push(Reason::UnknownContainer.note(&[&EXCLUDE_CONTAINERS, &name]));
        }
        excluded
    }

    fn unknown_keys(&mut self) {
        let known = || KNOWN.into_iter().chain(State::ALL.map(State::pod_key)).chain([EXECUTING_KEY]);
        let mut looked: BTreeSet<&str> = BTreeSet::new();
        let mut warned: Vec<Note> = Vec::new();
        let mut check = |key: &'a str| {
            // Finding the nearest of the known keys costs more than all else that is done for a key.
            let is_looked_at = key.starts_with(PREFIX) && key.len() <= LONGEST_KEY && looked.len() < WARNED;
            if is_looked_at && !known().any(|known| known == key) && looked.insert(key) {
                let hint = nearest(key, known());
                let hint = hint.map_or_else(String::new, |known| format!("; did you mean {known}?"));
                warned.push(Reason::UnknownControl.note(&[&key, &hint]));
            }
        };
        self.labels.each(&mut |key, _| check(key));
        let metadata = self.pod.metadata.iter().filter_map(|metadata| metadata.annotations.as_ref());
        metadata.flat_map(Fields::iter).for_each(|(key, _)| check(key));
        self.warnings.extend(warned);
    }
}

const fn auto_mount_word(kind: AutoMountType) -> &'static str {
    crate::policy::compile::auto_mount::word(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_annotations_by_comma_and_labels_by_underscore() {
        let list = |text: &'static str, label| {
            ControlWord { text: text.into(), label }.names(&["data1", "my_data", "data-foo"])
        };
        assert_eq!(list("data1, data-foo,data1", false), ["data1", "data-foo"]);
        assert_eq!(list("data1_data-foo", true), ["data1", "data-foo"]);
        assert_eq!(list("data1_my_data", true), ["data1", "my_data"]);
        assert_eq!(list("nope_data1", true), ["nope", "data1"]);
    }
}
