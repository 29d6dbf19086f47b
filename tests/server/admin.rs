//! The admin port over a real socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use stowage::admission::Outcome;
use stowage::metrics::{Metrics, RequestEnd};
use stowage::server::admin::{self, Admin};
use stowage::server::readiness::{Readiness, ReadinessCheck};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::https::{tcp, within};

struct Port {
    address: SocketAddr,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
}

async fn start() -> Port {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = Port {
        address: listener.local_addr().unwrap(),
        readiness: Arc::new(Readiness::awaiting(&["certificate", "policies"])),
        metrics: Arc::new(Metrics::new("1.2.3").unwrap()),
    };
    let admin = Admin {
        readiness: Arc::clone(&port.readiness),
        metrics: Arc::clone(&port.metrics),
        clock: || "2026-11-22T12:00:00Z".parse::<Timestamp>().unwrap(),
    };
    tokio::spawn(admin::serve(listener, admin));
    port
}

impl Port {
    async fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        within(stream.read_to_string(&mut reply)).await.unwrap();
        let status = reply[9..12].parse().unwrap();
        let (_, body) = reply.split_once("\r\n\r\n").unwrap();
        (status, body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path).await
    }
}

#[tokio::test]
async fn readyz_tells_which_check_fails_and_why() {
    let port = start().await;
    port.readiness.set("policies", ReadinessCheck::Passing);
    let (status, text) = port.get("/readyz").await;
    assert_eq!(status, 503);
    assert_eq!(text, "[-]certificate failed: not reached yet\n[+]policies ok\nreadyz check failed\n");
    let end: Timestamp = "2026-11-22T11:59:59Z".parse().unwrap();
    let expired = ReadinessCheck::PassingUntil(end, format!("expired at {end}"));
    port.readiness.set("certificate", expired);
    let (status, text) = port.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(text.contains("[-]certificate failed: expired at 2026-11-22T11:59:59Z\n"));
    port.readiness.set("certificate", ReadinessCheck::Passing);
    assert_eq!(port.get("/readyz").await, (200, "ok\n".to_owned()));
    let (status, text) = port.get("/readyz?verbose").await;
    assert_eq!(status, 200);
    assert_eq!(text, "[+]certificate ok\n[+]policies ok\nreadyz check passed\n");
}

#[tokio::test]
async fn livez_answers_whether_ready_or_not_and_metrics_are_prometheus_text() {
    let port = start().await;
    assert_eq!(port.get("/livez").await, (200, "ok\n".to_owned()));
    port.metrics.requests.count(RequestEnd::Decided(Outcome::Patched));
    let (status, text) = port.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(text.contains("\nstowage_requests_total{outcome=\"patched\"} 1\n"));
    assert!(text.contains("\nstowage_build_info{version=\"1.2.3\"} 1\n"));
}

#[tokio::test]
async fn takes_get_and_head_of_three_paths_and_nothing_else() {
    let port = start().await;
    assert_eq!(port.ask("HEAD", "/livez").await, (200, String::new()));
    assert_eq!(port.ask("POST", "/readyz").await.0, 405);
    let (status, text) = port.get("/mutate").await;
    assert_eq!(status, 404);
    assert_eq!(text, "served here: /livez /readyz /metrics\n");
}

async fn silent(port: &Port, from: &str, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(tcp(port.address, from).await.unwrap());
    }
    held
}

/// A probe as the kubelet's: a new connection, and a second to answer.
async fn probe(port: &Port) {
    let answer = timeout(Duration::from_secs(1), port.get("/livez")).await;
    assert_eq!(answer.expect("the probe was not answered in time"), (200, "ok\n".to_owned()));
}

#[tokio::test]
async fn connections_that_say_nothing_keep_no_probe_out() {
    let port = start().await;
    let one = silent(&port, "127.0.0.2", 70).await;
    probe(&port).await;
    let mut many = Vec::new();
    for last in 10..30 {
        many.extend(silent(&port, &format!("127.0.0.{last}"), 8).await);
    }
    probe(&port).await;
    drop((one, many));
}

#[tokio::test]
async fn a_connection_has_one_answer_however_often_it_asks() {
    let port = start().await;
    for path in ["/livez", "/readyz", "/metrics"] {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").repeat(3);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        // The end may be a reset, since two requests were never read.
        let _ = within(stream.read_to_end(&mut reply)).await;
        assert_eq!(String::from_utf8_lossy(&reply).matches("HTTP/1.1 ").count(), 1, "{path}");
    }
}
