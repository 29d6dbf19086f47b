//! What Stowage tells Prometheus.
//!
//! Every child is resolved when the program starts, so that a request pays for
//! atomics only and a series exists from the first scrape on, at zero. Labels
//! are enums: no name of an object, and nothing a client sends, becomes one.

mod cluster;
mod labels;
mod watcher;

use std::marker::PhantomData;
use std::sync::OnceLock;

use jiff::Timestamp;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::reason::Reason;

pub use self::cluster::ClusterMetrics;
pub use self::labels::{
    Call, ConnectionRefusal, Delivery, HandshakeFailure, Label, Reload, RequestEnd, Undecided, Watching,
};
pub use self::watcher::{ActionTaken, WatcherMetrics};

const REASONS_HELP: &str = "Modifiers that were skipped and pods that were refused, by reason (docs/reasons.md).";

/// All metrics, registered.
pub struct Metrics {
    registry: Registry,
    /// Requests to the webhook by what became of them.
    pub requests: Counters<RequestEnd>,
    /// Modifiers that were left out and pods that were refused, by reason.
    pub reasons: Counters<Reason>,
    /// From the end of a request's head to its answer, body included.
    pub request_seconds: Histogram,
    /// The decision alone: body in, answer out.
    pub decision_seconds: Histogram,
    /// Policies in force.
    pub policies_loaded: IntGauge,
    /// Policies that are present and refused.
    pub policies_refused: IntGauge,
    /// Results of reading policies again.
    pub policy_reloads: Counters<Reload>,
    /// When the served certificate ends, in seconds since 1970.
    pub certificate_expiry: IntGauge,
    /// Results of reading the certificate again.
    pub certificate_reloads: Counters<Reload>,
    /// Connections to the webhook that are open.
    pub connections: IntGauge,
    /// What bodies and answers hold of the pool that they share.
    pub pool_bytes: IntGauge,
    /// Connections closed on arrival, or before their time.
    pub connections_refused: Counters<ConnectionRefusal>,
    /// TLS handshakes that failed.
    pub handshake_failures: Counters<HandshakeFailure>,
    /// Of a run in a cluster.
    pub cluster: ClusterMetrics,
    lines_dropped: IntCounter,
    count_dropped: OnceLock<Box<dyn Fn() -> u64 + Send + Sync>>,
}

/// One counter for each value of a label.
pub struct Counters<L> {
    children: Vec<IntCounter>,
    label: PhantomData<L>,
}

/// One gauge for each value of a label.
pub struct Gauges<L> {
    children: Vec<IntGauge>,
    label: PhantomData<L>,
}

/// One counter for each pair of values of two labels.
pub struct CounterGrid<A, B> {
    rows: Vec<Counters<B>>,
    label: PhantomData<A>,
}

/// One gauge for each pair of values of two labels.
pub struct GaugeGrid<A, B> {
    rows: Vec<Gauges<B>>,
    label: PhantomData<A>,
}

/// From 50 µs, where an answer over loopback begins, to the longest the API
/// server waits by our registration (2 s) and beyond.
const REQUEST_BUCKETS: [f64; 13] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

/// From 5 µs, since a usual decision takes about ten.
const DECISION_BUCKETS: [f64; 10] =
    [0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.001, 0.01, 0.1, 1.0];

