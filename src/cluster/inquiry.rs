//! What a person's own account reads to answer why a pod was, or was not, injected. No Secret is among it.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client};
use serde_json::Value;

use super::policies::{PolicyNews, list};
use crate::policy::compile::Compiler;
use crate::policy::roster::PolicyKind;

/// Kinds that hold a pod, by the words that kubectl takes for them: word, short word, kind, group, version, plural.
const KINDS: [[&str; 6]; 7] = [
    ["pod", "po", "Pod", "", "v1", "pods"],
    ["job", "job", "Job", "batch", "v1", "jobs"],
    ["cronjob", "cj", "CronJob", "batch", "v1", "cronjobs"],
    ["deployment", "deploy", "Deployment", "apps", "v1", "deployments"],
    ["statefulset", "sts", "StatefulSet", "apps", "v1", "statefulsets"],
    ["daemonset", "ds", "DaemonSet", "apps", "v1", "daemonsets"],
    ["replicaset", "rs", "ReplicaSet", "apps", "v1", "replicasets"],
];

/// The labels of the webhook's Deployment and of its pods.
const WEBHOOK: &str = "app.kubernetes.io/name=stowage,app.kubernetes.io/component=webhook";

/// A client that reads on behalf of whoever asks.
pub struct Inquiry {
    client: Client,
    namespace: String,
}

impl Inquiry {
    /// About this namespace; the client's own where none is named.
    #[must_use]
    pub fn new(client: Client, namespace: Option<String>) -> Self {
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        Self { client, namespace }
    }

    /// The namespace that is asked about.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The object of this kind and name, with `apiVersion` and `kind`.
    ///
    /// # Errors
    /// It is not there, or may not be read.
    pub async fn object(&self, resource: &ApiResource, name: &str) -> Result<Value, kube::Error> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, resource);
        let mut object = serde_json::to_value(api.get(name).await?).map_err(kube::Error::SerdeError)?;
        if let Some(object) = object.as_object_mut() {
            object.insert("apiVersion".to_owned(), Value::String(resource.api_version.clone()));
            object.insert("kind".to_owned(), Value::String(resource.kind.clone()));
        }
        Ok(object)
    }

    /// The namespace; `None` where it is not there.
    ///
    /// # Errors
    /// It may not be read.
    pub async fn namespace_object(&self) -> Result<Option<Namespace>, kube::Error> {
        Api::all(self.client.clone()).get_opt(&self.namespace).await
    }

    /// Whether the namespace has the service account.
    ///
    /// # Errors
    /// It may not be read.
    pub async fn has_account(&self, name: &str) -> Result<bool, kube::Error> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace);
        Ok(api.get_metadata_opt(name).await?.is_some())
    }

    /// The registration; `None` where it is not there.
    ///
    /// # Errors
    /// It may not be read.
    pub async fn registration(&self, name: &str) -> Result<Option<MutatingWebhookConfiguration>, kube::Error> {
        Api::all(self.client.clone()).get_opt(name).await
    }

    /// The policies of one kind that may act on pods of the namespace, compiled.
    ///
    /// # Errors
    /// They may not be read.
    pub async fn policies(&self, kind: PolicyKind, compiler: &Compiler) -> Result<PolicyNews, kube::Error> {
        list(self.client.clone(), kind, &self.namespace, compiler).await
    }

    /// Stowage's own pods in its namespace.
    ///
    /// # Errors
    /// They may not be read.
    pub async fn replicas(&self, namespace: &str) -> Result<Vec<Pod>, kube::Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        Ok(api.list(&ListParams::default().labels(WEBHOOK)).await?.items)
    }

    /// Their Deployment.
    ///
    /// # Errors
    /// It may not be read.
    pub async fn deployments(&self, namespace: &str) -> Result<Vec<Deployment>, kube::Error> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        Ok(api.list(&ListParams::default().labels(WEBHOOK)).await?.items)
    }

    /// The Events on pods of that namespace; all, or those on the one of this uid.
    ///
    /// # Errors
    /// They may not be read.
    pub async fn events(&self, namespace: &str, uid: Option<&str>) -> Result<Vec<Event>, kube::Error> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let mut fields = "involvedObject.kind=Pod".to_owned();
        if let Some(uid) = uid {
            fields.push_str(&format!(",involvedObject.uid={uid}"));
        }
        Ok(api.list(&ListParams::default().fields(&fields)).await?.items)
    }

    /// The pods of the namespace, of which nothing but the metadata is read.
    ///
    /// # Errors
    /// They may not be read.
    pub async fn pods(&self) -> Result<Vec<ObjectMeta>, kube::Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let pods = api.list_metadata(&ListParams::default()).await?;
        Ok(pods.items.into_iter().map(|pod| pod.metadata).collect())
    }
}

/// The kind that `word` stands for, as kubectl takes it; `None` for one that holds no pod.
#[must_use]
pub fn resource(word: &str) -> Option<ApiResource> {
    let word = word.to_ascii_lowercase();
    let [_, _, kind, group, version, plural] = KINDS.into_iter().find(|[long, short, _, group, _, plural]| {
        word == *long || word == *short || word == *plural || word == format!("{plural}.{group}")
    })?;
    Some(ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural))
}
