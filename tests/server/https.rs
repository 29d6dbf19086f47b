//! A server on a port of its own, and clients that speak to it as the API
//! server does, and as it never would.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use stowage::admission::Outcome;
use stowage::certs::Served;
use stowage::certs::issue::{Authority, DAY};
use stowage::metrics::Metrics;
use stowage::server::tls::{self, ServingCertificate};
use stowage::server::{self, Decide, HttpAnswer, Limits};
use stowage::shutdown::ShutdownPhase;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) const H1: &[u8] = b"http/1.1";
pub(crate) const H2: &[u8] = b"h2";
pub(crate) const BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// Longer than anything here takes, shorter than anyone waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers with the body's length; panics, refuses, takes long or says much when told so.
struct Lengths;

/// How long a decision takes whose body begins with `slow`.
pub(crate) const SLOW: Duration = Duration::from_millis(400);
/// How long an answer is whose body begins with `much`: more than the system keeps for a client that does not read.
pub(crate) const MUCH: usize = 32 << 20;

impl Decide for Lengths {
    async fn decide(&self, body: &[u8]) -> HttpAnswer {
        match body {
            b"panic" => panic!("told so"),
            b"unreadable" => HttpAnswer::unreadable("this is no AdmissionReview"),
            _ if body.starts_with(b"slow") => {
                std::thread::sleep(SLOW);
                HttpAnswer::review(b"slow".to_vec(), Outcome::NoMatch)
            }
            _ if body.starts_with(b"much") => HttpAnswer::review(vec![b'x'; MUCH], Outcome::NoMatch),
            _ => HttpAnswer::review(body.len().to_string().into_bytes(), Outcome::NoMatch),
        }
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) phase: watch::Sender<ShutdownPhase>,
    pub(crate) ended: JoinHandle<usize>,
    pub(crate) roots: Arc<RootCertStore>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

/// What speaks either HTTP.
pub(crate) enum Client {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

/// Clients here live at one moment, whatever the machine's clock says.
#[derive(Debug)]
struct FixedTime;

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(now().as_second()).unwrap();
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

pub(crate) fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

/// Bounds short enough for a test and long enough for a slow machine.
pub(crate) fn limits() -> Limits {
    Limits {
        handshake: Duration::from_millis(300),
        header: Duration::from_millis(300),
        body: Duration::from_millis(400),
        linger: Duration::from_millis(300),
        answer: Duration::from_millis(400),
        drain: Duration::from_secs(5),
        body_bytes: 1 << 20,
        ..Limits::default()
    }
}

impl Server {
    pub(crate) async fn start(limits: Limits) -> Self {
        let authority = Authority::new(now(), DAY * 365).unwrap();
        let serving = authority.sign(&["localhost".to_owned()], now(), DAY * 90).unwrap();
        let served = Served::from_pem(serving.certificate_pem.as_bytes(), serving.key_pem.as_bytes()).unwrap();
        let certificate = ServingCertificate::new(served);
        let metrics = Arc::new(Metrics::new("test").unwrap());
        Self::with(limits, certificate, metrics, authority.certificate_pem()).await
    }

    pub(crate) async fn with(
        limits: Limits,
        certificate: Arc<ServingCertificate>,
        metrics: Arc<Metrics>,
        ca_pem: &str,
    ) -> Self {
        let tls = tls::server_config(certificate).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (phase, receiver) = watch::channel(ShutdownPhase::Serving);
        let ended =
            tokio::spawn(server::serve(listener, tls, Arc::new(Lengths), limits, Arc::clone(&metrics), receiver));
        Self { address, metrics, phase, ended, roots: Arc::new(roots(ca_pem)) }
    }

