//! Time strings: how long a pod may stay in a state.
//!
//! One parser serves policies, pod annotations, pod labels and `MLRUN_EXEC_CONFIG`. The grammar is the part of MLRun's
//! (`timelength` 1.1, strict) that can be read in one way only: `30 minutes 5h 1day`, `1 minute and 30s`, `1.5h`. What
//! MLRun reads in a surprising way (`1M` is a month there, `1h 30` drops the 30) is refused with the reason.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The longest text that is looked at, in bytes. An annotation may hold 256 KiB.
pub const MAX_TEXT: usize = 256;

/// The longest threshold: 10,000 years of 365 days. The calendar of the API's timestamps ends before that.
pub const LONGEST: Duration = Duration::from_secs(10_000 * 365 * 86_400);

/// How long a pod may stay in a state.
///
/// Ordered by patience: [`Threshold::Never`] is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Threshold {
    /// Due this long after the state was entered; at least one second, at most [`LONGEST`], whole milliseconds.
    After(Duration),
    /// Never due: MLRun's `-1`.
    Never,
}

/// Why a text is not a time string, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing but separators.
    #[error("no time given; write one such as `90m` or `1 day 5h`, or `-1` for never")]
    Empty,
    /// Longer than [`MAX_TEXT`].
    #[error("longer than {MAX_TEXT} bytes; write a time such as `90m` or `1 day 5h`")]
    TooMuchText,
    /// A number that no unit follows: `10`, or the 30 of `1h 30`.
    #[error("`{0}` has no unit; write `{0}s`, `{0}m` or `{0}h`, or `-1` alone for never")]
    NoUnit(String),
    /// A unit that no number precedes.
    #[error("`{0}` has no number before it; write one such as `5{0}`")]
    NoNumber(String),
    /// A word that is not a unit.
    #[error("`{0}` is not a unit; the units are s, m, h, d, w and y, or words such as `minutes`")]
    UnknownUnit(String),
    /// A unit that MLRun reads by its case: `1M`, `1D`.
    #[error("`{text}` may mean {small} or {large}; write `{small}s`, or days for the longer one")]
    Ambiguous {
        /// The unit as written.
        text: String,
        /// What it would be in lower case.
        small: &'static str,
        /// What MLRun takes it for.
        large: &'static str,
    },
    /// Months, decades, centuries.
    #[error("`{0}` is too coarse to count exactly; write days, weeks or years such as `30d`")]
    TooCoarse(String),
    /// Milliseconds.
    #[error("`{0}` is finer than the API's timestamps; write whole seconds such as `90s`")]
    TooFine(String),
    /// Digits and points that are not one number: `1.h`, `.5h`, `1..5h`.
    #[error("`{0}` is not a number; write digits such as `1`, `1.5` or `0.5`")]
    Number(String),
    /// A sign anywhere but in `-1`.
    #[error("a time has no sign; only `-1`, alone and without blanks, stands for never")]
    Sign,
    /// `and` with nothing after it, or between a number and its unit.
    #[error("`and` stands between two amounts, with blanks, such as `1 minute and 30s`")]
    And,
    /// A character that has no place in a time string.
    #[error("{0:?} cannot stand in a time; part amounts by blanks, commas or `and`, such as `1h 30m`")]
    Character(char),
    /// Less than one second in all.
    #[error("a threshold is at least one second; write `1s` or more, or `-1` for never")]
    TooShort,
    /// More than [`LONGEST`].
    #[error("longer than 10,000 years; write `-1` or `forever` for never")]
    TooLong,
}

impl Threshold {
    /// The length, `None` for never.
    pub fn length(self) -> Option<Duration> {
        match self {
            Self::After(length) => Some(length),
            Self::Never => None,
        }
    }
}

impl FromStr for Threshold {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        parse(text)
    }
}

/// Full precision, and read back as the same threshold: `1d 2h 30m`, `1.5s`, `forever`.
impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(length) => f.write_str(&words(*length)),
            Self::Never => f.write_str("forever"),
        }
    }
}

