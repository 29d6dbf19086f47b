//! Who holds a thing: the pod, or the first step that set it or whose unit reserves it.
//!
//! One ledger for everything that can be set. It is asked before anything is put, replaced or removed. It knows what
//! this pass has given out, and of what the pod carries it can tell what an earlier pass put there: the marker holds a
//! digest of every thing that was put, with the policy that put it. A digest says nothing by itself; it counts where a
//! policy of that name matches now and the thing in the pod is the one that it put.

mod digest;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    hash::BuildHasherDefault,
};

pub(super) use self::digest::Subject;
use self::digest::{Before, Fnv, REMOVED, digest, read_digests, write_digests};
use crate::{
    defaults::PodField,
    inject::{marker::Marker, report::StepId},
    json::Text,
    placement::PlacementField,
    policy::{Policy, spec::OnConflict},
};

/// Something that has one holder. Containers are numbered as the draft numbers them.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Thing<'a> {
    /// A variable of a container.
    Variable(usize, &'a str),
    /// A secret or config map as environment of a container: prefix, kind and name.
    VariableSource(usize, Cow<'a, str>),
    /// A mount path of a container.
    MountPath(usize, Cow<'a, str>),
    /// The image pull policy of a container.
    PullPolicy(usize),
    /// A resource of a container: `requests` or `limits`, and its name.
    Resource(usize, &'static str, Cow<'a, str>),
    /// A label of the pod.
    Label(&'a str),
    /// An annotation of the pod.
    Annotation(&'a str),
    /// A key of `nodeSelector`.
    NodeSelector(&'a str),
    /// A field of the pod's security context.
    SecurityContext(Cow<'a, str>),
    /// `imagePullSecrets` as a whole.
    PullSecrets,
    /// `serviceAccountName`.
    ServiceAccount,
    /// `priorityClassName`.
    PriorityClass,
    /// A field of the pod's spec that is set as a whole.
    PodField(PodField),
    /// A field of placement, as far as a default is about it.
    PlacementDefault(PlacementField),
    /// The one autoMount that acts.
    AutoMount,
    /// The one catalogue that acts.
    Catalogue,
}

/// Who asks: a step of a policy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'s> {
    pub policy: &'s Policy,
    pub modifier: &'s str,
}

/// What the pod carries where a step wants to put something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Carried {
    Nothing,
    /// What the step wants.
    Same,
    Other,
}

/// What stands where a step wants to put something, and whose it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Existing {
    /// Nothing.
    Nothing,
    /// The very same, of the pod's own.
    Same,
    /// The very same, put for the policy that asks by an earlier pass, where the pod had nothing.
    SameOfOurs,
    /// The very same, put for another policy by an earlier pass, where the pod had nothing: so had this one's first pass.
    SameOfAnother,
    /// The very same, by an earlier step.
    Agreed,
    /// Something else that the pod brought.
    OfThePod,
    /// Something else that an earlier pass of ours put there, where the pod had nothing.
    OfEarlierPass,
    /// Something else that an earlier pass put there in place of the pod's.
    OfOverride,
    /// Something else, or nothing, as this step wants it.
    OfStep(StepId),
}

/// A thing that a step holds.
#[derive(Clone, Debug)]
struct Holding<'a> {
    step: StepId,
    /// What it is to be; `None` where it is to be absent.
    content: Option<Text<'a>>,
}

/// So many things most pods are given.
const THINGS: usize = 28;

/// The ledger.
#[derive(Debug)]
pub(super) struct Claims<'a> {
    holdings: HashMap<Thing<'a>, Holding<'a>, BuildHasherDefault<Fnv>>,
    policies: &'a [&'a Policy],
    earlier: &'a EarlierPass,
    put: Vec<u32>,
}

/// What the marker says of an earlier pass.
#[derive(Debug, Default)]
pub(super) struct EarlierPass {
    /// Digests of what it put; `None` where the marker has none, as that of an older release.
    digests: Option<HashSet<u32>>,
    /// Modifiers that it applied, by the policy's name.
    applied: HashSet<(String, String)>,
}

/// Who put what the pod carries there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Author {
    /// Nobody of ours.
    Nobody,
    /// An earlier pass for the policy that asks.
    Asker(Before),
    /// An earlier pass for another policy that matches still.
    Another(Before),
}

impl Existing {
    /// Whether what stands there is the very same.
    pub(super) const fn is_same(self) -> bool {
        matches!(self, Self::Same | Self::SameOfOurs | Self::SameOfAnother | Self::Agreed)
    }
}

