//! The API server as a client sees it: one request at a time, JSON both ways.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use stowage::policy::crd;
use tokio::net::TcpStream;

use crate::cluster::Cluster;

/// A connection to the API server.
pub(crate) type Connection = http1::SendRequest<Full<Bytes>>;

/// An answer of the API server.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// The texts of the `Warning` headers.
    pub(crate) warnings: Vec<String>,
    /// The object, or the `Status` that says why there is none.
    pub(crate) body: Value,
}

impl Reply {
    /// The object; fails the test where the request was refused.
    pub(crate) fn object(self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.body);
        self.body
    }

    /// Why the request was refused.
    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

impl Cluster {
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Reply {
        self.ask(method, path, body).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.call(Method::POST, path, Some(body)).await
    }

    /// A merge patch.
    pub(crate) async fn patch(&self, path: &str, patch: &Value) -> Reply {
        self.call(Method::PATCH, path, Some(patch)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, None).await
    }

    /// Whether `/readyz` says so.
    pub(crate) async fn ready(&self) -> bool {
        self.ask(Method::GET, "/readyz", None).await.is_ok_and(|reply| reply.status.is_success())
    }

    /// A namespace with a service account, as the controllers of a whole cluster would leave it.
    pub(crate) async fn namespace(&self, name: &str, labels: &Value) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        self.post("/api/v1/namespaces", &namespace).await.object();
        for account in ["default", "builder"] {
            let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}});
            self.post(&format!("/api/v1/namespaces/{name}/serviceaccounts"), &account).await.object();
        }
    }

    /// Both policy kinds, served; the definitions as the API server has them.
    pub(crate) async fn definitions(&self) -> Vec<Value> {
        let folder = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let mut found = Vec::new();
        let definitions = crd::Definitions::generate();
        for definition in [&definitions.cluster, &definitions.namespaced] {
            let made = self.post(&format!("{folder}?fieldValidation=Strict"), definition).await;
            // Another test may have been first.
            if made.status != StatusCode::CONFLICT {
                assert_eq!(made.warnings, [""; 0]);
                made.object();
            }
            let name = definition["metadata"]["name"].as_str().unwrap();
            let plural = definition["spec"]["names"]["plural"].as_str().unwrap();
            let mut definition = Value::Null;
            for _ in 0..200 {
                definition = self.get(&format!("{folder}/{name}")).await.object();
                let served = self.get(&format!("/apis/{}/{plural}", crd::API_VERSION)).await.status.is_success();
                let mut conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
                let established = conditions.any(|c| c["type"] == "Established" && c["status"] == "True");
                if served && established {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            found.push(definition);
        }
        found
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Reply> {
        self.send(&mut self.connect().await?, method, path, body).await
    }

    /// A connection for many requests, one after the other.
    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        let stream = self.tls.connect(ServerName::from(self.address.ip()), stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    pub(crate) async fn send(
        &self,
        connection: &mut Connection,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Reply> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let merging = method == Method::PATCH;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", if merging { "application/merge-patch+json" } else { "application/json" })
            .header("accept", "application/json")
            .body(Full::<Bytes>::from(body))?;
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        let warnings = head.headers.get_all("warning").into_iter().filter_map(|warning| text(warning.to_str().ok()?));
        let body = serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
        Ok(Reply { status: head.status, warnings: warnings.collect(), body })
    }
}

/// The text of `299 - "text"`.
fn text(warning: &str) -> Option<String> {
    let quoted = warning.strip_prefix("299 - ")?;
    serde_json::from_str(quoted).ok()
}
