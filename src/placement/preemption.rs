//! Preemption: which nodes a pod may land on, spot or not.
//!
//! A mode is a promise about a set of nodes. With U the nodes that the pod's own constraints allow
//! and a node preemptible when it carries any of the configured labels:
//!
//! | mode | nodes |
//! |---|---|
//! | `none` | U, and the pod is not touched |
//! | `allow` | U with the preemptible taints tolerated |
//! | `constrain` | U and preemptible, with the taints tolerated |
//! | `prefer` | as `allow`, with a preferred term of weight 100 for preemptible nodes |
//! | `prevent` | U without the pod's wish for preemptible nodes, minus preemptible |
//!
//! The requirement is conjoined to the pod's own required node affinity, where MLRun replaces it.
//! [`apply`] is called once per pod, after everything else that touches placement, and applying it
//! to its own result changes nothing.

mod prevent;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

pub use self::prevent::take_back;
use crate::{
    field_error::{FieldError, Problems},
    json::Json,
    placement::{
        Placement, Toleration,
        affinity::{TooManyTerms, WantedRequirement},
        rules,
    },
    reason::{Note, Reason},
};
use k8s_openapi::api::core::v1 as core;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most that a preferred term can weigh.
const HEAVIEST: i32 = 100;

/// The nodes that a pod may land on, in MLRun's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Preemptible nodes are tolerated; nothing of the pod's is removed.
    Allow,
    /// Only preemptible nodes.
    Constrain,
    /// Preemptible nodes are tolerated and preferred.
    Prefer,
    /// No preemptible node, and the pod's wish for one is taken back.
    #[default]
    Prevent,
    /// The pod is not touched.
    None,
}

/// A preemption mode that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("preemption mode {0:?} is not known; allowed are allow, constrain, prevent, prefer and none")]
pub struct UnknownMode(String);

/// The pod asks for a mode that the policy cannot keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "preemption mode \"constrain\" needs labels of preemptible nodes, and the policy has tolerations only; allowed are allow, prevent, prefer and none"
)]
pub struct ConstrainWithoutLabels;

/// `spec.preemption` of a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreemptionSpec {
    /// What pods may do about preemptible nodes.
    #[serde(default)]
    pub mode: Mode,
    /// Labels that preemptible nodes carry; a node with any one of them is preemptible.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,
    /// Tolerations of the taints that preemptible nodes carry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<core::Toleration>,
    /// Whether a pod may ask for another mode with `stowage.dev/preemption-mode`.
    #[serde(default = "yes")]
    pub overridable: bool,
}

/// Checked preemption settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preemption {
    mode: Mode,
    node_selector: Vec<(String, String)>,
    tolerations: Vec<Toleration>,
    overridable: bool,
}

impl Mode {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Constrain => "constrain",
            Self::Prefer => "prefer",
            Self::Prevent => "prevent",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        [Self::Allow, Self::Constrain, Self::Prefer, Self::Prevent, Self::None]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| UnknownMode(text.chars().take(64).collect()))
    }
}

impl Default for PreemptionSpec {
    fn default() -> Self {
        Self { mode: Mode::default(), node_selector: BTreeMap::new(), tolerations: Vec::new(), overridable: true }
    }
}

impl Preemption {
    /// Checks the settings of a policy.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its path below `preemption`. `constrain` with tolerations
    /// but without labels is refused at `nodeSelector`: there would be no set of nodes to keep to.
    pub fn compile(spec: &PreemptionSpec) -> Result<Self, Problems> {
        let mut problems = rules::node_selector("nodeSelector", &spec.node_selector);
        problems.extend(rules::tolerations("tolerations", &spec.tolerations));
        let unlabelled = spec.node_selector.is_empty() && !spec.tolerations.is_empty();
        if spec.mode == Mode::Constrain && unlabelled {
            let why = "mode \"constrain\" needs at least one label of preemptible nodes";
            problems.push(FieldError::new("nodeSelector", why));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let pairs = spec.node_selector.iter();
        Ok(Self {
            mode: spec.mode,
            node_selector: pairs.map(|(key, value)| (key.clone(), value.clone())).collect(),
            tolerations: spec.tolerations.iter().map(Toleration::from).collect(),
            overridable: spec.overridable,
        })
    }

    /// The policy's own mode.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether a pod may ask for another mode.
    #[must_use]
    pub fn is_overridable(&self) -> bool {
        self.overridable
    }

    /// Whether neither labels nor tolerations are configured, so that every mode leaves pods alone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.node_selector.is_empty() && self.tolerations.is_empty()
    }

    /// The mode for a pod that asks for `asked`, and a warning where its word does not count.
    ///
    /// # Errors
    ///
    /// The pod may choose, and chooses `constrain` where the policy knows no labels: the pod would
    /// land anywhere, so it is refused instead.
    pub fn resolve(&self, asked: Option<Mode>) -> Result<(Mode, Option<Note>), ConstrainWithoutLabels> {
        match asked {
            None => Ok((self.mode, None)),
            Some(asked) if asked == self.mode => Ok((asked, None)),
            Some(asked) if !self.overridable => {
                Ok((self.mode, Some(Reason::PreemptionModeIgnored.note(&[&asked, &self.mode]))))
            }
            Some(Mode::Constrain) if self.lacks_labels() => Err(ConstrainWithoutLabels),
            Some(asked) => Ok((asked, None)),
        }
    }

