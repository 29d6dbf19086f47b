//! The one word, out of what was read. Pure.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::admissionregistration::v1::{MutatingWebhook, MutatingWebhookConfiguration},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
    jiff::Timestamp,
};
use serde_json::Value;

use crate::{certs::trust::Bundle, cluster::ENTRY, labels::Selector};

/// Why a pod was or was not injected: a closed set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum VerdictWord {
    Injected,
    NoPolicyMatches,
    Refused,
    WouldBeInjected,
    NoRegistration,
    NotInScope,
    OptedOut,
    NeverTouched,
    RegistrationIsNewer,
    NobodyAnswered,
}

/// What was read of the pod, or of the workload with its template.
pub(super) struct ExplainedPod {
    pub(super) is_pod: bool,
    pub(super) is_mirror: bool,
    pub(super) created: Option<Timestamp>,
    /// The annotation `stowage.dev/injected`.
    pub(super) marker: Option<Value>,
    pub(super) labels: BTreeMap<String, String>,
    /// The service account that a policy would give it.
    pub(super) account: Option<String>,
    /// The policies that match now and why the pod is left alone, or why it is refused.
    pub(super) decision: Result<(Vec<String>, Option<&'static str>), String>,
}

/// The registration as far as it decides.
pub(super) struct RegistrationView<'a> {
    name: &'a str,
    created: Option<Timestamp>,
    entry: Option<&'a MutatingWebhook>,
}

/// All that the word depends on.
pub(super) struct Facts<'a> {
    pub(super) registration: Option<RegistrationView<'a>>,
    pub(super) namespace: &'a str,
    pub(super) namespace_labels: Option<&'a BTreeMap<String, String>>,
    pub(super) subject: &'a ExplainedPod,
}

/// A selector that leaves the pod out, and the first requirement that does.
struct Outside {
    selector: &'static str,
    requirement: String,
}

const OPT_OUT: &str = "the pod says stowage.dev/inject: \"false\"";

/// Why the pod was or was not injected.
pub(super) fn word(facts: &Facts<'_>) -> VerdictWord {
    let subject = facts.subject;
    if subject.is_pod && subject.marker.is_some() {
        let policies = subject.marker.as_ref().and_then(|marker| marker.get("policies")).and_then(Value::as_array);
        return if policies.is_some_and(|list| !list.is_empty()) {
            VerdictWord::Injected
        } else {
            VerdictWord::NoPolicyMatches
        };
    }
    let Some(registration) = facts.registration.as_ref().filter(|found| found.entry.is_some()) else {
        return VerdictWord::NoRegistration;
    };
    if subject.is_mirror || facts.namespace == "kube-system" {
        return VerdictWord::NeverTouched;
    }
    let opted_out = subject.labels.get("stowage.dev/inject").is_some_and(|value| value == "false");
    if opted_out || matches!(&subject.decision, Ok((_, Some(OPT_OUT)))) {
        return VerdictWord::OptedOut;
    }
    if facts.outside().is_some() {
        return VerdictWord::NotInScope;
    }
    match &subject.decision {
        Err(_) => VerdictWord::Refused,
        Ok((policies, _)) if policies.is_empty() => VerdictWord::NoPolicyMatches,
        Ok(_) if !subject.is_pod => VerdictWord::WouldBeInjected,
        Ok(_) if registration.created > subject.created => VerdictWord::RegistrationIsNewer,
        Ok(_) => VerdictWord::NobodyAnswered,
    }
}

impl VerdictWord {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Injected => "Injected",
            Self::NoPolicyMatches => "NoPolicyMatches",
            Self::Refused => "Refused",
            Self::WouldBeInjected => "WouldBeInjected",
            Self::NoRegistration => "NoRegistration",
            Self::NotInScope => "NotInScope",
            Self::OptedOut => "OptedOut",
            Self::NeverTouched => "NeverTouched",
            Self::RegistrationIsNewer => "RegistrationIsNewer",
            Self::NobodyAnswered => "NobodyAnswered",
        }
    }
}

impl<'a> RegistrationView<'a> {
    pub(super) fn of(found: &'a MutatingWebhookConfiguration) -> Self {
        Self {
            name: found.metadata.name.as_deref().unwrap_or_default(),
            created: found.metadata.creation_timestamp.as_ref().map(|time| time.0),
            entry: found.webhooks.iter().flatten().find(|entry| entry.name == ENTRY),
        }
    }

