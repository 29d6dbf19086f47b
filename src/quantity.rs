//! Kubernetes quantities (`500m`, `1.5Gi`, `2e3`), compared exactly.

use std::str::FromStr;

/// An amount of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    /// Billionths: the API server keeps nothing finer and rounds up to it.
    nanos: i128,
}

/// A text that is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the form that Kubernetes reads.
    #[error("must be a number with an optional suffix of n u m k M G T P E, Ki Mi Gi Ti Pi Ei or an exponent like e3")]
    Malformed,
    /// Beyond what is compared here, about 10^20.
    #[error("must be a smaller number")]
    TooLarge,
}

const NANOS: i128 = 1_000_000_000;

impl Quantity {
    /// Whether it is below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether it is a whole number.
    #[must_use]
    pub fn is_whole(self) -> bool {
        self.nanos % NANOS == 0
    }

    /// Whether it is a whole number of `unit`s, of which each is more than nothing.
    #[must_use]
    pub fn is_multiple_of(self, unit: Self) -> bool {
        unit.nanos > 0 && self.nanos % unit.nanos == 0
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (sign, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let end = unsigned.find(|c| !is_number(c)).unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || digits.contains('.') {
            return Err(QuantityError::Malformed);
        }
        let (two, ten) = scale(suffix).ok_or(QuantityError::Malformed)?;
        let digits: i128 = digits.parse().map_err(|_| QuantityError::TooLarge)?;
        let places = i32::try_from(fraction.len()).map_err(|_| QuantityError::TooLarge)?;
        let scaled = digits.checked_mul(1 << two).ok_or(QuantityError::TooLarge)?;
        let nanos = shift(scaled, ten + 9 - places).ok_or(QuantityError::TooLarge)?;
        Ok(Self { nanos: sign * nanos })
    }
}

/// The powers of two and of ten that a suffix stands for.
fn scale(suffix: &str) -> Option<(u32, i32)> {
    let decimal = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if let Some(power) = binary.iter().position(|known| *known == suffix) {
        return Some((10 * (u32::try_from(power).ok()? + 1), 0));
    }
    if let Some(power) = decimal.iter().position(|known| *known == suffix) {
        return Some((0, 3 * (i32::try_from(power).ok()? - 3)));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let exponent: i32 = exponent.parse().ok()?;
    (-100..=100).contains(&exponent).then_some((0, exponent))
}

/// `digits` times ten to the `power`, rounded up.
fn shift(digits: i128, power: i32) -> Option<i128> {
    let factor = 10_i128.checked_pow(power.unsigned_abs());
    match factor {
        Some(factor) if power >= 0 => digits.checked_mul(factor),
        Some(factor) => Some(digits / factor + i128::from(digits % factor != 0)),
        None if power >= 0 => (digits == 0).then_some(0),
        None => Some(i128::from(digits != 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[test]
    fn suffixes_mean_what_kubernetes_says() {
        let equal = [
            ("1", "1000m"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("5.", "5"),
            ("1k", "1000"),
            ("1Ki", "1024"),
            ("1.5Gi", "1536Mi"),
            ("1E", "1e18"),
            ("1E3", "1e3"),
            ("12e-1", "1200m"),
            ("1P", "1000T"),
            ("1u", "1000n"),
            ("+2", "2"),
            ("-1", "-1000m"),
            ("0e100", "0"),
        ];
        for (one, other) in equal {
            assert_eq!(quantity(one), quantity(other), "{one} is {other}");
        }
    }

    #[test]
    fn order_is_that_of_the_amounts() {
        let ascending = ["-1", "0", "1n", "1m", "0.2", "1", "1k", "1Ki", "1M", "1Mi", "1G", "1Gi", "7Ei"];
        assert!(ascending.is_sorted_by(|one, other| quantity(one) < quantity(other)));
    }

    #[test]
    fn what_is_finer_than_a_billionth_rounds_up() {
        assert_eq!(quantity("0.0000000001"), quantity("1n"));
        assert_eq!(quantity("1e-100"), quantity("1n"));
    }

    #[test]
    fn refuses_what_is_no_quantity() {
        for text in ["", ".", "m", "1K", "1mi", "1 Gi", "1.2.3", "--1", "e3", "1e", "1ee3", "0x1", "1,5", "1e1000"] {
            assert_eq!(text.parse::<Quantity>(), Err(QuantityError::Malformed), "{text:?}");
        }
        for text in ["1e100", "99999999999999999999Ei"] {
            assert_eq!(text.parse::<Quantity>(), Err(QuantityError::TooLarge), "{text:?}");
        }
    }

    #[test]
    fn whole_numbers_are_told_from_fractions() {
        assert!(quantity("2").is_whole() && quantity("1k").is_whole() && quantity("2000m").is_whole());
        assert!(!quantity("1500m").is_whole() && !quantity("0.1").is_whole());
        let page = quantity("2Mi");
        assert!(quantity("1Gi").is_multiple_of(page) && quantity("0").is_multiple_of(page));
        assert!(!quantity("3Mi").is_multiple_of(page) && !quantity("1").is_multiple_of(quantity("0")));
    }
}
