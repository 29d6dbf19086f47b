//! What `serve --standalone` needs in place of a cluster: a CA and a serving
//! certificate in memory, and a `curl` command that works as printed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use jiff::Timestamp;
use thiserror::Error;

use crate::certs::issue::{AUTHORITY_LIFE, Authority, IssueError};
use crate::certs::{PairError, Served};

/// A CA and a serving certificate made for one run.
pub struct Standalone {
    authority: Authority,
    served: Served,
}

/// Why there is no certificate for the run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StandaloneError {
    /// It could not be made.
    #[error("issuing the certificate of this run")]
    Issue(#[from] IssueError),
    /// What was made cannot be served.
    #[error("using the certificate of this run")]
    Serve(#[from] PairError),
}

/// An AdmissionReview small enough for a command line: an MLRun job's pod.
pub const SAMPLE_REVIEW: &str = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"00000000-0000-0000-0000-000000000001","kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},"namespace":"default","operation":"CREATE","userInfo":{"username":"curl"},"object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"try-me","namespace":"default","labels":{"mlrun/class":"job","mlrun/project":"demo","mlrun/owner":"demo"}},"spec":{"containers":[{"name":"base","image":"python:3.12"}]}},"oldObject":null,"dryRun":true}}"#;

impl Standalone {
    /// Makes both, for `localhost`, the loopback addresses, and the address
    /// listened on where it is one of its own. They last a year: a new run
    /// makes new ones.
    ///
    /// # Errors
    /// The system gives no randomness for the keys.
    pub fn new(listen: SocketAddr, now: Timestamp) -> Result<Self, StandaloneError> {
        let authority = Authority::new(now, AUTHORITY_LIFE)?;
        let mut names = vec!["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string()];
        let own = listen.ip().to_canonical();
        if !own.is_unspecified() && !own.is_loopback() {
            names.push(own.to_string());
        }
        let serving = authority.sign(&names, now, AUTHORITY_LIFE)?;
        let served = Served::from_pem(serving.certificate_pem.as_bytes(), serving.key_pem.as_bytes())?;
        Ok(Self { authority, served })
    }

    /// The pair to serve.
    #[must_use]
    pub fn served(&self) -> &Served {
        &self.served
    }

    /// The CA's certificate, PEM: what `--ca-out` writes.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// A command for `sh` that posts `review` to the server and verifies its
    /// certificate.
    ///
    /// Where the CA was written to a file the command names it; else it carries
    /// the CA itself, as the here-document that curl reads for `--cacert`, so
    /// that nothing has to lie on disk.
    #[must_use]
    pub fn curl(&self, listening: SocketAddr, ca_file: Option<&Path>, review: &str) -> String {
        let url = format!("https://{}/mutate", reachable(listening));
        let (ca, document) = match ca_file {
            Some(path) => (quoted(&path.to_string_lossy()), String::new()),
            None => ("/dev/stdin <<'EOF'".to_owned(), format!("\n{}\nEOF", self.ca_pem().trim_end())),
        };
        format!(
            "curl --silent --show-error --header 'Content-Type: application/json' \\\n  \
             --data-raw {} \\\n  {url} --cacert {ca}{document}\n",
            quoted(review)
        )
    }
}

/// Where a client on this machine reaches what listens there.
fn reachable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

/// One word of the shell, whatever it holds.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_an_address_that_a_client_can_reach() {
        for (listening, reached) in
            [("0.0.0.0:8443", "127.0.0.1:8443"), ("[::]:8443", "[::1]:8443"), ("192.0.2.7:1", "192.0.2.7:1")]
        {
            assert_eq!(reachable(listening.parse().unwrap()).to_string(), reached, "{listening}");
        }
    }

    #[test]
    fn a_word_with_quotes_stays_one_word() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }
}
