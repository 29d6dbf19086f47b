//! Serving certificates: where they come from and how long they hold.
//!
//! [`issue`] makes a certificate authority and serving certificates, [`plan`]
//! says what is to be done next to keep them, [`trust`] whether a client with a
//! bundle would accept them, [`secret`] how they lie in a Secret, [`files`]
//! reads a pair from disk and notices when it changes, [`output`] writes what
//! was issued. A [`Served`] pair has been checked once, when it was parsed:
//! whoever holds one may serve it. Time is passed in.

pub mod files;
pub mod issue;
pub mod output;
pub mod plan;
pub mod secret;
pub mod trust;
mod validity;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;

pub use self::validity::Validity;

/// A certificate chain with its key, parsed and known to belong together.
#[derive(Clone)]
pub struct Served {
    key: Arc<CertifiedKey>,
    validity: Validity,
}

/// What tells the time of certificates: the wall clock in the program, a fixed one in tests.
pub type Clock = fn() -> Timestamp;

/// The longest chain that is served: clients refuse handshakes of many kilobytes, and real chains have three.
pub const MAX_CHAIN: usize = 10;

/// Why a certificate and key cannot be served.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PairError {
    /// The certificate text is not PEM.
    #[error("the certificate is not readable PEM: {0}")]
    CertificatePem(String),
    /// The certificate text holds no CERTIFICATE block.
    #[error("the certificate holds no CERTIFICATE block")]
    NoCertificate,
    /// The certificate text holds more blocks than a handshake carries.
    #[error("the certificate holds {0} CERTIFICATE blocks, and at most {MAX_CHAIN} can be served")]
    LongChain(usize),
    /// The first certificate is not X.509 as rustls reads it.
    #[error("the first certificate is not a readable X.509 v3 certificate")]
    Certificate,
    /// The key text holds no private key in PEM. Never says what it holds.
    #[error("the key holds no readable PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY block")]
    Key,
    /// The key is of a kind that cannot serve.
    #[error("the key is of a kind that is not supported: use ECDSA P-256 or P-384, Ed25519 or RSA")]
    UnsupportedKey,
    /// Certificate and key do not belong together.
    #[error("the key does not belong to the first certificate")]
    Mismatch,
    /// The certificate's time is over.
    #[error("the certificate expired at {0}")]
    Expired(Timestamp),
    /// The certificate's time has not come.
    #[error("the certificate is not valid before {0}")]
    NotYetValid(Timestamp),
}

impl Served {
    /// Parses a PEM chain, leaf first, and its PEM key.
    ///
    /// Intermediates may follow the leaf. Says nothing about the time: see
    /// [`Validity::check`].
    ///
    /// # Errors
    /// Either text is unreadable, or the key is not the leaf's.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, PairError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, pem::Error>>()
            .map_err(|error| PairError::CertificatePem(error.to_string()))?;
        let leaf = chain.first().ok_or(PairError::NoCertificate)?;
        if chain.len() > MAX_CHAIN {
            return Err(PairError::LongChain(chain.len()));
        }
        let validity = Validity::of(leaf).ok_or(PairError::Certificate)?;
        // The parser's own error may quote what it read, so it is not kept.
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| PairError::Key)?;
        let key = any_supported_type(&key).map_err(|_| PairError::UnsupportedKey)?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) => Ok(Self { key: Arc::new(key), validity }),
            Err(rustls::Error::InconsistentKeys(_)) => Err(PairError::Mismatch),
            Err(_) => Err(PairError::Certificate),
        }
    }

    /// The pair as rustls serves it.
    #[must_use]
    pub fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// From when until when the leaf holds.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").field("validity", &self.validity).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::issue::{Authority, DAY};

    fn pair(now: Timestamp) -> (String, String, String) {
        let authority = Authority::new(now, DAY * 365).unwrap();
        let serving = authority.sign(&["localhost".to_owned()], now, DAY * 90).unwrap();
        (serving.certificate_pem, serving.key_pem, authority.certificate_pem().to_owned())
    }

    #[test]
    fn accepts_a_chain_with_intermediates_and_reads_the_leafs_time() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let (certificate, key, authority) = pair(now);
        let served = Served::from_pem(format!("{certificate}{authority}").as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(served.key().cert.len(), 2);
        assert_eq!(served.validity().not_after.to_string(), "2027-02-20T12:00:00Z");
    }

    #[test]
    fn refuses_a_chain_that_no_handshake_would_carry() {
        let (certificate, key, authority) = pair(Timestamp::UNIX_EPOCH);
        let chain = |others: usize| certificate.clone() + &authority.repeat(others);
        assert!(Served::from_pem(chain(MAX_CHAIN - 1).as_bytes(), key.as_bytes()).is_ok());
        let error = Served::from_pem(chain(MAX_CHAIN).as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(error, PairError::LongChain(MAX_CHAIN + 1));
    }

    #[test]
    fn refuses_the_key_of_another_certificate() {
        let now = Timestamp::UNIX_EPOCH;
        let (certificate, ..) = pair(now);
        let (_, key, _) = pair(now);
        let error = Served::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(error, PairError::Mismatch);
    }

    #[test]
    fn refuses_what_is_cut_off_anywhere_and_never_quotes_the_key() {
        let now = Timestamp::UNIX_EPOCH;
        let (certificate, key, _) = pair(now);
        let secret = key.lines().nth(1).unwrap();
        for end in 0..certificate.trim_end().len() {
            assert!(
                Served::from_pem(&certificate.as_bytes()[..end], key.as_bytes()).is_err(),
                "accepted a certificate of {end} bytes"
            );
        }
        for end in 0..key.trim_end().len() {
            let error = Served::from_pem(certificate.as_bytes(), &key.as_bytes()[..end]).unwrap_err();
            assert!(!error.to_string().contains(secret));
        }
    }

    #[test]
    fn refuses_a_key_where_the_certificate_should_be() {
        let (_, key, _) = pair(Timestamp::UNIX_EPOCH);
        let error = Served::from_pem(key.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(error, PairError::NoCertificate);
    }
}