impl Metrics {
    /// Makes and registers all metrics.
    ///
    /// # Errors
    /// A name is wrong or given twice; the tests hold that this cannot be.
    pub fn new(version: &str) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let build =
            IntGaugeVec::new(Opts::new("stowage_build_info", "The version that runs; always 1."), &["version"])?;
        build.with_label_values(&[version]).set(1);
        register(&registry, build)?;
        let r = &registry;
        Ok(Self {
            requests: counters(r, "stowage_requests_total", "Requests by what became of them.", "outcome")?,
            reasons: counters(r, "stowage_reasons_total", REASONS_HELP, "reason")?,
            request_seconds: histogram(
                r,
                "stowage_request_duration_seconds",
                "From a request's head to its answer, reading the body included.",
                &REQUEST_BUCKETS,
            )?,
            decision_seconds: histogram(
                r,
                "stowage_decision_duration_seconds",
                "The decision alone.",
                &DECISION_BUCKETS,
            )?,
            policies_loaded: gauge(r, "stowage_policies_loaded", "Policies in force.")?,
            policies_refused: gauge(r, "stowage_policies_refused", "Policies that are present and refused.")?,
            policy_reloads: counters(r, "stowage_policy_reloads_total", "Policies read again, by result.", "result")?,
            certificate_expiry: gauge(
                r,
                "stowage_certificate_expiration_timestamp_seconds",
                "When the served certificate ends.",
            )?,
            certificate_reloads: counters(
                r,
                "stowage_certificate_reloads_total",
                "Certificates read again, by result.",
                "result",
            )?,
            connections: gauge(r, "stowage_connections", "Open connections to the webhook.")?,
            pool_bytes: gauge(r, "stowage_pool_bytes", "Bytes that bodies and answers hold of the pool they share.")?,
            connections_refused: counters(
                r,
                "stowage_connections_refused_total",
                "Connections closed on arrival or before their time, by reason.",
                "reason",
            )?,
            handshake_failures: counters(
                r,
                "stowage_tls_handshake_failures_total",
                "TLS handshakes that failed, by reason.",
                "reason",
            )?,
            cluster: ClusterMetrics::new(r)?,
            lines_dropped: counter(
                r,
                "stowage_log_lines_dropped_total",
                "Log lines lost because they came faster than stderr was read.",
            )?,
            count_dropped: OnceLock::new(),
            registry,
        })
    }

    /// The watcher's own, registered beside these. To be called once.
    ///
    /// # Errors
    /// They are registered already.
    pub fn watcher(&self) -> Result<WatcherMetrics, prometheus::Error> {
        WatcherMetrics::new(&self.registry)
    }

    /// Notes when the served certificate ends.
    pub fn certificate_ends(&self, at: Timestamp) {
        self.certificate_expiry.set(at.as_second());
    }

    /// Where the lines that the log has lost are counted, which is asked at each scrape.
    pub fn count_dropped_lines(&self, count: impl Fn() -> u64 + Send + Sync + 'static) {
        // The log is set up once, and so is this.
        let _ = self.count_dropped.set(Box::new(count));
    }

    /// Everything in Prometheus' text format.
    ///
    /// # Errors
    /// A collector gave an empty family; ours never do.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        if let Some(count) = self.count_dropped.get() {
            self.lines_dropped.inc_by(count().saturating_sub(self.lines_dropped.get()));
        }
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

impl<L: Label> Counters<L> {
    /// Counts one.
    pub fn count(&self, value: L) {
        if let Some(child) = self.children.get(value.index()) {
            child.inc();
        }
    }

    /// How many were counted.
    #[must_use]
    pub fn total(&self, value: L) -> u64 {
        self.children.get(value.index()).map_or(0, IntCounter::get)
    }
}

impl<L: Label> Gauges<L> {
    /// Sets one.
    pub fn set(&self, value: L, number: i64) {
        if let Some(child) = self.children.get(value.index()) {
            child.set(number);
        }
    }

    /// What one is set to.
    #[must_use]
    pub fn number(&self, value: L) -> i64 {
        self.children.get(value.index()).map_or(0, IntGauge::get)
    }
}

impl<A: Label, B: Label> CounterGrid<A, B> {
    /// Counts one.
    pub fn count(&self, row: A, value: B) {
        if let Some(row) = self.rows.get(row.index()) {
            row.count(value);
        }
    }

    /// How many were counted.
    #[must_use]
    pub fn total(&self, row: A, value: B) -> u64 {
        self.rows.get(row.index()).map_or(0, |row| row.total(value))
    }
}

