//! The Deployment that the watcher runs in: what its Events about itself are on, and where a person releases the circuit
//! breaker by an annotation.

use std::error::Error as StdError;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::reaper::said::ObjectRef;

/// How often it is read.
const EVERY: Duration = Duration::from_secs(10);
/// How long it is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The Deployment as it was last read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnDeployment {
    /// What Events are on.
    pub reference: ObjectRef,
    /// The value of the annotation that was asked for.
    pub annotation: Option<String>,
}

/// Reads the Deployment again and again, for ever, and tells of it where it is another than before. One that is not there
/// is nothing to tell of: outside a cluster the watcher runs in none.
pub async fn follow(
    client: Client,
    namespace: String,
    name: String,
    annotation: &'static str,
    mut tell: impl FnMut(OwnDeployment),
) {
    let api: Api<PartialObjectMeta<Deployment>> = Api::namespaced(client, &namespace);
    let (mut known, mut failing) = (OwnDeployment::default(), false);
    loop {
        match timeout(PATIENCE, api.get_opt(&name)).await {
            Ok(Ok(Some(found))) => {
                failing = false;
                let read = read(found, &namespace, &name, annotation);
                if read != known {
                    known = read.clone();
                    tell(read);
                }
            }
            Ok(Ok(None)) => debug!(namespace, name, "no such Deployment"),
            Ok(Err(error)) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(namespace, name, error = &error as &dyn StdError, "reading the watcher's own Deployment");
                }
            }
            Err(_) => debug!(namespace, name, "no answer about the Deployment"),
        }
        sleep(EVERY).await;
    }
}

fn read(found: PartialObjectMeta<Deployment>, namespace: &str, name: &str, annotation: &str) -> OwnDeployment {
    let mut metadata = found.metadata;
    let annotation = metadata.annotations.as_mut().and_then(|annotations| annotations.remove(annotation));
    let reference = ObjectRef {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: metadata.uid.unwrap_or_default(),
    };
    OwnDeployment { reference, annotation }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::mock::{MockReply, server};

    #[tokio::test(start_paused = true)]
    async fn what_changes_is_told_once_and_what_fails_is_asked_for_again() {
        let mut asked = 0;
        let client = server(move |request| {
            assert_eq!(request.path, "/apis/apps/v1/namespaces/stowage/deployments/stowage-watcher");
            asked += 1;
            match asked {
                1 => MockReply::Status(404, "NotFound"),
                2 => MockReply::Status(500, "InternalError"),
                3 => MockReply::Hang,
                _ => {
                    let value = if asked < 8 { "now" } else { "later" };
                    MockReply::Json(json!({"metadata": {"uid": "u", "annotations": {"a": value, "b": "c"}}}))
                }
            }
        });
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        let tell = move |read: OwnDeployment| sender.send((read.reference.uid, read.annotation)).unwrap();
        tokio::spawn(follow(client, "stowage".to_owned(), "stowage-watcher".to_owned(), "a", tell));
        assert_eq!(told.recv().await, Some(("u".to_owned(), Some("now".to_owned()))));
        assert_eq!(told.recv().await, Some(("u".to_owned(), Some("later".to_owned()))));
    }
}
