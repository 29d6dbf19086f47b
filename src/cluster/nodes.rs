//! Nodes, of which the Ready condition is read and nothing else kept.

use std::sync::Arc;

use kube::runtime::watcher::Config;
use kube::{Api, Client};

use super::slim::Slim;
use super::watch::{self, WatchNews};
use crate::metrics::{Metrics, Watching};
use crate::threshold::WatchedNode;

/// Watches nodes, for ever. What is told holds a node's name and conditions, and no more of it than [`WatchedNode`] reads.
pub async fn follow(client: Client, metrics: Arc<Metrics>, tell: impl FnMut(WatchNews<WatchedNode>)) {
    let api: Api<Slim<WatchedNode>> = Api::all(client);
    let read = |node: Slim<WatchedNode>| node.view;
    watch::follow(api, Config::default(), Watching::Nodes, metrics, read, tell).await;
}