    pub(crate) async fn tls(
        &self,
        protocol: &[u8],
        versions: &[&'static SupportedProtocolVersion],
        from: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let config = client_config(Arc::clone(&self.roots), protocol, versions);
        self.tls_by(&TlsConnector::from(Arc::new(config)), from).await
    }

    pub(crate) async fn tls_by(&self, connector: &TlsConnector, from: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = tcp(self.address, from).await?;
        let name = ServerName::try_from("localhost").unwrap();
        within(connector.connect(name, stream)).await
    }

    /// A client that remembers sessions.
    pub(crate) fn connector(&self, protocol: &[u8]) -> TlsConnector {
        let config = client_config(Arc::clone(&self.roots), protocol, &BOTH);
        TlsConnector::from(Arc::new(config))
    }

    /// A connection on which the test writes HTTP/1.1 by hand.
    pub(crate) async fn raw(&self) -> TlsStream<TcpStream> {
        self.tls(H1, &BOTH, "127.0.0.1").await.unwrap()
    }

    pub(crate) async fn client(&self, protocol: &[u8]) -> Client {
        let stream = self.tls(protocol, &BOTH, "127.0.0.1").await.unwrap();
        Client::on(stream, protocol).await
    }

    /// Waits until a counter has the value, which another task sets.
    pub(crate) async fn until(&self, what: &str, reached: impl Fn(&Metrics) -> bool) {
        let reaching = async {
            while !reached(&self.metrics) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        assert!(timeout(PATIENCE, reaching).await.is_ok(), "never {what}");
    }

    pub(crate) async fn stop(self) -> usize {
        self.phase.send_replace(ShutdownPhase::Stopped);
        within(self.ended).await.unwrap()
    }
}

impl Client {
    pub(crate) async fn on(stream: TlsStream<TcpStream>, protocol: &[u8]) -> Self {
        let io = TokioIo::new(stream);
        if protocol == H2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            Self::H2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            Self::H1(sender)
        }
    }

    pub(crate) async fn post(&mut self, body: impl Into<Bytes>) -> Reply {
        self.send(Method::POST, "/mutate?timeout=2s", "application/json", body).await.unwrap()
    }

    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> hyper::Result<Reply> {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"))
            .header("host", "localhost")
            .header("content-type", content_type)
            .body(Full::new(body.into()))
            .unwrap();
        let response = match self {
            Self::H1(sender) => {
                sender.ready().await?;
                within(sender.send_request(request)).await?
            }
            Self::H2(sender) => {
                sender.ready().await?;
                within(sender.send_request(request)).await?
            }
        };
        let (head, body) = response.into_parts();
        let body = within(body.collect()).await?.to_bytes();
        Ok(Reply { status: head.status, headers: head.headers, text: String::from_utf8(body.to_vec()).unwrap() })
    }

    /// Whether the server has closed the connection, waiting until it does.
    pub(crate) async fn closed(&mut self) -> bool {
        let closing = async {
            loop {
                let ready = match self {
                    Self::H1(sender) => sender.ready().await,
                    Self::H2(sender) => sender.ready().await,
                };
                if ready.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(PATIENCE, closing).await.is_ok()
    }

    pub(crate) fn is_open(&self) -> bool {
        match self {
            Self::H1(sender) => !sender.is_closed(),
            Self::H2(sender) => !sender.is_closed(),
        }
    }
}

pub(crate) fn roots(ca_pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    roots
}

pub(crate) fn client_config(
    roots: Arc<RootCertStore>,
    protocol: &[u8],
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, Arc::new(FixedTime))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    config
}

/// A connection from this loopback address: Linux has sixteen million.
pub(crate) async fn tcp(to: SocketAddr, from: &str) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0))?;
    within(socket.connect(to)).await
}

/// Writes, then reads until the text has come or the connection ends.
pub(crate) async fn exchange(stream: &mut TlsStream<TcpStream>, send: &str, until: &str) -> std::io::Result<String> {
    stream.write_all(send.as_bytes()).await?;
    stream.flush().await?;
    read_until(stream, until).await
}

pub(crate) async fn read_until(stream: &mut TlsStream<TcpStream>, until: &str) -> std::io::Result<String> {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        if !until.is_empty() && text.contains(until) {
            return Ok(text);
        }
        match within(stream.read(&mut buffer)).await {
            Ok(0) => return Ok(text),
            Ok(length) => text.push_str(std::str::from_utf8(buffer.get(..length).unwrap()).unwrap()),
            Err(error) => {
                return if text.is_empty() { Err(error) } else { Ok(text) };
            }
        }
    }
}

/// The head of a POST to the webhook, up to and with its empty line.
pub(crate) fn head(more: &str) -> String {
    format!("POST /mutate HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{more}\r\n")
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("nothing happened for ten seconds")
}
