//! What is to be done next to keep certificates that API servers trust.
//!
//! Everything is a value: what the Secret holds, what this replica knew of it,
//! what is published, the time. Any replica may act; whoever writes the Secret
//! first has done it, and the others read and plan again. The order that makes
//! a change of authority unnoticed is
//!
//! ```text
//! make the next one -> publish it beside the old -> see it there for a while
//!                   -> sign with it -> forget the old one when its time is over
//! ```

use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;

use super::issue::{IssueError, SKEW};
use super::secret::{CertificateTerms, Keyring};
use super::trust::Bundle;
use super::{Served, Validity};

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateStep {
    /// There is nothing, or nothing that holds: make an authority and a pair.
    Begin,
    /// The Secret is gone or unreadable, and this replica knows what was in it: write that back.
    Restore,
    /// Somebody put another authority in: trust the ones that replicas still serve with for as long as they hold.
    Remember,
    /// Make the authority that will sign next.
    Prepare,
    /// The next authority is trusted: let it sign, with a pair by it.
    Promote,
    /// Make a new pair.
    Sign,
    /// Take authorities out whose time is over.
    Forget,
    /// Write the bundle into the registration.
    Publish,
}

/// The bundle of the registration's entry, and since when each authority has been seen in it.
#[derive(Clone, Debug, Default)]
pub struct Published {
    bundle: Bundle,
    since: Vec<Timestamp>,
}

impl Published {
    /// What is published now; what was seen before keeps its time. A text that is no PEM publishes nothing.
    #[must_use]
    pub fn seen(&self, text: &[u8], now: Timestamp) -> Self {
        let bundle = Bundle::from_pem(text).unwrap_or_default();
        let before = |one: &CertificateDer<'_>| {
            let place = self.bundle.authorities().iter().position(|other| other == one)?;
            self.since.get(place).copied()
        };
        let since = bundle.authorities().iter().map(|one| before(one).unwrap_or(now)).collect();
        Self { bundle, since }
    }

    /// The bundle.
    #[must_use]
    pub const fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The authorities that have been there for at least this long.
    fn settled(&self, settle: Duration, now: Timestamp) -> Bundle {
        let mut settled = Bundle::default();
        for (authority, since) in self.bundle.authorities().iter().zip(&self.since) {
            if *since + settle <= now {
                settled.add(authority.clone());
            }
        }
        settled
    }
}

/// What is to be done now, in this order.
///
/// `found` is what the Secret holds, `known` what it held when this replica last read it, `published` the registration's
/// entry, `None` where there is no registration.
#[must_use]
pub fn plan(
    found: Option<&Keyring>,
    known: Option<&Keyring>,
    published: Option<&Published>,
    terms: &CertificateTerms,
    now: Timestamp,
) -> Vec<CertificateStep> {
    let Some(ring) = found else {
        let usable = known.is_some_and(|known| holds(known.authority().validity(), now));
        return vec![if usable { CertificateStep::Restore } else { CertificateStep::Begin }];
    };
    let mut steps = Vec::new();
    if !forgotten(ring, known, now).is_empty() {
        steps.push(CertificateStep::Remember);
    }
    steps.extend(sign(ring, published, terms, now));
    let expired = |bundle: &Bundle| {
        let mut kept = bundle.clone();
        kept.forget_expired(now);
        kept.authorities().len() < bundle.authorities().len()
    };
    if expired(ring.former()) {
        steps.push(CertificateStep::Forget);
    }
    if published.is_some_and(|published| !published.bundle.is_same(&ring.bundle(now))) {
        steps.push(CertificateStep::Publish);
    }
    steps
}

/// What is to be done about who signs and what is signed.
fn sign(
    ring: &Keyring,
    published: Option<&Published>,
    terms: &CertificateTerms,
    now: Timestamp,
) -> Option<CertificateStep> {
    let next = ring.next().filter(|next| holds(next.validity(), now));
    if !holds(ring.authority().validity(), now) {
        return Some(if next.is_some() { CertificateStep::Promote } else { CertificateStep::Begin });
    }
    let signs = Bundle::from_pem(ring.authority().certificate_pem().as_bytes()).unwrap_or_default();
    let right = ring
        .served()
        .is_some_and(|served| !is_due(served.validity(), now) && signs.verify(served, &terms.called, now).is_ok());
    match next {
        Some(next) => {
            let trusted = published.is_some_and(|published| published.settled(terms.settle, now).contains(&next.der()));
            if trusted {
                return Some(CertificateStep::Promote);
            }
        }
        None if is_due(ring.authority().validity(), now) && right => return Some(CertificateStep::Prepare),
        None => {}
    }
    (!right).then_some(CertificateStep::Sign)
}

/// The keyring after these steps; `None` where none of them changes it.
///
/// # Errors
/// The terms are out of range, or a key could not be made.
pub fn perform(
    steps: &[CertificateStep],
    found: Option<&Keyring>,
    known: Option<&Keyring>,
    terms: &CertificateTerms,
    now: Timestamp,
) -> Result<Option<Keyring>, IssueError> {
    let mut ring = found.cloned();
    let mut changed = false;
    for step in steps {
        ring = match (step, ring) {
            (CertificateStep::Publish, ring) => ring,
            (CertificateStep::Begin, ring) => Some(Keyring::begin(ring.as_ref().or(known), terms, now)?),
            (CertificateStep::Restore, _) => known.cloned(),
            (_, None) => None,
            (CertificateStep::Remember, Some(ring)) => {
                let others = forgotten(&ring, known, now);
                Some(ring.trusting(&others, now))
            }
            (CertificateStep::Prepare, Some(ring)) => Some(ring.prepared(terms, now)?),
            (CertificateStep::Promote, Some(ring)) => Some(ring.promoted(terms, now)?),
            (CertificateStep::Sign, Some(ring)) => Some(ring.signed(terms, now)?),
            (CertificateStep::Forget, Some(ring)) => Some(ring.trusting(&[], now)),
        };
        changed |= *step != CertificateStep::Publish;
    }
    Ok(ring.filter(|_| changed))
}

/// Whether the pair on offer should take the place of what is served.
///
/// Never one that API servers do not know to trust yet, as long as they trust what is served.
#[must_use]
pub fn should_serve(
    offered: &Served,
    current: Option<&Served>,
    published: Option<&Published>,
    terms: &CertificateTerms,
    now: Timestamp,
) -> bool {
    let Some(current) = current else { return true };
    if current.key().cert == offered.key().cert {
        return false;
    }
    let Some(published) = published else { return true };
    published.bundle.verify(current, &terms.called, now).is_err()
        || published.settled(terms.settle, now).verify(offered, &terms.called, now).is_ok()
}

/// Authorities that this replica knew to be trusted, that still hold, and that the Secret no longer has.
fn forgotten(ring: &Keyring, known: Option<&Keyring>, now: Timestamp) -> Vec<CertificateDer<'static>> {
    let bundle = ring.bundle(now);
    let known = known.map_or_else(Bundle::default, |known| known.bundle(now));
    known.authorities().iter().filter(|one| !bundle.contains(one)).cloned().collect()
}

fn holds(validity: Validity, now: Timestamp) -> bool {
    validity.check(now).is_ok()
}

/// Whether two thirds of a certificate's life are over.
fn is_due(validity: Validity, now: Timestamp) -> bool {
    let begun = validity.not_before.as_second().saturating_add(SKEW.as_secs().cast_signed());
    let life = validity.not_after.as_second().saturating_sub(begun);
    now.as_second() >= begun.saturating_add(life / 3 * 2)
}

#[cfg(test)]
mod tests;
