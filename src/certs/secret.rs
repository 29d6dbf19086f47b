//! The certificates of all replicas, as they lie in one Secret.
//!
//! The Secret is the only truth: an authority that signs, the one that will
//! sign next, the certificates of those that signed before, and the pair that
//! is served. Every change is a new [`Keyring`] out of an old one, which the
//! caller writes against the resourceVersion that it read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;

use super::Served;
use super::issue::{AUTHORITY_LIFE, Authority, IssueError, SERVING_LIFE, Serving, service_names};
use super::trust::Bundle;

/// Name of the Secret where nobody says otherwise.
pub const SECRET_NAME: &str = "stowage-certificates";

const AUTHORITY: [&str; 2] = ["ca.crt", "ca.key"];
const NEXT: [&str; 2] = ["next-ca.crt", "next-ca.key"];
const FORMER: &str = "former-ca.crt";
const SERVING: [&str; 2] = ["tls.crt", "tls.key"];

/// What certificates are made for, and for how long.
#[derive(Clone, Debug)]
pub struct CertificateTerms {
    /// Names of the Service; the one that API servers verify is `called`.
    pub names: Vec<String>,
    /// `SERVICE.NAMESPACE.svc`.
    pub called: String,
    /// How long an authority holds.
    pub authority_life: Duration,
    /// How long a serving certificate holds.
    pub serving_life: Duration,
    /// How long a new authority must have been in the published bundle before it signs: API servers learn of a bundle
    /// by a watch of their own.
    pub settle: Duration,
}

/// Everything that the Secret holds.
#[derive(Clone)]
pub struct Keyring {
    authority: Arc<Authority>,
    next: Option<Arc<Authority>>,
    former: Bundle,
    serving: Option<(Serving, Served)>,
}

