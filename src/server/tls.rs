//! TLS as the webhook speaks it: 1.3 and 1.2 by ring, one certificate that can
//! be swapped while connections go on.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use crate::certs::{Served, Validity};

/// The certificate that new handshakes are given.
///
/// Swapping it leaves open connections alone and needs no new
/// [`ServerConfig`], so sessions made before the swap can still be resumed.
#[derive(Debug)]
pub struct ServingCertificate {
    served: ArcSwap<Served>,
}

/// HTTP/2 by ALPN. The API server speaks it to loopback URLs only.
pub(super) const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

impl ServingCertificate {
    /// Begins with this pair.
    #[must_use]
    pub fn new(served: Served) -> Arc<Self> {
        Arc::new(Self { served: ArcSwap::from_pointee(served) })
    }

    /// Gives this pair to every handshake from now on.
    pub fn replace(&self, served: Served) {
        self.served.store(Arc::new(served));
    }

    /// The pair that is served now.
    #[must_use]
    pub fn served(&self) -> Served {
        Served::clone(&self.served.load())
    }

    /// From when until when the pair that is served now holds.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.served.load().validity()
    }

    /// When the pair that is served now ends.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.validity().not_after
    }
}

impl ResolvesServerCert for ServingCertificate {
    /// Whatever name the client asks for: an API server may call by Service
    /// name, URL or address, and verifies the answer itself.
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.served.load().key()))
    }
}

/// TLS 1.3 and 1.2, HTTP/2 and HTTP/1.1 by ALPN, no client certificates.
///
/// Make it once: tickets and sessions live in it.
///
/// # Errors
/// The system gives no random numbers for the ticket keys.
pub fn server_config(certificate: Arc<ServingCertificate>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
    config.ticketer = ring::Ticketer::new()?;
    // Go clients keep one session for a host; a second ticket is wasted.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}
