//! Fields of the pod's spec that a default sets as a whole, the default priority class, and pull secrets beside the pod's.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Value, json};

use crate::{
    defaults::{
        PodField,
        priority_class::{ClassState, PodPriority},
    },
    inject::{
        Injection,
        claims::{Asker, Carried, Existing, Subject, Thing},
        defaults::{defaults, parse},
        report::{StepId, StepOutcome},
    },
    json::{Json, Str},
    placement::left_off,
    policy::Policy,
    reason::{Note, Reason},
};

impl<'a, 'p: 'a> Injection<'a, 'p> {
    /// Adds the pull secrets that policies put beside the pod's. `now` is what the pod has by now, in a list where
    /// `has_list`.
    pub(super) fn pull_secrets_beside<'n>(&mut self, mut has_list: bool, mut now: Vec<&'n str>)
    where
        'p: 'n,
    {
        for policy in self.policies.iter().copied().filter(|policy| !policy.image_pull_secrets.is_empty()) {
            let step = self.report.begin(policy, "imagePullSecrets");
            for name in &policy.image_pull_secrets {
                if now.contains(&name.as_str()) {
                    self.report.came_of(step, StepOutcome::Present);
                    continue;
                }
                self.patch.append("/spec/imagePullSecrets", has_list, &[Json::of(&json!({"name": name}))]);
                has_list = true;
                now.push(name);
                self.report.came_of(step, StepOutcome::Applied);
            }
        }
    }

    /// Whether policies put this pull secret beside the pod's, and it is none of `names`.
    pub(super) fn is_beside(&self, secret: &str, names: &[String]) -> bool {
        let mut beside = self.policies.iter().flat_map(|policy| &policy.image_pull_secrets);
        beside.any(|name| name == secret) && !names.iter().any(|name| name == secret)
    }

    /// Fields that are set as a whole, each from the first policy that has a default for it.
    pub(super) fn default_pod_fields(&mut self) {
        let has_any = |policy: &&Policy| defaults(policy).is_some_and(|defaults| !defaults.pod_fields.is_empty());
        if !self.policies.iter().any(has_any) {
            return;
        }
        for field in PodField::ALL {
            for policy in self.policies {
                let fields = defaults(policy).map(|defaults| defaults.pod_fields.as_slice()).unwrap_or_default();
                if let Some((_, wanted)) = fields.iter().find(|(other, _)| *other == field) {
                    let step = self.report.begin(policy, field.path());
                    self.default_pod_field(policy, field, wanted, step);
                }
            }
        }
    }

    fn default_pod_field(&mut self, policy: &'p Policy, field: PodField, wanted: &'p Value, step: StepId) {
        let spec = self.draft.pod.spec.as_ref();
        let own = parse(spec.and_then(|spec| match field {
            PodField::RuntimeClassName => spec.runtime_class_name,
            PodField::SchedulerName => spec.scheduler_name,
            PodField::EnableServiceLinks => spec.enable_service_links,
            PodField::TopologySpreadConstraints => spec.topology_spread_constraints,
        }))
        .unwrap_or_default();
        let carried = if own == *wanted {
            Carried::Same
        } else if field.says_nothing(&own) {
            Carried::Nothing
        } else {
            Carried::Other
        };
        let text = wanted.to_string();
        let asker = Asker { policy, modifier: field.path() };
        let (thing, subject) = (Thing::PodField(field), Subject::PodField(field));
        let content = || Cow::Owned(own.to_string());
        let existing = self.claims.standing(asker, &thing, subject, carried, content, |held| held == Some(&text));
        match existing {
            Existing::Agreed | Existing::Same | Existing::SameOfOurs | Existing::SameOfAnother => {
                self.report.came_of(step, StepOutcome::Present);
            }
            Existing::OfStep(first) => {
                let first = self.report.name(first);
                self.report.tell(step, Reason::DefaultOfPolicy, &[&field.name(), &first]);
            }
            Existing::OfThePod | Existing::OfOverride => {
                self.report.tell(step, Reason::SaidByPod, &[&field.name()]);
                return;
            }
            Existing::Nothing | Existing::OfEarlierPass => {
                if let Some(why) = self.unusable(field, wanted) {
                    self.report.notes(step, [why]);
                    return;
                }
                self.patch.set(&format!("/spec/{}", field.name()), &Json::of(wanted));
                self.report.came_of(step, StepOutcome::Applied);
            }
        }
        self.claims.record(policy, subject, &text, existing);
        self.claims.hold(thing, step, Some(text.into()));
    }

    /// Why the pod would be lost to the field: the API server would refuse it, or no node could take it.
    fn unusable(&self, field: PodField, wanted: &Value) -> Option<Note> {
        let off = || left_off(&self.placement_facts());
        match (field, wanted.as_str()) {
            (PodField::RuntimeClassName, Some(name)) => self.unusable_class(name, off),
            // A DaemonSet's pod has one node to go to, wherever others of it are.
            (PodField::TopologySpreadConstraints, _) => off(),
            _ => None,
        }
    }

    /// The same of a runtime class, as far as somebody watches them. Where it selects nodes, `off` says why placement is
    /// not for this pod.
    fn unusable_class(&self, name: &str, off: impl FnOnce() -> Option<Note>) -> Option<Note> {
        let Some(class) = self.classes.runtime.as_ref()?.get(name) else {
            return Some(Reason::ClassMissing.note(&[&format!("runtime class {name}")]));
        };
        if class.node_selector.is_empty() {
            return None;
        }
        let spec = self.draft.pod.spec.as_ref();
        let own: BTreeMap<String, String> = spec
            .and_then(|spec| spec.node_selector)
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
            .unwrap_or_default();
        // A default comes only where the pod has no selector, and then the class may be what stands against it.
        let defaults = self.policies.iter().filter(|_| own.is_empty()).filter_map(|policy| defaults(policy));
        let defaults = defaults.flat_map(|defaults| &defaults.node_selector);
        let of_policies = self.policies.iter().flat_map(|policy| &policy.node_selector).chain(defaults);
        let mut asked = own.iter().chain(of_policies.map(|(key, value)| (key, value)));
        let key = asked.find(|(key, value)| class.node_selector.get(*key).is_some_and(|of_class| of_class != *value));
        let why = key.map(|(key, _)| format!("{name} asks for another value of {key}"));
        why.map(|why| Reason::RuntimeClassContradicted.note(&[&why])).or_else(off)
    }

    /// The pod's own runtime class where it selects nodes by another value of the label: the API server has put that into
    /// the pod's node selector, and refuses the pod if it is replaced.
    pub(super) fn class_against(&self, key: &str, value: &str) -> Option<&'a str> {
        let name = self.draft.pod.spec.as_ref()?.runtime_class_name?;
        let name: &str = serde_json::from_str(name.get()).ok()?;
        let of_class = self.classes.runtime.as_ref()?.get(name)?.node_selector.get(key)?;
        (of_class != value).then_some(name)
    }

    /// The priority class of the first policy that has a default, where neither the pod nor a policy names one.
    pub(super) fn default_priority_class(&mut self) {
        let spec = self.draft.pod.spec.as_ref();
        let own = spec.and_then(|spec| spec.priority_class_name.as_ref()).map(Str::as_str);
        let pod = PodPriority {
            class_name: own,
            has_priority: spec.is_some_and(|spec| spec.priority.is_some()),
            has_preemption_policy: spec.is_some_and(|spec| spec.preemption_policy.is_some()),
        };
        for policy in self.policies {
            let Some(wanted) = defaults(policy).and_then(|defaults| defaults.priority_class_name.as_deref()) else {
                continue;
            };
            let step = self.report.begin(policy, "defaults.priorityClassName");
            let thing = Thing::PriorityClass;
            match (self.claims.holder(&thing), pod.compare(wanted, self.classes.global_default())) {
                (Some(first), _) => {
                    let first = self.report.name(first);
                    self.report.tell(step, Reason::PriorityClassOfPolicy, &[&first]);
                    continue;
                }
                (None, ClassState::Other) => {
                    self.report.tell(step, Reason::SaidByPod, &[&"priorityClassName"]);
                    continue;
                }
                (None, ClassState::Equal) => self.report.came_of(step, StepOutcome::Present),
                (None, ClassState::Unset) => {
                    if self.classes.has_priority(wanted) == Some(false) {
                        self.report.tell(step, Reason::ClassMissing, &[&format!("priority class {wanted}")]);
                        continue;
                    }
                    pod.set(wanted, &mut self.patch);
                    self.report.came_of(step, StepOutcome::Applied);
                }
            }
            self.claims.hold(thing, step, Some(wanted.into()));
        }
    }
}
