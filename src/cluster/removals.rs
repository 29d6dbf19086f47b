//! What the watcher's hands do: they read a pod and its owners live, and remove what was decided.
//!
//! Every removal is bound to the uid and the version that were read, and says what becomes of what the object owns. What
//! the API server answers becomes a value; nothing is tried twice here.
//!
//! Names of owners come from pods, where anybody can write anything: what is no name never becomes a part of a path.

use std::error::Error as StdError;
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::api::{ApiResource, GroupVersionKind};
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::warn;

use crate::names;
use crate::reaper::step::{Act, ActKind, Answer, Read, Target};
use crate::threshold::WatchedPod;
use crate::threshold::owner::OwnerObject;
use crate::threshold::pod::OwnerReference;

/// How long an object is waited for.
const READ: Duration = Duration::from_secs(3);
/// How long a removal is: less than lies between the end of a leader's term and the beginning of another's.
const ACT: Duration = Duration::from_secs(4);

/// Reads and removes.
#[derive(Clone)]
pub struct Removals {
    client: Client,
}

/// What the API server answered, as far as it is read.
struct Reply {
    status: StatusCode,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl Removals {
    /// By this client.
    #[must_use]
    pub const fn new(client: Client) -> Self {
        Self { client }
    }

    /// The pod of that name, as it is now.
    pub async fn pod(&self, namespace: &str, name: &str) -> Read<WatchedPod> {
        let target = Target {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Target::default()
        };
        self.read(&target).await
    }

    /// The object that `reference`, of a pod or an owner in `namespace`, names: whatever has that name now.
    pub async fn owner(&self, namespace: &str, reference: &OwnerReference) -> Read<OwnerObject> {
        let target = Target {
            api_version: reference.api_version.clone(),
            kind: reference.kind.clone(),
            namespace: namespace.to_owned(),
            name: reference.name.clone(),
            ..Target::default()
        };
        self.read(&target).await
    }

    async fn read<T: DeserializeOwned>(&self, target: &Target) -> Read<T> {
        // What has no such name cannot be there.
        let Some(path) = path(target) else { return Read::Absent };
        let Some(reply) = self.ask(Method::GET, &path, None, target, READ).await else { return Read::Failed };
        match reply.status {
            StatusCode::OK => match serde_json::from_slice(&reply.body) {
                Ok(object) => Read::There(Box::new(object)),
                // Not the error's text, which may quote the object.
                Err(error) => {
                    warn!(
                        kind = target.kind,
                        namespace = target.namespace,
                        name = target.name,
                        line = error.line(),
                        column = error.column(),
                        "an object that cannot be read"
                    );
                    Read::Failed
                }
            },
            StatusCode::NOT_FOUND => Read::Absent,
            StatusCode::FORBIDDEN => Read::Forbidden,
            _ => Read::Failed,
        }
    }

    /// Removes what was decided.
    pub async fn act(&self, act: &Act) -> Answer {
        let Act { kind, target, .. } = act;
        let Some(path) = path(target) else { return Answer::NotFound };
        let (method, path, body) = match kind {
            ActKind::DeletePod | ActKind::DeleteOwner => (Method::DELETE, path, delete_options(act)),
            ActKind::Evict => (Method::POST, format!("{path}/eviction"), eviction(act)),
        };
        match self.ask(method, &path, Some(body), target, ACT).await {
            None => Answer::Failed,
            Some(reply) => answer(reply.status, reply.retry_after),
        }
    }

    /// `None` where nothing was answered in time.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        target: &Target,
        patience: Duration,
    ) -> Option<Reply> {
        let said = |code: Option<u16>, why: &str| {
            let Target { kind, namespace, name, .. } = target;
            warn!(%method, kind, namespace, name, code, why, "a call to the API server did not do what it should");
        };
        let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = Request::builder().method(method.clone()).uri(path).header(CONTENT_TYPE, "application/json");
        let request = request.body(Body::from(bytes)).ok()?;
        let asking = async {
            let response = self.client.send(request).await.map_err(|error| words(&error))?;
            let (head, body) = response.into_parts();
            let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let body = body.collect().await.map_err(|error| words(&error))?.to_bytes().into();
            Ok::<_, String>(Reply { status: head.status, retry_after: retry_after.map(Duration::from_secs), body })
        };
        match timeout(patience, asking).await {
            Ok(Ok(reply)) => {
                let is_usual =
                    reply.status.is_success() || matches!(reply.status, StatusCode::NOT_FOUND | StatusCode::CONFLICT);
                if !is_usual {
                    said(Some(reply.status.as_u16()), &reason(&reply.body));
                }
                Some(reply)
            }
            Ok(Err(error)) => {
                said(None, &error);
                None
            }
            Err(_) => {
                said(None, "no answer in time");
                None
            }
        }
    }
}

fn words(error: &dyn StdError) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// The machine's word for a failure. The text beside it may hold what a webhook says of the object.
fn reason(body: &[u8]) -> String {
    #[derive(Default, Deserialize)]
    struct ApiStatus {
        #[serde(default)]
        reason: String,
    }
    let status: ApiStatus = serde_json::from_slice(body).unwrap_or_default();
    status.reason.chars().filter(char::is_ascii_alphanumeric).take(64).collect()
}

fn answer(status: StatusCode, retry_after: Option<Duration>) -> Answer {
    match status {
        status if status.is_success() => Answer::Done,
        StatusCode::NOT_FOUND => Answer::NotFound,
        StatusCode::CONFLICT => Answer::Conflict,
        StatusCode::TOO_MANY_REQUESTS => Answer::TooMany(retry_after),
        StatusCode::FORBIDDEN => Answer::Forbidden,
        _ => Answer::Failed,
    }
}

fn delete_options(act: &Act) -> Value {
    let mut options = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": act.target.uid, "resourceVersion": act.target.resource_version},
        "propagationPolicy": act.propagation.name(),
    });
    if let (Some(seconds), Some(options)) = (act.grace_period_seconds, options.as_object_mut()) {
        options.insert("gracePeriodSeconds".to_owned(), seconds.into());
    }
    options
}

/// By hand: what kube sends has `delete_options` for `deleteOptions`, and with them goes every precondition.
fn eviction(act: &Act) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": act.target.name, "namespace": act.target.namespace},
        "deleteOptions": delete_options(act),
    })
}

/// What the API calls objects of a kind; by the rules of English, which every known kind keeps.
#[must_use]
pub fn resource(kind: &str) -> String {
    ApiResource::from_gvk(&GroupVersionKind::gvk("", "", kind)).plural
}

/// Where the object is; `None` where what names it is no name.
fn path(target: &Target) -> Option<String> {
    let (group, version) = target.api_version.split_once('/').unwrap_or(("", &target.api_version));
    let kind = &target.kind;
    let are_names = (group.is_empty() || names::dns1123_subdomain(group).is_ok())
        && names::dns1123_label(version).is_ok()
        && kind.chars().all(|c| c.is_ascii_alphanumeric())
        && !kind.is_empty()
        && names::namespace(&target.namespace).is_ok()
        && names::dns1123_subdomain(&target.name).is_ok();
    if !are_names {
        return None;
    }
    let plural = resource(kind);
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    Some(format!("{root}/namespaces/{}/{plural}/{}", target.namespace, target.name))
}

#[cfg(test)]
mod tests;
