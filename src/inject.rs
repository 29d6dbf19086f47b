//! The decision: a pod and the policies that match it, to the operations that bring it what they say.
//!
//! Pure: no clock, no I/O, no logging. Blocks of one policy act in the order storage, autoMount, persistence, env,
//! envFrom; then what is about the pod as a whole; preemption last and once, on the pod as all the rest has made it.
//! Deciding again on the result gives no operation.

mod auto_mount;
mod catalogue;
mod claims;
pub mod controls;
mod default_placement;
mod defaults;
mod draft;
mod env;
mod env_from;
mod ephemeral;
pub mod equal;
mod expanded;
mod image_pull_policy;
pub mod marker;
mod metadata;
mod mount_draft;
mod named_container;
mod nested;
mod pod_fields;
pub mod pod_security;
mod priority_class;
pub mod report;
mod scheduling;
mod select;
mod thresholds;
mod volume_draft;
mod volumes;

use std::{borrow::Cow, fmt::Display};

use crate::{
    inject::{
        claims::{Claims, EarlierPass},
        controls::Controls,
        draft::Draft,
        expanded::Unset,
        marker::{Marker, OriginalPod},
        pod_security::PodSecurity,
        report::{Refusal, StepId, StepOutcome, Steps},
        scheduling::binding_policy,
        select::{select, username},
    },
    labels::Labels,
    patch::Patch,
    pod::{
        PodView,
        bounds::{self, TooMany},
    },
    policy::{
        Policy,
        snapshot::{Classes, Snapshot},
        template::PlaceholderValues,
    },
    reason::{Note, Reason},
};

/// Where the pod is to be, and as what.
#[derive(Clone, Copy, Debug)]
pub struct PodContext<'r> {
    /// The request's namespace; a templated pod carries none.
    pub namespace: &'r str,
    /// A workload's pod template, which gets no marker.
    pub template: bool,
    /// The workload is a DaemonSet.
    pub daemon_set: bool,
}

/// What is to be done to a pod.
#[derive(Debug)]
pub struct Decision<'p> {
    /// RFC 6902 operations against the pod as it arrived.
    pub patch: Patch,
    /// What the client is told, one short line each.
    pub warnings: Vec<String>,
    /// What is told of no step: of what the pod says itself.
    pub notes: Vec<Note>,
    /// What every modifier of every policy did.
    pub report: Steps<'p>,
    /// The policies that matched, in the order in which they acted.
    pub policies: Vec<&'p Policy>,
    /// Why nothing was looked at, where that is so.
    pub left_alone: Option<&'static str>,
    /// Whether the pod said so itself.
    pub opted_out: bool,
    /// The service account that a policy gives the pod. Whoever can should ask whether the namespace has it, and where it
    /// has not, decide by [`Snapshot::without_account`].
    pub account: Option<&'p str>,
}

/// The injection into one pod: `'a` is the pass, `'p` the policies.
struct Injection<'a, 'p> {
    context: PodContext<'a>,
    original: &'a OriginalPod<'a>,
    usernames: &'a [Option<Cow<'a, str>>],
    policies: &'a [&'p Policy],
    controls: Controls<'a>,
    draft: Draft<'a>,
    claims: Claims<'a>,
    patch: Patch,
    annotations: Vec<(&'p str, Cow<'p, str>)>,
    /// What the pod's annotations weigh with ours, beside the marker.
    annotations_weight: usize,
    report: Steps<'p>,
    security: PodSecurity,
    classes: &'a Classes,
    /// Service accounts that the namespace is known not to have.
    absent_accounts: &'a [String],
    /// The service account that a policy gives the pod.
    account: Option<&'p str>,
    /// The record of an earlier pass that the pod carries, as far as it can be read.
    marker: Option<&'a Marker>,
    earlier: &'a EarlierPass,
    /// Whether `metadata` is made, where the pod had none.
    metadata_made: bool,
    /// The pod wants no injection, so that nothing acts but the preemption that binds it.
    opts_out: bool,
    /// The mounts with a `subPathExpr` that were put: container and expression.
    expanded: Vec<(usize, Cow<'a, str>)>,
    /// Which of their variables are known not to be set.
    unset: Unset,
}

