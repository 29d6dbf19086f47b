//! An API server for unit tests: a function from requests to answers.

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    /// Null where there is none.
    pub(crate) body: Value,
}

/// What is answered.
pub(crate) enum MockReply {
    Json(Value),
    /// Text as it is, such as the lines of a watch, after which the connection ends.
    Stream(String),
    /// A Status with this code and reason.
    Status(u16, &'static str),
    /// A Status of code 429 with this `Retry-After`.
    RetryAfter(u32),
    /// Nothing, ever.
    Hang,
}

/// A client whose server answers so.
pub(crate) fn server(mut answer: impl FnMut(&Asked) -> MockReply + Send + 'static) -> Client {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        let mut hanging = Vec::new();
        while let Some((request, send)) = handle.next_request().await {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let asked = Asked {
                method: head.method.to_string(),
                path: head.uri.to_string(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
            };
            match answer(&asked) {
                MockReply::Json(value) => send.send_response(response(200, &value.to_string())),
                MockReply::Stream(text) => send.send_response(response(200, &text)),
                MockReply::Status(code, reason) => send.send_response(response(code, &status(code, reason))),
                MockReply::RetryAfter(seconds) => {
                    let mut response = response(429, &status(429, "TooManyRequests"));
                    response.headers_mut().insert("retry-after", seconds.into());
                    send.send_response(response);
                }
                MockReply::Hang => hanging.push(send),
            }
        }
    });
    Client::new(service, "default")
}

fn status(code: u16, reason: &str) -> String {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
                        "reason": reason, "message": "as the test wants it"});
    status.to_string()
}

fn response(code: u16, text: &str) -> Response<Body> {
    Response::builder().status(code).body(Body::from(text.to_owned().into_bytes())).unwrap()
}
