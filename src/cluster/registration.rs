//! The webhook's own registration: read by everybody, its `caBundle` written by whoever keeps the certificates.

use std::sync::Arc;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::FIELD_MANAGER;
use super::watch::{self, WatchNews};
use crate::labels::Selector;
use crate::metrics::{Metrics, Watching};
use crate::reaper::missed::Registration;

/// Name of the registration.
pub const REGISTRATION: &str = "00-stowage";
/// Name of its one entry, the same in every overlay and release.
pub const ENTRY: &str = "pods.stowage.dev";

/// The registration and its entry as they are named here.
#[derive(Clone)]
pub(super) struct Registrations {
    api: Api<MutatingWebhookConfiguration>,
    name: String,
}

impl Registrations {
    pub(super) fn new(client: Client, name: String) -> Self {
        Self { api: Api::all(client), name }
    }

    pub(super) fn watch(&self) -> (Api<MutatingWebhookConfiguration>, watcher::Config) {
        let fields = format!("metadata.name={}", self.name);
        (self.api.clone(), watcher::Config::default().fields(&fields))
    }

    /// Writes the bundle into our entry of this very version of the registration; creates neither.
    pub(super) async fn publish(
        &self,
        seen: &MutatingWebhookConfiguration,
        bundle_pem: &str,
    ) -> Result<MutatingWebhookConfiguration, kube::Error> {
        let encoded = serde_json::to_value(k8s_openapi::ByteString(bundle_pem.as_bytes().to_vec()))
            .map_err(kube::Error::SerdeError)?;
        let patch = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            // An apply creates what is not there; with a version it cannot.
            "metadata": {"name": self.name, "resourceVersion": seen.resource_version()},
            "webhooks": [{"name": ENTRY, "clientConfig": {"caBundle": encoded}}],
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.api.patch(&self.name, &params, &Patch::Apply(&patch)).await
    }
}

/// Watches what the registration of that name sends to the webhook, for ever; `None` where it is not there.
pub async fn follow_scope(
    client: Client,
    name: String,
    metrics: Arc<Metrics>,
    mut tell: impl FnMut(Option<Registration>),
) {
    let (api, config) = Registrations::new(client, name).watch();
    let read = |registration: MutatingWebhookConfiguration| scope(&registration);
    watch::follow(api, config, Watching::Registration, metrics, read, |told| {
        tell(match told {
            WatchNews::Applied(scope) => scope,
            WatchNews::Deleted { .. } => None,
            WatchNews::Relisted(scopes) => scopes.into_iter().next().flatten(),
        });
    })
    .await;
}

/// Which pods our entry sends. The API server takes no selector that is wrong; one that is none the less sends nothing
/// that we know of.
fn scope(registration: &MutatingWebhookConfiguration) -> Option<Registration> {
    let entry = registration.webhooks.iter().flatten().find(|entry| entry.name == ENTRY)?;
    let mut errors = Vec::new();
    let mut parse = |selector: Option<&LabelSelector>| {
        selector.map(|selector| Selector::parse(selector, "", &mut errors)).unwrap_or_default()
    };
    let namespaces = parse(entry.namespace_selector.as_ref());
    let objects = parse(entry.object_selector.as_ref());
    let created = registration.metadata.creation_timestamp.as_ref().map(|created| created.0);
    errors.is_empty().then_some(Registration { namespaces, objects, created })
}

/// The bundle that our entry publishes, empty where it has none; `None` where there is no such entry.
pub(super) fn bundle(registration: &MutatingWebhookConfiguration) -> Option<&[u8]> {
    let entry = registration.webhooks.iter().flatten().find(|entry| entry.name == ENTRY)?;
    Some(entry.client_config.ca_bundle.as_ref().map_or(&[], |bundle| &bundle.0))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(entry: Value) -> Option<Registration> {
        let metadata = json!({"name": REGISTRATION, "creationTimestamp": "2026-01-01T00:00:00Z"});
        scope(&serde_json::from_value(json!({"metadata": metadata, "webhooks": [entry]})).unwrap())
    }

    fn entry(name: &str, selector: Value) -> Value {
        json!({"name": name, "admissionReviewVersions": ["v1"], "clientConfig": {}, "sideEffects": "None",
               "objectSelector": selector})
    }

    #[test]
    fn the_scope_is_that_of_our_entry_and_unknown_where_it_cannot_be_read() {
        let asked = json!({"matchLabels": {"stowage.dev/inject": "true"}});
        let found = read(entry(ENTRY, asked.clone())).unwrap();
        assert_eq!(found.created, "2026-01-01T00:00:00Z".parse().ok());
        assert_eq!(found.objects.requirements().len(), 1);
        assert_eq!(found.namespaces, Selector::default());
        assert_eq!(read(entry("other.example.com", asked)), None);
        assert_eq!(read(entry(ENTRY, json!({"matchExpressions": [{"key": "a", "operator": "Like"}]}))), None);
    }
}
