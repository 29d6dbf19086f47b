//! `defaults` of policies: what a pod gets where it says nothing.
//!
//! Fields of which there are several are worked on in a copy, and what differs in the end is written once.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::{
    defaults::{
        Defaults,
        security_context::{APP_ARMOR_ANNOTATION, SECCOMP_ANNOTATION, SecurityFacts},
    },
    inject::{
        Injection,
        claims::{Asker, Carried, Existing, Subject, Thing},
        pod_security::refused_fields,
        report::{StepId, StepOutcome},
    },
    json::{Fields, Json, Raw, Str},
    patch::diff,
    policy::Policy,
    reason::Reason,
};

/// The account that counts as none named: the API server fills it in before a webhook is called.
const NO_ACCOUNT: &str = "default";

impl<'a, 'p: 'a> Injection<'a, 'p> {
    /// Defaults of every policy. Whether a service account of ours stands where the pod named none.
    pub(super) fn defaults(&mut self) -> bool {
        self.default_resources();
        self.default_security_context();
        self.default_pull_secrets();
        self.default_pod_fields();
        self.default_service_account()
    }

    fn default_resources(&mut self) {
        let with = |policy: &&&'p Policy| defaults(policy).is_some_and(|defaults| !defaults.resources.is_empty());
        if !self.policies.iter().any(|policy| with(&policy)) {
            return;
        }
        let pod_level = parse(self.draft.pod.spec.as_ref().and_then(|spec| spec.resources));
        let before: Vec<Option<Value>> =
            self.draft.containers.iter().map(|container| parse(container.view.resources)).collect();
        let mut after = before.clone();
        for policy in self.policies.iter().filter(with).copied() {
            let step = self.report.begin(policy, "defaults.resources");
            let targets = self.targets(policy);
            self.say_no_container(&targets, step);
            for target in targets {
                if let Some(own) = after.get_mut(target) {
                    self.container_resources(policy, own, pod_level.as_ref(), target, step);
                }
            }
        }
        for ((before, after), container) in before.iter().zip(&after).zip(&self.draft.containers) {
            let at = format!("/spec/{}/{}/resources", container.list, container.index);
            let object = |value: &'_ Option<Value>| value.as_ref().and_then(Value::as_object).cloned();
            diff::write(&at, object(before).as_ref(), object(after).as_ref(), &mut self.patch);
        }
    }

    fn container_resources(
        &mut self,
        policy: &'p Policy,
        own: &mut Option<Value>,
        pod_level: Option<&Value>,
        target: usize,
        step: StepId,
    ) {
        let Some(defaults) = defaults(policy) else { return };
        let name = self.draft.containers.get(target).map_or("", |container| container.name);
        let missing = defaults.resources.missing(own.as_ref(), pod_level, name);
        let thing = |list, resource: &'p str| Thing::Resource(target, list, resource.into());
        for (list, resource) in missing.different {
            match self.claims.holder(&thing(list, resource)) {
                Some(first) => {
                    let first = self.report.name(first);
                    self.report.tell(step, Reason::DefaultOfPolicy, &[&format!("{resource} in {list}"), &first]);
                }
                None => self.report.tell(step, Reason::SaidByPod, &[&format!("{resource} in {list}")]),
            }
        }
        for (list, resource) in missing.equal {
            self.claims.hold(thing(list, resource), step, None);
            self.report.came_of(step, StepOutcome::Present);
        }
        for (list, resource, amount) in missing.amounts {
            self.claims.hold(thing(list, resource), step, None);
            if !own.as_ref().is_some_and(Value::is_object) {
                *own = Some(Value::Object(Map::new()));
            }
            let lists = own.as_mut().and_then(Value::as_object_mut);
            let amounts = lists.map(|lists| lists.entry(list).or_insert(Value::Null));
            if let Some(amounts) = amounts {
                if !amounts.is_object() {
                    *amounts = Value::Object(Map::new());
                }
                amounts.as_object_mut().map(|amounts| amounts.insert(resource.to_owned(), amount.into()));
                self.report.came_of(step, StepOutcome::Applied);
            }
        }
        self.report.notes(step, missing.notes);
        if self.report.outcome(step) == StepOutcome::Skipped {
            self.report.tell(step, Reason::SaidByPod, &[&"resources"]);
        }
    }

    fn default_security_context(&mut self) {
        let with = |policy: &&&'p Policy| defaults(policy).is_some_and(|defaults| defaults.security_context.is_some());
        if !self.policies.iter().any(|policy| with(&policy)) {
            return;
        }
        let spec = self.draft.pod.spec.as_ref();
        let own = parse(spec.and_then(|spec| spec.security_context));
        let before = own.as_ref().and_then(Value::as_object).cloned();
        let mut after = before.clone().unwrap_or_default();
        let facts = self.security_facts();
        for policy in self.policies.iter().filter(with).copied() {
            let Some(wanted) = defaults(policy).and_then(|defaults| defaults.security_context.as_ref()) else {
                continue;
            };
            let step = self.report.begin(policy, "defaults.securityContext");
            let refused = refused_fields(wanted, self.security);
            for (field, value) in wanted.iter().filter(|(_, value)| !value.is_null()) {
                match refused.iter().find(|(other, _)| other == field) {
                    Some((field, allowed)) => {
                        self.report.tell(step, Reason::FieldAgainstPodSecurity, &[field, allowed]);
                    }
                    None => self.security_field(policy, (field, value), &facts, &mut after, step),
                }
            }
        }
        diff::write("/spec/securityContext", before.as_ref(), Some(&after), &mut self.patch);
    }

    fn security_field(
        &mut self,
        policy: &'p Policy,
        (field, value): (&'p String, &Value),
        facts: &SecurityFacts,
        context: &mut Map<String, Value>,
        step: StepId,
    ) {
        let own = context.get(field).filter(|own| !own.is_null());
        let carried = match own {
            None => Carried::Nothing,
            Some(own) if own == value => Carried::Same,
            Some(_) => Carried::Other,
        };
        let text = value.to_string();
        let (thing, subject) = (Thing::SecurityContext(field.into()), Subject::SecurityContext(field));
        let existing = self.claims.standing(
            Asker { policy, modifier: "defaults.securityContext" },
            &thing,
            subject,
            carried,
            || own.map_or_else(Cow::default, |own| own.to_string().into()),
            |held| held == Some(&text),
        );
        match existing {
            Existing::Agreed | Existing::Same | Existing::SameOfOurs | Existing::SameOfAnother => {
                self.report.came_of(step, StepOutcome::Present);
            }
            Existing::OfStep(first) => {
                let first = self.report.name(first);
                self.report.tell(step, Reason::DefaultOfPolicy, &[&format!("securityContext.{field}"), &first]);
            }
            Existing::OfThePod | Existing::OfOverride => {
                self.report.tell(step, Reason::SaidByPod, &[&format!("securityContext.{field}")]);
                return;
            }
            Existing::Nothing | Existing::OfEarlierPass => {
                if let Some(why) = facts.contradiction(field, value, context) {
                    self.report.tell(step, Reason::DefaultContradicted, &[field, &why]);
                    return;
                }
                context.insert(field.clone(), value.clone());
                self.report.came_of(step, StepOutcome::Applied);
            }
        }
        self.claims.record(policy, subject, &text, existing);
        self.claims.hold(thing, step, Some(text.into()));
    }

    fn security_facts(&self) -> SecurityFacts {
        let mut facts = SecurityFacts::default();
        for container in &self.draft.containers {
            if let Some(Value::Object(context)) = parse(container.view.security_context) {
                facts.add_container(&context);
            }
        }
        let spec = self.draft.pod.spec.as_ref();
        let os = spec.and_then(|spec| spec.os.as_ref()).and_then(|os| os.name.as_ref()).map(Str::as_str);
        facts.is_windows = os == Some("windows") || self.selects_windows();
        facts.is_linux = os == Some("linux");
        facts.host_network = spec.and_then(|spec| spec.host_network) == Some(true);
        facts.host_ipc = spec.and_then(|spec| spec.host_ipc) == Some(true);
        let annotations = self.draft.pod.metadata.iter().filter_map(|metadata| metadata.annotations.as_ref());
        let is_blank = |(key, value): (&str, &Raw<'_>)| key.starts_with(APP_ARMOR_ANNOTATION) && value.get() == "\"\"";
        facts.has_blank_app_armor = annotations.flat_map(Fields::iter).any(is_blank);
        facts.seccomp_annotation = self.draft.pod.annotation(SECCOMP_ANNOTATION).map(Cow::into_owned);
        facts
    }

    /// Whether only nodes of Windows can run the pod, by its node selector or required node affinity.
    fn selects_windows(&self) -> bool {
        const OS: &str = "kubernetes.io/os";
        let Some(spec) = &self.draft.pod.spec else { return false };
        if parse(spec.node_selector).is_some_and(|selector| selector.get(OS).is_some_and(|os| os == "windows")) {
            return true;
        }
        let affinity = parse(spec.affinity);
        let terms = affinity.as_ref().and_then(|affinity| {
            let required = "/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
            affinity.pointer(required)?.as_array()
        });
        let asks = |term: &Value| {
            let expressions = term.get("matchExpressions").and_then(Value::as_array).into_iter().flatten();
            let mut of_os = expressions.filter(|one| one.get("key").is_some_and(|key| key == OS));
            of_os.any(|one| {
                one.get("operator").is_some_and(|operator| operator == "In")
                    && one.get("values").and_then(Value::as_array).is_some_and(|values| values == &["windows"])
            })
        };
        terms.is_some_and(|terms| !terms.is_empty() && terms.iter().all(asks))
    }

    fn default_pull_secrets(&mut self) {
        let with =
            |policy: &&&'p Policy| defaults(policy).is_some_and(|defaults| !defaults.image_pull_secrets.is_empty());
        if !self.policies.iter().any(|policy| with(&policy) || !policy.image_pull_secrets.is_empty()) {
            return;
        }
        let own = parse(self.draft.pod.spec.as_ref().and_then(|spec| spec.image_pull_secrets));
        let own = own.as_ref().and_then(Value::as_array);
        let mut has_list = own.is_some();
        let own: Vec<&str> =
            own.into_iter().flatten().map(|one| one.get("name").and_then(Value::as_str).unwrap_or_default()).collect();
        let mut now: Vec<&str> = own.clone();
        for policy in self.policies.iter().filter(with).copied() {
            let Some(names) = defaults(policy).map(|defaults| &defaults.image_pull_secrets) else { continue };
            let step = self.report.begin(policy, "defaults.imagePullSecrets");
            let text = names.join(",");
            let carried = match own.as_slice() {
                [] => Carried::Nothing,
                // What policies put beside the pod's own is not among what a default compares.
                own if own.iter().filter(|name| !self.is_beside(name, names)).eq(names.iter()) => Carried::Same,
                _ => Carried::Other,
            };
            let asker = Asker { policy, modifier: "defaults.imagePullSecrets" };
            let (thing, subject) = (Thing::PullSecrets, Subject::PullSecrets);
            let content = || Cow::Owned(own.join(","));
            let existing = self.claims.standing(asker, &thing, subject, carried, content, |held| held == Some(&text));
            match existing {
                Existing::Agreed | Existing::Same | Existing::SameOfOurs | Existing::SameOfAnother => {
                    self.report.came_of(step, StepOutcome::Present);
                }
                Existing::OfStep(first) => {
                    let first = self.report.name(first);
                    self.report.tell(step, Reason::DefaultOfPolicy, &[&"imagePullSecrets", &first]);
                }
                Existing::OfThePod | Existing::OfOverride => {
                    self.report.tell(step, Reason::SaidByPod, &[&"imagePullSecrets"]);
                    continue;
                }
                Existing::Nothing | Existing::OfEarlierPass => {
                    for index in (0..own.len()).rev() {
                        self.patch.remove(&format!("/spec/imagePullSecrets/{index}"));
                    }
                    let secrets = names.iter().map(|name| Json::of(&serde_json::json!({"name": name})));
                    self.patch.append("/spec/imagePullSecrets", has_list, &secrets.collect::<Vec<_>>());
                    has_list = true;
                    now = names.iter().map(String::as_str).collect();
                    self.report.came_of(step, StepOutcome::Applied);
                }
            }
            self.claims.record(policy, subject, &text, existing);
            self.claims.hold(thing, step, Some(text.into()));
        }
        self.pull_secrets_beside(has_list, now);
    }

    fn default_service_account(&mut self) -> bool {
        let spec = self.draft.pod.spec.as_ref();
        let own = spec.and_then(|spec| spec.service_account_name.as_ref()).map(Str::as_str);
        // The API server overrules this one by the other.
        let alias = spec.and_then(|spec| spec.service_account.as_ref()).map(Str::as_str);
        let named = [own, alias].into_iter().flatten().find(|name| !name.is_empty());
        let mut is_ours = self.original.has_our_account();
        for policy in self.policies {
            let Some(wanted) = defaults(policy).and_then(|defaults| defaults.service_account_name.as_deref()) else {
                continue;
            };
            let step = self.report.begin(policy, "defaults.serviceAccountName");
            let carried = match named {
                Some(named) if named == wanted => Carried::Same,
                None | Some(NO_ACCOUNT) => Carried::Nothing,
                Some(_) => Carried::Other,
            };
            let asker = Asker { policy, modifier: "defaults.serviceAccountName" };
            let (thing, subject) = (Thing::ServiceAccount, Subject::ServiceAccount);
            let content = || Cow::Borrowed(named.unwrap_or_default());
            let existing = self.claims.standing(asker, &thing, subject, carried, content, |held| held == Some(wanted));
            match existing {
                Existing::Agreed | Existing::Same | Existing::SameOfOurs | Existing::SameOfAnother => {
                    self.report.came_of(step, StepOutcome::Present);
                }
                Existing::OfStep(first) => {
                    let first = self.report.name(first);
                    self.report.tell(step, Reason::DefaultOfPolicy, &[&"serviceAccountName", &first]);
                }
                Existing::OfThePod | Existing::OfOverride => {
                    self.report.tell(step, Reason::SaidByPod, &[&"serviceAccountName"]);
                    continue;
                }
                Existing::Nothing | Existing::OfEarlierPass
                    if self.absent_accounts.iter().any(|name| name == wanted) =>
                {
                    self.report.tell(step, Reason::ServiceAccountMissing, &[&self.context.namespace, &wanted]);
                    continue;
                }
                Existing::Nothing | Existing::OfEarlierPass => {
                    self.account = Some(wanted);
                    self.patch.set("/spec/serviceAccountName", &Json::string(wanted));
                    if alias.is_some() {
                        self.patch.replace("/spec/serviceAccount", &Json::string(wanted));
                    }
                    is_ours = true;
                    self.report.came_of(step, StepOutcome::Applied);
                }
            }
            self.claims.record(policy, subject, wanted, existing);
            self.claims.hold(thing, step, Some(wanted.into()));
        }
        is_ours
    }
}

pub(super) fn defaults(policy: &Policy) -> Option<&Defaults> {
    policy.defaults.as_deref()
}

pub(super) fn parse(raw: Option<Raw<'_>>) -> Option<Value> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
}
