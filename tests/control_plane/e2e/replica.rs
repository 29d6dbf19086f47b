//! One replica of the webhook, asked past the API server, which keeps to one of them.

use std::net::{IpAddr, SocketAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::lab::Lab;
use crate::{cluster::trusting, watcher::stage::fetch};

fn ip(replica: &Value) -> Option<IpAddr> {
    replica["status"]["podIP"].as_str()?.parse().ok()
}

/// What a series of its metrics says; the series with all its labels.
pub(super) async fn metric(replica: &Value, series: &str) -> Option<f64> {
    let (_, metrics) = fetch(SocketAddr::new(ip(replica)?, 8080), "/metrics").await?;
    metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// The version that it says it is.
pub(super) async fn version(replica: &Value) -> String {
    let (_, metrics) = fetch(SocketAddr::new(ip(replica).unwrap(), 8080), "/metrics").await.unwrap();
    let version =
        metrics.lines().find_map(|line| line.strip_prefix("stowage_build_info{version=\"")?.split('"').next());
    version.unwrap().to_owned()
}

/// Its answer to the creation of this pod, as an API server would ask for it.
pub(super) async fn asked(lab: &Lab, replica: &Value, namespace: &str, pod: &Value) -> Value {
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "asked", "operation": "CREATE", "namespace": namespace, "object": pod, "dryRun": true,
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
    }});
    let bundle = STANDARD.decode(lab.bundle().await.unwrap()).unwrap();
    let stream = TcpStream::connect((ip(replica).unwrap(), 8443)).await.unwrap();
    let name = ServerName::try_from("stowage.stowage.svc").unwrap();
    let stream = trusting(&String::from_utf8(bundle).unwrap()).connect(name, stream).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("/mutate").header("host", "stowage").header("content-type", "application/json");
    let reply = sender.send_request(request.body(Full::<Bytes>::from(review.to_string())).unwrap()).await.unwrap();
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&body).unwrap();
    answer["response"].clone()
}

/// The pod after this answer; as it was where there was nothing to do.
pub(super) fn patched(pod: &Value, answer: &Value) -> Value {
    let mut pod = pod.clone();
    if let Some(patch) = answer["patch"].as_str() {
        let patch: json_patch::Patch = serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap();
        json_patch::patch(&mut pod, &patch).unwrap();
    }
    pod
}