/// Decides what is to be done to `pod`.
///
/// # Errors
///
/// Where the pod is to be refused: a wrong value under a `stowage.dev/` key that a matched policy acts on, or a conflict
/// under `onConflict: Reject`.
pub fn decide<'p>(
    pod: &PodView<'_>,
    context: &PodContext<'_>,
    snapshot: &'p Snapshot,
) -> Result<Decision<'p>, Refusal> {
    let marker = Marker::read(pod);
    let earlier = marker.as_ref().map(EarlierPass::of).unwrap_or_default();
    let (original, policies) = select(pod, context, snapshot, marker.as_ref(), &earlier);
    let opts_out = controls::opts_out(pod, &original);
    let policies = if opts_out { binding_policy(&policies).into_iter().collect() } else { policies };
    if opts_out && policies.is_empty() {
        let left_alone = Decision::left_alone("the pod says stowage.dev/inject: \"false\"");
        return Ok(Decision { opted_out: true, ..left_alone });
    }
    if pod.spec.is_none() {
        return Ok(Decision::left_alone("the pod has no spec"));
    }
    let mut notes = Vec::new();
    if let (true, Some(policy)) = (opts_out, policies.first()) {
        notes.push(Reason::OptOutWhereBound.note(&[&controls::INJECT, &policy.id]));
    }
    if snapshot.is_unanswered(context.namespace) {
        // The name alone is known: no policy that selects by another label, and no level of pod security.
        notes.push(Reason::NamespaceUnknown.note(&[&context.namespace]));
    }
    if policies.is_empty() && original.label(controls::INJECT) != Some("true") {
        if controls::has_controls(pod) {
            Controls::read(pod, &original, &policies, &mut notes)?;
        }
        return Ok(Decision::left_alone("no policy matches").with(notes));
    }
    if !policies.is_empty() {
        pod.bounded().map_err(|error| Refusal::of_pod("spec", Reason::TooLarge, &error))?;
    }
    let controls = Controls::read(pod, &original, &policies, &mut notes)?;
    let usernames: Vec<_> = policies.iter().map(|policy| username(policy, context, &original)).collect();
    let namespace = snapshot.namespace(context.namespace);
    let start = |unset| Injection {
        context: *context,
        original: &original,
        usernames: &usernames,
        policies: &policies,
        controls: controls.clone(),
        draft: Draft::new(pod),
        claims: Claims::new(&policies, &earlier),
        patch: Patch::default(),
        annotations: Vec::new(),
        annotations_weight: metadata::weight(pod),
        report: Steps::default(),
        security: PodSecurity::of(&namespace),
        marker: marker.as_ref(),
        earlier: &earlier,
        classes: &snapshot.classes,
        absent_accounts: &snapshot.absent_accounts,
        account: None,
        metadata_made: false,
        opts_out,
        expanded: Vec::new(),
        unset,
    };
    let mut injection = Injection::of_containers(start)?;
    injection.run(&mut notes)?;
    let Injection { patch, report, account, .. } = injection;
    Ok(Decision { patch, report, policies, account, ..Decision::nothing() }.with(notes))
}

impl Decision<'_> {
    fn nothing() -> Self {
        Decision {
            patch: Patch::default(),
            warnings: Vec::new(),
            notes: Vec::new(),
            report: Steps::none(),
            policies: Vec::new(),
            left_alone: None,
            opted_out: false,
            account: None,
        }
    }

    /// The same with what is told of no step, and the warnings that come of all.
    fn with(self, notes: Vec<Note>) -> Self {
        let of_pod = notes.iter().filter(|note| note.is_warning()).map(|note| format!("stowage: {}", note.text));
        let warnings = of_pod.chain(self.report.warnings()).collect();
        Self { warnings, notes, ..self }
    }

    /// A pod that is admitted as it came.
    #[must_use]
    pub fn left_alone(why: &'static str) -> Self {
        Decision { left_alone: Some(why), ..Self::nothing() }
    }
}

