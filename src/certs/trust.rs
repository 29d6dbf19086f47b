//! Whether a client that trusts a bundle would accept a chain.
//!
//! An API server verifies the webhook's chain against the registration's
//! `caBundle`, for the name `SERVICE.NAMESPACE.svc`. The same is asked here
//! before a certificate is served, and while it is.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;

use super::{Served, Validity};

/// Certificates of authorities, as `caBundle` holds them; each once, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    authorities: Vec<CertificateDer<'static>>,
}

/// Why a client would not accept the chain.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrustError {
    /// The bundle holds no authority.
    #[error("the bundle holds no certificate of an authority")]
    Empty,
    /// The name is none that a certificate can be verified for.
    #[error("{0:?} is no DNS name or IP address")]
    Name(String),
    /// The chain leads to no authority of the bundle, or does not hold for the name or the time.
    #[error("{0}")]
    Chain(String),
}

/// A bundle's text is not PEM.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the bundle is not readable PEM: {0}")]
pub struct BundleError(String);

impl Bundle {
    /// Reads every CERTIFICATE block of a PEM text; an empty text gives an empty bundle.
    ///
    /// # Errors
    /// A block is cut off or not Base64.
    pub fn from_pem(text: &[u8]) -> Result<Self, BundleError> {
        let mut bundle = Self::default();
        for authority in CertificateDer::pem_slice_iter(text) {
            bundle.add(authority.map_err(|error: pem::Error| BundleError(error.to_string()))?);
        }
        Ok(bundle)
    }

    /// Adds an authority unless it is there.
    pub fn add(&mut self, authority: CertificateDer<'static>) {
        if !self.contains(&authority) {
            self.authorities.push(authority);
        }
    }

    /// The authorities as PEM text.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let mut text = String::new();
        for authority in &self.authorities {
            text.push_str("-----BEGIN CERTIFICATE-----\n");
            for line in STANDARD.encode(authority).as_bytes().chunks(64) {
                text.extend(line.iter().copied().map(char::from));
                text.push('\n');
            }
            text.push_str("-----END CERTIFICATE-----\n");
        }
        text
    }

    /// The authorities, DER.
    #[must_use]
    pub fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    /// Whether this authority is in the bundle.
    #[must_use]
    pub fn contains(&self, authority: &CertificateDer<'_>) -> bool {
        self.authorities.contains(authority)
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.authorities.is_empty()
    }

    /// Whether both hold the same authorities, in whatever order.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.authorities.len() == other.authorities.len() && self.authorities.iter().all(|one| other.contains(one))
    }

    /// Takes out authorities whose time is over.
    pub fn forget_expired(&mut self, now: Timestamp) {
        self.authorities.retain(|authority| Validity::of(authority).is_some_and(|validity| now <= validity.not_after));
    }

    /// Verifies a served chain as a client does that trusts this bundle, calls by `name`, and whose clock says `now`.
    ///
    /// # Errors
    /// What the client would complain of.
    pub fn verify(&self, served: &Served, name: &str, now: Timestamp) -> Result<(), TrustError> {
        let mut roots = RootCertStore::empty();
        // One that no verifier can use is as good as absent.
        let (usable, _) = roots.add_parsable_certificates(self.authorities.iter().cloned());
        if usable == 0 {
            return Err(TrustError::Empty);
        }
        let chain = |error: &dyn ToString| TrustError::Chain(error.to_string());
        let name = ServerName::try_from(name).map_err(|_| TrustError::Name(name.to_owned()))?;
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let verifier = verifier.map_err(|error| chain(&error))?;
        let certificates = &served.key().cert;
        let Some((leaf, intermediates)) = certificates.split_first() else {
            return Err(TrustError::Chain("there is no certificate".to_owned()));
        };
        let since = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0));
        let verified = verifier.verify_server_cert(leaf, intermediates, &name, &[], UnixTime::since_unix_epoch(since));
        verified.map(|_| ()).map_err(|error| chain(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::issue::{Authority, DAY, service_names};

    const NAME: &str = "stowage.stowage.svc";

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn served(authority: &Authority) -> Served {
        let serving = authority.sign(&service_names("stowage", "stowage"), now(), DAY * 10).unwrap();
        Served::from_pem(serving.certificate_pem.as_bytes(), serving.key_pem.as_bytes()).unwrap()
    }

    #[test]
    fn a_chain_is_trusted_by_its_own_authority_for_its_names_and_its_time() {
        let [own, other] = [(); 2].map(|()| Authority::new(now(), DAY * 30).unwrap());
        let served = served(&own);
        let bundle = |texts: &[&str]| Bundle::from_pem(texts.concat().as_bytes()).unwrap();
        let both = bundle(&[other.certificate_pem(), own.certificate_pem()]);
        assert_eq!(both.verify(&served, NAME, now()), Ok(()));
        let foreign = bundle(&[other.certificate_pem()]);
        assert!(matches!(foreign.verify(&served, NAME, now()), Err(TrustError::Chain(_))));
        assert_eq!(Bundle::default().verify(&served, NAME, now()), Err(TrustError::Empty));
        for (name, at) in [("another.stowage.svc", now()), (NAME, now() + DAY * 11), (NAME, now() - DAY)] {
            assert!(matches!(both.verify(&served, name, at), Err(TrustError::Chain(_))), "{name} at {at}");
        }
        assert_eq!(both.verify(&served, "not a name", now()), Err(TrustError::Name("not a name".to_owned())));
    }

    #[test]
    fn a_bundle_is_a_set() {
        let [one, two] = [(); 2].map(|()| Authority::new(now(), DAY * 30).unwrap());
        let text = |parts: &[&Authority]| parts.iter().map(|part| part.certificate_pem()).collect::<String>();
        let bundle = |parts: &[&Authority]| Bundle::from_pem(text(parts).as_bytes()).unwrap();
        assert!(bundle(&[&one, &two, &one]).is_same(&bundle(&[&two, &one])));
        assert!(!bundle(&[&one]).is_same(&bundle(&[&one, &two])));
        assert!(!bundle(&[&one]).is_same(&bundle(&[&two])));
        assert!(Bundle::from_pem(b"").unwrap().is_empty());
        // The placeholder that some charts ship.
        assert!(Bundle::from_pem(b"\n").unwrap().is_empty());
        let written = bundle(&[&one, &two]).to_pem();
        assert_eq!(Bundle::from_pem(written.as_bytes()).unwrap(), bundle(&[&one, &two]));
        let cut = text(&[&one]);
        assert!(Bundle::from_pem(&cut.as_bytes()[..cut.len() / 2]).is_err());
    }

    #[test]
    fn authorities_whose_time_is_over_are_forgotten() {
        let (short, long) = (Authority::new(now(), DAY).unwrap(), Authority::new(now(), DAY * 3).unwrap());
        let text = [short.certificate_pem(), long.certificate_pem()].concat();
        let mut bundle = Bundle::from_pem(text.as_bytes()).unwrap();
        bundle.forget_expired(now() + DAY);
        assert_eq!(bundle.authorities().len(), 2);
        bundle.forget_expired(now() + DAY * 2);
        assert!(bundle.is_same(&Bundle::from_pem(long.certificate_pem().as_bytes()).unwrap()));
    }
}
