//! What a watcher knows that one object does not: what it saw before.
//!
//! A few words a pod, kept from one object to the next. They only ever put a start later: without them, after a restart of
//! the watcher, a pod is judged by its object alone.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;

use super::pod::{ContainerStatus, WatchedPod};
use super::since::Standing;
use super::{State, containers};

/// What is kept of a pod between two of its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The state that the pod is in, as far as is known by now.
    pub state: State,
    /// Since when; `None` only for a pod without any time, its creation included.
    pub since: Option<Timestamp>,
    /// When ContainersReady went, for a state that the kubelet may hide: it keeps this time as long as the state lasts.
    unready: Option<Timestamp>,
    /// The container that waits, by a hash of its name.
    waits: u32,
    /// The latest first start that was seen while the pod ran: after two restarts the object has lost it.
    ran_since: Option<Timestamp>,
}

impl Kept {
    /// What is known once `pod` has been seen at `now`, after what was `before`.
    ///
    /// - A pull or configuration error that the kubelet hides between two tries goes on, as long as ContainersReady=False
    ///   keeps its time and the container has not run again.
    /// - A deadline never moves back while a state stays.
    /// - What waits for a node counts from the moment at which its scheduling gates were seen to go.
    /// - A pod runs never before the first start that was seen.
    /// - An end without a time was when the status was last written, where `managedFields` tell; any other state without a
    ///   start began when it was first seen.
    pub fn next(before: Option<&Self>, pod: &WatchedPod, now: Timestamp) -> Self {
        let seen = Standing::of(pod);
        if let Some(before) = before.filter(|before| before.goes_on_hidden(pod, &seen)) {
            return *before;
        }
        let mut since = seen.since;
        let mut ran_since = before.and_then(|before| before.ran_since);
        if let Some(before) = before {
            let stays = before.state == seen.state;
            let ungated = before.state == State::SchedulingGated && seen.state == State::PendingNotScheduled;
            since = since.max(before.since.filter(|_| stays)).max(Some(now).filter(|_| ungated));
        }
        if seen.state == State::Running {
            since = since.max(ran_since);
            ran_since = since;
        }
        if since.is_none() && pod.metadata.creation_timestamp.is_some() {
            // The kubelet's last write of an ended pod is its end; no restart of the watcher moves it.
            let written = pod.metadata.status_written.filter(|_| seen.state.is_finished());
            since = Some(written.map_or(now, |written| written.min(now)));
        }
        let may_hide = matches!(seen.state, State::ImagePullBackoff | State::ContainerError);
        Self {
            state: seen.state,
            since,
            unready: pod.status.since("ContainersReady", "False").filter(|_| may_hide),
            waits: seen.waits.map_or(0, name_hash),
            ran_since,
        }
    }

    /// The same in 20 bytes, in whole seconds as the API's times are; a fraction is rounded to later.
    pub fn packed(&self) -> PackedKept {
        PackedKept {
            since: seconds(self.since),
            unready: seconds(self.unready),
            ran_since: seconds(self.ran_since),
            waits: self.waits,
            state: self.state,
        }
    }

    fn goes_on_hidden(&self, pod: &WatchedPod, seen: &Standing<'_>) -> bool {
        let was_error = matches!(self.state, State::ImagePullBackoff | State::ContainerError);
        let may_hide_it = matches!(seen.state, State::Running | State::Initializing | State::PendingScheduled);
        let unready = pod.status.since("ContainersReady", "False");
        was_error
            && may_hide_it
            && unready.is_some()
            && unready == self.unready
            && containers::all(pod)
                .any(|container| name_hash(&container.name) == self.waits && self.still_hides(container))
    }

    /// Whether the container shows nothing newer than the run before the error.
    fn still_hides(&self, container: &ContainerStatus) -> bool {
        container.may_hide_an_error()
            && container.last_run().and_then(|last| last.finished_at).is_none_or(|end| Some(end) <= self.since)
    }
}

/// [`Kept`], small: a watcher holds one for every pod. Zero is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedKept {
    since: u32,
    unready: u32,
    ran_since: u32,
    waits: u32,
    state: State,
}

impl PackedKept {
    /// What was packed.
    pub fn unpacked(self) -> Kept {
        Kept {
            state: self.state,
            since: timestamp(self.since),
            unready: timestamp(self.unready),
            waits: self.waits,
            ran_since: timestamp(self.ran_since),
        }
    }
}

fn seconds(at: Option<Timestamp>) -> u32 {
    let Some(at) = at else { return 0 };
    let whole = at.as_second() + i64::from(at.subsec_nanosecond() > 0);
    u32::try_from(whole.max(1)).unwrap_or(u32::MAX)
}

fn timestamp(seconds: u32) -> Option<Timestamp> {
    Timestamp::from_second(seconds.into()).ok().filter(|_| seconds > 0)
}

/// Enough to tell a pod's own containers apart.
fn name_hash(name: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    // The low half is as good as the whole.
    (hasher.finish() & u64::from(u32::MAX)) as u32
}
