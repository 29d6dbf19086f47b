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
//! | `prevent` | U without the pod's wish for preemptible nodes, minus preemptible |
//!
//! The requirement is conjoined to the pod's own required node affinity, where MLRun replaces it.
//! [`apply`] is called once per pod, after everything else that touches placement, and applying it
//! to its own result changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use k8s_openapi::api::core::v1 as core;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    field_error::{FieldError, Problems},
    placement::{
        Placement, Toleration,
        affinity::{self, TooManyTerms},
        rules, toleration,
    },
    reason::Note,
};

/// The nodes that a pod may land on, in MLRun's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Preemptible nodes are tolerated; nothing of the pod's is removed.
    Allow,
    /// Only preemptible nodes.
    Constrain,
    /// No preemptible node, and the pod's wish for one is taken back.
    #[default]
    Prevent,
    /// The pod is not touched.
    None,
}

/// A preemption mode that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("preemption mode {0:?} is not known; allowed are allow, constrain, prevent and none")]
pub struct UnknownMode(String);

/// The pod asks for a mode that the policy cannot keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "preemption mode \"constrain\" needs labels of preemptible nodes, and the policy has tolerations only; allowed are allow, prevent and none"
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
        [Self::Allow, Self::Constrain, Self::Prevent, Self::None]
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
            Some(asked) if !self.overridable => Ok((
                self.mode,
                Some(Note::warning(format!(
                    "preemption mode {asked} is ignored: the policy sets {} and does not allow another",
                    self.mode
                ))),
            )),
            Some(Mode::Constrain) if self.lacks_labels() => Err(ConstrainWithoutLabels),
            Some(asked) => Ok((asked, None)),
        }
    }

    fn lacks_labels(&self) -> bool {
        self.node_selector.is_empty() && !self.tolerations.is_empty()
    }

    /// The terms of which a preemptible node matches at least one.
    fn preemptible_terms(&self) -> Vec<Value> {
        let pairs = self.node_selector.iter();
        pairs.map(|(key, value)| affinity::label_term(key, "In", value)).collect()
    }

    fn has_pair(&self, key: &str, value: &str) -> bool {
        // In the order of a map's keys.
        let found = self.node_selector.binary_search_by(|(own, _)| own.as_str().cmp(key));
        found.ok().and_then(|place| self.node_selector.get(place)).is_some_and(|(_, own)| own == value)
    }
}

/// Brings a pod's placement into the mode's set of nodes, and says what was done and what the user
/// should know.
///
/// `mode` is what [`Preemption::resolve`] gave.
///
/// # Errors
///
/// [`TooManyTerms`], with the placement unchanged, where the pod's required node terms times the
/// labels of `constrain` pass the limit.
pub fn apply<'a>(
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
        Mode::Constrain => constrain(preemption, placement)?,
        Mode::Prevent => prevent(preemption, placement),
    };
    if placement.is_contradictory() {
        notes.push(Note::warning(format!(
            "no node can match: the pod's own node selector and required node affinity leave none for preemption mode {mode}"
        )));
    }
    Ok(notes)
}

fn tolerate<'a>(preemption: &'a Preemption, mode: Mode, placement: &mut Placement<'a>) -> Vec<Note> {
    let notes = placement.merge_tolerations(&preemption.tolerations);
    notes.into_iter().map(|note| for_mode(note, mode)).collect()
}

fn constrain<'a>(preemption: &'a Preemption, placement: &mut Placement<'a>) -> Result<Vec<Note>, TooManyTerms> {
    if preemption.lacks_labels() {
        return Ok(vec![Note::warning(format!("placement is left as it is: {ConstrainWithoutLabels}"))]);
    }
    let terms = preemption.preemptible_terms();
    let changed = affinity::conjoin(placement.affinity_mut(), &terms)?;
    let mut notes = Vec::new();
    if changed > 0 {
        let labels = listed(preemption.node_selector.iter().map(|(key, value)| format!("{key}={value}")));
        notes.push(Note::info(format!(
            "required node affinity: {changed} term(s) ask for one of {labels} (preemption mode constrain)"
        )));
    }
    notes.extend(tolerate(preemption, Mode::Constrain, placement));
    Ok(notes)
}

/// Takes back what the pod itself says for preemptible nodes, where `mode` does: its tolerations of their taints and its
/// `nodeSelector` pairs of their labels. Says what was taken.
///
/// [`apply`] does so too. Before anything is merged it makes room: a policy's pair under the same key, or a toleration
/// that the pod's covers, would be left out now and added by the next pass, which no longer finds the pod's.
pub fn take_back(preemption: &Preemption, mode: Mode, placement: &mut Placement<'_>) -> Vec<Note> {
    if mode != Mode::Prevent {
        return Vec::new();
    }
    strip(preemption, placement).into_iter().map(|note| for_mode(note, mode)).collect()
}

