//! A watcher that runs as a process of its own.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::until;
use crate::cluster::free_address;

/// One; it is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    folder: TempDir,
    pub(crate) admin: SocketAddr,
    pub(crate) board: SocketAddr,
}

impl Running {
    /// Starts one, ready or not.
    pub(crate) fn start(kubeconfig: &str, name: &str, args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [admin, board] = [free_address(), free_address()];
        let config = folder.path().join("kubeconfig");
        fs::write(&config, kubeconfig).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_stowage"))
            .args(["reap", "--log-format=json", "--own-namespace=stowage", "--pod-name", name])
            .arg(format!("--admin-listen={admin}"))
            .arg(format!("--board-listen={board}"))
            .args(args)
            .env("KUBECONFIG", &config)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, folder, admin, board }
    }

    /// The kubeconfig that it has.
    pub(crate) fn kubeconfig(&self) -> String {
        fs::read_to_string(self.folder.path().join("kubeconfig")).unwrap()
    }

    /// Its log lines so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("log")).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The log lines of removals so far.
    pub(crate) fn removals(&self) -> Vec<Value> {
        let removed = "a pod past its threshold is removed";
        self.log().into_iter().filter(|line| line["message"] == removed).collect()
    }

    /// Status and body of a path of the admin port.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        fetch(self.admin, path).await
    }

    /// One of its metrics.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics").await?;
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    /// The board's rows by pod.
    pub(crate) async fn rows(&self, query: &str) -> BTreeMap<String, Value> {
        let (_, text) = fetch(self.board, &format!("/pods.json{query}")).await.unwrap();
        let told: Value = serde_json::from_str(&text).unwrap();
        let rows = told["rows"].as_array().unwrap().iter();
        rows.map(|row| (row["name"].as_str().unwrap().to_owned(), row.clone())).collect()
    }

    pub(crate) async fn leads(&self) -> bool {
        self.metric("stowage_watcher_leader ").await == Some(1.0)
    }

    /// Sends it a signal, by its process id.
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status();
        assert!(status.unwrap().success());
    }

    /// Whether it ended by itself, well.
    pub(crate) async fn ended(&mut self) -> bool {
        let mut ended = None;
        until("it ends", async || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        ended.unwrap().success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            eprintln!("--- the watcher said\n{log}");
        }
    }
}

/// Status and body of what a listener in plain HTTP says.
pub(crate) async fn fetch(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.ok()?;
    let (_, body) = reply.split_once("\r\n\r\n")?;
    Some((reply.get(9..12)?.parse().ok()?, body.to_owned()))
}