impl<'a> Claims<'a> {
    pub(super) fn new(policies: &'a [&'a Policy], earlier: &'a EarlierPass) -> Self {
        Self {
            holdings: HashMap::with_capacity_and_hasher(THINGS, BuildHasherDefault::default()),
            policies,
            earlier,
            put: Vec::new(),
        }
    }

    /// The step that holds a thing.
    pub(super) fn holder(&self, thing: &Thing<'_>) -> Option<StepId> {
        self.holdings.get(thing).map(|holding| holding.step)
    }

    /// Takes a thing of which there is one for the pod; the step that holds it where it is taken.
    pub(super) fn take(&mut self, thing: Thing<'a>, step: StepId) -> Result<(), StepId> {
        match self.holder(&thing) {
            Some(first) => Err(first),
            None => {
                self.hold(thing, step, None);
                Ok(())
            }
        }
    }

    /// What stands where `asker` wants to put something. `carried` is what the pod has there and `content` how a digest
    /// names that; `agrees` compares with what an earlier step holds.
    pub(super) fn standing<'c>(
        &self,
        asker: Asker<'_>,
        thing: &Thing<'_>,
        subject: Subject<'_>,
        carried: Carried,
        content: impl FnOnce() -> Cow<'c, str>,
        agrees: impl FnOnce(Option<&str>) -> bool,
    ) -> Existing {
        if let Some(holding) = self.holdings.get(thing) {
            let agreed = agrees(holding.content.as_ref().map(Text::as_str));
            return if agreed { Existing::Agreed } else { Existing::OfStep(holding.step) };
        }
        if carried == Carried::Nothing {
            // The first pass found the pod's own there and lost to it, though another policy has since taken it out.
            let lost = asker.policy.on_conflict != OnConflict::Override && self.was_removed(subject, Some(asker));
            return if lost { Existing::OfOverride } else { Existing::Nothing };
        }
        match (carried, self.author(asker, subject, content)) {
            (Carried::Nothing, _) => Existing::Nothing,
            (Carried::Same, Author::Asker(Before::Nothing)) => Existing::SameOfOurs,
            (Carried::Same, Author::Another(Before::Nothing)) => Existing::SameOfAnother,
            // The first pass found the pod's own there and lost to it, though another policy has since put the same.
            (Carried::Same, Author::Another(Before::Something)) if asker.policy.on_conflict != OnConflict::Override => {
                Existing::OfOverride
            }
            (Carried::Same, _) => Existing::Same,
            (Carried::Other, Author::Nobody) => Existing::OfThePod,
            (Carried::Other, Author::Asker(Before::Nothing) | Author::Another(Before::Nothing)) => {
                Existing::OfEarlierPass
            }
            (Carried::Other, Author::Asker(Before::Something) | Author::Another(Before::Something)) => {
                Existing::OfOverride
            }
        }
    }

    /// Notes that a thing is as `step` wants it; of two the first holds it.
    pub(super) fn hold(&mut self, thing: Thing<'a>, step: StepId, content: Option<Text<'a>>) {
        self.holdings.entry(thing).or_insert(Holding { step, content });
    }

    /// Notes for the marker that `policy` put this, where something is put beside what is `existing`.
    pub(super) fn record(&mut self, policy: &Policy, subject: Subject<'_>, content: &str, existing: Existing) {
        let before = match existing {
            Existing::Nothing | Existing::OfEarlierPass => Before::Nothing,
            Existing::OfThePod | Existing::OfOverride => Before::Something,
            Existing::Same
            | Existing::SameOfOurs
            | Existing::SameOfAnother
            | Existing::Agreed
            | Existing::OfStep(_) => return,
        };
        // What an earlier pass said of the same stands: preemption may have taken it back since, and then nothing is there.
        if self.earlier.has_put(policy, subject, content, Before::Something) {
            return;
        }
        self.put.push(digest(&policy.id, subject, content, before));
    }

    /// Notes for the marker that `policy` took out what the pod had there.
    pub(super) fn record_removal(&mut self, policy: &Policy, subject: Subject<'_>) {
        self.put.push(digest(&policy.id, subject, REMOVED, Before::Something));
    }

    /// Whether an earlier pass took out what the pod had there, for a policy that matches still and is not the asker's.
    pub(super) fn was_removed(&self, subject: Subject<'_>, asker: Option<Asker<'_>>) -> bool {
        let is_other = |policy: &Policy| asker.is_none_or(|asker| asker.policy.id != policy.id);
        let mut others = self.policies.iter().filter(|policy| is_other(policy));
        others.any(|policy| self.earlier.has_put(policy, subject, REMOVED, Before::Something))
    }

    /// Whether an earlier pass put this for a policy that matches still, where the pod had nothing.
    pub(super) fn is_of_earlier_pass(&self, subject: Subject<'_>, content: &str) -> bool {
        self.policies.iter().any(|policy| self.earlier.put_for(policy, subject, content))
    }

    /// Whether an earlier pass put this for `policy`.
    pub(super) fn was_put_for(&self, policy: &Policy, subject: Subject<'_>, content: &str) -> bool {
        self.earlier.put_for(policy, subject, content)
    }

    /// Whether an earlier pass put what `asker` puts, whatever became of it since.
    pub(super) fn has_put(&self, asker: Asker<'_>, subject: Subject<'_>) -> bool {
        let is_bare = self.earlier.digests.is_none();
        self.was_put_for(asker.policy, subject, "") || is_bare && self.earlier.has_applied(asker)
    }

    /// The digests of what this pass and the earlier ones put, for the marker. What no policy wants any more stays in the
    /// pod, and is no less ours.
    pub(super) fn put(&self) -> String {
        let earlier = self.earlier.digests.iter().flatten();
        write_digests(self.put.iter().chain(earlier).copied().collect())
    }

    fn author<'c>(&self, asker: Asker<'_>, subject: Subject<'_>, content: impl FnOnce() -> Cow<'c, str>) -> Author {
        let Some(digests) = &self.earlier.digests else {
            // Without digests it cannot be told which of several are ours. A policy that rejects has refused the pod
            // wherever the pod had anything else.
            let applied = || self.earlier.has_applied(asker);
            let rejects = asker.policy.on_conflict == OnConflict::Reject;
            return if rejects && applied() { Author::Asker(Before::Nothing) } else { Author::Nobody };
        };
        if digests.is_empty() {
            return Author::Nobody;
        }
        let content = content();
        let has = |policy: &Policy, before| digests.contains(&digest(&policy.id, subject, &content, before));
        let others = || self.policies.iter().filter(|policy| policy.id != asker.policy.id);
        // Of two that put the same the asker's own counts, and what stood where there was nothing.
        [Before::Nothing, Before::Something]
            .into_iter()
            .find(|before| has(asker.policy, *before))
            .map(Author::Asker)
            .or_else(|| {
                let put = |before: &Before| others().any(|policy| has(policy, *before));
                [Before::Nothing, Before::Something].into_iter().find(put).map(Author::Another)
            })
            .unwrap_or(Author::Nobody)
    }
}

