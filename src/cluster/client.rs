//! The client for the API server, from where the program runs.

use std::time::Duration;

use kube::config::{InferConfigError, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;

/// Why there is no client.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Neither a kubeconfig nor a service account says where the API server is.
    #[error("finding the API server: neither a kubeconfig nor a pod's service account says where it is: {0}")]
    Config(String),
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
    let mut config = Config::infer().await.map_err(|error| ClientError::Config(why(&error)))?;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.write_timeout = Some(Duration::from_secs(10));
    // A write that is retried behind our back is one that was planned on an older state.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| ClientError::Client(Box::new(error)))
}

/// What is wrong with the kubeconfig. A mistake in its YAML is told by its place: the parser's own text quotes the lines
/// around it, and a token stands there.
fn why(error: &InferConfigError) -> String {
    let kubeconfig = std::error::Error::source(error).and_then(|source| source.downcast_ref::<KubeconfigError>());
    kubeconfig.map_or_else(|| "no kubeconfig".to_owned(), of_kubeconfig)
}

fn of_kubeconfig(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => match error.location() {
            Some(at) => format!("the kubeconfig cannot be read, line {}, column {}", at.line(), at.column()),
            None => "the kubeconfig cannot be read".to_owned(),
        },
        other => other.to_string().lines().next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use kube::config::Kubeconfig;

    use super::*;

    #[test]
    fn a_mistake_in_a_kubeconfig_is_told_without_what_stands_there() {
        for wrong in
            ["apiVersion: v1\nusers: [{name: a, user: {token: s3cret]", "users: s3cret", "users: [{name: {s3cret: a}}]"]
        {
            let error = Kubeconfig::from_yaml(wrong).unwrap_err();
            assert!(error.to_string().contains("s3cret"), "{error}");
            let said = of_kubeconfig(&error);
            assert!(!said.contains("s3cret") && said.starts_with("the kubeconfig cannot be read, line "), "{said}");
        }
        assert_eq!(of_kubeconfig(&KubeconfigError::CurrentContextNotSet), "failed to determine current context");
    }
}
