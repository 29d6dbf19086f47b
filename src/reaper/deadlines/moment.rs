//! Moments as a record keeps them.

use jiff::Timestamp;

use crate::threshold::farthest;

/// No deadline.
pub(super) const NEVER: i64 = i64::MAX;

/// Whole seconds since the epoch.
pub(super) fn whole_seconds(at: Timestamp) -> u32 {
    u32::try_from(at.as_second()).unwrap_or(u32::MAX)
}

/// Whole milliseconds, not before the moment itself.
pub(super) fn rounded_up(at: Timestamp) -> i64 {
    let millis = at.as_millisecond();
    if timestamp(millis) < at { millis + 1 } else { millis }
}

/// The moment of so many milliseconds.
pub(super) fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or_else(|_| farthest())
}
