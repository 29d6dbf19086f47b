//! From a request to its answer: path, method, content type, body, decision.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{debug, error};

use super::body::{self, BodyError};
use super::connections::InFlight;
use super::decide::{Decide, HttpAnswer};
use super::limits::Limits;
use super::pool::{NoRoom, Pool, Room};
use crate::metrics::{HandshakeFailure, Label, Metrics, Undecided};

/// The path that the registration names.
pub(super) const PATH: &str = "/mutate";

/// What all connections share.
pub(super) struct Webhook<D> {
    decide: Arc<D>,
    limits: Limits,
    /// Bytes of bodies and answers.
    pool: Pool,
    /// Decisions on large bodies.
    turns: Pool,
    metrics: Arc<Metrics>,
    leaving: AtomicBool,
}

/// A request that never reaches the decision.
#[derive(Debug, PartialEq, Eq)]
enum HttpRefusal {
    Path,
    Method,
    ContentType,
    Body(BodyError),
}

/// An answer on its way. What it holds, and its request, end when the last
/// byte is handed to the system, or with the connection.
struct Sent {
    bytes: Vec<u8>,
    _room: Room,
    _in_flight: InFlight,
}

impl<D: Decide> Webhook<D> {
    pub(super) fn new(decide: Arc<D>, limits: Limits, metrics: Arc<Metrics>) -> Self {
        let pool = Pool::seen(limits.pool_bytes, limits.pool_bytes / 2, metrics.pool_bytes.clone());
        let turns = Pool::new(limits.decisions, limits.decisions.saturating_sub(1).max(1));
        Self { decide, limits, pool, turns, metrics, leaving: AtomicBool::new(false) }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// From now on every HTTP/1.1 answer closes its connection: clients come
    /// back to another replica as soon as they know of it, and no request is on
    /// its way when the last idle connections are closed.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    pub(super) fn handshake_failed(&self, reason: HandshakeFailure, error: &io::Error) {
        self.metrics.handshake_failures.count(reason);
        // Anyone who reaches the port can cause this; the metric tells of many.
        debug!(reason = reason.text(), %error, "TLS handshake failed");
    }