    /// Where the Service is that the entry calls.
    pub(super) fn service_namespace(found: &MutatingWebhookConfiguration) -> Option<String> {
        let entry = RegistrationView::of(found).entry?;
        Some(entry.client_config.service.as_ref()?.namespace.clone())
    }
}

impl Facts<'_> {
    /// What was found, in the order in which an API server asks.
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        match &self.registration {
            None => rows.push(("registration", "is not there".to_owned())),
            Some(RegistrationView { name, entry: None, .. }) => {
                rows.push(("registration", format!("{name} has no entry {ENTRY}")));
            }
            Some(RegistrationView { name, created, entry: Some(entry) }) => {
                let policy = entry.failure_policy.as_deref().unwrap_or("Fail");
                let created = created.map(|at| format!(", made {at}")).unwrap_or_default();
                rows.push(("registration", format!("{name}, failurePolicy {policy}{created}")));
                rows.push(("caBundle", bundle(entry)));
            }
        }
        let labels = match self.namespace_labels {
            None => "its labels are not known".to_owned(),
            Some(labels) => labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(","),
        };
        rows.push(("namespace", format!("{} ({labels})", self.namespace)));
        rows.push((
            "scope",
            match self.outside() {
                None => "the registration covers it".to_owned(),
                Some(Outside { selector, requirement }) => format!("{selector} asks for {requirement}"),
            },
        ));
        if let Some(created) = self.subject.created.filter(|_| self.subject.is_pod) {
            rows.push(("made", created.to_string()));
        }
        let marker = self.subject.marker.as_ref().map_or_else(|| "none".to_owned(), Value::to_string);
        rows.push(("marker", marker));
        rows.push((
            "matches now",
            match &self.subject.decision {
                Err(refusal) => format!("refused: {refusal}"),
                Ok((policies, _)) if policies.is_empty() => "no policy".to_owned(),
                Ok((policies, _)) => policies.join(", "),
            },
        ));
        rows
    }

    /// The first of the registration's selectors that leaves the pod out.
    fn outside(&self) -> Option<Outside> {
        let entry = self.registration.as_ref()?.entry?;
        let none = BTreeMap::new();
        let mut of_namespace = self.namespace_labels.unwrap_or(&none).clone();
        of_namespace.insert("kubernetes.io/metadata.name".to_owned(), self.namespace.to_owned());
        let failing = |selector: &Option<LabelSelector>, labels: &BTreeMap<String, String>, name: &'static str| {
            // What the API server took is valid.
            let selector = Selector::parse(selector.as_ref()?, name, &mut Vec::new());
            let found = |key: &str| labels.get(key).map(String::as_str);
            let failed = selector.requirements().iter().find(|one| !one.matches(found(&one.key)))?;
            Some(Outside { selector: name, requirement: failed.to_string() })
        };
        failing(&entry.namespace_selector, &of_namespace, "its namespaceSelector")
            .or_else(|| failing(&entry.object_selector, &self.subject.labels, "its objectSelector"))
    }
}

