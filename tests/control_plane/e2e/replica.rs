//! One replica of the webhook, asked past the API server, which keeps to one of them.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use crate::watcher::stage::fetch;

fn ip(replica: &Value) -> Option<IpAddr> {
    replica["status"]["podIP"].as_str()?.parse().ok()
}

/// What a series of its metrics says; the series with all its labels.
pub(super) async fn metric(replica: &Value, series: &str) -> Option<f64> {
    let (_, metrics) = fetch(SocketAddr::new(ip(replica)?, 8080), "/metrics").await?;
    metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}