    fn lacks_labels(&self) -> bool {
        self.node_selector.is_empty() && !self.tolerations.is_empty()
    }

    /// A requirement on each label of preemptible nodes, in the order of their keys.
    fn labels<'a>(&'a self, operator: &'a str) -> impl Iterator<Item = WantedRequirement<'a>> {
        self.node_selector.iter().map(move |(key, value)| WantedRequirement::label(key, operator, value))
    }

    /// A preferred term for each label of preemptible nodes.
    fn preferred<'a>(&'a self) -> impl Iterator<Item = Json<'a>> {
        let term = |label: WantedRequirement<'_>| {
            let term = format!(r#"{{"matchExpressions":[{}]}}"#, label.json());
            Json::made(format!(r#"{{"preference":{term},"weight":{HEAVIEST}}}"#))
        };
        self.labels("In").map(term)
    }

    fn has_key(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    fn has_pair(&self, key: &str, value: &str) -> bool {
        self.value(key) == Some(value)
    }

    fn value(&self, key: &str) -> Option<&str> {
        // In the order of a map's keys.
        let found = self.node_selector.binary_search_by(|(own, _)| own.as_str().cmp(key));
        found.ok().and_then(|place| self.node_selector.get(place)).map(|(_, value)| value.as_str())
    }
}

/// Brings a pod's placement into the mode's set of nodes, and says what was done and what the user
/// should know.
///
/// `mode` is what [`Preemption::resolve`] gave.
///
/// # Errors
///
/// [`TooManyTerms`], with the terms unchanged, where the pod's required node terms times the
/// labels of `constrain` pass the limit.
pub fn apply<'a>(
    preemption: &'a Preemption,
    mode: Mode,
    placement: &mut Placement<'a>,
) -> Result<Vec<Note>, TooManyTerms> {
    let mut notes = take_back(preemption, mode, placement, &[]);
    notes.extend(finish(preemption, mode, placement)?);
    Ok(notes)
}

/// The second half of [`apply`], after policies have merged their own placement into what [`take_back`] left.
///
/// # Errors
///
/// As [`apply`].
pub fn finish<'a>(
    preemption: &'a Preemption,
    mode: Mode,
    placement: &mut Placement<'a>,
) -> Result<Vec<Note>, TooManyTerms> {
    if preemption.is_empty() {
        return Ok(Vec::new());
    }
    let mut notes = match mode {
        Mode::None => return Ok(Vec::new()),
        Mode::Allow => return Ok(tolerate(preemption, mode, placement)),
        Mode::Prefer => {
            let mut notes = placement.affinity_mut().prefer(preemption.preferred());
            notes.extend(tolerate(preemption, mode, placement));
            return Ok(notes);
        }
        Mode::Constrain => constrain(preemption, placement)?,
        Mode::Prevent => prevent::prevent(preemption, placement)?,
    };
    if placement.is_contradictory() {
        notes.push(Reason::NoNodeLeft.note(&[&mode]));
    }
    Ok(notes)
}

fn tolerate<'a>(preemption: &'a Preemption, mode: Mode, placement: &mut Placement<'a>) -> Vec<Note> {
    placement.merge_tolerations_for(&preemption.tolerations, &in_mode(mode))
}

fn constrain<'a>(preemption: &'a Preemption, placement: &mut Placement<'a>) -> Result<Vec<Note>, TooManyTerms> {
    if preemption.lacks_labels() {
        return Ok(vec![Reason::ConstrainWithoutLabels.note(&[&ConstrainWithoutLabels])]);
    }
    // A preemptible node matches at least one.
    let terms: Vec<_> = preemption.labels("In").map(|label| vec![label]).collect();
    let changed = placement.affinity_mut().conjoin(&terms)?;
    let mut notes = Vec::new();
    if changed > 0 {
        let labels = listed(preemption.node_selector.iter().map(|(key, value)| format!("{key}={value}")));
        let labels = format!("one of {labels}");
        notes.push(Reason::NodeAffinityRequired.note(&[&changed, &labels, &in_mode(Mode::Constrain)]));
    }
    notes.extend(tolerate(preemption, Mode::Constrain, placement));
    Ok(notes)
}

/// The words behind what is done for a mode.
fn in_mode(mode: Mode) -> String {
    format!(" (preemption mode {mode})")
}

fn distinct(items: impl Iterator<Item = String>) -> BTreeSet<String> {
    items.collect()
}

fn listed(items: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 4;
    let items: Vec<String> = items.collect();
    let shown: Vec<&str> = items.iter().take(SHOWN).map(String::as_str).collect();
    let shown = shown.join(", ");
    match items.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn yes() -> bool {
    true
}
