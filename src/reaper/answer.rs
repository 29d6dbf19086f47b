//! What an answer of the API server means for the next try.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::step::ActKind;

/// How long a call that the API server forbids is not made: an hour, so that a role that was mended is noticed without a
/// restart, and no loop of errors comes of one that is meant to be so.
pub const FORBIDDEN: SignedDuration = SignedDuration::from_hours(1);

/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(300);

/// When to try again after so many tries that failed: one second, then twice as long each time. `asked` is what the server
/// asked for.
#[must_use]
pub fn again(now: Timestamp, tries: u32, asked: Option<Duration>) -> Timestamp {
    let pause = Duration::from_secs(1).saturating_mul(1 << tries.min(16)).min(LONGEST);
    // A server that asks for years is not believed.
    let pause = pause.max(asked.unwrap_or_default().min(LONGEST));
    now.checked_add(pause).unwrap_or(Timestamp::MAX)
}

/// The calls that the API server forbids, by kind and by the kind of object, and until when they are not made.
#[derive(Debug, Default)]
pub struct Disabled {
    until: Vec<(ActKind, String, Timestamp)>,
}

impl Disabled {
    /// A call was forbidden. Says until when it is not made.
    pub fn forbid(&mut self, kind: ActKind, object: &str, now: Timestamp) -> Timestamp {
        let until = now.checked_add(FORBIDDEN).unwrap_or(Timestamp::MAX);
        self.until.retain(|(known, of, _)| *known != kind || of != object);
        self.until.push((kind, object.to_owned(), until));
        until
    }

    /// Whether the call is not to be made now.
    #[must_use]
    pub fn is_forbidden(&self, kind: ActKind, object: &str, now: Timestamp) -> bool {
        self.until.iter().any(|(known, of, until)| *known == kind && of == object && now < *until)
    }

    /// The kinds that are not made now for some object.
    #[must_use]
    pub fn now(&self, now: Timestamp) -> Vec<(ActKind, Timestamp)> {
        let mut kinds: Vec<(ActKind, Timestamp)> = Vec::new();
        for (kind, _, until) in self.until.iter().filter(|(_, _, until)| now < *until) {
            match kinds.iter_mut().find(|(known, _)| known == kind) {
                Some((_, latest)) => *latest = (*latest).max(*until),
                None => kinds.push((*kind, *until)),
            }
        }
        kinds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_minutes_and_a_server_may_ask_for_more_than_the_first() {
        let now = Timestamp::UNIX_EPOCH;
        let pause = |tries, asked: Option<u64>| again(now, tries, asked.map(Duration::from_secs)).as_second();
        assert_eq!([pause(0, None), pause(1, None), pause(5, None)], [1, 2, 32]);
        assert_eq!([pause(9, None), pause(u32::MAX, None)], [300, 300]);
        assert_eq!([pause(0, Some(7)), pause(5, Some(7)), pause(0, Some(u64::MAX))], [7, 32, 300]);
    }

    #[test]
    fn what_is_forbidden_is_so_for_that_object_and_an_hour() {
        let now = Timestamp::UNIX_EPOCH;
        let mut disabled = Disabled::default();
        let until = disabled.forbid(ActKind::DeleteOwner, "batch/Job", now);
        assert!(disabled.is_forbidden(ActKind::DeleteOwner, "batch/Job", now));
        assert!(!disabled.is_forbidden(ActKind::DeleteOwner, "ray.io/RayCluster", now));
        assert!(!disabled.is_forbidden(ActKind::DeletePod, "batch/Job", now));
        assert_eq!(disabled.now(now), [(ActKind::DeleteOwner, until)]);
        assert!(!disabled.is_forbidden(ActKind::DeleteOwner, "batch/Job", until) && disabled.now(until).is_empty());
    }
}
