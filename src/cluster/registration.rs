//! The webhook's own registration: read by everybody, its `caBundle` written by whoever keeps the certificates.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::FIELD_MANAGER;

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

/// The bundle that our entry publishes, empty where it has none; `None` where there is no such entry.
pub(super) fn bundle(registration: &MutatingWebhookConfiguration) -> Option<&[u8]> {
    let entry = registration.webhooks.iter().flatten().find(|entry| entry.name == ENTRY)?;
    Some(entry.client_config.ca_bundle.as_ref().map_or(&[], |bundle| &bundle.0))
}