impl<A: Label, B: Label> GaugeGrid<A, B> {
    /// Sets one.
    pub fn set(&self, row: A, value: B, number: i64) {
        if let Some(row) = self.rows.get(row.index()) {
            row.set(value, number);
        }
    }

    /// What one is set to.
    #[must_use]
    pub fn number(&self, row: A, value: B) -> i64 {
        self.rows.get(row.index()).map_or(0, |row| row.number(value))
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    register(registry, IntGauge::new(name, help)?)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    register(registry, IntCounter::new(name, help)?)
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, prometheus::Error> {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    register(registry, Histogram::with_opts(options)?)
}

fn counters<L: Label>(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
) -> Result<Counters<L>, prometheus::Error> {
    let family = register(registry, IntCounterVec::new(Opts::new(name, help), &[label])?)?;
    Ok(Counters {
        children: L::ALL.iter().map(|value| family.with_label_values(&[value.text()])).collect(),
        label: PhantomData,
    })
}

fn gauges<L: Label>(registry: &Registry, name: &str, help: &str, label: &str) -> Result<Gauges<L>, prometheus::Error> {
    let family = register(registry, IntGaugeVec::new(Opts::new(name, help), &[label])?)?;
    Ok(Gauges {
        children: L::ALL.iter().map(|value| family.with_label_values(&[value.text()])).collect(),
        label: PhantomData,
    })
}

fn counter_grid<A: Label, B: Label>(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: [&str; 2],
) -> Result<CounterGrid<A, B>, prometheus::Error> {
    let family = register(registry, IntCounterVec::new(Opts::new(name, help), &labels)?)?;
    let row = |row: &A| Counters {
        children: B::ALL.iter().map(|value| family.with_label_values(&[row.text(), value.text()])).collect(),
        label: PhantomData,
    };
    Ok(CounterGrid { rows: A::ALL.iter().map(row).collect(), label: PhantomData })
}

fn gauge_grid<A: Label, B: Label>(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: [&str; 2],
) -> Result<GaugeGrid<A, B>, prometheus::Error> {
    let family = register(registry, IntGaugeVec::new(Opts::new(name, help), &labels)?)?;
    let row = |row: &A| Gauges {
        children: B::ALL.iter().map(|value| family.with_label_values(&[row.text(), value.text()])).collect(),
        label: PhantomData,
    };
    Ok(GaugeGrid { rows: A::ALL.iter().map(row).collect(), label: PhantomData })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Outcome;

    #[test]
    fn every_series_is_there_from_the_first_scrape_on() {
        let metrics = Metrics::new("1.2.3").unwrap();
        metrics.requests.count(RequestEnd::Decided(Outcome::Patched));
        metrics.request_seconds.observe(0.000_07);
        metrics.certificate_ends(Timestamp::from_second(1_800_000_000).unwrap());
        metrics.count_dropped_lines(|| 5);
        metrics.text().unwrap();
        let text = metrics.text().unwrap();
        for line in [
            "stowage_build_info{version=\"1.2.3\"} 1",
            "stowage_requests_total{outcome=\"patched\"} 1",
            "stowage_requests_total{outcome=\"opted_out\"} 0",
            "stowage_requests_total{outcome=\"unreadable\"} 0",
            "stowage_request_duration_seconds_bucket{le=\"0.00005\"} 0",
            "stowage_request_duration_seconds_bucket{le=\"0.0001\"} 1",
            "stowage_policies_loaded 0",
            "stowage_log_lines_dropped_total 5",
            "stowage_policy_reloads_total{result=\"refused\"} 0",
            "stowage_certificate_expiration_timestamp_seconds 1800000000",
            "stowage_connections_refused_total{reason=\"address\"} 0",
            "stowage_tls_handshake_failures_total{reason=\"rejected\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
        }
    }
}
