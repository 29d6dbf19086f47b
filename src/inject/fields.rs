//! What is about the pod as a whole, and about containers beside storage: image pull policy, defaults, priority.

use json_patch::PatchOperation;
use serde_json::{Map, Value};

use crate::{
    defaults::{
        edits::Edits,
        pod_fields::{image_pull_secrets, security_context, service_account_name},
        priority_class::{ClassState, PodPriority},
    },
    inject::{
        Pass,
        draft::StepId,
        pod_security::refused_fields,
        report::{Outcome, Refusal},
    },
    json::{Json, Raw, Str},
    policy::{
        Policy,
        spec::{ImagePullPolicy, OnConflict},
    },
};

impl<'a, 'p: 'a> Pass<'a, 'p> {
    /// Image pull policy, defaults and priority class. Takes and gives the service account before Stowage, where it was
    /// another.
    pub(super) fn fields(&mut self, recorded: Option<String>) -> Result<Option<String>, Refusal> {
        self.image_pull_policy();
        self.resources();
        self.security_context();
        self.image_pull_secrets();
        let account = self.service_account(recorded);
        self.priority_class()?;
        Ok(account)
    }

    pub(super) fn changed(&mut self, step: StepId, changed: bool) {
        self.report.came_of(step, if changed { Outcome::Applied } else { Outcome::Present });
    }

    fn image_pull_policy(&mut self) {
        let mut given: Vec<Option<&str>> = vec![None; self.draft.containers.len()];
        for policy in self.policies {
            let Some(wanted) = policy.image_pull_policy.map(ImagePullPolicy::as_str) else { continue };
            let step = self.report.begin(policy, "imagePullPolicy");
            let targets = self.targets(policy);
            self.say_untouched(&targets, step);
            for target in targets {
                let (Some(container), Some(given)) = (self.draft.containers.get(target), given.get_mut(target)) else {
                    continue;
                };
                let own = container.view.image_pull_policy.as_ref().map(Str::as_str);
                match given.replace(given.unwrap_or(wanted)) {
                    Some(first) if first != wanted => {
                        let text = format!("{} left alone: an earlier policy sets it", container.name);
                        self.report.warn(step, text);
                        continue;
                    }
                    Some(_) => {
                        self.report.came_of(step, Outcome::Present);
                        continue;
                    }
                    None if own == Some(wanted) => {
                        self.report.came_of(step, Outcome::Present);
                        continue;
                    }
                    None => {}
                }
                let at = format!("/spec/{}/{}/imagePullPolicy", container.list, container.index);
                self.patch.set(&at, &Json::string(wanted));
                self.report.came_of(step, Outcome::Applied);
            }
        }
    }

    fn resources(&mut self) {
        let with =
            |policy: &&&'p Policy| policy.defaults.as_ref().is_some_and(|defaults| !defaults.resources.is_empty());
        if !self.policies.iter().any(|policy| with(&policy)) {
            return;
        }
        let pod_level = parse(self.draft.pod.spec.as_ref().and_then(|spec| spec.resources));
        let mut own: Vec<Option<Value>> =
            self.draft.containers.iter().map(|container| parse(container.view.resources)).collect();
        for policy in self.policies.iter().filter(with).copied() {
            let Some(defaults) = &policy.defaults else { continue };
            let step = self.report.begin(policy, "defaults.resources");
            let targets = self.targets(policy);
            self.say_untouched(&targets, step);
            for target in targets {
                let (Some(container), Some(own)) = (self.draft.containers.get(target), own.get_mut(target)) else {
                    continue;
                };
                let pointer = format!("/spec/{}/{}", container.list, container.index);
                let edits = defaults.resources.edits(own.as_ref(), pod_level.as_ref(), container.name, &pointer);
                apply_to(own, "resources", &pointer, &edits.ops);
                self.edits(step, edits);
            }
        }
    }

    fn security_context(&mut self) {
        let with =
            |policy: &&Policy| policy.defaults.as_ref().is_some_and(|defaults| defaults.security_context.is_some());
        if !self.policies.iter().any(with) {
            return;
        }
        let spec = self.draft.pod.spec.as_ref();
        let mut own = parse(spec.and_then(|spec| spec.security_context));
        let os = spec.and_then(|spec| spec.os.as_ref()).and_then(|os| os.name.as_ref()).map(Str::as_str);
        for policy in self.policies {
            let Some(wanted) = policy.defaults.as_ref().and_then(|defaults| defaults.security_context.as_ref()) else {
                continue;
            };
            let step = self.report.begin(policy, "defaults.securityContext");
            let mut wanted: Map<String, Value> = wanted.clone();
            for (field, allowed) in refused_fields(&wanted.clone(), self.security) {
                wanted.shift_remove(field);
                self.report.warn(step, format!("{field} left out: the namespace's pod security level {allowed}"));
            }
            let edits = security_context(own.as_ref(), &wanted, os, "");
            apply_to(&mut own, "securityContext", "/spec", &edits.ops);
            self.edits(step, edits);
        }
    }

    fn image_pull_secrets(&mut self) {
        let with =
            |policy: &&Policy| policy.defaults.as_ref().is_some_and(|defaults| !defaults.image_pull_secrets.is_empty());
        if !self.policies.iter().any(with) {
            return;
        }
        let own = parse(self.draft.pod.spec.as_ref().and_then(|spec| spec.image_pull_secrets));
        let mut given = false;
        for policy in self.policies {
            let Some(names) = policy.defaults.as_ref().map(|defaults| &defaults.image_pull_secrets) else { continue };
            if names.is_empty() {
                continue;
            }
            let step = self.report.begin(policy, "defaults.imagePullSecrets");
            if std::mem::replace(&mut given, true) {
                self.report.warn(step, "left out: an earlier policy gives pull secrets");
                continue;
            }
            let edits = image_pull_secrets(own.as_ref(), names, "");
            if edits.ops.is_empty() && !is_list_of(own.as_ref(), names) {
                self.report.say(step, "the pod has pull secrets");
                continue;
            }
            self.edits(step, edits);
        }
    }

    fn service_account(&mut self, recorded: Option<String>) -> Option<String> {
        let pod = self.draft.pod;
        let mut before = recorded;
        let mut given: Option<&str> = None;
        for policy in self.policies {
            let Some(wanted) = policy.defaults.as_ref().and_then(|defaults| defaults.service_account_name.as_deref())
            else {
                continue;
            };
            let step = self.report.begin(policy, "defaults.serviceAccountName");
            if let Some(first) = given {
                if first == wanted {
                    self.report.say(step, "an earlier policy says the same");
                } else {
                    self.report.warn(step, "left out: an earlier policy gives a service account");
                }
                continue;
            }
            given = Some(wanted);
            let spec = pod.spec.as_ref();
            let own = spec.and_then(|spec| spec.service_account_name.as_ref()).map(Str::as_str);
            let alias = spec.and_then(|spec| spec.service_account.as_ref()).map(Str::as_str);
            let edits = service_account_name(own, alias, wanted, "");
            if edits.ops.is_empty() && own != Some(wanted) {
                self.report.say(step, "the pod names one");
                continue;
            }
            if !edits.ops.is_empty() {
                before = Some(pod.service_account().to_owned());
            }
            self.edits(step, edits);
        }
        before
    }

    fn priority_class(&mut self) -> Result<(), Refusal> {
        let mut given: Option<&str> = None;
        for policy in self.policies {
            let Some(wanted) = policy.priority_class_name.as_deref() else { continue };
            let step = self.report.begin(policy, "priorityClassName");
            if let Some(first) = given {
                if first == wanted {
                    self.report.say(step, "an earlier policy says the same");
                } else {
                    self.report.warn(step, "left out: an earlier policy sets a priority class");
                }
                continue;
            }
            given = Some(wanted);
            let spec = self.draft.pod.spec.as_ref();
            let pod = PodPriority {
                class_name: spec.and_then(|spec| spec.priority_class_name.as_ref()).map(Str::as_str),
                has_priority: spec.is_some_and(|spec| spec.priority.is_some()),
                has_preemption_policy: spec.is_some_and(|spec| spec.preemption_policy.is_some()),
            };
            match (pod.compare(wanted, None), policy.on_conflict) {
                (ClassState::Equal, _) => self.report.came_of(step, Outcome::Present),
                (ClassState::Other, OnConflict::Keep) => {
                    self.report.warn(step, "left alone: the pod names another priority class");
                }
                (ClassState::Other, OnConflict::Reject) => {
                    return Err(self.rejection(step, "the pod names another priority class"));
                }
                (ClassState::Unset, _) | (ClassState::Other, OnConflict::Override) => {
                    let edits = Edits { ops: pod.ops(wanted, ""), notes: Vec::new() };
                    self.edits(step, edits);
                }
            }
        }
        Ok(())
    }

    fn edits(&mut self, step: StepId, edits: Edits) {
        self.changed(step, !edits.ops.is_empty());
        self.report.notes(step, edits.notes);
        self.patch.extend(edits.ops);
    }
}

