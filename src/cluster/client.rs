//! The client for the API server, from where the program runs.

use std::time::Duration;

use kube::{Client, Config};
use thiserror::Error;

/// Why there is no client.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Neither a kubeconfig nor a service account says where the API server is.
    #[error("finding the API server: neither a kubeconfig nor a pod's service account says where it is")]
    Config(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What they say cannot be used.
    #[error("making a client for the API server")]
    Client(#[source] Box<kube::Error>),
}

/// A client as `$KUBECONFIG`, `~/.kube/config` or the pod's service account says. Nothing is called yet.
///
/// # Errors
/// Nobody says where the API server is, or not in a way that can be used.
pub async fn connect() -> Result<Client, ClientError> {
    // kube builds its TLS on the process' default. Somebody else's is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = Config::infer().await.map_err(|error| ClientError::Config(Box::new(error)))?;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.write_timeout = Some(Duration::from_secs(10));
    // A write that is retried behind our back is one that was planned on an older state.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| ClientError::Client(Box::new(error)))
}