/// How many authorities an entry's bundle holds.
fn bundle(entry: &MutatingWebhook) -> String {
    let text = entry.client_config.ca_bundle.as_ref().map_or(&[][..], |bundle| &bundle.0);
    match Bundle::from_pem(text) {
        Err(error) => error.to_string(),
        Ok(bundle) if bundle.is_empty() => "empty: API servers trust no replica".to_owned(),
        Ok(bundle) => format!("{} authorities", bundle.authorities().len()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn registration() -> MutatingWebhookConfiguration {
        serde_json::from_value(json!({
            "metadata": {"name": "00-stowage", "creationTimestamp": "2026-11-22T12:00:00Z"},
            "webhooks": [{
                "name": ENTRY,
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "clientConfig": {"service": {"name": "stowage", "namespace": "stowage"}},
                "namespaceSelector": {"matchLabels": {"stowage.dev/injection": "enabled"}},
                "objectSelector": {"matchExpressions": [
                    {"key": "stowage.dev/inject", "operator": "NotIn", "values": ["false"]},
                    {"key": "app", "operator": "Exists"},
                ]},
            }],
        }))
        .unwrap()
    }

    fn subject() -> ExplainedPod {
        ExplainedPod {
            is_pod: true,
            is_mirror: false,
            created: Some("2026-11-22T13:00:00Z".parse().unwrap()),
            marker: None,
            labels: BTreeMap::from([("app".to_owned(), "train".to_owned())]),
            account: None,
            decision: Ok((vec!["mlrun".to_owned()], None)),
        }
    }

    /// What comes of one change of what is otherwise a pod that should have been injected.
    fn asked(
        namespace: &str,
        change: impl Fn(&mut ExplainedPod, &mut MutatingWebhookConfiguration),
    ) -> (VerdictWord, String) {
        let (mut subject, mut registration) = (subject(), registration());
        change(&mut subject, &mut registration);
        let labels = BTreeMap::from([("stowage.dev/injection".to_owned(), "enabled".to_owned())]);
        let facts = Facts {
            registration: Some(RegistrationView::of(&registration)),
            namespace,
            namespace_labels: Some(&labels).filter(|_| namespace != "other"),
            subject: &subject,
        };
        let rows = facts.rows().into_iter().map(|(name, value)| format!("{name}: {value}\n"));
        (word(&facts), rows.collect())
    }

    #[test]
    fn every_word_has_a_pod() {
        let is = |wanted: VerdictWord,
                  namespace: &str,
                  change: &dyn Fn(&mut ExplainedPod, &mut MutatingWebhookConfiguration)| {
            assert_eq!(asked(namespace, change).0, wanted);
        };
        is(VerdictWord::NobodyAnswered, "team", &|_, _| {});
        is(VerdictWord::Injected, "team", &|pod, _| pod.marker = Some(json!({"policies": [{"name": "mlrun"}]})));
        is(VerdictWord::NoPolicyMatches, "team", &|pod, _| pod.marker = Some(json!({"policies": []})));
        is(VerdictWord::NoPolicyMatches, "team", &|pod, _| pod.decision = Ok((Vec::new(), Some("no policy matches"))));
        is(VerdictWord::Refused, "team", &|pod, _| pod.decision = Err("no".to_owned()));
        is(VerdictWord::WouldBeInjected, "team", &|pod, _| pod.is_pod = false);
        is(VerdictWord::NoRegistration, "team", &|_, registration| registration.webhooks = None);
        is(VerdictWord::NotInScope, "other", &|_, _| {});
        is(VerdictWord::NotInScope, "team", &|pod, _| pod.labels.clear());
        is(VerdictWord::OptedOut, "team", &|pod, _| pod.decision = Ok((Vec::new(), Some(OPT_OUT))));
        is(VerdictWord::OptedOut, "team", &|pod, _| {
            pod.labels.insert("stowage.dev/inject".to_owned(), "false".to_owned());
        });
        is(VerdictWord::NeverTouched, "kube-system", &|_, _| {});
        is(VerdictWord::NeverTouched, "team", &|pod, _| pod.is_mirror = true);
        is(VerdictWord::RegistrationIsNewer, "team", &|pod, _| {
            pod.created = Some("2026-11-22T11:00:00Z".parse().unwrap())
        });
    }

    #[test]
    fn the_requirement_that_fails_and_a_blank_bundle_are_named() {
        let (_, rows) = asked("other", |_, _| {});
        assert!(rows.contains("scope: its namespaceSelector asks for stowage.dev/injection In [enabled]\n"), "{rows}");
        assert!(rows.contains("caBundle: empty: API servers trust no replica\n"), "{rows}");
        assert!(rows.contains("registration: 00-stowage, failurePolicy Fail, made 2026-11-22T12:00:00Z\n"), "{rows}");
        let (_, rows) = asked("team", |pod, _| pod.labels.clear());
        assert!(rows.contains("scope: its objectSelector asks for app Exists\n"), "{rows}");
    }

    #[test]
    fn the_decisions_word_for_an_opt_out_is_the_one_that_is_looked_for() {
        let pod = r#"{"metadata": {"annotations": {"stowage.dev/inject": "false"}}, "spec": {"containers": []}}"#;
        let pod: crate::pod::PodView<'_> = crate::json::read(pod).unwrap();
        let place = crate::inject::PodContext { namespace: "team", template: false, daemon_set: false };
        let snapshot = crate::policy::snapshot::Snapshot::default();
        assert_eq!(crate::inject::decide(&pod, &place, &snapshot).unwrap().left_alone, Some(OPT_OUT));
    }
}
