//! What a pod itself says to the watcher: its thresholds, and whether it wants to be left alone.
//!
//! Read here by the webhook and by the watcher, so that what one takes the other does not warn of.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::duration::{self, Threshold};
use crate::json::Str;
use crate::threshold::{PerState, State};

/// The annotation that holds thresholds in MLRun's words, as JSON.
pub const STATE_THRESHOLDS: &str = "stowage.dev/state-thresholds";

/// MLRun's name of the running state has a key too.
pub const EXECUTING_KEY: &str = "stowage.dev/executing-threshold";

/// `"false"`: the watcher only reports the pod.
pub const REAP: &str = "stowage.dev/reap";

/// So many names that are no states are told of; nobody has validated the annotation yet, and it may hold thousands.
const UNKNOWN_STATES: usize = 16;

/// The pod's own words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodWords {
    /// By state; `None` for a wrong word, which counts as said, so that nothing but the policy decides in its place.
    said: PerState<Option<Threshold>>,
    /// Whether the pod says anything of thresholds, right or wrong.
    pub says_thresholds: bool,
    /// Whether it asks to be left alone.
    pub asks_to_be_spared: bool,
    /// What cannot be read, and what then holds. Names keys and time strings only.
    pub warnings: Vec<String>,
}

impl PodWords {
    /// Reads the words. `word` is the value of a key, the annotation before the label; `json` is the annotation
    /// [`STATE_THRESHOLDS`].
    pub fn read<'p>(word: impl Fn(&str) -> Option<Cow<'p, str>>, json: Option<&str>) -> Self {
        let mut words = Self::default();
        if let Some(json) = json {
            words.says_thresholds = true;
            words.read_json(json);
        }
        let keys = State::ALL.into_iter().map(|state| (state, state.pod_key()));
        // Before the canonical names: of two keys of one state `running-threshold` wins.
        for (state, key) in std::iter::once((State::Running, EXECUTING_KEY)).chain(keys) {
            let Some(text) = word(key) else { continue };
            words.says_thresholds = true;
            let threshold = duration::parse(&text);
            if let Err(error) = &threshold {
                words.warnings.push(format!("{key}: {error}; the policy's threshold stands"));
            }
            words.said.set(state, threshold.ok());
        }
        match word(REAP).as_deref() {
            None | Some("true") => {}
            Some("false") => words.asks_to_be_spared = true,
            Some(other) => {
                let other: String = other.chars().take(64).collect();
                words.warnings.push(format!("{REAP}: {other:?} is neither true nor false; it is left out"));
            }
        }
        words
    }

    /// The thresholds that can be read, by state.
    pub fn thresholds(&self) -> impl Iterator<Item = (State, Threshold)> {
        self.said.iter().filter_map(|(state, threshold)| Some((state, (*threshold)?)))
    }

    fn read_json(&mut self, json: &str) {
        let Ok(said) = serde_json::from_str::<SaidInJson>(json) else {
            self.warnings.push(format!(
                "{STATE_THRESHOLDS}: not a JSON object such as {{\"running\": \"90m\"}}; the policy's thresholds stand"
            ));
            return;
        };
        for (key, value) in &said.0 {
            let Some(state) = State::from_name(key) else {
                let names = State::ALL.map(State::name).join(", ");
                let key: String = key.chars().take(40).collect();
                self.warnings.push(format!("{STATE_THRESHOLDS}: `{key}` is not a state; the states are {names}"));
                continue;
            };
            let threshold = json_threshold(value);
            let refused = match &threshold {
                Ok(new) if self.said.own(state).is_some_and(|before| *before != Some(*new)) => {
                    Some("`running` and `executing` are two names of one state and differ".to_owned())
                }
                Ok(_) => None,
                Err(error) => Some(error.clone()),
            };
            if let Some(error) = &refused {
                let name = state.name();
                self.warnings.push(format!("{STATE_THRESHOLDS}: {name}: {error}; the policy's threshold stands"));
            }
            self.said.set(state, threshold.ok().filter(|_| refused.is_none()));
        }
    }
}

/// What the annotation says, by name: of what is no state the first names alone, in their order.
struct SaidInJson(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for SaidInJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SaidVisitor)
    }
}

struct SaidVisitor;

impl<'de> Visitor<'de> for SaidVisitor {
    type Value = SaidInJson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut said, mut unknown) = (BTreeMap::new(), BTreeMap::new());
        while let Some(key) = map.next_key::<Str<'de>>()? {
            if State::from_name(key.as_str()).is_some() {
                said.insert(key.0.into_owned(), map.next_value()?);
                continue;
            }
            map.next_value::<IgnoredAny>()?;
            let is_full = unknown.len() == UNKNOWN_STATES;
            if is_full && unknown.last_key_value().is_some_and(|(last, _): (&String, _)| **last <= *key.as_str()) {
                continue;
            }
            unknown.insert(key.0.into_owned(), Value::Null);
            if unknown.len() > UNKNOWN_STATES {
                unknown.pop_last();
            }
        }
        said.append(&mut unknown);
        Ok(SaidInJson(said))
    }
}

fn json_threshold(value: &Value) -> Result<Threshold, String> {
    match value {
        Value::String(text) => duration::parse(text).map_err(|error| error.to_string()),
        Value::Number(number) if number.as_i64() == Some(-1) => Ok(Threshold::Never),
        _ => Err("neither a time string such as `90m` nor -1".to_owned()),
    }
}
