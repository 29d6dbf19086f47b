//! Tolerations: when two are the same, and when one makes another superfluous.
//!
//! Identity is (key, operator, value, effect), with the operator defaulting to `Equal`; covering is
//! what the scheduler's `ToleratesTaint` makes of it. `tolerationSeconds` takes no part in either:
//! the scheduler ignores it, and the taint-eviction controller asks the first toleration in the list
//! that matches a taint (`GetMatchingTolerations`), so one appended behind a toleration that covers
//! it is never consulted.

use std::{borrow::Cow, collections::HashMap, fmt, rc::Rc};

use k8s_openapi::api::core::v1 as core;
use serde_json::{Map, Value};

use crate::{
    json::{self, Json, Raw, Str, read_members},
    patch::Patch,
};

/// A toleration of a policy, checked by [`crate::placement::rules::tolerations`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toleration {
    key: String,
    operator: String,
    value: String,
    effect: String,
    /// As a pod carries it, without what is empty.
    json: String,
}

/// A pod's list of tolerations, as it came or as it will be.
///
/// What the pod brought is only ever kept or taken out, so copies share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Tolerations<'a> {
    /// Whether the pod has a list, be it empty.
    there: bool,
    own: Rc<[OwnToleration<'a>]>,
    /// Places of the own ones that are still there.
    kept: Vec<usize>,
    added: Vec<&'a Toleration>,
}

/// One of a pod's tolerations.
#[derive(Clone, Debug)]
pub(crate) struct OwnToleration<'a> {
    key: Cow<'a, str>,
    operator: Cow<'a, str>,
    value: Cow<'a, str>,
    effect: Cow<'a, str>,
    /// Whether the API server would know it for a toleration.
    readable: bool,
}

/// A toleration as the API server writes it.
#[derive(Default)]
struct Wire<'a> {
    key: Option<Str<'a>>,
    operator: Option<Str<'a>>,
    value: Option<Str<'a>>,
    effect: Option<Str<'a>>,
}

read_members!(Wire { "key" => key, "operator" => operator, "value" => value, "effect" => effect });

/// A toleration as it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TolerationView<'a> {
    key: &'a str,
    operator: &'a str,
    value: &'a str,
    effect: &'a str,
}

impl From<&core::Toleration> for Toleration {
    fn from(wire: &core::Toleration) -> Self {
        let mut json = Map::new();
        let fields =
            [("key", &wire.key), ("operator", &wire.operator), ("value", &wire.value), ("effect", &wire.effect)];
        for (name, text) in fields {
            if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
                json.insert(name.to_owned(), Value::from(text));
            }
        }
        if let Some(seconds) = wire.toleration_seconds {
            json.insert("tolerationSeconds".to_owned(), Value::from(seconds));
        }
        Self {
            key: wire.key.clone().unwrap_or_default(),
            operator: wire.operator.clone().unwrap_or_default(),
            value: wire.value.clone().unwrap_or_default(),
            effect: wire.effect.clone().unwrap_or_default(),
            json: Value::Object(json).to_string(),
        }
    }
}

impl Toleration {
    pub(crate) fn view(&self) -> TolerationView<'_> {
        TolerationView { key: &self.key, operator: operator(&self.operator), value: &self.value, effect: &self.effect }
    }
}

impl fmt::Display for Toleration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

impl<'a> Tolerations<'a> {
    /// The list in a pod; `None` where it is no list.
    ///
    /// An element that is no toleration is left where it is, and counts as none.
    pub(super) fn read(raw: Option<Raw<'a>>) -> Option<Self> {
        let Some(raw) = raw.filter(|raw| raw.get() != "null") else { return Some(Self::default()) };
        let own: Rc<[OwnToleration<'a>]> = match json::read::<Vec<Wire<'_>>>(raw.get()) {
            Ok(list) => list.into_iter().map(|wire| OwnToleration::new(Some(wire))).collect(),
            Err(_) => {
                let list: Vec<Raw<'_>> = json::read(raw.get()).ok()?;
                list.into_iter().map(|raw| OwnToleration::new(json::read(raw.get()).ok())).collect()
            }
        };
        Some(Self { there: true, kept: (0..own.len()).collect(), own, added: Vec::new() })
    }

    fn kept(&self) -> impl Iterator<Item = &OwnToleration<'a>> {
        self.kept.iter().filter_map(|place| self.own.get(*place))
    }

