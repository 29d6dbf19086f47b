//! The admin port: `/livez`, `/readyz` and `/metrics`, in plain HTTP.
//!
//! The kubelet and Prometheus call it, so it has few connections, short heads
//! and no bodies.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, warn};

use super::readiness::Readiness;
use crate::certs::Clock;
use crate::metrics::Metrics;

/// What the admin port answers from.
#[derive(Clone)]
pub struct Admin {
    /// Answers `/readyz`.
    pub readiness: Arc<Readiness>,
    /// Answers `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Tells whether the certificate has expired.
    pub clock: Clock,
}

/// Connections open at once: probes, a few scrapers, a person.
const CONNECTIONS: usize = 64;
/// Those of one source address.
const PER_ADDRESS: usize = 8;
/// For a request's head.
const HEAD: Duration = Duration::from_secs(5);
/// For a whole connection, so that none that never reads stays for ever.
const CONNECTION: Duration = Duration::from_secs(60);
/// How long accepting rests after an error.
const REST: Duration = Duration::from_millis(100);
const TEXT: &str = "text/plain; charset=utf-8";
/// Prometheus' text format, which is what [`Metrics::text`] writes.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The connections that are open, oldest first.
#[derive(Clone, Default)]
struct Callers(Arc<Mutex<Vec<Caller>>>);

struct Caller {
    id: u64,
    address: IpAddr,
    task: AbortHandle,
}

/// Serves the admin port for ever: it must answer while the webhook drains.
///
/// The kubelet restarts a process whose probe is not answered, so nobody can
/// keep its probe out: every connection is accepted, has one answer, and at the
/// cap the oldest goes. For the same reason this wants a thread of its own, with
/// nothing on it that takes long.
pub async fn serve(listener: TcpListener, admin: Admin) {
    let held = Callers::default();
    for id in 0.. {
        match listener.accept().await {
            Ok((stream, address)) => {
                let address = address.ip().to_canonical();
                held.make_room(address);
                let (admin, others) = (admin.clone(), held.clone());
                // The task takes the lock when it ends, so it cannot be gone before it is in the list.
                let mut callers = held.lock();
                let task = tokio::spawn(async move {
                    connection(stream, admin).await;
                    others.remove(id);
                });
                callers.push(Caller { id, address, task: task.abort_handle() });
            }
            Err(error) => {
                warn!(%error, "accepting connections on the admin port");
                held.close(|_| true);
                sleep(REST).await;
            }
        }
    }
}

impl Callers {
    /// Closes the oldest connection of an address that has its share, else the
    /// oldest of all where all places are taken.
    fn make_room(&self, address: IpAddr) {
        let (of_address, all) = {
            let callers = self.lock();
            (callers.iter().filter(|caller| caller.address == address).count(), callers.len())
        };
        if of_address >= PER_ADDRESS {
            self.close(|caller| caller.address == address);
        } else if all >= CONNECTIONS {
            self.close(|_| true);
        }
    }

    fn close(&self, which: impl Fn(&Caller) -> bool) {
        let mut callers = self.lock();
        if let Some(index) = callers.iter().position(which) {
            callers.remove(index).task.abort();
        }
    }

    fn remove(&self, id: u64) {
        self.lock().retain(|caller| caller.id != id);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Caller>> {
        // No panic can leave the list half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admin {
    fn answer(&self, method: &Method, path: &str, query: Option<&str>) -> Response<Full<Bytes>> {
        if !matches!(path, "/livez" | "/readyz" | "/metrics") {
            let text = "served here: /livez /readyz /metrics\n";
            return respond(StatusCode::NOT_FOUND, TEXT, text.to_owned());
        }
        if *method != Method::GET && *method != Method::HEAD {
            let text = "GET only\n".to_owned();
            let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            // That this is answered is all there is to say.
            "/livez" => respond(StatusCode::OK, TEXT, "ok\n".to_owned()),
            "/readyz" => self.ready(query),
            _ => self.scraped(),
        }
    }

    /// As the API server answers: `ok` in short, and every check on a line of
    /// its own where one fails or `verbose` asks for them.
    fn ready(&self, query: Option<&str>) -> Response<Full<Bytes>> {
        let report = self.readiness.report((self.clock)());
        let verbose = query.is_some_and(|query| query.split('&').any(|pair| pair.split('=').next() == Some("verbose")));
        match (report.ready, verbose) {
            (true, false) => respond(StatusCode::OK, TEXT, "ok\n".to_owned()),
            (true, true) => respond(StatusCode::OK, TEXT, report.text),
            (false, _) => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, report.text),
        }
    }

    fn scraped(&self) -> Response<Full<Bytes>> {
        match self.metrics.text() {
            Ok(text) => respond(StatusCode::OK, METRICS, text),
            Err(error) => {
                error!(%error, "writing the metrics");
                let text = "the metrics could not be written\n".to_owned();
                respond(StatusCode::INTERNAL_SERVER_ERROR, TEXT, text)
            }
        }
    }
}

async fn connection(stream: TcpStream, admin: Admin) {
    let service = service_fn(|request: Request<Incoming>| {
        let uri = request.uri();
        let response = admin.answer(request.method(), uri.path(), uri.query());
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        // One answer each: who asks a thousand times at once would hold up the probe. The kubelet comes on a new
        // connection each time, and Prometheus does where the old one is gone.
        .keep_alive(false)
        .max_buf_size(8 << 10)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION, connection).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => debug!(%error, "admin connection ended"),
    }
}

fn respond(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
