//! What the parts that speak to an API server tell.

use prometheus::{IntGauge, Registry};

use super::labels::{Call, Delivery, Watching};
use super::{Counters, Gauges, counters, gauge, gauges};

/// Metrics of a run in a cluster; at zero, and meaning nothing, in any other.
pub struct ClusterMetrics {
    /// Whether a watch is broken now: 1 from the first failure until something comes again.
    pub watch_failing: Gauges<Watching>,
    /// Failures of watches.
    pub watch_failures: Counters<Watching>,
    /// Whether the published bundle trusts the served certificate: 1 or 0.
    pub bundle_trusts: IntGauge,
    /// Writes of the Secret with the certificates.
    pub certificate_writes: Counters<Call>,
    /// Writes of the registration's `caBundle`.
    pub bundle_writes: Counters<Call>,
    /// Writes of policies' statuses.
    pub status_writes: Counters<Call>,
    /// Events on the owners of pods.
    pub events: Counters<Delivery>,
    /// Namespaces asked for because a pod came before the watch knew them.
    pub namespace_lookups: Counters<Call>,
    /// Service accounts asked for because a policy would set them.
    pub account_lookups: Counters<Call>,
}

impl ClusterMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            watch_failing: gauges(r, "stowage_watch_failing", "Whether a watch is broken now.", "watch")?,
            watch_failures: counters(r, "stowage_watch_failures_total", "Failures of watches.", "watch")?,
            bundle_trusts: gauge(
                r,
                "stowage_ca_bundle_trusts_certificate",
                "Whether the published bundle trusts the served certificate.",
            )?,
            certificate_writes: counters(
                r,
                "stowage_certificate_writes_total",
                "Writes of the Secret with the certificates, by result.",
                "result",
            )?,
            bundle_writes: counters(
                r,
                "stowage_ca_bundle_writes_total",
                "Writes of the registration's caBundle, by result.",
                "result",
            )?,
            status_writes: counters(
                r,
                "stowage_status_writes_total",
                "Writes of policies' statuses, by result.",
                "result",
            )?,
            events: counters(r, "stowage_events_total", "Events on the owners of pods, by result.", "result")?,
            namespace_lookups: counters(
                r,
                "stowage_namespace_lookups_total",
                "Namespaces asked for because a pod came before the watch knew them, by result.",
                "result",
            )?,
            account_lookups: counters(
                r,
                "stowage_account_lookups_total",
                "Service accounts asked for because a policy would set them, by result.",
                "result",
            )?,
        })
    }
}
