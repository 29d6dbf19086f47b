//! The board: one page that shows the watcher's pods by time left, and the same rows as JSON.
//!
//! It names pods of every namespace, so it listens on loopback unless told otherwise, and only who may `kubectl
//! port-forward` to the watcher sees it. On loopback it answers to loopback's names alone: a page of somebody else's in
//! the same browser can make a name of its own point here. Nothing is loaded from elsewhere, and nothing runs that is
//! not in the page.

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// Asks for rows.
#[derive(Debug)]
pub struct Question {
    /// Of this namespace only.
    pub namespace: Option<String>,
    /// In the state of this name only.
    pub state: Option<String>,
    /// At most so many.
    pub limit: usize,
    /// The rows, as JSON.
    pub answer: oneshot::Sender<String>,
}

const PAGE: &str = include_str!("board.html");
/// What stands for the nonce in the page.
const NONCE: &str = "{{nonce}}";
/// Connections open at once: a few people with a few tabs.
const CONNECTIONS: usize = 32;
/// For a request's head.
const HEAD: Duration = Duration::from_secs(5);
/// For a whole connection.
const CONNECTION: Duration = Duration::from_secs(60);
/// For an answer of the watcher.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long accepting rests after an error.
const REST: Duration = Duration::from_millis(100);
/// Rows shown where nothing is asked for, and at most.
const ROWS: (usize, usize) = (500, 10_000);
const TEXT: &str = "text/plain; charset=utf-8";

/// Serves the board for ever; who answers to `questions` knows the rows.
pub async fn serve(listener: TcpListener, questions: mpsc::Sender<Question>) {
    let loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let board = Board { loopback, questions: questions.clone() };
                tokio::spawn(async move {
                    let _place = place;
                    connection(stream, board).await;
                });
            }
            Err(error) => {
                warn!(%error, "accepting connections on the board's port");
                sleep(REST).await;
            }
        }
    }
}

#[derive(Clone)]
struct Board {
    loopback: bool,
    questions: mpsc::Sender<Question>,
}

impl Board {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        if self.loopback && !host.is_some_and(is_loopback) {
            let text = "this board answers to localhost only\n";
            return respond(StatusCode::MISDIRECTED_REQUEST, TEXT, text.to_owned());
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET only\n".to_owned());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/" => page(),
            "/pods.json" => self.rows(request.uri().query().unwrap_or_default()).await,
            _ => respond(StatusCode::NOT_FOUND, TEXT, "served here: / /pods.json\n".to_owned()),
        }
    }

    async fn rows(&self, query: &str) -> Response<Full<Bytes>> {
        let asked = |key: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(found, value)| *found == key && !value.is_empty()).map(|(_, value)| value.to_owned()).next()
        };
        let limit = match asked("limit").map(|limit| limit.parse::<usize>()) {
            None => ROWS.0,
            Some(Ok(limit)) => limit.clamp(1, ROWS.1),
            Some(Err(_)) => return respond(StatusCode::BAD_REQUEST, TEXT, "limit is a number\n".to_owned()),
        };
        let (answer, answered) = oneshot::channel();
        let question = Question { namespace: asked("namespace"), state: asked("state"), limit, answer };
        let asking = async {
            self.questions.send(question).await.ok()?;
            answered.await.ok()
        };
        match timeout(PATIENCE, asking).await {
            Ok(Some(rows)) => respond(StatusCode::OK, "application/json", rows),
            _ => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the watcher does not answer\n".to_owned()),
        }
    }
}

/// Whether a `Host` is one of loopback's, with whatever port.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

fn page() -> Response<Full<Bytes>> {
    // Each is seeded anew from what the system gives at random.
    let random = || RandomState::new().hash_one(0_u8);
    let nonce = format!("{:016x}{:016x}", random(), random());
    let mut response = respond(StatusCode::OK, "text/html; charset=utf-8", PAGE.replace(NONCE, &nonce));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn respond(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let always: [(HeaderName, &'static str); 4] = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in always {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn connection(stream: TcpStream, board: Board) {
    let service = service_fn(|request: Request<Incoming>| {
        let board = board.clone();
        async move { Ok::<_, Infallible>(board.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION, connection).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => debug!(%error, "a connection to the board ended"),
    }
}

/// Where the board listens; `None` for nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoardAddress(pub Option<SocketAddr>);

impl std::str::FromStr for BoardAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let address =
            text.parse().map_err(|_| format!("{text:?} is neither an address such as 127.0.0.1:8090 nor off"))?;
        Ok(Self(Some(address)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_loopback_are_answered_to() {
        for host in ["localhost", "localhost:8090", "LOCALHOST:1", "127.0.0.1:8090", "127.0.0.2", "[::1]:8090", "[::1]"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "evil.example:8090", "10.0.0.1:8090", "localhost.evil.example", "127.0.0.1.evil.example"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn each_page_has_a_nonce_of_its_own_and_nothing_from_elsewhere() {
        let policy =
            |response: &Response<Full<Bytes>>| response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        let (one, other) = (policy(&page()), policy(&page()));
        assert_ne!(one, other);
        assert!(one.starts_with("default-src 'none'; script-src 'nonce-") && !one.contains("unsafe"), "{one}");
        assert!(PAGE.contains(NONCE));
        for from_elsewhere in ["http:", "https:", "@import", "url(", "innerHTML", "eval(", "document.write"] {
            assert!(!PAGE.contains(from_elsewhere), "{from_elsewhere}");
        }
    }

    #[test]
    fn the_board_is_somewhere_or_nowhere() {
        assert_eq!("off".parse(), Ok(BoardAddress(None)));
        assert_eq!("127.0.0.1:8090".parse(), Ok(BoardAddress("127.0.0.1:8090".parse().ok())));
        assert!("8090".parse::<BoardAddress>().unwrap_err().contains("nor off"));
    }
}
