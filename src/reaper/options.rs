//! What the watcher is told on its command line, each word with a parser of its own.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::duration::{self, Threshold, words};
use crate::threshold::owner::OwnerKind;

/// How the watcher acts.
#[derive(Debug, Clone, PartialEq)]
pub struct WatcherOptions {
    /// Walks the same path and only reports.
    pub dry_run: bool,
    /// How long a pod that was found overdue is announced before it is acted on.
    pub overdue_notice: Duration,
    /// From when on many due pods are one outage; `None` switches the breaker off.
    pub breaker: Option<BreakerRule>,
    /// Removals over all; `None` is no limit.
    pub rate: Option<Rate>,
    /// Removals in one namespace; `None` is no limit.
    pub namespace_rate: Option<Rate>,
    /// Owner kinds besides the known ones.
    pub owners: Vec<OwnerKind>,
    /// The namespace that Stowage runs in, which it never touches.
    pub own_namespace: String,
}

impl Default for WatcherOptions {
    /// `--overdue-notice 10m --breaker 20%/10m --rate 5/s --namespace-rate 1/s`.
    fn default() -> Self {
        Self {
            dry_run: false,
            overdue_notice: Duration::from_secs(600),
            breaker: Some(BreakerRule::default()),
            rate: Some(Rate::per_second(5)),
            namespace_rate: Some(Rate::per_second(1)),
            owners: Vec::new(),
            own_namespace: String::new(),
        }
    }
}

/// Why a word of the command line is refused: what it is for, what it says, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is no {what}: {allowed}")]
pub struct OptionError {
    what: &'static str,
    value: String,
    allowed: String,
}

impl OptionError {
    fn new(what: &'static str, value: &str, allowed: impl Into<String>) -> Self {
        Self { what, value: value.chars().take(64).collect(), allowed: allowed.into() }
    }
}

/// The breaker's rule: `20%/10m`. It holds a state once more than that share of the pods that have a threshold for it, and
/// at least [`BreakerRule::AT_LEAST`] of them, come due within the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerRule {
    /// In hundredths, 1 to 100.
    pub percent: u8,
    /// How far back pods that came due are counted.
    pub window: Duration,
}

impl BreakerRule {
    /// Fewer due pods than these are never an outage.
    pub const AT_LEAST: usize = 5;

    /// Whether that many of so many pods are too many.
    #[must_use]
    pub fn is_exceeded(&self, due: usize, of: usize) -> bool {
        due >= Self::AT_LEAST && due.saturating_mul(100) > of.saturating_mul(self.percent.into())
    }
}

impl Default for BreakerRule {
    fn default() -> Self {
        Self { percent: 20, window: Duration::from_secs(600) }
    }
}

impl fmt::Display for BreakerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%/{}", self.percent, words(self.window))
    }
}

impl FromStr for BreakerRule {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let refuse = |allowed: String| OptionError::new("breaker", text, allowed);
        let form = "write a share of the pods and a window such as 20%/10m, or off";
        let (share, window) = text.split_once("%/").ok_or_else(|| refuse(form.to_owned()))?;
        let percent = share.parse().ok().filter(|percent| (1..=100).contains(percent));
        let percent = percent.ok_or_else(|| refuse("the share is a whole number from 1% to 100%".to_owned()))?;
        match duration::parse(window) {
            Ok(Threshold::After(window)) => Ok(Self { percent, window }),
            Ok(Threshold::Never) => Err(refuse(form.to_owned())),
            Err(error) => Err(refuse(error.to_string())),
        }
    }
}

/// How many removals in how long: `5/s`, `30/m`, `100/h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub count: u32,
    /// In how long.
    pub per: Duration,
}

impl Rate {
    /// So many a second.
    #[must_use]
    pub const fn per_second(count: u32) -> Self {
        Self { count, per: Duration::from_secs(1) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

impl FromStr for Rate {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let allowed = "write how many in a second, a minute or an hour, such as 5/s, 30/m or 100/h, or off";
        let refuse = || OptionError::new("rate", text, allowed);
        let (count, unit) = text.split_once('/').ok_or_else(refuse)?;
        let per = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => return Err(refuse()),
        };
        let is_whole = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
        let count = count.parse().ok().filter(|count: &u32| is_whole && (1..=100_000).contains(count));
        Ok(Self { count: count.ok_or_else(refuse)?, per: Duration::from_secs(per) })
    }
}

/// A word that may be `off`: what [`BreakerRule`] and [`Rate`] are on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrOff<T>(pub Option<T>);

impl<T: FromStr<Err = OptionError>> FromStr for OrOff<T> {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        if text == "off" { Ok(Self(None)) } else { text.parse().map(|some| Self(Some(some))) }
    }
}

impl<T: fmt::Display> fmt::Display for OrOff<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(some) => some.fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// Reads the word of `--overdue-notice`: a time string such as `10m`.
///
/// # Errors
///
/// When it is no time string, or never.
pub fn notice(text: &str) -> Result<Duration, OptionError> {
    let refuse = |allowed: String| OptionError::new("notice", text, allowed);
    match duration::parse(text) {
        Ok(Threshold::After(notice)) => Ok(notice),
        Ok(Threshold::Never) => Err(refuse("write a time such as 10m; --dry-run acts on nothing".to_owned())),
        Err(error) => Err(refuse(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back_as_they_are_written() {
        for text in ["20%/10m", "1%/1s", "100%/1d 2h"] {
            assert_eq!(text.parse::<BreakerRule>().unwrap().to_string(), text);
        }
        for text in ["5/s", "30/m", "100/h", "off"] {
            assert_eq!(text.parse::<OrOff<Rate>>().unwrap().to_string(), text);
        }
        assert_eq!("20%/10m".parse(), Ok(OrOff(Some(BreakerRule::default()))));
        assert_eq!(notice("10m"), Ok(Duration::from_secs(600)));
    }

    #[test]
    fn what_is_no_word_is_refused_with_what_is_allowed() {
        for (text, allowed) in [
            ("20", "such as 20%/10m"),
            ("0%/10m", "1% to 100%"),
            ("101%/10m", "1% to 100%"),
            ("2.5%/10m", "1% to 100%"),
            ("20%/10", "has no unit"),
            ("20%/forever", "such as 20%/10m"),
        ] {
            let error = text.parse::<BreakerRule>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is no breaker")) && error.contains(allowed), "{error}");
        }
        for text in ["", "5", "5/d", "0/s", "+5/s", "1.5/s", "100001/s", "/s", "Off"] {
            let error = text.parse::<OrOff<Rate>>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is no rate")) && error.contains("5/s"), "{error}");
        }
        assert!(notice("forever").unwrap_err().to_string().contains("--dry-run"));
        assert!(notice("10").unwrap_err().to_string().contains("10s"));
    }

    #[test]
    fn five_pods_are_the_least_and_the_share_is_to_be_passed() {
        let rule = BreakerRule::default();
        assert!(!rule.is_exceeded(4, 4));
        assert!(rule.is_exceeded(5, 5) && rule.is_exceeded(5, 24));
        assert!(!rule.is_exceeded(5, 25) && rule.is_exceeded(6, 25));
    }
}