/// Whether the pull secrets `own` are these, so that an earlier pass may have given them.
fn is_list_of(own: Option<&Value>, names: &[String]) -> bool {
    let own = own.and_then(Value::as_array).into_iter().flatten();
    own.map(|secret| secret.get("name").and_then(Value::as_str)).eq(names.iter().map(|name| Some(name.as_str())))
}

fn parse(raw: Option<Raw<'_>>) -> Option<Value> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
}

/// Carries operations over to the copy of the field that the next policy looks at.
fn apply_to(own: &mut Option<Value>, field: &str, parent: &str, ops: &[PatchOperation]) {
    if ops.is_empty() {
        return;
    }
    // The copy stands under the same pointer as in the pod, so that the operations fit as they are.
    let mut whole = Value::Object(Map::new());
    let mut at = &mut whole;
    for token in parent.split('/').skip(1) {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Some(map) = at.as_object_mut() else { return };
        at = map.entry(token).or_insert_with(|| Value::Object(Map::new()));
    }
    if let (Some(map), Some(value)) = (at.as_object_mut(), own.take()) {
        map.insert(field.to_owned(), value);
    }
    if json_patch::patch(&mut whole, ops).is_ok() {
        *own = whole.pointer(&format!("{parent}/{field}")).cloned();
    }
}
