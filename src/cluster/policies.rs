//! Policies of the cluster, compiled as they come.

use std::sync::Arc;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, ObjectMeta};
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::watch::{self, WatchNews};
use crate::field_error::FieldError;
use crate::metrics::{Metrics, Watching};
use crate::policy::compile::Compiler;
use crate::policy::crd::{CLUSTER_KIND, NAMESPACED_KIND};
use crate::policy::roster::{Generation, PolicyChange, PolicyKind};
use crate::policy::{PolicyId, Scope};

/// A change of policies, with what a writer of their statuses needs.
#[derive(Debug)]
pub struct PolicyNews {
    /// The change.
    pub change: PolicyChange,
    /// `metadata.resourceVersion` of each policy that came.
    pub versions: Vec<(PolicyId, String)>,
}

/// What the API calls a kind of policies.
#[must_use]
pub fn api_resource(kind: PolicyKind) -> ApiResource {
    let (kind, plural) = match kind {
        PolicyKind::Cluster => (CLUSTER_KIND, "clusterinjectionpolicies"),
        PolicyKind::Namespaced => (NAMESPACED_KIND, "injectionpolicies"),
    };
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("stowage.dev", "v1alpha1", kind), plural)
}

/// Watches the policies of one kind, for ever.
pub async fn follow(
    client: Client,
    kind: PolicyKind,
    compiler: Arc<Compiler>,
    metrics: Arc<Metrics>,
    mut tell: impl FnMut(PolicyNews),
) {
    let watching = match kind {
        PolicyKind::Cluster => Watching::ClusterPolicies,
        PolicyKind::Namespaced => Watching::Policies,
    };
    let resource = api_resource(kind);
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    let read = move |object: DynamicObject| read(&resource, object, &compiler);
    watch::follow(api, Config::default(), watching, metrics, read, |told| {
        let news = match told {
            WatchNews::Applied(SeenPolicy { id, version, generation }) => {
                PolicyNews { versions: vec![(id.clone(), version)], change: PolicyChange::Applied(id, generation) }
            }
            WatchNews::Deleted { namespace, name } => {
                PolicyNews { change: PolicyChange::Deleted(id(namespace, &name)), versions: Vec::new() }
            }
            WatchNews::Relisted(list) => relisted(kind, list),
        };
        tell(news);
    })
    .await;
}

/// The policies of one kind that may act on pods of a namespace, read once.
pub(super) async fn list(
    client: Client,
    kind: PolicyKind,
    namespace: &str,
    compiler: &Compiler,
) -> Result<PolicyNews, kube::Error> {
    let resource = api_resource(kind);
    let api: Api<DynamicObject> = match kind {
        PolicyKind::Cluster => Api::all_with(client, &resource),
        PolicyKind::Namespaced => Api::namespaced_with(client, namespace, &resource),
    };
    let objects = api.list(&ListParams::default()).await?.items;
    let seen: Vec<SeenPolicy> = objects.into_iter().map(|object| read(&resource, object, compiler)).collect();
    Ok(relisted(kind, seen))
}

fn relisted(kind: PolicyKind, list: Vec<SeenPolicy>) -> PolicyNews {
    let versions = list.iter().map(|seen| (seen.id.clone(), seen.version.clone())).collect();
    let list = list.into_iter().map(|seen| (seen.id, seen.generation)).collect();
    PolicyNews { change: PolicyChange::Relisted(kind, list), versions }
}

struct SeenPolicy {
    id: PolicyId,
    version: String,
    generation: Generation,
}

fn read(resource: &ApiResource, object: DynamicObject, compiler: &Compiler) -> SeenPolicy {
    let id = id(object.namespace(), &object.name_any());
    let number = object.metadata.generation.unwrap_or_default();
    let version = object.resource_version().unwrap_or_default();
    let uid = object.uid().unwrap_or_default();
    let Value::Object(mut data) = object.data else {
        return SeenPolicy { id, version, generation: unread(uid, number) };
    };
    // What cannot be read as a status is one that is to be written anew.
    let status = data.remove("status").and_then(|status| serde_json::from_value(status).ok());
    let metadata = ObjectMeta {
        name: object.metadata.name,
        namespace: object.metadata.namespace,
        generation: object.metadata.generation,
        ..ObjectMeta::default()
    };
    let spec = data.remove("spec").unwrap_or_default();
    let document =
        json!({"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec});
    let compiled = compiler.compile(&document).map(Arc::new);
    SeenPolicy { id, version, generation: Generation { uid, number, status, compiled } }
}

/// The API server stores objects only; what is none has no spec.
fn unread(uid: String, number: i64) -> Generation {
    let error = FieldError::new("", "is no object");
    Generation { uid, number, status: None, compiled: Err(vec![error]) }
}

fn id(namespace: Option<String>, name: &str) -> PolicyId {
    PolicyId {
        scope: namespace.map_or(Scope::Cluster, |namespace| Scope::Namespace(namespace.into())),
        name: name.into(),
    }
}