impl<'a, 'p: 'a> Injection<'a, 'p> {
    /// The injection with all that policies put into containers; `start` begins one where it is known which variables
    /// containers lack.
    fn of_containers(start: impl Fn(Unset) -> Self) -> Result<Self, Refusal> {
        let mut injection = start(Unset::new());
        injection.all_containers()?;
        loop {
            let newly = injection.newly_unset();
            if newly.is_empty() {
                return Ok(injection);
            }
            let mut unset = std::mem::take(&mut injection.unset);
            for (container, names) in newly {
                unset.entry(container).or_default().extend(names);
            }
            injection = start(unset);
            injection.all_containers()?;
        }
    }

    /// What all policies put into containers.
    fn all_containers(&mut self) -> Result<(), Refusal> {
        if !self.opts_out {
            for policy in self.policies {
                self.containers(policy)?;
            }
        }
        Ok(())
    }

    /// What is about the pod as a whole.
    fn run(&mut self, notes: &mut Vec<Note>) -> Result<(), Refusal> {
        let mut labels = self.original.our_labels().clone();
        let mut has_our_account = false;
        if !self.opts_out {
            self.metadata(&mut labels)?;
            self.image_pull_policy();
            has_our_account = self.defaults();
            self.priority_class()?;
            self.default_priority_class();
        }
        self.apply_placement()?;
        if !self.opts_out {
            self.thresholds(notes);
        }
        let pod = self.draft.pod;
        self.draft.bounded().map_err(|error| Refusal::of_pod("spec", Reason::TooLarge, &error))?;
        self.draft.write(&mut self.patch);
        if !self.context.template {
            let marker = Marker {
                labels: labels.into_iter().map(|key| (key, None)).collect(),
                service_account: has_our_account.then(|| "default".to_owned()),
                put: (!self.policies.is_empty()).then(|| self.claims.put()),
                ..Marker::of(self.policies, &self.report)
            };
            self.mark(pod, &marker, self.marker, notes);
        }
        self.finish_metadata(pod);
        self.bounded()
    }

    /// The blocks of a policy that act on containers, in their order.
    fn containers(&mut self, policy: &'p Policy) -> Result<(), Refusal> {
        for modifier in &policy.storage {
            let step = self.report.begin(policy, &*modifier.path);
            self.merge(policy, &modifier.unit, step)?;
        }
        if let Some(auto_mount) = &policy.auto_mount {
            self.auto_mount(policy, auto_mount)?;
        }
        if let Some(catalogue) = &policy.persistence {
            self.persistence(policy, catalogue)?;
        }
        self.env(policy)
    }

    /// What placeholders of `policy` resolve to.
    fn facts(&self, policy: &Policy) -> PlaceholderValues<'a> {
        let index = self.policies.iter().position(|other| other.id == policy.id);
        let username = index.and_then(|index| self.usernames.get(index)).and_then(Option::as_deref);
        let namespace = self.context.namespace;
        PlaceholderValues {
            namespace,
            service_account: self.original.service_account(),
            username,
            labels: self.original,
        }
    }

    /// Whether what was put so far has its place in a patch.
    fn bounded(&self) -> Result<(), Refusal> {
        if self.draft.weight.max(self.patch.json().len()) <= bounds::PATCH {
            return Ok(());
        }
        Err(Refusal::of_pod("patch", Reason::TooLarge, &TooMany::patch()))
    }

    /// The refusal of the pod by a step.
    fn rejection(&self, step: StepId, reason: Reason, words: &[&dyn Display]) -> Refusal {
        Refusal {
            policy: self.report.policy(step).map(|policy| policy.id.to_string()).unwrap_or_default(),
            field: self.report.modifier(step).to_owned(),
            reason,
            message: format!("{}: {}", self.report.name(step), reason.with(words)),
        }
    }

    /// Whether the step put something into the pod, now or before.
    fn is_in(&self, step: StepId) -> bool {
        self.report.outcome(step) > StepOutcome::Skipped
    }

    /// Whether there is anything to do, beside the marker. A step alone does not tell: preemption may take back what a
    /// `nodeSelector` put there.
    fn is_changed(&self) -> bool {
        !self.patch.is_empty() || !self.annotations.is_empty()
    }
}