fn strip(preemption: &Preemption, placement: &mut Placement<'_>) -> Vec<Note> {
    let mut notes = Vec::new();
    let configured: HashSet<toleration::View<'_>> = preemption.tolerations.iter().map(Toleration::view).collect();
    let stripped = placement.remove_tolerations(|own| configured.contains(own));
    let stripped = stripped.iter().filter_map(toleration::Held::view);
    for toleration in distinct(stripped.map(|own| own.to_string())) {
        notes.push(Note::info(format!("removed toleration {toleration}")));
    }
    for (key, value) in &preemption.node_selector {
        if placement.remove_node_selector(key, value) {
            notes.push(Note::info(format!("removed {key}={value} from nodeSelector")));
        }
    }
    notes
}

fn prevent(preemption: &Preemption, placement: &mut Placement<'_>) -> Vec<Note> {
    let mut notes = strip(preemption, placement);
    if preemption.node_selector.is_empty() {
        notes.extend(warn_of_remaining(preemption, placement));
    } else {
        notes.extend(exclude(preemption, placement));
    }
    let notes = notes.into_iter();
    notes.map(|note| for_mode(note, Mode::Prevent)).collect()
}

/// Takes the pod's wish for preemptible nodes out of every required term, then makes every term
/// exclude them.
fn exclude(preemption: &Preemption, placement: &mut Placement<'_>) -> Vec<Note> {
    let pairs = preemption.node_selector.iter();
    let not_in: Vec<Value> = pairs.map(|(key, value)| affinity::label_requirement(key, "NotIn", value)).collect();
    let excluding = affinity::all_of(&not_in);
    let mut stripped = Vec::new();
    let mut changed = 0;
    if affinity::is_unconstrained(placement.affinity_mut()) {
        // One alternative multiplies nothing, and only a product can be too large.
        changed = affinity::conjoin(placement.affinity_mut(), &[excluding]).unwrap_or_default();
    } else if let Some(terms) = affinity::required_mut(placement.affinity_mut())
        && !terms.is_empty()
    {
        terms.retain_mut(|term| {
            let wishes = strip_wish(preemption, term);
            let is_emptied = !wishes.is_empty() && affinity::is_blank(term);
            stripped.extend(wishes.iter().map(affinity::show_requirement));
            !is_emptied
        });
        for term in terms.iter_mut() {
            changed += usize::from(exclude_from(term, &not_in));
        }
        if terms.is_empty() {
            terms.push(excluding);
            changed = 1;
        }
    }
    let stripped = distinct(stripped.into_iter()).into_iter();
    let mut notes: Vec<Note> =
        stripped.map(|wish| Note::info(format!("removed {wish} from the required node affinity"))).collect();
    if changed > 0 {
        notes.push(Note::info(format!(
            "required node affinity: {changed} term(s) ask for {}",
            listed(not_in.iter().map(affinity::show_requirement))
        )));
    }
    notes
}

/// Removes the expressions that ask for exactly one preemptible label, and gives them.
fn strip_wish(preemption: &Preemption, term: &mut Value) -> Vec<Value> {
    let Some(expressions) = affinity::expressions_mut(term) else {
        return Vec::new();
    };
    let is_wish = |expression: &mut Value| {
        let (key, operator, values) = affinity::requirement_parts(expression);
        match values {
            [Value::String(value)] => operator == "In" && preemption.has_pair(key, value),
            _ => false,
        }
    };
    expressions.extract_if(.., is_wish).collect()
}

/// Adds what is missing of `not_in`; whether anything was, where the term matches a node at all.
fn exclude_from(term: &mut Value, not_in: &[Value]) -> bool {
    if affinity::is_blank(term) {
        return false;
    }
    let mut excluded: HashMap<&str, Vec<&[Value]>> = HashMap::new();
    for (key, operator, values) in affinity::expressions(term).iter().map(affinity::requirement_parts) {
        if operator == "NotIn" {
            excluded.entry(key).or_default().push(values);
        }
    }
    // Whether an expression excludes at least the value that `wanted` does.
    let is_missing = |wanted: &&Value| {
        let (key, _, values) = affinity::requirement_parts(wanted);
        let own = excluded.get(key).map(Vec::as_slice).unwrap_or_default();
        !own.iter().any(|own| values.iter().all(|value| own.contains(value)))
    };
    let missing: Vec<&Value> = not_in.iter().filter(is_missing).collect();
    for wanted in &missing {
        affinity::push_expression(term, (*wanted).clone());
    }
    !missing.is_empty()
}

/// With tolerations and no labels `prevent` can only strip, so a toleration that still lets the pod
/// onto a preemptible node is told.
fn warn_of_remaining(preemption: &Preemption, placement: &Placement<'_>) -> Option<Note> {
    let remaining = placement.toleration_views().filter(|own| {
        let mut wanted = preemption.tolerations.iter();
        wanted.any(|wanted| own.overlaps(&wanted.view()))
    });
    let remaining = distinct(remaining.map(|own| own.to_string()));
    (!remaining.is_empty()).then(|| {
        Note::warning(format!(
            "the pod still tolerates preemptible nodes by {}, and the policy has no preemption.nodeSelector to keep it off them",
            listed(remaining.into_iter())
        ))
    })
}

fn for_mode(mut note: Note, mode: Mode) -> Note {
    use std::fmt::Write as _;
    // Writing to a string does not fail.
    let _ = write!(note.text, " (preemption mode {mode})");
    note
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
