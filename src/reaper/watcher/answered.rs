//! What the API server answered to a removal.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::Watcher;
use super::decide::object_kind;
use super::hand::{Call, Held};
use crate::reaper::acted::GOING;
use crate::reaper::answer::again;
use crate::reaper::deadlines::Uid;
use crate::reaper::step::{ActKind, Answer, What};

/// How long an owner gets to notice that one of its pods is gone, before the next one goes alone: a Job counts its failures
/// only then.
const NOTICED: SignedDuration = SignedDuration::from_secs(30);

/// How often a 409 is answered by looking again at once.
const AT_ONCE: u32 = 3;

impl Watcher {
    /// Takes in what the API server answered to the [`Act`](crate::reaper::step::Act) for that pod.
    #[must_use]
    pub fn answered(&mut self, pod_uid: &str, answer: Answer, now: Timestamp) -> What {
        let uid = Uid::of(pod_uid);
        let has_call = self.hand.get_mut(uid).is_some_and(|held| held.call.is_some());
        // Put down without a call, by a read that never came back, say.
        if !has_call && answer != Answer::NotTried {
            return What::Unasked;
        }
        let Some(held) = self.let_go(uid) else { return What::Unasked };
        let Held { owner, namespace, call } = held;
        let Some(call) = call else {
            self.turns.give_back(&namespace);
            return self.try_later(uid, now, now);
        };
        let tries = self.cases.get(&uid).map_or(0, |case| case.tries);
        match answer {
            Answer::Done => self.done(uid, owner, &namespace, *call, now),
            Answer::NotFound if call.kind == ActKind::DeleteOwner => {
                self.later(uid, add(now, GOING), Some("its owner is gone"));
                What::Gone
            }
            Answer::NotFound => {
                self.gone(pod_uid, now);
                What::Gone
            }
            Answer::Conflict if tries < AT_ONCE => self.try_later(uid, now, now),
            Answer::Conflict | Answer::Failed => self.try_later(uid, now, again(now, tries, None)),
            // No Retry-After comes with a disruption budget, and a second is soon for one.
            Answer::TooMany(asked) => self.try_later(uid, now, again(now, tries.saturating_add(3), asked)),
            Answer::Forbidden => {
                let until = self.disabled.forbid(call.kind, &object_kind(&call.target), now);
                // It comes back at once, to be reported.
                let _ = self.try_later(uid, now, now);
                What::Disabled(call.kind, until)
            }
            Answer::NotTried => {
                self.turns.give_back(&namespace);
                self.try_later(uid, now, now)
            }
        }
    }

    fn done(&mut self, uid: Uid, owner: u64, namespace: &Arc<str>, call: Call, now: Timestamp) -> What {
        let lateness = now.duration_since(call.deadline).try_into().unwrap_or_default();
        for owner in &call.owners {
            self.acted.removed(namespace, owner, call.threshold, now);
        }
        if call.kind == ActKind::DeleteOwner {
            self.acted.going(&call.target.uid, add(now, GOING));
            self.acted.quiet(owner, add(now, GOING));
        } else if call.is_alone {
            self.acted.alone(owner, call.state, now);
            self.acted.quiet(owner, add(now, NOTICED));
        }
        // It goes by itself now; where it does not, it is looked at again.
        self.later(uid, add(now, GOING), Some("it was removed, and is on its way"));
        What::Removed { said: call.said, log: Box::new(call.log), lateness }
    }

    fn try_later(&mut self, uid: Uid, now: Timestamp, at: Timestamp) -> What {
        match self.cases.get_mut(&uid) {
            Some(case) => case.tries = case.tries.saturating_add(1),
            None => return What::Later(at.max(now)),
        }
        self.later(uid, at, None);
        What::Later(at)
    }
}

fn add(now: Timestamp, pause: SignedDuration) -> Timestamp {
    now.checked_add(pause).unwrap_or(Timestamp::MAX)
}
