//! The program itself, where what it reads or writes does not do its part.

use std::{
    fs,
    io::{Read, Write as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::StatusCode;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::https::{Client, H1, client_config, roots};

/// A running server, ended when the test does.
struct Process {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    folder: tempfile::TempDir,
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Process {
    /// `prepare` puts the policies into the folder.
    fn start(prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let policies = folder.path().join("policies");
        fs::create_dir(&policies).unwrap();
        prepare(&policies);
        let (address, admin) = (free(), free());
        let child = Command::new(env!("CARGO_BIN_EXE_stowage"))
            .args(["serve", "--standalone", "--shutdown-delay", "0s", "--reload-interval", "1s"])
            .args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()])
            .arg("--policies")
            .arg(&policies)
            .arg("--ca-out")
            .arg(folder.path().join("ca.crt"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, address, admin, folder }
    }

    async fn client(&self) -> Client {
        let ca = self.folder.path().join("ca.crt");
        let stream = loop {
            match TcpStream::connect(self.address).await {
                Ok(stream) if ca.exists() => break stream,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let roots = Arc::new(roots(&fs::read_to_string(ca).unwrap()));
        let mut config = client_config(roots, H1, &crate::https::BOTH);
        config.time_provider = Arc::new(rustls::time_provider::DefaultTimeProvider);
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        Client::on(stream, H1).await
    }

    /// What `/metrics` says by now.
    fn metrics(&self) -> String {
        let mut stream = std::net::TcpStream::connect(self.admin).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Its exit status, or none where it is still there.
    fn ended_within(&mut self, patience: Duration) -> Option<i32> {
        let started = Instant::now();
        while started.elapsed() < patience {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }

    fn said(&mut self) -> String {
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Eight policies of long names, so that a line of the log is long too.
fn long_names(folder: &Path) {
    let policies = (0..8).map(|number| {
        json!({
            "apiVersion": "stowage.dev/v1alpha1",
            "kind": "ClusterInjectionPolicy",
            "metadata": {"name": format!("p{number}{}", "x".repeat(240))},
            "spec": {"match": {"podSelector": {}}, "labels": {format!("a{number}"): "b"}},
        })
    });
    let list = json!({"apiVersion": "v1", "kind": "List", "items": policies.collect::<Vec<_>>()});
    fs::write(folder.join("p.json"), list.to_string()).unwrap();
}

/// A policy that refuses pods which bring its label with another value.
fn rejecting(folder: &Path) {
    let policy = json!({
        "apiVersion": "stowage.dev/v1alpha1",
        "kind": "ClusterInjectionPolicy",
        "metadata": {"name": "strict"},
        "spec": {"match": {"podSelector": {}}, "onConflict": "Reject", "labels": {"team": "a"}},
    });
    fs::write(folder.join("p.json"), policy.to_string()).unwrap();
}

fn review(pod: &str) -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u",
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "default",
            "operation": "CREATE",
            "object": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": pod, "labels": {"team": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]},
            },
        },
    })
    .to_string()
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_no_request_and_not_the_end() {
    let mut process = Process::start(long_names);
    let mut client = process.client().await;
    // More than a pipe and a megabyte of lines hold.
    for _ in 0..700 {
        assert_eq!(client.post(review("p")).await.status, StatusCode::OK);
    }
    process.signal("-TERM");
    assert_eq!(process.ended_within(Duration::from_secs(8)), Some(0));
}

#[tokio::test]
async fn what_a_client_says_is_cut_in_the_log_and_a_refused_body_leaves_a_line() {
    let mut process = Process::start(long_names);
    let mut client = process.client().await;
    assert_eq!(client.post(review(&"n".repeat(100_000))).await.status, StatusCode::OK);
    assert_eq!(client.post("{\"apiVersion\": secret").await.status, StatusCode::BAD_REQUEST);
    process.signal("-TERM");
    assert_eq!(process.ended_within(Duration::from_secs(8)), Some(0));
    let said = process.said();
    let longest = said.lines().map(str::len).max().unwrap();
    assert!(longest < 3000, "{longest}");
    let told = said.lines().find(|line| line.contains("outcome=\"unreadable\"")).expect(&said);
    assert!(told.contains("bytes=21") && !told.contains("secret"), "{told}");
}

#[tokio::test]
async fn a_refusal_leaves_a_line_that_names_the_policy_the_field_and_the_reason() {
    let mut process = Process::start(rejecting);
    let mut client = process.client().await;
    assert!(client.post(review("p")).await.text.contains("\"allowed\":false"));
    process.signal("-TERM");
    assert_eq!(process.ended_within(Duration::from_secs(8)), Some(0));
    let said = process.said();
    let line = said.lines().find(|line| line.contains("outcome=\"refused\"")).expect(&said);
    for field in [
        "namespace=\"default\"",
        "pod=\"p\"",
        "uid=\"u\"",
        "refused_by=\"strict\"",
        "field=\"labels\"",
        "reason=\"KeyRejected\"",
        "the pod sets the label team, and the policy says onConflict: Reject",
    ] {
        assert!(line.contains(field), "{field}: {line}");
    }
}

#[tokio::test]
async fn a_patch_leaves_a_line_that_counts_what_was_done_and_what_was_skipped() {
    let mut process = Process::start(|folder| {
        let policy = |name: &str, labels: serde_json::Value| {
            json!({
                "apiVersion": "stowage.dev/v1alpha1", "kind": "ClusterInjectionPolicy", "metadata": {"name": name},
                "spec": {"match": {"podSelector": {}}, "labels": labels},
            })
        };
        let items = [policy("gives", json!({"tier": "gold"})), policy("loses", json!({"team": "a"}))];
        fs::write(folder.join("p.json"), json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())
            .unwrap();
    });
    let mut client = process.client().await;
    assert!(client.post(review("p")).await.text.contains("\"patch\""));
    let metrics = process.metrics();
    assert!(metrics.contains("\nstowage_reasons_total{reason=\"KeyOfPod\"} 1\n"), "{metrics}");
    process.signal("-TERM");
    assert_eq!(process.ended_within(Duration::from_secs(8)), Some(0));
    let said = process.said();
    let line = said.lines().find(|line| line.contains("outcome=\"patched\"")).expect(&said);
    for field in ["policies=\"gives,loses\"", "operations=2", "skipped=1", "dry_run=false"] {
        assert!(line.contains(field), "{field}: {line}");
    }
    assert!(!line.contains("refused_by") && !line.contains("gold"), "{line}");
}

#[tokio::test]
async fn every_end_of_a_request_is_counted_as_what_it_was() {
    let process = Process::start(rejecting);
    let mut client = process.client().await;
    let opted_out = review("p").replace("\"team\":\"b\"", "\"stowage.dev/inject\":\"false\"");
    assert!(opted_out.contains("stowage.dev/inject"));
    let excluded = review("p").replace("\"namespace\":\"default\"", "\"namespace\":\"kube-system\"");
    let patched = review("p").replace("\"team\":\"b\"", "\"other\":\"b\"");
    for body in [&opted_out, &opted_out, &excluded, &patched, &review("p"), &"no review".to_owned()] {
        client.post(body.clone()).await;
    }
    let metrics = process.metrics();
    let counts =
        [("opted_out", 2), ("excluded", 1), ("patched", 1), ("refused", 1), ("unreadable", 1), ("no_match", 0)];
    for (outcome, count) in counts {
        let line = format!("\nstowage_requests_total{{outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}

#[tokio::test]
async fn a_pipe_among_the_policies_at_start_is_refused_and_not_waited_for() {
    let mut process = Process::start(|folder| {
        assert!(Command::new("mkfifo").arg(folder.join("f.yaml")).status().unwrap().success());
    });
    assert_eq!(process.ended_within(Duration::from_secs(8)), Some(1));
    let said = process.said();
    assert!(said.contains("f.yaml") && said.contains("it is no regular file"), "{said}");
}

#[tokio::test]
async fn a_pipe_that_comes_later_stops_no_reload() {
    let mut process = Process::start(long_names);
    let mut client = process.client().await;
    let policies = process.folder.path().join("policies");
    assert!(Command::new("mkfifo").arg(policies.join("f.yaml")).status().unwrap().success());
    tokio::time::sleep(Duration::from_millis(1200)).await;
    fs::remove_file(policies.join("f.yaml")).unwrap();
    fs::write(policies.join("p.json"), "").unwrap();
    let started = Instant::now();
    while client.post(review("p")).await.text.contains("\"patch\"") {
        assert!(started.elapsed() < Duration::from_secs(8), "the last edit is not in force");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    process.signal("-TERM");
    assert_eq!(process.ended_within(Duration::from_secs(8)), Some(0));
}