    /// What is in the list.
    pub(super) fn views(&self) -> impl Iterator<Item = TolerationView<'_>> {
        self.kept().filter_map(OwnToleration::view).chain(self.added.iter().map(|toleration| toleration.view()))
    }

    /// Adds those of `wanted` that none in the list covers. `tell` hears of each, with the one that covers it.
    pub(super) fn merge(
        &mut self,
        wanted: &'a [Toleration],
        mut tell: impl FnMut(TolerationView<'a>, Option<TolerationView<'_>>),
    ) {
        let own = Rc::clone(&self.own);
        let kept = self.kept.iter().filter_map(|place| own.get(*place)).filter_map(OwnToleration::view);
        let mut list = Covering::default();
        kept.chain(self.added.iter().map(|toleration| toleration.view())).for_each(|view| list.add(view));
        for toleration in wanted {
            let view = toleration.view();
            let found = list.find(&view);
            tell(view, found);
            if found.is_none() {
                list.add(view);
                self.added.push(toleration);
            }
        }
    }

    /// Takes out those for which `is_unwanted`, and gives them, equal ones once.
    pub(super) fn remove(
        &mut self,
        mut is_unwanted: impl FnMut(&TolerationView<'_>) -> bool,
    ) -> Vec<OwnToleration<'a>> {
        let mut removed: HashMap<TolerationView<'_>, usize> = HashMap::new();
        let own = &self.own;
        self.kept.retain(|place| {
            let Some(view) = own.get(*place).and_then(OwnToleration::view).filter(|view| is_unwanted(view)) else {
                return true;
            };
            let number = removed.len();
            removed.entry(view).or_insert(number);
            false
        });
        let mut views: Vec<(TolerationView<'_>, usize)> = removed.into_iter().collect();
        views.sort_unstable_by_key(|(_, number)| *number);
        let mut held: Vec<OwnToleration<'a>> = views.into_iter().map(|(view, _)| OwnToleration::of(&view)).collect();
        let added = self.added.extract_if(.., |toleration| is_unwanted(&toleration.view()));
        held.extend(added.map(|toleration| OwnToleration::of(&toleration.view())));
        held
    }

    /// Writes what leads to this from the list that the pod brought: removals from the end, then what is new.
    pub(super) fn write(&self, patch: &mut Patch) {
        let mut kept = self.kept.iter().copied().peekable();
        let removed: Vec<usize> = (0..self.own.len()).filter(|place| kept.next_if_eq(place).is_none()).collect();
        for place in removed.into_iter().rev() {
            patch.remove(&format!("/spec/tolerations/{place}"));
        }
        let added: Vec<Json<'_>> = self.added.iter().map(|toleration| Json::borrowed(&toleration.json)).collect();
        patch.append("/spec/tolerations", self.there, &added);
    }
}

/// Up to so many tolerations a walk is cheaper than a map.
const FEW: usize = 8;

/// Tolerations by what they cover.
#[derive(Default)]
struct Covering<'v> {
    /// In order, while they are few.
    few: Vec<TolerationView<'v>>,
    /// All of them with their places, once they are more.
    many: HashMap<TolerationView<'v>, (usize, TolerationView<'v>)>,
}

impl<'v> Covering<'v> {
    fn add(&mut self, view: TolerationView<'v>) {
        if self.many.is_empty() && self.few.len() < FEW {
            self.few.push(view);
            return;
        }
        for view in std::mem::take(&mut self.few).into_iter().chain([view]) {
            let place = self.many.len();
            self.many.entry(view.reach()).or_insert((place, view));
        }
    }