/// Why a Secret holds no keyring.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// A key is absent, or no text.
    #[error("{0} is missing or no text")]
    Missing(&'static str),
    /// The authority cannot be used.
    #[error("ca.crt with ca.key")]
    Authority(#[from] IssueError),
}

impl CertificateTerms {
    /// The usual terms for a Service: a year, 90 days, a minute.
    #[must_use]
    pub fn of_service(service: &str, namespace: &str) -> Self {
        Self {
            names: service_names(service, namespace),
            called: format!("{service}.{namespace}.svc"),
            authority_life: AUTHORITY_LIFE,
            serving_life: SERVING_LIFE,
            settle: Duration::from_secs(60),
        }
    }
}

impl Keyring {
    /// A new authority with a serving certificate. Authorities of `before` that still hold stay trusted.
    ///
    /// # Errors
    /// The terms are out of range, or a key could not be made.
    pub fn begin(before: Option<&Self>, terms: &CertificateTerms, now: Timestamp) -> Result<Self, IssueError> {
        let authority = Arc::new(Authority::new(now, terms.authority_life)?);
        let former = before.map_or_else(Bundle::default, |before| before.bundle(now));
        Self { authority, next: None, former, serving: None }.signed(terms, now)
    }

    /// Reads a Secret's data. A part beside the authority that cannot be used counts as absent, and is made anew.
    ///
    /// # Errors
    /// There is no authority that can sign.
    pub fn from_data(data: &BTreeMap<String, Vec<u8>>) -> Result<Self, KeyringError> {
        let text = |key: &'static str| {
            let bytes = data.get(key).ok_or(KeyringError::Missing(key))?;
            str::from_utf8(bytes).map_err(|_| KeyringError::Missing(key))
        };
        let authority = |keys: [&'static str; 2]| -> Result<Arc<Authority>, KeyringError> {
            Ok(Arc::new(Authority::from_pem(text(keys[0])?, text(keys[1])?)?))
        };
        let serving = || {
            let (certificate, key) = (text(SERVING[0]).ok()?, text(SERVING[1]).ok()?);
            let served = Served::from_pem(certificate.as_bytes(), key.as_bytes()).ok()?;
            Some((Serving { certificate_pem: certificate.to_owned(), key_pem: key.to_owned() }, served))
        };
        Ok(Self {
            authority: authority(AUTHORITY)?,
            next: authority(NEXT).ok(),
            former: data.get(FORMER).and_then(|text| Bundle::from_pem(text).ok()).unwrap_or_default(),
            serving: serving(),
        })
    }

    /// The Secret's data.
    #[must_use]
    pub fn to_data(&self) -> BTreeMap<String, Vec<u8>> {
        let mut data = BTreeMap::new();
        let mut put = |key: &str, text: String| data.insert(key.to_owned(), text.into_bytes());
        for (keys, authority) in [(AUTHORITY, Some(&self.authority)), (NEXT, self.next.as_ref())] {
            if let Some(authority) = authority {
                put(keys[0], authority.certificate_pem().to_owned());
                put(keys[1], authority.key_pem());
            }
        }
        if !self.former.is_empty() {
            put(FORMER, self.former.to_pem());
        }
        if let Some((serving, _)) = &self.serving {
            put(SERVING[0], serving.certificate_pem.clone());
            put(SERVING[1], serving.key_pem.clone());
        }
        data
    }

    /// The authority that signs.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The authority that will sign.
    #[must_use]
    pub fn next(&self) -> Option<&Authority> {
        self.next.as_deref()
    }

    /// Those that signed before.
    #[must_use]
    pub const fn former(&self) -> &Bundle {
        &self.former
    }

    /// The pair to serve.
    #[must_use]
    pub fn served(&self) -> Option<&Served> {
        self.serving.as_ref().map(|(_, served)| served)
    }

    /// What is to be published: all authorities that hold, the one that signs first.
    #[must_use]
    pub fn bundle(&self, now: Timestamp) -> Bundle {
        let mut bundle = Bundle::default();
        for authority in [Some(&self.authority), self.next.as_ref()].into_iter().flatten() {
            bundle.add(authority.der());
        }
        for authority in self.former.authorities() {
            bundle.add(authority.clone());
        }
        bundle.forget_expired(now);
        bundle
    }

    /// With a new pair, signed by the authority.
    pub(super) fn signed(self, terms: &CertificateTerms, now: Timestamp) -> Result<Self, IssueError> {
        let serving = self.authority.sign(&terms.names, now, terms.serving_life)?;
        let served = Served::from_pem(serving.certificate_pem.as_bytes(), serving.key_pem.as_bytes())?;
        Ok(Self { serving: Some((serving, served)), ..self })
    }

    /// With a new authority that will sign next.
    pub(super) fn prepared(self, terms: &CertificateTerms, now: Timestamp) -> Result<Self, IssueError> {
        Ok(Self { next: Some(Arc::new(Authority::new(now, terms.authority_life)?)), ..self })
    }

    /// With the next authority as the one that signs, and a pair by it.
    pub(super) fn promoted(self, terms: &CertificateTerms, now: Timestamp) -> Result<Self, IssueError> {
        let Some(next) = self.next else { return Ok(self) };
        let mut former = self.former;
        former.add(self.authority.der());
        Self { authority: next, next: None, former, serving: None }.signed(terms, now)
    }

    /// With these trusted for as long as they hold.
    pub(super) fn trusting(mut self, others: &[CertificateDer<'static>], now: Timestamp) -> Self {
        for other in others {
            self.former.add(other.clone());
        }
        self.former.forget_expired(now);
        self
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ends = |authority: &Arc<Authority>| authority.validity().not_after;
        f.debug_struct("Keyring")
            .field("authority_ends", &ends(&self.authority))
            .field("next_ends", &self.next.as_ref().map(ends))
            .field("former", &self.former.authorities().len())
            .field("served", &self.served())
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// The certificate, DER.
    pub(super) fn der(&self) -> CertificateDer<'static> {
        // Whoever made the authority has parsed it.
        CertificateDer::from_pem_slice(self.certificate_pem().as_bytes())
            .unwrap_or_else(|_| CertificateDer::from(vec![]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::issue::DAY;

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn terms() -> CertificateTerms {
        CertificateTerms::of_service("stowage", "stowage")
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let ring = Keyring::begin(None, &terms(), now()).unwrap().prepared(&terms(), now()).unwrap();
        let ring = ring.promoted(&terms(), now()).unwrap().prepared(&terms(), now()).unwrap();
        let read = Keyring::from_data(&ring.to_data()).unwrap();
        assert_eq!(read.to_data(), ring.to_data());
        assert_eq!(read.to_data().len(), 7);
        assert!(read.bundle(now()).is_same(&ring.bundle(now())));
        assert_eq!(read.bundle(now()).authorities().len(), 3);
        assert_eq!(read.bundle(now() + DAY * 366).authorities().len(), 0);
    }

    #[test]
    fn what_cannot_be_used_is_absent_and_only_the_authority_is_needed() {
        let whole = Keyring::begin(None, &terms(), now()).unwrap().prepared(&terms(), now()).unwrap().to_data();
        for key in ["tls.crt", "tls.key", "next-ca.crt", "next-ca.key"] {
            let mut data = whole.clone();
            data.insert(key.to_owned(), b"nonsense".to_vec());
            let read = Keyring::from_data(&data).unwrap();
            assert_eq!(read.served().is_some(), !key.starts_with("tls"), "{key}");
            assert_eq!(read.next().is_some(), !key.starts_with("next"), "{key}");
        }
        for key in ["ca.crt", "ca.key"] {
            let mut data = whole.clone();
            data.insert(key.to_owned(), vec![0xff]);
            assert!(matches!(Keyring::from_data(&data), Err(KeyringError::Missing(missing)) if missing == key));
            data.insert(key.to_owned(), whole["next-ca.crt"].clone());
            assert!(matches!(Keyring::from_data(&data), Err(KeyringError::Authority(_))), "{key}");
        }
    }

    #[test]
    fn nothing_of_a_key_is_shown() {
        let ring = Keyring::begin(None, &terms(), now()).unwrap();
        let data = ring.to_data();
        for key in ["ca.key", "tls.key"] {
            let line = str::from_utf8(&data[key]).unwrap().lines().nth(1).unwrap().to_owned();
            assert!(!format!("{ring:?}").contains(&line));
        }
    }
}
