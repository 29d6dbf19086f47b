//! The decision: a pod and the policies that match it, to the operations that bring it what they say.
//!
//! Pure: no clock, no I/O, no logging. Blocks of one policy act in the order storage, autoMount, persistence, env,
//! envFrom; then what is about the pod as a whole; preemption last and once, on the pod as all the rest has made it.
//! Deciding again on the result gives no operation.

mod auto_mount;
mod catalogue;
pub mod controls;
mod draft;
pub mod equal;
mod fields;
pub mod marker;
mod merge;
mod metadata;
pub mod pod_security;
pub mod report;
mod scheduling;
mod thresholds;

use std::{borrow::Cow, sync::Arc};

use crate::{
    inject::{
        controls::Controls,
        draft::Draft,
        marker::{Before, Marker},
        pod_security::PodSecurityLevel,
        report::{Refusal, Report},
    },
    labels::Labels,
    patch::Patch,
    pod::PodView,
    policy::{
        Policy,
        snapshot::Snapshot,
        template::{Facts, Template},
    },
};

/// Where the pod is to be, and as what.
#[derive(Clone, Copy, Debug)]
pub struct Place<'r> {
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
    /// What every modifier of every policy did.
    pub report: Report<'p>,
    /// The policies that matched, in the order in which they acted.
    pub policies: Vec<&'p Policy>,
    /// Why nothing was looked at, where that is so.
    pub left_alone: Option<&'static str>,
    /// Whether the pod said so itself.
    pub opted_out: bool,
}

/// One pass over a pod: `'a` is the pass, `'p` the policies.
struct Pass<'a, 'p> {
    place: Place<'a>,
    before: &'a Before<'a>,
    usernames: &'a [Option<Cow<'a, str>>],
    policies: &'a [&'p Policy],
    controls: Controls<'a>,
    draft: Draft<'a>,
    patch: Patch,
    annotations: Vec<(&'p str, Cow<'p, str>)>,
    report: Report<'p>,
    security: PodSecurityLevel,
    /// The record of an earlier pass that the pod carries, as far as it can be read.
    earlier: Option<&'a Marker>,
    /// Whether `metadata` is made, where the pod had none.
    metadata_made: bool,
}

/// Decides what is to be done to `pod`.
///
/// # Errors
///
/// Where the pod is to be refused: a wrong value under a `stowage.dev/` key that a matched policy acts on, or a conflict
/// under `onConflict: Reject`.
pub fn decide<'p>(pod: &PodView<'_>, place: &Place<'_>, snapshot: &'p Snapshot) -> Result<Decision<'p>, Refusal> {
    let earlier = Marker::read(pod);
    let (before, policies) = select(pod, place, snapshot, earlier.as_ref());
    if controls::opts_out(pod, &before) {
        let left_alone = Decision::left_alone("the pod says stowage.dev/inject: \"false\"");
        return Ok(Decision { opted_out: true, ..left_alone });
    }
    if pod.spec.is_none() {
        return Ok(Decision::left_alone("the pod has no spec"));
    }
    let mut warnings = Vec::new();
    if snapshot.is_unanswered(place.namespace) {
        // The name alone is known: no policy that selects by another label, and no level of pod security.
        let namespace = place.namespace;
        warnings.push(format!(
            "stowage: the labels of namespace {namespace} could not be read in time and count as absent"
        ));
    }
    if policies.is_empty() && before.label(controls::INJECT) != Some("true") {
        if controls::speaks(pod) {
            Controls::read(pod, &before, &policies, &mut warnings)?;
        }
        return Ok(Decision { warnings, ..Decision::left_alone("no policy matches") });
    }
    if !policies.is_empty() {
        pod.bounded().map_err(|error| Refusal { message: error.to_string() })?;
    }
    let controls = Controls::read(pod, &before, &policies, &mut warnings)?;
    let usernames: Vec<_> = policies.iter().map(|policy| username(policy, place, &before)).collect();
    let level = snapshot.namespace(place.namespace);
    let mut pass = Pass {
        place: *place,
        before: &before,
        usernames: &usernames,
        policies: &policies,
        controls,
        draft: Draft::new(pod),
        patch: Patch::default(),
        annotations: Vec::new(),
        report: Report::default(),
        security: PodSecurityLevel::from_label(level.label(pod_security::ENFORCE_LABEL)),
        earlier: earlier.as_ref(),
        metadata_made: false,
    };
    pass.run(&mut warnings)?;
    let Pass { patch, report, .. } = pass;
    warnings.extend(report.warnings());
    Ok(Decision { patch, warnings, report, policies, left_alone: None, opted_out: false })
}

