//! Every way that a Secret and a registration can be found, and a year of keeping them.

use super::*;
use crate::certs::issue::{Authority, DAY, service_names};

const SECOND: Duration = Duration::from_secs(1);

fn start() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn terms() -> CertificateTerms {
    CertificateTerms::of_service("stowage", "stowage")
}

fn begun() -> Keyring {
    Keyring::begin(None, &terms(), start()).unwrap()
}

fn published(ring: &Keyring, at: Timestamp) -> Published {
    Published::default().seen(ring.bundle(at).to_pem().as_bytes(), at)
}

/// Plans and performs until nothing is left to do, as one replica does.
fn settle(
    ring: &mut Option<Keyring>,
    known: Option<&Keyring>,
    seen: &mut Published,
    now: Timestamp,
) -> Vec<CertificateStep> {
    let mut done = Vec::new();
    loop {
        let steps = plan(ring.as_ref(), known, Some(seen), &terms(), now);
        if steps.is_empty() {
            return done;
        }
        if let Some(changed) = perform(&steps, ring.as_ref(), known, &terms(), now).unwrap() {
            // What is read back is what counts.
            *ring = Some(Keyring::from_data(&changed.to_data()).unwrap());
        }
        if steps.contains(&CertificateStep::Publish) {
            *seen = seen.seen(ring.as_ref().unwrap().bundle(now).to_pem().as_bytes(), now);
        }
        done.extend(steps);
        assert!(done.len() < 10, "no end: {done:?}");
    }
}

#[test]
fn an_empty_cluster_gets_an_authority_a_pair_and_a_bundle() {
    let (mut ring, mut seen) = (None, Published::default());
    assert_eq!(settle(&mut ring, None, &mut seen, start()), [CertificateStep::Begin, CertificateStep::Publish]);
    let ring = ring.unwrap();
    assert_eq!(seen.bundle().verify(ring.served().unwrap(), "stowage.stowage.svc", start()), Ok(()));
    assert_eq!(plan(Some(&ring), None, Some(&seen), &terms(), start() + DAY), []);
    assert_eq!(plan(Some(&ring), None, None, &terms(), start()), [], "nothing to publish to");
}

#[test]
fn what_is_published_is_put_back_when_it_is_blanked_or_changed() {
    let ring = begun();
    let other = Authority::new(start(), DAY).unwrap();
    for text in ["", "\n", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA", other.certificate_pem()] {
        let seen = published(&ring, start()).seen(text.as_bytes(), start());
        assert_eq!(plan(Some(&ring), None, Some(&seen), &terms(), start()), [CertificateStep::Publish], "{text:?}");
    }
}

#[test]
fn a_secret_that_goes_is_written_back_from_memory_while_its_authority_holds() {
    let ring = begun();
    let seen = published(&ring, start());
    assert_eq!(plan(None, Some(&ring), Some(&seen), &terms(), start()), [CertificateStep::Restore]);
    let restored = perform(&[CertificateStep::Restore], None, Some(&ring), &terms(), start()).unwrap().unwrap();
    assert_eq!(restored.to_data(), ring.to_data());
    assert_eq!(plan(None, Some(&ring), Some(&seen), &terms(), start() + DAY * 366), [CertificateStep::Begin]);
    assert_eq!(plan(None, None, Some(&seen), &terms(), start()), [CertificateStep::Begin]);
}

#[test]
fn a_foreign_authority_is_taken_over_and_the_one_in_use_stays_trusted() {
    let (own, foreign) = (begun(), begun());
    let mut seen = published(&own, start());
    let mut ring = Some(foreign.clone());
    let done = settle(&mut ring, Some(&own), &mut seen, start());
    assert_eq!(done.first(), Some(&CertificateStep::Remember));
    let ring = ring.unwrap();
    for served in [own.served().unwrap(), foreign.served().unwrap()] {
        assert_eq!(seen.bundle().verify(served, "stowage.stowage.svc", start()), Ok(()));
    }
    let offered = ring.served().unwrap();
    let current = own.served();
    assert!(!should_serve(offered, current, Some(&seen), &terms(), start()), "API servers may not have heard of it");
    assert!(should_serve(offered, current, Some(&seen), &terms(), start() + SECOND * 60));
}

#[test]
fn a_pair_is_served_at_once_where_nothing_that_is_trusted_is_served() {
    let (own, other) = (begun(), begun());
    let offered = other.served().unwrap();
    let seen = published(&other, start());
    assert!(should_serve(offered, None, Some(&seen), &terms(), start()));
    assert!(should_serve(offered, own.served(), Some(&seen), &terms(), start()), "nobody trusts what is served");
    assert!(should_serve(offered, own.served(), None, &terms(), start()), "nobody calls");
    assert!(!should_serve(offered, other.served(), Some(&seen), &terms(), start()), "it is served already");
}

