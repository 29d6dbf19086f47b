//! Bodies that no API server would send, many of them, to the running server: it answers each, and grows by none.
//!
//! ```text
//! cargo test --release --test binary soak -- --ignored --nocapture
//! ```

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Connections in use at once, each kept alive.
const CONNECTIONS: usize = 4;

/// A running server.
struct Server {
    child: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
}

/// A sequence that is the same in every run: xorshift64*.
struct Random(u64);

#[tokio::test]
async fn two_thousand_wrong_bodies_are_all_answered() {
    soak(2_000).await;
}

#[tokio::test]
#[ignore = "takes a minute: cargo test --release --test binary soak -- --ignored --nocapture"]
async fn a_hundred_thousand_wrong_bodies_are_all_answered_and_leave_memory_flat() {
    soak(100_000).await;
}

async fn soak(bodies: usize) {
    let mut server = Server::start().await;
    // Two rounds: in the first the allocator finds its size.
    let warm_up = bodies / 5;
    let mut statuses = BTreeMap::new();
    server.answer(warm_up, 1, &mut statuses).await;
    let before = server.resident_kib();
    let started = Instant::now();
    server.answer(bodies - warm_up, 2, &mut statuses).await;
    let (took, after) = (started.elapsed(), server.resident_kib());
    println!("{bodies} bodies, {statuses:?}, {took:?}; resident {before} KiB before, {after} KiB after");
    assert_eq!(statuses.values().sum::<usize>(), bodies);
    for status in statuses.keys() {
        assert!([StatusCode::OK, StatusCode::BAD_REQUEST].contains(status), "{statuses:?}");
    }
    assert!(statuses.len() == 2, "mutations that are all readable or all unreadable prove little: {statuses:?}");
    assert!(server.child.try_wait().unwrap().is_none(), "the server ended");
    let log = std::fs::read_to_string(server.folder.path().join("log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    // Four connections may hold a few of the longest bodies in the allocator's caches, which a short run still fills.
    let slack = if warm_up >= 5_000 { 8 * 1024 } else { 64 * 1024 };
    assert!(after < before + slack, "{before} KiB before, {after} KiB after");
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [policies, ca, log] = ["policies.json", "ca.crt", "log"].map(|name| folder.path().join(name));
        std::fs::write(&policies, policy().to_string()).unwrap();
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let address = free();
        let child = Command::new(env!("CARGO_BIN_EXE_stowage"))
            .args(["serve", "--standalone", "--listen", &address.to_string(), "--admin-listen", &free().to_string()])
            .arg("--policies")
            .arg(policies)
            .arg("--ca-out")
            .arg(&ca)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(log).unwrap())
            .spawn()
            .unwrap();
        let server = Self { child, folder, address };
        for _ in 0..400 {
            if ca.exists() && TcpStream::connect(address).await.is_ok() {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("not ready");
    }

    async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let mut roots = RootCertStore::empty();
        let ca = std::fs::read(self.folder.path().join("ca.crt")).unwrap();
        roots.add(CertificateDer::from_pem_slice(&ca).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Sends this many bodies and counts the statuses.
    async fn answer(&self, bodies: usize, seed: u64, statuses: &mut BTreeMap<StatusCode, usize>) {
        let originals = Arc::new(originals());
        let mut workers = tokio::task::JoinSet::new();
        for worker in 0..CONNECTIONS {
            let mut sender = self.connect().await;
            let originals = Arc::clone(&originals);
            let share = bodies / CONNECTIONS + usize::from(worker < bodies % CONNECTIONS);
            workers.spawn(async move {
                let mut random = Random(seed * 1_000_003 + u64::try_from(worker).unwrap() + 1);
                let mut statuses = Vec::with_capacity(share);
                for _ in 0..share {
                    let body = random.body(&originals);
                    let request = Request::post("/mutate?timeout=2s")
                        .header("host", "localhost")
                        .header("content-type", "application/json")
                        .body(Full::from(body))
                        .unwrap();
                    // An error here is a connection that was closed, which no body may cause.
                    sender.ready().await.unwrap();
                    let response = sender.send_request(request).await.unwrap();
                    statuses.push(response.status());
                    response.into_body().collect().await.unwrap();
                }
                statuses
            });
        }
        while let Some(found) = workers.join_next().await {
            for status in found.unwrap() {
                *statuses.entry(status).or_default() += 1;
            }
        }
    }

    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    fn body(&mut self, originals: &[Value]) -> Vec<u8> {
        let mut review = originals.get(self.below(originals.len())).unwrap().clone();
        match self.below(10) {
            0 => (0..self.below(4096)).map(|_| self.next().to_le_bytes()[0]).collect(),
            1 | 2 => self.flipped(review.to_string().into_bytes()),
            3 => {
                let mut body = review.to_string().into_bytes();
                body.truncate(self.below(body.len()));
                body
            }
            4 => self.doubled(&review.to_string()),
            5 => {
                let depth = self.below(10_000);
                let nested = "[".repeat(depth) + &"]".repeat(depth);
                review
                    .to_string()
                    .replacen("\"request\":{", &format!("\"request\":{{\"odd\":{nested},"), 1)
                    .into_bytes()
            }
            6 => {
                let long = "<".repeat(self.below(1 << 20));
                self.swap(&mut review, &json!(long));
                review.to_string().into_bytes()
            }
            _ => {
                for _ in 0..=self.below(4) {
                    let other = self.other();
                    self.swap(&mut review, &other);
                }
                review.to_string().into_bytes()
            }
        }
    }

    fn flipped(&mut self, mut body: Vec<u8>) -> Vec<u8> {
        for _ in 0..=self.below(8) {
            let (at, bit) = (self.below(body.len()), self.below(8));
            if let Some(byte) = body.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        body
    }

    /// One field twice, at a random place.
    fn doubled(&mut self, body: &str) -> Vec<u8> {
        let keys = [
            "\"uid\":1,",
            "\"object\":null,",
            "\"name\":\"a\",",
            "\"spec\":{},",
            "\"metadata\":[],",
            "\"labels\":{\"a\":\"b\"},",
        ];
        let opens: Vec<_> = body.match_indices("{\"").map(|(at, _)| at).collect();
        let (at, key) = (opens.get(self.below(opens.len())).unwrap() + 1, keys.get(self.below(keys.len())).unwrap());
        let (head, tail) = body.split_at(at);
        format!("{head}{key}{tail}").into_bytes()
    }

    /// A value of another type.
    fn other(&mut self) -> Value {
        match self.below(9) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(self.next()),
            3 => json!(-1.5e300),
            4 => json!("\u{0}\u{1F980}{label:a}/../"),
            5 => json!([]),
            6 => json!({}),
            7 => json!([null, [], {"name": null}]),
            _ => json!({"name": {"name": []}, "": "", "a/~b": 1}),
        }
    }

    /// Puts `new` at a random place below the review.
    fn swap(&mut self, at: &mut Value, new: &Value) {
        // Deeper more often than not, and never the whole review.
        let stop = self.below(8) == 0;
        let child = match at {
            Value::Object(map) if !map.is_empty() => {
                let n = self.below(map.len());
                map.values_mut().nth(n)
            }
            Value::Array(items) if !items.is_empty() => {
                let n = self.below(items.len());
                items.get_mut(n)
            }
            _ => None,
        };
        match child {
            Some(child) if !stop => self.swap(child, new),
            Some(child) => *child = new.clone(),
            None => *at = new.clone(),
        }
    }
}

/// The recorded reviews.
fn originals() -> Vec<Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/reviews");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    files.iter().map(|file| serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()).collect()
}

/// A policy that looks at much of a pod.
fn policy() -> Value {
    json!({
        "apiVersion": "stowage.dev/v1alpha1", "kind": "ClusterInjectionPolicy", "metadata": {"name": "all"},
        "spec": {
            "match": {"podSelector": {}},
            "v3io": {"username": "{label:mlrun/owner}", "accessKeySecret": {"name": "v3io-{namespace}"}},
            "autoMount": {"type": "pvc", "params": "pvc_name=shared,volume_mount_path=/mnt/pipeline"},
            "storage": [
                {"v3io": {}}, {"v3ioFuse": {}}, {"gcs": {"secretName": "gcs"}}, {"s3": {"secretName": "s3"}},
                {"pvc": {"claimName": "data-{label:mlrun/project}", "volumeName": "data", "mountPath": "/data"}}
            ],
            "persistence": {"data": {"raw": {"mountPath": "/raw", "existingClaim": "raw"}},
                            "outputs": {"runs": {"store": "s3", "bucket": "s3://runs", "secret": "runs", "secretKey": "key"}}},
            "labels": {"team": "ml"},
            "preemption": {"nodeSelector": {"lifecycle": "spot"}, "tolerations": [{"key": "spot", "operator": "Exists"}]},
            "nodeSelector": {"pool": "ml"},
            "priorityClassName": "batch",
            "defaults": {"resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
                         "securityContext": {"fsGroup": 100}},
            "stateThresholds": {"running": "24h"}
        }
    })
}