    pub(super) async fn answer(&self, request: Request<Incoming>, in_flight: InFlight) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let last = in_flight.is_last() || self.leaving.load(Ordering::Relaxed);
        let close = request.version() < Version::HTTP_2 && last;
        let mut room = self.pool.room(in_flight.entry());
        let deadline = started + self.limits.body;
        let (answer, bytes) = match self.accept(request, &in_flight, &mut room, deadline).await {
            Ok(body) => {
                in_flight.deciding();
                room.deciding();
                let bytes = body.len();
                (self.decide(body, &in_flight, deadline).await, bytes)
            }
            Err(refusal) => (refusal.answer(&self.limits), 0),
        };
        self.metrics.request_seconds.observe(started.elapsed().as_secs_f64());
        self.metrics.requests.count(answer.end);
        if let Some(summary) = &answer.summary {
            let refused = summary.refusal.iter().map(|refusal| refusal.reason);
            summary.reasons.iter().copied().chain(refused).for_each(|reason| self.metrics.reasons.count(reason));
        }
        answer.log(bytes);
        // A small answer to a small body is free as that was.
        let is_free = in_flight.has_free_body() && answer.body.len() <= self.limits.small_body_bytes;
        room.sending(if is_free { 0 } else { answer.body.len() });
        in_flight.sending();
        let mut response = respond(answer, room, in_flight);
        if close {
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn accept(
        &self,
        request: Request<Incoming>,
        in_flight: &InFlight,
        room: &mut Room,
        deadline: Instant,
    ) -> Result<Bytes, HttpRefusal> {
        if request.uri().path() != PATH {
            return Err(HttpRefusal::Path);
        }
        if request.method() != Method::POST {
            return Err(HttpRefusal::Method);
        }
        if !is_json(request.headers()) {
            return Err(HttpRefusal::ContentType);
        }
        let free = if in_flight.has_free_body() { self.limits.small_body_bytes } else { 0 };
        body::read(request.into_body(), &self.limits, free, room, deadline).await.map_err(HttpRefusal::Body)
    }

    async fn decide(&self, body: Bytes, in_flight: &InFlight, deadline: Instant) -> HttpAnswer {
        if body.len() <= self.limits.small_body_bytes {
            let started = Instant::now();
            let answer = guarded(&*self.decide, &body).await;
            self.metrics.decision_seconds.observe(started.elapsed().as_secs_f64());
            return answer;
        }
        let mut turn = self.turns.room(in_flight.entry());
        if turn.turn(deadline).await == Err(NoRoom) {
            return HttpRefusal::Body(BodyError::Overloaded).answer(&self.limits);
        }
        let started = Instant::now();
        let (decide, runtime) = (Arc::clone(&self.decide), Handle::current());
        // The turn goes with the decision: it lasts even where the client is gone.
        let decided = spawn_blocking(move || {
            let answer = runtime.block_on(guarded(&*decide, &body));
            drop(turn);
            answer
        });
        let answer = decided.await.unwrap_or_else(|_| failed());
        self.metrics.decision_seconds.observe(started.elapsed().as_secs_f64());
        answer
    }
}

impl HttpRefusal {
    fn answer(&self, limits: &Limits) -> HttpAnswer {
        let (status, why, text) = match self {
            Self::Path => (
                StatusCode::NOT_FOUND,
                Undecided::NotFound,
                format!("this path is not served: POST AdmissionReviews to {PATH}"),
            ),
            Self::Method => {
                (StatusCode::METHOD_NOT_ALLOWED, Undecided::MethodNotAllowed, format!("{PATH} takes POST only"))
            }
            Self::ContentType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                Undecided::UnsupportedMediaType,
                "the content type must be application/json".to_owned(),
            ),
            Self::Body(BodyError::TooLarge) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                Undecided::TooLarge,
                format!("the body is over the limit of {} bytes", limits.body_bytes),
            ),
            Self::Body(BodyError::TimedOut) => (
                StatusCode::REQUEST_TIMEOUT,
                Undecided::TimedOut,
                format!("the body did not come within {:?}", limits.body),
            ),
            Self::Body(BodyError::Overloaded) => (
                StatusCode::SERVICE_UNAVAILABLE,
                Undecided::Overloaded,
                format!(
                    "other large bodies hold the {} bytes there are for them, or were given this one's room",
                    limits.pool_bytes
                ),
            ),
            Self::Body(BodyError::Disconnected) => {
                (StatusCode::BAD_REQUEST, Undecided::Disconnected, "the body broke off".to_owned())
            }
        };
        HttpAnswer::undecided(status, why, &text)
    }
}

/// A panic costs the one request that caused it: the pods of others on the
/// same HTTP/2 connection go on.
async fn guarded<D: Decide>(decide: &D, body: &[u8]) -> HttpAnswer {
    AssertUnwindSafe(decide.decide(body)).catch_unwind().await.unwrap_or_else(|_| {
        // The panic's own text, which the hook leaves out, is not for the client.
        error!(bytes = body.len(), "the decision panicked");
        failed()
    })
}

fn failed() -> HttpAnswer {
    let text = "the decision failed; the log has more";
    HttpAnswer::undecided(StatusCode::INTERNAL_SERVER_ERROR, Undecided::Failed, text)
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn respond(answer: HttpAnswer, room: Room, in_flight: InFlight) -> Response<Full<Bytes>> {
    let json = answer.status == StatusCode::OK;
    let sent = Sent { bytes: answer.body, _room: room, _in_flight: in_flight };
    let mut response = Response::new(Full::new(Bytes::from_owner(sent)));
    *response.status_mut() = answer.status;
    let mut set = |name: HeaderName, value| {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    };
    if json {
        set(CONTENT_TYPE, "application/json");
    } else {
        set(CONTENT_TYPE, "text/plain; charset=utf-8");
    }
    if answer.status == StatusCode::METHOD_NOT_ALLOWED {
        set(ALLOW, "POST");
    }
    response
}

/// `application/json`, in any case and with any parameters.
fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_json_with_parameters_in_any_case_and_nothing_else() {
        let json = |value: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(CONTENT_TYPE, value.parse().unwrap());
            }
            is_json(&headers)
        };
        for good in ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json;v=1"]
        {
            assert!(json(Some(good)), "{good}");
        }
        for bad in ["", "text/json", "application/jsonl", "application/x-json"] {
            assert!(!json(Some(bad)), "{bad}");
        }
        assert!(!json(None));
    }
}