#[test]
fn a_pair_of_other_names_or_of_nobody_or_past_two_thirds_is_made_anew() {
    let ring = begun();
    let seen = published(&ring, start());
    let elsewhere = CertificateTerms { names: service_names("a", "b"), called: "a.b.svc".to_owned(), ..terms() };
    assert_eq!(plan(Some(&ring), None, Some(&seen), &elsewhere, start()), [CertificateStep::Sign]);
    let mut data = ring.to_data();
    data.insert("tls.crt".to_owned(), b"".to_vec());
    let torn = Keyring::from_data(&data).unwrap();
    assert_eq!(plan(Some(&torn), None, Some(&seen), &terms(), start()), [CertificateStep::Sign]);
    let due = start() + DAY * 60;
    assert_eq!(plan(Some(&ring), None, Some(&seen), &terms(), due - SECOND), []);
    assert_eq!(plan(Some(&ring), None, Some(&seen), &terms(), due), [CertificateStep::Sign]);
}

#[test]
fn the_next_authority_signs_only_after_it_has_been_seen_published_for_a_minute() {
    let due = start() + DAY * 244;
    let mut ring = Some(begun().signed(&terms(), due).unwrap());
    let mut seen = published(ring.as_ref().unwrap(), start());
    assert_eq!(settle(&mut ring, None, &mut seen, due), [CertificateStep::Prepare, CertificateStep::Publish]);
    let prepared = ring.clone().unwrap();
    assert_eq!(plan(Some(&prepared), None, Some(&seen), &terms(), due + SECOND * 59), []);
    let blanked = seen.seen(b"", due + SECOND * 30).seen(prepared.bundle(due).to_pem().as_bytes(), due + SECOND * 31);
    assert_eq!(plan(Some(&prepared), None, Some(&blanked), &terms(), due + SECOND * 60), [], "the minute begins anew");
    assert_eq!(settle(&mut ring, None, &mut seen, due + SECOND * 60), [CertificateStep::Promote]);
    let promoted = ring.unwrap();
    assert_eq!(promoted.authority().certificate_pem(), prepared.next().unwrap().certificate_pem());
    assert!(promoted.bundle(due).contains(&prepared.authority().der()), "the old one stays published");
    assert!(should_serve(promoted.served().unwrap(), prepared.served(), Some(&seen), &terms(), due + SECOND * 60));
}

#[test]
fn an_authority_that_ends_is_replaced_whatever_is_published() {
    let end = start() + DAY * 366;
    let ring = begun();
    assert_eq!(plan(Some(&ring), None, None, &terms(), end), [CertificateStep::Begin]);
    let prepared = ring.prepared(&terms(), end - DAY).unwrap();
    assert_eq!(plan(Some(&prepared), None, None, &terms(), end), [CertificateStep::Promote]);
    let promoted = perform(&[CertificateStep::Promote], Some(&prepared), None, &terms(), end).unwrap().unwrap();
    assert_eq!(plan(Some(&promoted), None, None, &terms(), end), [CertificateStep::Forget]);
    let kept = perform(&[CertificateStep::Forget], Some(&promoted), None, &terms(), end).unwrap().unwrap();
    assert_eq!(kept.bundle(end).authorities().len(), 1);
}

/// Two replicas look every six hours for three years, one of them always late; whatever either serves is trusted by what has
/// been published for at least a minute.
#[test]
fn three_years_pass_without_a_moment_in_which_a_replica_is_not_trusted() {
    let (mut ring, mut seen) = (None, Published::default());
    let mut replicas: [Option<Keyring>; 2] = [None, None];
    let mut serving: [Option<Served>; 2] = [None, None];
    let mut promotions = 0;
    let mut now = start();
    for hour in (0..24 * 365 * 3_u64).step_by(6) {
        now = start() + Duration::from_secs(hour * 3600);
        for place in 0..2 {
            // The late one looks every other day.
            if place == 1 && hour % 48 != 6 {
                continue;
            }
            let known = replicas[place].clone();
            let done = settle(&mut ring, known.as_ref(), &mut seen, now);
            promotions += done.iter().filter(|step| **step == CertificateStep::Promote).count();
            replicas[place].clone_from(&ring);
            let offered = ring.as_ref().unwrap().served().unwrap();
            if should_serve(offered, serving[place].as_ref(), Some(&seen), &terms(), now) {
                serving[place] = Some(offered.clone());
            }
        }
        if hour > 48 {
            for served in serving.iter().flatten() {
                assert_eq!(seen.bundle().verify(served, "stowage.stowage.svc", now), Ok(()), "at {now}");
            }
        }
        assert!(seen.bundle().authorities().len() <= 2, "at {now}");
    }
    assert_eq!(promotions, 4, "every eight months, until {now}");
}