/// Reads a time string.
///
/// `-1` (exactly) and `forever` (in any case) are [`Threshold::Never`]. Amounts add up, in any order. The result is
/// rounded to the millisecond.
///
/// # Errors
///
/// Says what cannot be read, and what would be right.
pub fn parse(text: &str) -> Result<Threshold, DurationError> {
    if text == "-1" || text.eq_ignore_ascii_case("forever") {
        return Ok(Threshold::Never);
    }
    if text.len() > MAX_TEXT {
        return Err(DurationError::TooMuchText);
    }
    let mut nanos: u128 = 0;
    let mut amounts = 0_u32;
    let mut rest = text.trim_matches(is_separator);
    while !rest.is_empty() {
        rest = after_connectors(rest)?;
        let (amount, remaining) = amount(rest)?;
        nanos = nanos.saturating_add(amount);
        amounts += 1;
        rest = remaining.trim_start_matches(is_separator);
    }
    if amounts == 0 {
        return Err(DurationError::Empty);
    }
    if nanos < NANOS {
        return Err(DurationError::TooShort);
    }
    if nanos > LONGEST.as_nanos() {
        return Err(DurationError::TooLong);
    }
    let millis = nanos.saturating_add(500_000) / 1_000_000;
    let millis = u64::try_from(millis).map_err(|_| DurationError::TooLong)?;
    Ok(Threshold::After(Duration::from_millis(millis)))
}

/// A duration in full: `1d 2h 30m`, `36.5s`, `0s`. Milliseconds are the finest.
pub fn words(length: Duration) -> String {
    let parts = parts(length);
    let millis = length.subsec_millis();
    let mut out = String::new();
    for (count, unit) in parts {
        let fraction = unit == 's' && millis > 0;
        if count == 0 && !fraction {
            continue;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&count.to_string());
        if fraction {
            out.push('.');
            out.push_str(format!("{millis:03}").trim_end_matches('0'));
        }
        out.push(unit);
    }
    if out.is_empty() {
        out.push_str("0s");
    }
    out
}

/// A duration for the eye: the two largest units, cut, not rounded: `3d 4h`, `2h 5m`, `12s`.
pub fn rough(length: Duration) -> String {
    let parts = parts(length);
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(parts.len() - 1);
    let shown: Vec<String> = parts
        .iter()
        .skip(first)
        .take(2)
        .enumerate()
        .filter(|(at, (count, _))| *at == 0 || *count > 0)
        .map(|(_, (count, unit))| format!("{count}{unit}"))
        .collect();
    shown.join(" ")
}

const NANOS: u128 = 1_000_000_000;

fn parts(length: Duration) -> [(u64, char); 4] {
    let seconds = length.as_secs();
    [(seconds / 86_400, 'd'), (seconds / 3_600 % 24, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')]
}

fn is_separator(c: char) -> bool {
    matches!(c, ' ' | '\t' | ',')
}

/// Skips `and`s, which need a separator behind them, as in MLRun.
fn after_connectors(mut rest: &str) -> Result<&str, DurationError> {
    loop {
        let (word, remaining) = split_word(rest);
        if !word.eq_ignore_ascii_case("and") {
            return Ok(rest);
        }
        rest = remaining.trim_start_matches(is_separator);
        if rest.is_empty() || rest.len() == remaining.len() {
            return Err(DurationError::And);
        }
    }
}

/// One number with its unit, in nanoseconds, and what follows.
fn amount(text: &str) -> Result<(u128, &str), DurationError> {
    let (number, rest) = split_number(text);
    let (unit, remaining) = split_word(rest.trim_start_matches([' ', '\t']));
    if number.is_empty() {
        return Err(match text.chars().next() {
            Some('-' | '+') => DurationError::Sign,
            Some(c) if unit.is_empty() => DurationError::Character(c),
            _ if seconds(unit).is_ok() => DurationError::NoNumber(shown(unit)),
            _ => DurationError::UnknownUnit(shown(unit)),
        });
    }
    let (whole, fraction) = digits(number)?;
    if unit.is_empty() {
        return Err(match rest.trim_start_matches([' ', '\t']).chars().next() {
            Some(c) if !is_separator(c) && !c.is_ascii_digit() => DurationError::Character(c),
            _ => DurationError::NoUnit(shown(number)),
        });
    }
    if unit.eq_ignore_ascii_case("and") {
        return Err(DurationError::And);
    }
    let unit = u128::from(seconds(unit)?);
    let nanos = unit.saturating_mul(NANOS).saturating_mul(whole).saturating_add(unit.saturating_mul(fraction));
    Ok((nanos, remaining))
}

/// The whole part, and the fraction in billionths. Digits beyond the ninth are below the millisecond kept.
fn digits(number: &str) -> Result<(u128, u128), DurationError> {
    let wrong = || DurationError::Number(shown(number));
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, fraction),
        None => (number, "0"),
    };
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(wrong());
    }
    let whole = whole.parse::<u64>().map_err(|_| DurationError::TooLong)?.into();
    let billionths: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let fraction = billionths.parse::<u64>().map_err(|_| wrong())?.into();
    Ok((whole, fraction))
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

fn split_word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    text.split_at(end)
}