/// The policies that match the pod as it was before Stowage.
///
/// What the marker says of our own labels is believed as far as the policies that match without them do set them.
/// Every round that changes its mind believes less, so this ends.
fn select<'a, 'p>(
    pod: &'a PodView<'a>,
    place: &Place<'_>,
    snapshot: &'p Snapshot,
    earlier: Option<&Marker>,
) -> (Before<'a>, Vec<&'p Policy>) {
    let mut before = earlier.map_or_else(|| Before::as_it_stands(pod), |marker| Before::without(pod, marker));
    loop {
        let labels = snapshot.namespace(place.namespace);
        let found = snapshot.policies.matching(place.namespace, &labels, &before);
        let is_asked = |policy: &&Policy| policy.requests.is_empty() || pod.requests_any(&policy.requests);
        let policies: Vec<&Policy> = found.into_iter().map(Arc::as_ref).filter(is_asked).collect();
        if earlier.is_none() || !before.distrust(&policies) {
            return (before, policies);
        }
    }
}

fn username<'a>(policy: &'a Policy, place: &Place<'a>, before: &'a Before<'a>) -> Option<Cow<'a, str>> {
    let template: &Template = policy.username.as_ref()?;
    let namespace = place.namespace;
    let facts = Facts { namespace, service_account: before.service_account(), username: None, labels: before };
    template.resolve(&facts).ok()
}

impl Decision<'_> {
    fn nothing() -> Self {
        Decision {
            patch: Patch::default(),
            warnings: Vec::new(),
            report: Report::none(),
            policies: Vec::new(),
            left_alone: None,
            opted_out: false,
        }
    }

    /// A pod that is admitted as it came.
    #[must_use]
    pub fn left_alone(why: &'static str) -> Self {
        Decision { left_alone: Some(why), ..Self::nothing() }
    }
}

impl<'a, 'p: 'a> Pass<'a, 'p> {
    fn run(&mut self, warnings: &mut Vec<String>) -> Result<(), Refusal> {
        let (mut mounted, mut catalogued) = (false, false);
        for policy in self.policies {
            for modifier in &policy.storage {
                let step = self.report.begin(policy, modifier.path.as_str());
                self.merge(policy, &modifier.unit, step)?;
            }
            if let Some(auto_mount) = &policy.auto_mount {
                self.auto_mount(policy, auto_mount, &mut mounted)?;
            }
            if let Some(catalogue) = &policy.persistence {
                self.persistence(policy, catalogue, &mut catalogued)?;
            }
            self.env(policy)?;
        }
        let (mut labels, account) = self.before.recorded();
        self.metadata(&mut labels)?;
        let account = self.fields(account)?;
        self.placement()?;
        self.thresholds(warnings);
        let pod = self.draft.pod;
        self.draft.write(&mut self.patch);
        if !self.place.template {
            let marker = Marker { labels, service_account: account, ..Marker::of(self.policies, &self.report) };
            self.mark(pod, &marker, self.earlier, warnings);
        }
        self.finish_metadata(pod);
        Ok(())
    }

    /// What placeholders of `policy` resolve to.
    fn facts(&self, policy: &Policy) -> Facts<'a> {
        let place = self.policies.iter().position(|other| other.id == policy.id);
        let username = place.and_then(|place| self.usernames.get(place)).and_then(Option::as_deref);
        let namespace = self.place.namespace;
        Facts { namespace, service_account: self.before.service_account(), username, labels: self.before }
    }

    /// `env` and `envFrom` of a policy.
    fn env(&mut self, policy: &'p Policy) -> Result<(), Refusal> {
        if policy.env.is_empty() && policy.env_from.is_empty() {
            return Ok(());
        }
        let facts = self.facts(policy);
        let targets = self.targets(policy);
        if !policy.env.is_empty() {
            let step = self.report.begin(policy, "env");
            self.say_untouched(&targets, step);
            for unit in &policy.env {
                match unit.entry.resolve(&facts) {
                    Ok(value) => {
                        for container in &targets {
                            self.merge_env(policy, &[(unit, value.clone())], *container, step)?;
                        }
                    }
                    Err(why) => self.report.warn(step, format!("{} left out: {why}", unit.name)),
                }
            }
        }
        if !policy.env_from.is_empty() {
            let step = self.report.begin(policy, "envFrom");
            self.say_untouched(&targets, step);
            for fragment in &policy.env_from {
                self.merge_env_from(fragment, &facts, &targets, step);
            }
        }
        Ok(())
    }

    /// Whether there is anything to do, beside the marker. A step alone does not tell: preemption may take back what a
    /// `nodeSelector` put there.
    fn is_changed(&self) -> bool {
        !self.patch.is_empty() || !self.annotations.is_empty()
    }
}
