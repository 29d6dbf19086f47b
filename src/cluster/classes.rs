//! Priority classes and runtime classes.

use std::sync::Arc;

use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt};

use super::watch::{self, WatchNews};
use crate::metrics::{Metrics, Watching};
use crate::policy::snapshot;
use crate::policy::world::{Change, Watched};

/// Watches priority classes, for ever.
pub async fn follow_priorities(client: Client, metrics: Arc<Metrics>, mut tell: impl FnMut(Change)) {
    let api: Api<PriorityClass> = Api::all(client);
    let read = |class: PriorityClass| {
        let global_default = class.global_default == Some(true);
        (class.name_any().into(), snapshot::PriorityClass { value: class.value.unwrap_or_default(), global_default })
    };
    watch::follow(api, Config::default(), Watching::PriorityClasses, metrics, read, |told| {
        tell(Change::PriorityClasses(watched(told)));
    })
    .await;
}

/// Watches runtime classes, for ever.
pub async fn follow_runtimes(client: Client, metrics: Arc<Metrics>, mut tell: impl FnMut(Change)) {
    let api: Api<RuntimeClass> = Api::all(client);
    let read = |class: RuntimeClass| {
        let name = class.name_any().into();
        let node_selector = class.scheduling.and_then(|scheduling| scheduling.node_selector).unwrap_or_default();
        (name, snapshot::RuntimeClass { node_selector })
    };
    watch::follow(api, Config::default(), Watching::RuntimeClasses, metrics, read, |told| {
        tell(Change::RuntimeClasses(watched(told)));
    })
    .await;
}

fn watched<T>(told: WatchNews<(Arc<str>, T)>) -> Watched<T> {
    match told {
        WatchNews::Applied((name, class)) => Watched::Applied(name, class),
        WatchNews::Deleted { name, .. } => Watched::Deleted(name.into()),
        WatchNews::Relisted(list) => Watched::Relisted(list),
    }
}