/// Seconds of a unit in `timelength`'s spellings, any case where the case does not change the meaning.
fn seconds(unit: &str) -> Result<u64, DurationError> {
    let ambiguous = |small, large| DurationError::Ambiguous { text: unit.to_owned(), small, large };
    match unit {
        "M" => return Err(ambiguous("minute", "month")),
        "D" => return Err(ambiguous("day", "decade")),
        _ => {}
    }
    Ok(match unit.to_ascii_lowercase().as_str() {
        "s" | "sc" | "scs" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "mn" | "mns" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600,
        "d" | "dy" | "dys" | "day" | "days" => 86_400,
        "w" | "wk" | "wks" | "week" | "weeks" => 7 * 86_400,
        "y" | "yr" | "yrs" | "year" | "years" => 365 * 86_400,
        "month" | "months" | "mth" | "mths" | "mnth" | "mnths" | "mo" | "mon" | "decade" | "decades" | "dc" | "dcs"
        | "dec" | "decs" | "c" | "century" | "centuries" | "cn" | "cns" | "ct" | "cts" | "cnt" | "cnts" | "cent"
        | "cents" => {
            return Err(DurationError::TooCoarse(shown(unit)));
        }
        "ms" | "millisecond" | "milliseconds" | "mil" | "mils" | "milsec" | "milsecs" | "us" | "ns" => {
            return Err(DurationError::TooFine(shown(unit)));
        }
        _ => return Err(DurationError::UnknownUnit(shown(unit))),
    })
}

/// A piece of the text, short enough for a message.
fn shown(text: &str) -> String {
    const ENOUGH: usize = 24;
    match text.char_indices().nth(ENOUGH) {
        Some((end, _)) => format!("{}…", text.split_at(end).0),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds_of(text: &str) -> u64 {
        match parse(text) {
            Ok(Threshold::After(length)) => length.as_secs(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn reads_mlruns_spellings() {
        for (text, seconds) in [
            ("30 minutes 5h 1day", 106_200),
            ("1 minute and 30s", 90),
            ("1.5h", 5_400),
            ("1h1h", 7_200),
            (" 1h ", 3_600),
            ("1h, 30m,", 5_400),
            ("1h AND 5 MINS", 3_900),
            ("2wks", 1_209_600),
            ("1000s", 1_000),
        ] {
            assert_eq!(seconds_of(text), seconds, "{text}");
        }
    }

    #[test]
    fn says_why_a_text_is_refused_and_what_would_be_right() {
        for (text, said) in [
            ("", "no time given"),
            ("10", "`10` has no unit; write `10s`"),
            ("1h 30", "`30` has no unit"),
            ("5 5h", "`5` has no unit"),
            ("1M", "may mean minute or month"),
            ("1D", "may mean day or decade"),
            ("2 months", "`months` is too coarse"),
            ("100ms", "`ms` is finer"),
            ("3mm", "`mm` is not a unit"),
            ("hours", "`hours` has no number"),
            ("PT1H", "`PT` is not a unit"),
            ("two hours", "`two` is not a unit"),
            ("1.h", "`1.` is not a number"),
            ("1..5h", "`1..5` is not a number"),
            ("-5m", "no sign"),
            ("-1 ", "no sign"),
            ("- 1", "no sign"),
            ("1h;30m", "';' cannot stand"),
            ("1:30", "':' cannot stand"),
            ("1_000s", "'_' cannot stand"),
            ("1h\n30m", "'\\n' cannot stand"),
            ("\u{661}h", "cannot stand"),
            ("1h and", "`and` stands between"),
            ("1 and h", "`and` stands between"),
            ("0.9s", "at least one second"),
            ("9999999999y", "longer than 10,000 years"),
            ("99999999999999999999999s", "longer than 10,000 years"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_long_text_is_refused_and_never_echoed_whole() {
        let long = "x".repeat(200);
        let error = parse(&long).expect_err("no unit").to_string();
        assert!(error.chars().count() < 150, "{error}");
        assert_eq!(parse(&"1h ".repeat(100)), Err(DurationError::TooMuchText));
    }

    #[test]
    fn never_is_more_patient_than_any_length() {
        assert!(Threshold::Never > Threshold::After(LONGEST));
        assert!(Threshold::After(LONGEST) > Threshold::After(Duration::from_secs(1)));
    }

    #[test]
    fn writes_times_in_words() {
        assert_eq!(words(Duration::from_millis(90_061_500)), "1d 1h 1m 1.5s");
        assert_eq!(words(Duration::ZERO), "0s");
        assert_eq!(rough(Duration::from_secs(7_529)), "2h 5m");
        assert_eq!(rough(Duration::from_secs(86_460)), "1d");
        assert_eq!(rough(Duration::from_secs(0)), "0s");
        assert_eq!(Threshold::Never.to_string(), "forever");
    }
}