    /// The first that covers `wanted`.
    fn find(&self, wanted: &TolerationView<'_>) -> Option<TolerationView<'v>> {
        let any_key = TolerationView { key: "", operator: "Exists", value: "", effect: "" };
        let any_value = TolerationView { key: wanted.key, ..any_key };
        let reaches = [any_key, any_value, wanted.reach()];
        let effects = ["", wanted.effect];
        let covers = |own: &TolerationView<'_>| {
            let own = own.reach();
            effects.contains(&own.effect)
                && reaches.iter().any(|reach| TolerationView { effect: own.effect, ..*reach } == own)
        };
        if let Some(first) = self.few.iter().find(|own| covers(own)) {
            return Some(*first);
        }
        let covering = reaches.iter().flat_map(|reach| effects.map(|effect| TolerationView { effect, ..*reach }));
        covering.filter_map(|view| self.many.get(&view)).min_by_key(|(place, _)| *place).map(|(_, view)| *view)
    }
}

impl<'a> OwnToleration<'a> {
    fn new(wire: Option<Wire<'a>>) -> Self {
        let readable = wire.is_some();
        let wire = wire.unwrap_or_default();
        let text = |text: Option<Str<'a>>| text.map(|text| text.0).unwrap_or_default();
        Self {
            key: text(wire.key),
            operator: text(wire.operator),
            value: text(wire.value),
            effect: text(wire.effect),
            readable,
        }
    }

    /// A copy, for those who tell of it.
    fn of(view: &TolerationView<'_>) -> Self {
        let text = |text: &str| Cow::Owned(text.to_owned());
        Self {
            key: text(view.key),
            operator: text(view.operator),
            value: text(view.value),
            effect: text(view.effect),
            readable: true,
        }
    }

    pub(crate) fn view(&self) -> Option<TolerationView<'_>> {
        let view = TolerationView {
            key: &self.key,
            operator: operator(&self.operator),
            value: &self.value,
            effect: &self.effect,
        };
        self.readable.then_some(view)
    }
}

/// The same tolerations in the same order, whoever brought them.
impl PartialEq for Tolerations<'_> {
    fn eq(&self, other: &Self) -> bool {
        let all = |list: &Self| list.kept.len() + list.added.len();
        all(self) == all(other) && self.views().eq(other.views())
    }
}

impl<'v> TolerationView<'v> {
    /// What it covers: with `Exists` a value says nothing.
    fn reach(&self) -> Self {
        Self { value: if self.operator == "Exists" { "" } else { self.value }, ..*self }
    }

    /// Whether both are one toleration, seconds aside.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self == other
    }

    /// Whether some taint is tolerated by both. For the numeric operators the answer is `true`
    /// unless the rest excludes it.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let effect = self.effect.is_empty() || other.effect.is_empty() || self.effect == other.effect;
        let key = self.tolerates_every_key() || other.tolerates_every_key() || self.key == other.key;
        let both_equal = self.operator == "Equal" && other.operator == "Equal";
        effect && key && (!both_equal || self.value == other.value)
    }

    /// Whether it is one of those that the API server gives to every pod (`DefaultTolerationSeconds`).
    pub(super) fn is_filled_in(&self) -> bool {
        matches!(self.key, "node.kubernetes.io/not-ready" | "node.kubernetes.io/unreachable")
            && self.effect == "NoExecute"
    }

    fn tolerates_every_key(&self) -> bool {
        self.key.is_empty() && self.operator == "Exists"
    }
}

impl fmt::Display for TolerationView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.key.is_empty() { "any key" } else { self.key };
        match self.operator {
            "Exists" => write!(f, "{key}")?,
            "Equal" => write!(f, "{key}={}", self.value)?,
            operator => write!(f, "{key} {operator} {}", self.value)?,
        }
        if self.effect.is_empty() { f.write_str(" (any effect)") } else { write!(f, ":{}", self.effect) }
    }
}

fn operator(text: &str) -> &str {
    if text.is_empty() { "Equal" } else { text }
}

#[cfg(test)]
mod tests;
