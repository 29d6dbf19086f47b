//! A client that costs little itself: one prepared request, written again and
//! again, and no more of the answer read than where it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::process::Server;

/// A server and what it is asked.
pub(crate) struct Target {
    address: std::net::SocketAddr,
    connector: TlsConnector,
    request: Arc<[u8]>,
    first_answer: Vec<u8>,
}

impl Target {
    /// Asks once and keeps the answer.
    pub(crate) async fn new(server: &Server, review: &[u8]) -> anyhow::Result<Self> {
        let ca = std::fs::read(&server.ca)?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&ca)?)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut request = format!(
            "POST /mutate?timeout=2s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: kube-apiserver-admission\r\n\
             Content-Length: {}\r\nAccept: application/json, */*\r\nContent-Type: application/json\r\n\
             Accept-Encoding: gzip\r\n\r\n",
            review.len()
        )
        .into_bytes();
        request.extend_from_slice(review);
        let mut target = Self {
            address: server.address,
            connector: TlsConnector::from(Arc::new(config)),
            request: request.into(),
            first_answer: Vec::new(),
        };
        let mut stream = target.connect().await?;
        stream.write_all(&target.request).await?;
        ask(&mut stream, &[], &mut target.first_answer).await?;
        Ok(target)
    }

    /// One line on what is asked and answered.
    pub(crate) fn describe(&self) -> String {
        let answer = String::from_utf8_lossy(&self.first_answer);
        format!(
            "{}: {} bytes asked, {} answered, {}",
            self.address,
            self.request.len(),
            self.first_answer.len(),
            if answer.contains("\"patch\"") { "with a patch" } else { "without a patch" }
        )
    }

    /// Asks on this many connections for this long; the times of all answers
    /// in microseconds.
    pub(crate) async fn load(&self, connections: usize, duration: Duration) -> anyhow::Result<Vec<f64>> {
        let mut streams = Vec::new();
        for _ in 0..connections {
            streams.push(self.connect().await?);
        }
        let end = Instant::now() + duration;
        let local = LocalSet::new();
        let workers: Vec<_> = streams
            .into_iter()
            .map(|mut stream| {
                let request = Arc::clone(&self.request);
                local.spawn_local(async move {
                    let mut times = Vec::new();
                    let mut answer = Vec::with_capacity(16 << 10);
                    let mut started = Instant::now();
                    while started < end {
                        ask(&mut stream, &request, &mut answer).await?;
                        let answered = Instant::now();
                        times.push((answered - started).as_secs_f64() * 1e6);
                        started = answered;
                    }
                    Ok::<_, anyhow::Error>(times)
                })
            })
            .collect();
        local
            .run_until(async {
                let mut all = Vec::new();
                for worker in workers {
                    all.extend(worker.await??);
                }
                Ok(all)
            })
            .await
    }

    async fn connect(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        Ok(self.connector.connect(name, stream).await?)
    }
}

async fn ask(stream: &mut TlsStream<TcpStream>, request: &[u8], answer: &mut Vec<u8>) -> anyhow::Result<()> {
    stream.write_all(request).await?;
    stream.flush().await?;
    answer.clear();
    let mut whole = None;
    while whole.is_none_or(|whole| answer.len() < whole) {
        ensure!(stream.read_buf(answer).await? > 0, "the server closed the connection");
        if whole.is_none() {
            whole = length(answer)?;
        }
    }
    Ok(())
}

/// The length of head and body, once the head is complete.
fn length(answer: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default());
    if !head.starts_with("HTTP/1.1 200 ") {
        bail!("answered {}", head.lines().next().unwrap_or_default());
    }
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .context("an answer without content-length")?
        .1;
    Ok(Some(end + 4 + length.trim().parse::<usize>()?))
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
