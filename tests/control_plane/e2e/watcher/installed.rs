//! A watcher of two replicas that runs in the cluster, and is gone with everything of its own when this is dropped.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{IpAddr, SocketAddr},
    process::{Child, ChildStdout, Stdio},
};

use serde_json::Value;

use super::super::{Lab, is_ready, until};
use crate::watcher::stage::{fetch, overlay_with, rendered};

/// The component, installed over the overlay that the tests share.
pub(super) struct Installed {
    pub(super) lab: &'static Lab,
    pub(super) replicas: Vec<Value>,
}

/// A port of a pod that `kubectl port-forward` brings here, until this is dropped.
pub(super) struct Forwarded {
    kubectl: Child,
    pub(super) address: SocketAddr,
    // kubectl ends where nobody hears what else it says.
    _said: BufReader<ChildStdout>,
}

const REPLICAS: &str = "/api/v1/namespaces/stowage/pods?labelSelector=app.kubernetes.io/component%3Dwatcher";

impl Installed {
    /// [`Self::of`] the component with all its hands.
    pub(super) async fn start(lab: &'static Lab) -> Self {
        Self::of(lab, "watcher").await
    }

    /// `kubectl apply -k` of an overlay with this component, unchanged; both replicas are ready, and one acts.
    pub(super) async fn of(lab: &'static Lab, component: &str) -> Self {
        lab.installed().await;
        let mut watcher = Self { lab, replicas: Vec::new() };
        lab.install(overlay_with(component).path());
        until("both replicas of the watcher are ready", async || {
            let pods = lab.cluster.get(REPLICAS).await.object();
            watcher.replicas = pods["items"].as_array().unwrap().clone();
            watcher.replicas.len() == 2 && watcher.replicas.iter().all(is_ready)
        })
        .await;
        watcher.leader().await;
        watcher
    }

    /// The replica that acts.
    pub(super) async fn leader(&self) -> Value {
        let mut leader = None;
        until("one replica acts", async || {
            let mut leaders = Vec::new();
            for replica in &self.replicas {
                if self.metric(replica, "stowage_watcher_leader ").await == Some(1.0) {
                    leaders.push(replica.clone());
                }
            }
            assert!(leaders.len() < 2, "both replicas act");
            leader = leaders.pop();
            leader.is_some()
        })
        .await;
        leader.unwrap()
    }

    /// A metric of a replica, from its admin port.
    pub(super) async fn metric(&self, replica: &Value, series: &str) -> Option<f64> {
        let (_, text) = fetch(SocketAddr::new(ip(replica), 8080), "/metrics").await?;
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    /// The log lines of both replicas.
    fn log(&self) -> Vec<Value> {
        let lines = self.replicas.iter().flat_map(|replica| self.lab.log(replica, "stowage"));
        lines.map(|line| serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
    }

    /// The log lines of removals.
    pub(super) fn removals(&self) -> Vec<Value> {
        let removed = "a pod past its threshold is removed";
        self.log().into_iter().filter(|line| line["message"] == removed).collect()
    }

    /// Nothing that it may do was refused, and nothing was tried in vain.
    pub(super) fn says_of_no_failure(&self) {
        let log = self.log();
        let bad: Vec<&Value> = log.iter().filter(|line| line["level"] != "INFO").collect();
        assert!(!log.is_empty() && bad.is_empty(), "{bad:?}");
    }

    pub(super) fn forward(&self, replica: &Value, port: u16) -> Forwarded {
        let name = replica["metadata"]["name"].as_str().unwrap();
        let mut kubectl = self.lab.kubectl();
        kubectl.args(["-n", "stowage", "port-forward", name, &format!(":{port}")]);
        let mut kubectl = kubectl.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut stdout = BufReader::new(kubectl.stdout.take().unwrap());
        stdout.read_line(&mut said).unwrap();
        // Forwarding from 127.0.0.1:PORT -> 8090
        let address = said.split(' ').nth(2).and_then(|word| word.parse().ok());
        Forwarded { kubectl, address: address.unwrap_or_else(|| panic!("{said}")), _said: stdout }
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for line in self.log() {
                eprintln!("{line}");
            }
        }
        let ours = |object: &Value| object["metadata"]["name"].as_str().is_some_and(|name| name.contains("watcher"));
        let items: Vec<Value> = rendered("watcher").into_iter().filter(ours).collect();
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), list.to_string()).unwrap();
        let delete = |args: &[&str]| {
            let mut kubectl = self.lab.kubectl();
            // The test that failed is to be told, and not this.
            let _ = kubectl.args(["delete", "--ignore-not-found", "--timeout=60s"]).args(args).output();
        };
        delete(&["-f", file.path().to_str().unwrap()]);
        delete(&["-n", "stowage", "lease", "stowage-watcher"]);
        let gone = ["-n", "stowage", "wait", "--for=delete", "pod", "-l", "app.kubernetes.io/component=watcher"];
        let _ = self.lab.kubectl().args(gone).arg("--timeout=60s").output();
        self.lab.no_policies();
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

pub(super) fn ip(pod: &Value) -> IpAddr {
    pod["status"]["podIP"].as_str().unwrap().parse().unwrap()
}
