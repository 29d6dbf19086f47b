//! From a request to its answer: path, method, content type, body, decision.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::task::spawn_blocking;
use tracing::{debug, error};

use super::body::{self, BodyError, Pool, Received};
use super::decide::{Answer, Decide, line};
use super::limits::Limits;
use crate::metrics::{HandshakeFailure, Label, Metrics, Outcome};

/// The path that the registration names.
pub(super) const PATH: &str = "/mutate";

/// From here on a decision takes milliseconds, and runs where it holds up no
/// other connection.
const LARGE: usize = 1 << 20;

/// What all connections share.
pub(super) struct Webhook<D> {
    decide: Arc<D>,
    limits: Limits,
    pool: Pool,
    metrics: Arc<Metrics>,
    leaving: AtomicBool,
}

/// A request that never reaches the decision.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Path,
    Method,
    ContentType,
    Body(BodyError),
}

impl<D: Decide> Webhook<D> {
    pub(super) fn new(decide: Arc<D>, limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self { decide, pool: Pool::new(&limits), limits, metrics, leaving: AtomicBool::new(false) }
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

    pub(super) async fn answer(&self, request: Request<Incoming>, last: bool) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let close = request.version() < Version::HTTP_2 && (last || self.leaving.load(Ordering::Relaxed));
        let answer = match self.accept(request).await {
            Ok(received) => self.decide(received).await,
            Err(refusal) => refusal.answer(&self.limits),
        };
        self.metrics.request_seconds.observe(started.elapsed().as_secs_f64());
        self.metrics.requests.count(answer.outcome);
        if let Some(record) = &answer.record {
            record.log(answer.outcome);
        }
        let mut response = respond(answer);
        if close {
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn accept(&self, request: Request<Incoming>) -> Result<Received, Refusal> {
        if request.uri().path() != PATH {
            return Err(Refusal::Path);
        }
        if request.method() != Method::POST {
            return Err(Refusal::Method);
        }
        if !is_json(request.headers()) {
            return Err(Refusal::ContentType);
        }
        body::read(request.into_body(), &self.limits, &self.pool).await.map_err(Refusal::Body)
    }

    async fn decide(&self, received: Received) -> Answer {
        let started = Instant::now();
        let answer = if received.bytes().len() < LARGE {
            guarded(&*self.decide, received.bytes())
        } else {
            let decide = Arc::clone(&self.decide);
            spawn_blocking(move || guarded(&*decide, received.bytes())).await.unwrap_or_else(|_| failed())
        };
        self.metrics.decision_seconds.observe(started.elapsed().as_secs_f64());
        answer
    }
}

impl Refusal {
    fn answer(&self, limits: &Limits) -> Answer {
        let (status, outcome, text) = match self {
            Self::Path => (
                StatusCode::NOT_FOUND,
                Outcome::NotFound,
                format!("this path is not served: POST AdmissionReviews to {PATH}"),
            ),
            Self::Method => {
                (StatusCode::METHOD_NOT_ALLOWED, Outcome::MethodNotAllowed, format!("{PATH} takes POST only"))
            }
            Self::ContentType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                Outcome::UnsupportedMediaType,
                "the content type must be application/json".to_owned(),
            ),
            Self::Body(BodyError::TooLarge) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                Outcome::TooLarge,
                format!("the body is over the limit of {} bytes", limits.body_bytes),
            ),
            Self::Body(BodyError::TimedOut) => (
                StatusCode::REQUEST_TIMEOUT,
                Outcome::TimedOut,
                format!("the body did not come within {:?}", limits.body),
            ),
            Self::Body(BodyError::Overloaded) => (
                StatusCode::SERVICE_UNAVAILABLE,
                Outcome::Overloaded,
                format!(
                    "other large bodies hold the {} bytes there are for them, and did not end within {:?}",
                    limits.pool_bytes, limits.body
                ),
            ),
            Self::Body(BodyError::Disconnected) => {
                (StatusCode::BAD_REQUEST, Outcome::Disconnected, "the body broke off".to_owned())
            }
        };
        Answer { status, body: line(&text).into_bytes(), outcome, record: None }
    }
}

/// A panic costs the one request that caused it: the pods of others on the
/// same HTTP/2 connection go on.
fn guarded<D: Decide>(decide: &D, body: &[u8]) -> Answer {
    panic::catch_unwind(AssertUnwindSafe(|| decide.decide(body))).unwrap_or_else(|_| {
        // The panic's own text, which the hook prints, is not for the client.
        error!(bytes = body.len(), "the decision panicked");
        failed()
    })
}

fn failed() -> Answer {
    Answer {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        body: line("the decision failed; the log has more").into_bytes(),
        outcome: Outcome::Failed,
        record: None,
    }
}

fn respond(answer: Answer) -> Response<Full<Bytes>> {
    let json = answer.status == StatusCode::OK;
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
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
