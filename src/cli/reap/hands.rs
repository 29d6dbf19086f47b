//! What is done about one due pod: it is read live, with the owners that the decision asks for, and what was decided is
//! carried out. Each step gives a value back to the desk, which alone knows the watcher.

use jiff::Timestamp;

use crate::{
    cluster::{lease::Leadership, removals::Removals},
    reaper::step::{Act, Answer, Attempt, LiveFacts},
    threshold::pod::OwnerReference,
};

/// Reads and removes, as long as this replica leads.
#[derive(Clone)]
pub(super) struct Hands {
    pub(super) removals: Removals,
    pub(super) leadership: Leadership,
    pub(super) clock: fn() -> Timestamp,
}

/// A step that was taken.
pub(super) enum Taken {
    /// Something was read.
    Read(Attempt, LiveFacts),
    /// A call was made, or left out.
    Acted(Box<Act>, Answer),
}

impl Hands {
    /// Reads the pod.
    pub(super) async fn pod(self, attempt: Attempt) -> Taken {
        let pod = self.removals.pod(&attempt.namespace, &attempt.name).await;
        Taken::Read(attempt, LiveFacts::of_pod(pod))
    }

    /// Reads one more owner.
    pub(super) async fn owner(self, attempt: Attempt, mut facts: LiveFacts, reference: OwnerReference) -> Taken {
        facts.owners.push(self.removals.owner(&attempt.namespace, &reference).await);
        Taken::Read(attempt, facts)
    }

    /// Makes the call, unless another replica may have begun to act.
    pub(super) async fn act(self, act: Box<Act>) -> Taken {
        let answer = match self.leadership.holds((self.clock)()) {
            true => self.removals.act(&act).await,
            false => Answer::NotTried,
        };
        Taken::Acted(act, answer)
    }
}
