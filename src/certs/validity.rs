//! From when until when a certificate holds, read from its DER.
//!
//! rustls checks the dates of a peer's certificate but does not tell those of
//! its own, and a whole X.509 parser is ten crates for two dates. Here is the
//! walk to `tbsCertificate.validity` and nothing more (RFC 5280, 4.1).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::PairError;

/// The time in which a certificate holds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second in which it holds.
    pub not_before: Timestamp,
    /// The last second in which it holds.
    pub not_after: Timestamp,
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

impl Validity {
    /// The validity that a DER certificate states; `None` where it is not one.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (certificate, _) = expect(certificate, SEQUENCE)?;
        let (to_be_signed, _) = expect(certificate, SEQUENCE)?;
        // version is optional: a v1 certificate begins with its serial number.
        let rest = expect(to_be_signed, VERSION).map_or(to_be_signed, |(_, rest)| rest);
        let (_serial_number, rest) = expect(rest, INTEGER)?;
        let (_signature, rest) = expect(rest, SEQUENCE)?;
        let (_issuer, rest) = expect(rest, SEQUENCE)?;
        let (validity, _) = expect(rest, SEQUENCE)?;
        let (not_before, rest) = time(validity)?;
        let (not_after, _) = time(rest)?;
        Some(Self { not_before, not_after })
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

/// The content of the element with this tag, and what follows it.
fn expect(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // DER: the low bits say how many bytes of length follow. Four hold
        // more than any certificate.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes.iter().fold(0, |length: usize, byte| (length << 8) | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// A UTCTime (`YYMMDDHHMMSSZ`) or GeneralizedTime (`YYYYMMDDHHMMSSZ`), the two
/// forms RFC 5280 allows, and what follows it.
fn time(input: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (year, digits, rest) = if let Some((text, rest)) = expect(input, UTC_TIME) {
        let (year, digits) = number(text, 2)?;
        // RFC 5280, 4.1.2.5.1: 50 and above are of the twentieth century.
        let century = if year >= 50 { 1900 } else { 2000 };
        (century + year, digits, rest)
    } else {
        let (text, rest) = expect(input, GENERALIZED_TIME)?;
        let (year, digits) = number(text, 4)?;
        (year, digits, rest)
    };
    let (month, digits) = number(digits, 2)?;
    let (day, digits) = number(digits, 2)?;
    let (hour, digits) = number(digits, 2)?;
    let (minute, digits) = number(digits, 2)?;
    let (second, digits) = number(digits, 2)?;
    if digits != b"Z" {
        return None;
    }
    let small = |value: i16| i8::try_from(value).ok();
    let moment =
        DateTime::new(year, small(month)?, small(day)?, small(hour)?, small(minute)?, small(second)?, 0).ok()?;
    // 99991231235959Z is RFC 5280's "no end" and lies past the last instant
    // that jiff represents.
    let timestamp = TimeZone::UTC.to_timestamp(moment).unwrap_or(Timestamp::MAX);
    Some((timestamp, rest))
}

fn number(text: &[u8], digits: usize) -> Option<(i16, &[u8])> {
    let (digits, rest) = text.split_at_checked(digits)?;
    let value = digits
        .iter()
        .try_fold(0, |value: i16, digit| digit.is_ascii_digit().then(|| value * 10 + i16::from(digit - b'0')))?;
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut der = vec![tag];
        match u8::try_from(content.len()) {
            Ok(length) if length < 0x80 => der.push(length),
            Ok(length) => der.extend([0x81, length]),
            Err(_) => {
                der.push(0x82);
                der.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
            }
        }
        der.extend(content);
        der
    }

    fn certificate(version: &[u8], not_before: &[u8], not_after: &[u8]) -> Vec<u8> {
        let body = [
            version,
            &element(INTEGER, &[7]),
            &element(SEQUENCE, &[]),
            &element(SEQUENCE, &[0; 300]),
            &element(SEQUENCE, &[not_before, not_after].concat()),
            &element(SEQUENCE, &[0; 20]),
        ]
        .concat();
        element(SEQUENCE, &element(SEQUENCE, &body))
    }

    fn v3() -> Vec<u8> {
        element(VERSION, &element(INTEGER, &[2]))
    }

    #[test]
    fn reads_both_forms_of_time_with_and_without_a_version() {
        let utc = element(UTC_TIME, b"500102030405Z");
        let generalized = element(GENERALIZED_TIME, b"20500102030405Z");
        for version in [v3(), vec![]] {
            let validity = Validity::of(&certificate(&version, &utc, &generalized)).unwrap();
            assert_eq!(validity.not_before.to_string(), "1950-01-02T03:04:05Z");
            assert_eq!(validity.not_after.to_string(), "2050-01-02T03:04:05Z");
        }
    }

    #[test]
    fn reads_the_end_that_means_no_end() {
        let utc = element(UTC_TIME, b"260102030405Z");
        let never = element(GENERALIZED_TIME, b"99991231235959Z");
        let validity = Validity::of(&certificate(&v3(), &utc, &never)).unwrap();
        assert_eq!(validity.not_after, Timestamp::MAX);
    }

    #[test]
    fn answers_none_to_every_truncation_before_the_dates_end_and_to_bad_dates() {
        let utc = element(UTC_TIME, b"260102030405Z");
        let der = certificate(&v3(), &utc, &utc);
        for end in 0..der.len() {
            assert_eq!(Validity::of(&der[..end]), None, "{end} bytes");
        }
        for wrong in [&b"261302030405Z"[..], b"26010203040Z", b"2601020304051", b"26x102030405Z"] {
            let wrong = element(UTC_TIME, wrong);
            assert_eq!(Validity::of(&certificate(&v3(), &utc, &wrong)), None);
        }
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