impl EarlierPass {
    /// What a marker says: `put`, its digests, and what its policies applied.
    pub(super) fn new<'m>(put: Option<&str>, applied: impl Iterator<Item = (&'m str, &'m str)>) -> Self {
        let applied = applied.map(|(policy, modifier)| (policy.to_owned(), modifier.to_owned())).collect();
        Self { digests: put.map(read_digests), applied }
    }

    /// What a marker says.
    pub(super) fn of(marker: &Marker) -> Self {
        let records = marker.policies.iter();
        let applied = records.flat_map(|record| record.applied.iter().map(|modifier| (&*record.name, &**modifier)));
        Self::new(marker.put.as_deref(), applied)
    }

    /// Whether it put all that `other` put.
    pub(super) fn has_all_of(&self, other: &Self) -> bool {
        let digests = |earlier: &'_ Self| earlier.digests.clone().unwrap_or_default();
        digests(other).is_subset(&digests(self))
    }

    /// Whether it put this for the policy, where the pod had nothing.
    pub(super) fn put_for(&self, policy: &Policy, subject: Subject<'_>, content: &str) -> bool {
        self.has_put(policy, subject, content, Before::Nothing)
    }

    fn has_put(&self, policy: &Policy, subject: Subject<'_>, content: &str, before: Before) -> bool {
        let digests = self.digests.as_ref().filter(|digests| !digests.is_empty());
        digests.is_some_and(|digests| digests.contains(&digest(&policy.id, subject, content, before)))
    }

    /// Whether the modifier was applied for the policy.
    pub(super) fn has_applied(&self, asker: Asker<'_>) -> bool {
        // Most pods carry no marker.
        !self.applied.is_empty() && self.applied.contains(&(asker.policy.id.to_string(), asker.modifier.to_owned()))
    }
}
