//! From when until when a certificate holds.

use jiff::Timestamp;
use x509_parser::prelude::{ASN1Time, parse_x509_certificate};

use super::PairError;

/// The time in which a certificate holds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second in which it holds.
    pub not_before: Timestamp,
    /// The last second in which it holds.
    pub not_after: Timestamp,
}

impl Validity {
    /// The validity that a DER certificate states; `None` where it is not one, or where more follows it.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (rest, certificate) = parse_x509_certificate(certificate).ok()?;
        let validity = certificate.validity();
        let stated = Self { not_before: moment(validity.not_before), not_after: moment(validity.not_after) };
        rest.is_empty().then_some(stated)
    }

    /// Whether the certificate holds at `now`.
    ///
    /// # Errors
    /// [`PairError::Expired`] or [`PairError::NotYetValid`].
    pub fn check(&self, now: Timestamp) -> Result<(), PairError> {
        if now > self.not_after {
            Err(PairError::Expired(self.not_after))
        } else if now < self.not_before {
            Err(PairError::NotYetValid(self.not_before))
        } else {
            Ok(())
        }
    }
}

/// 99991231235959Z is RFC 5280's "no end" and lies past the last instant that jiff represents.
fn moment(time: ASN1Time) -> Timestamp {
    let second = time.timestamp();
    Timestamp::from_second(second).unwrap_or(if second < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(years: [i32; 2]) -> Vec<u8> {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(years[0], 1, 2);
        params.not_after = date_time_ymd(years[1], 12, 31);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn reads_both_forms_of_time_and_the_end_that_means_no_end() {
        // Years to 2049 are written with two digits, later ones with four (RFC 5280, 4.1.2.5).
        let validity = Validity::of(&certificate([1950, 2050])).unwrap();
        assert_eq!(validity.not_before.to_string(), "1950-01-02T00:00:00Z");
        assert_eq!(validity.not_after.to_string(), "2050-12-31T00:00:00Z");
        assert_eq!(Validity::of(&certificate([2000, 9999])).unwrap().not_after, Timestamp::MAX);
    }

    #[test]
    fn answers_none_to_every_truncation_and_to_what_has_more_behind_it() {
        let der = certificate([2020, 2030]);
        for end in 0..der.len() {
            assert_eq!(Validity::of(&der[..end]), None, "{end} bytes");
        }
        assert_eq!(Validity::of(&[&der[..], b"x"].concat()), None);
    }

    #[test]
    fn holds_at_both_ends_and_not_beyond_them() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let validity = Validity { not_before: at(10), not_after: at(20) };
        assert_eq!(validity.check(at(9)), Err(PairError::NotYetValid(at(10))));
        assert_eq!(validity.check(at(10)), Ok(()));
        assert_eq!(validity.check(at(20)), Ok(()));
        assert_eq!(validity.check(at(21)), Err(PairError::Expired(at(20))));
    }
}
