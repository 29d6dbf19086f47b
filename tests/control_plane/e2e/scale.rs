//! 5,000 policies and 2,000 namespaces: how long until the first decision, how much memory, what one change costs.
//!
//! The bars are for an optimised program: that of `cargo test --release`, or one that `STOWAGE_E2E_BINARY` names. Elsewhere
//! only the figures are told.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::Method;
use serde_json::{Value, json};
use stowage::policy::crd::{API_VERSION, CLUSTER_KIND, NAMESPACED_KIND};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{SECOND, load::creations, say, until};
use crate::{
    cluster::{self, Cluster, free_address, skipped},
    policies::collection,
};

const NAMESPACES: usize = 2000;
const POLICIES: usize = 5000;
/// Of the policies, those of the cluster; the others are spread over the namespaces.
const OF_THE_CLUSTER: usize = 1000;
const CHANGES: u32 = 200;

/// The program that is measured, and whether it is one that the bars are for.
fn measured() -> (PathBuf, bool) {
    match std::env::var_os("STOWAGE_E2E_BINARY") {
        Some(named) => (named.into(), true),
        None => (env!("CARGO_BIN_EXE_stowage").into(), !cfg!(debug_assertions)),
    }
}

fn namespace(number: usize) -> Value {
    let labels = json!({"team": format!("t{}", number % 200), "stowage.dev/injection": "enabled"});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("n{number}"), "labels": labels}})
}

/// The policy of this number, and where it is posted.
fn numbered(number: usize) -> (String, Value) {
    let mut spec = json!({
        "match": {"podSelector": {"matchLabels": {"app": format!("a{number}")}}},
        "env": [{"name": "NUMBER", "value": number.to_string()}, {"name": "HTTP_PROXY", "value": "http://proxy:3128"}],
        "storage": [
            {"pvc": {"claimName": format!("data-{number}"), "subPath": "{label:project}"}},
            {"s3": {"secretName": "s3-creds", "endpointUrl": "http://minio:9000"}}
        ],
        "preemption": {"nodeSelector": {"lifecycle": "spot"}}
    });
    let (kind, home) = if number < OF_THE_CLUSTER {
        spec["match"]["namespaceSelector"] = json!({"matchLabels": {"team": format!("t{}", number % 200)}});
        (CLUSTER_KIND, String::new())
    } else {
        (NAMESPACED_KIND, format!("n{}", number % NAMESPACES))
    };
    let policy =
        json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": format!("p{number}")}, "spec": spec});
    (collection(kind, &home), policy)
}

/// Makes so many of them, over some connections at once.
async fn make(cluster: &Arc<Cluster>, number: usize, of: fn(usize) -> (String, Value)) {
    let next = Arc::new(AtomicUsize::new(0));
    let worker = |_| {
        let (cluster, next) = (Arc::clone(cluster), Arc::clone(&next));
        tokio::spawn(async move {
            let mut connection = cluster.connect().await.unwrap();
            loop {
                let number_of_this = next.fetch_add(1, Ordering::Relaxed);
                if number_of_this >= number {
                    return;
                }
                let (path, object) = of(number_of_this);
                cluster.send(&mut connection, Method::POST, &path, Some(&object)).await.unwrap().object();
            }
        })
    };
    for worker in (0..8).map(worker).collect::<Vec<_>>() {
        worker.await.unwrap();
    }
}

/// `stowage serve` beside the API server, as the administrator.
struct Server {
    child: Child,
    admin: SocketAddr,
}

impl Server {
    fn start(cluster: &Cluster, folder: &Path) -> Self {
        let kubeconfig = folder.join("kubeconfig");
        let authority = folder.join("ca.crt");
        fs::write(&authority, &cluster.ca_pem).unwrap();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("https://{}", cluster.address), "certificate-authority": authority}}],
            "users": [{"name": "u", "user": {"token": cluster.token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]
        });
        fs::write(&kubeconfig, config.to_string()).unwrap();
        let admin = free_address();
        let child = Command::new(measured().0)
            .args([
                "serve",
                "--own-namespace",
                "stowage",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                &admin.to_string(),
            ])
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, admin }
    }

    async fn ask(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.admin).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    async fn is_ready(&self) -> bool {
        self.ask("/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// Resident memory in MiB.
    fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// CPU spent so far, in hundredths of a second.
    fn cpu(&self) -> u32 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        [11, 12].into_iter().map(|at: usize| fields[at].parse::<u32>().unwrap()).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU milliseconds of the server for each of so many changes.
async fn cost(server: &Server, mut change: impl AsyncFnMut(u32)) -> f64 {
    let before = server.cpu();
    for turn in 0..CHANGES {
        change(turn).await;
    }
    // What is told of by a watch is told of within that.
    tokio::time::sleep(SECOND).await;
    f64::from((server.cpu() - before) * 10) / f64::from(CHANGES)
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_policies_are_ready_in_seconds_and_a_change_costs_little() {
    if creations().is_none() {
        return skipped("STOWAGE_E2E_CREATIONS is not set: 5,000 policies were not tried");
    }
    let Some(cluster) = cluster::apart().map(Arc::new) else { return };
    cluster.definitions().await;
    cluster.namespace("stowage", &json!({})).await;
    make(&cluster, NAMESPACES, |number| ("/api/v1/namespaces".to_owned(), namespace(number))).await;
    make(&cluster, POLICIES, numbered).await;
    let (_, is_optimised) = measured();
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let server = Server::start(&cluster, folder.path());
    until("ready", async || server.is_ready().await).await;
    let ready = begun.elapsed();
    let resident = server.resident();
    // Each policy's first status is written after that.
    let (path, _) = numbered(POLICIES - 1);
    until("every status is written", async || {
        let mut written = 0;
        for (path, policy) in [numbered(0), numbered(POLICIES / 2), numbered(POLICIES - 1)] {
            let name = policy["metadata"]["name"].as_str().unwrap();
            let stored = cluster.get(&format!("{path}/{name}")).await.object();
            written += usize::from(stored["status"]["conditions"][0]["status"] == "True");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        written == 3
    })
    .await;
    let settled = begun.elapsed();
    quiet(&server).await;
    let namespace_change = cost(&server, async |turn| {
        let labels = json!({"metadata": {"labels": {"turn": turn.to_string()}}});
        cluster.patch("/api/v1/namespaces/n7", &labels).await.object();
    })
    .await;
    let edit = cost(&server, async |turn| {
        let env = json!({"spec": {"env": [{"name": "NUMBER", "value": turn.to_string()}]}});
        cluster.patch(&format!("{path}/p{}", POLICIES - 1), &env).await.object();
    })
    .await;
    let after = server.resident();
    say(&format!(
        "{POLICIES} policies, {NAMESPACES} namespaces, {}: ready after {ready:?} with {resident:.1} MiB; statuses \
         written after {settled:?}; CPU for a namespace's label {namespace_change:.2} ms, for an edit of a policy with \
         its status {edit:.2} ms; then {after:.1} MiB",
        if is_optimised { "optimised" } else { "not optimised" }
    ));
    if is_optimised {
        assert!(ready <= SECOND * 3, "{ready:?}");
        assert!(after <= 40.0, "{after} MiB");
    }
    // A change costs what it changes: a world made anew would take a hundred times as long.
    assert!(namespace_change < 50.0 && edit < 50.0, "{namespace_change} ms, {edit} ms");
}

/// Waits until it does nothing for a second.
async fn quiet(server: &Server) {
    until("the server rests", async || {
        let before = server.cpu();
        tokio::time::sleep(SECOND).await;
        server.cpu() <= before + 1
    })
    .await;
}
