//! The state of a pod and since when, in the order of the table in the documentation.
//!
//! A waiting container carries no time, and conditions such as Ready flap, so each state is timed by the latest fact that
//! can only have happened before it and never moves while it lasts. Every chain ends at creationTimestamp, which the API
//! server always sets: a pod is never left out for want of a time.

use jiff::Timestamp;

use super::State;
use super::pod::{ContainerStatus, Phase, PodView};

/// The state a pod is in and since when. The time is `None` only where the pod has no creationTimestamp either.
pub fn state_of(pod: &PodView) -> (State, Option<Timestamp>) {
    let created = pod.metadata.creation_timestamp;
    let (state, since) = known(pod);
    (state, since.or(created))
}

/// When the init containers were done: Initialized=True, else the last init container's end.
pub(super) fn initialized(pod: &PodView) -> Option<Timestamp> {
    let has_init = pod.status.init_container_statuses.iter().any(|c| !pod.spec.is_sidecar(&c.name));
    if !has_init {
        return None;
    }
    pod.status.since("Initialized", "True").or_else(|| init_done(pod, usize::MAX))
}

fn known(pod: &PodView) -> (State, Option<Timestamp>) {
    let status = &pod.status;
    if pod.metadata.deletion_timestamp.is_some() {
        // The API server has added the grace period already.
        return (State::Terminating, pod.metadata.deletion_timestamp);
    }
    match status.phase {
        Phase::Succeeded => return (State::Succeeded, finished(pod)),
        Phase::Failed => return (State::Failed, finished(pod)),
        Phase::Pending | Phase::Running | Phase::Unknown => {}
    }
    // A pod made with spec.nodeName has no PodScheduled condition until a kubelet writes it; a pod of a scheduler that
    // does not exist never has any.
    if pod.spec.node_name.is_empty() && !status.is_true("PodScheduled") {
        let gated = !pod.spec.scheduling_gates.is_empty();
        let state = if gated { State::SchedulingGated } else { State::PendingNotScheduled };
        return (state, pod.metadata.creation_timestamp);
    }
    if let Some(since) = earliest_waiting(pod, cannot_pull) {
        return (State::ImagePullBackoff, since);
    }
    match status.phase {
        Phase::Unknown => (State::Unknown, ready_changed(pod).or(status.start_time)),
        Phase::Running => (State::Running, running_since(pod)),
        _ => pending(pod),
    }
}

fn pending(pod: &PodView) -> (State, Option<Timestamp>) {
    if let Some(since) = earliest_waiting(pod, cannot_create) {
        return (State::ContainerError, since);
    }
    let state = if is_initializing(pod) { State::Initializing } else { State::PendingScheduled };
    let scheduled = pod.status.since("PodScheduled", "True");
    (state, scheduled.or(pod.status.start_time))
}

/// Ended when: an evicted pod often has no container statuses, and a lost one null times in them.
fn finished(pod: &PodView) -> Option<Timestamp> {
    containers(pod)
        .filter_map(ContainerStatus::finished)
        .max()
        .or_else(|| pod.status.since("DisruptionTarget", "True"))
        .or_else(|| pod.status.since("Ready", "False"))
        .or(pod.status.start_time)
}

fn ready_changed(pod: &PodView) -> Option<Timestamp> {
    let ready = pod.status.conditions.iter().find(|c| c.kind == "Ready")?;
    ready.last_transition_time
}

/// The latest first start among the app containers. Where the object has lost it (after the second restart), the moment
/// at which the init containers were done stands for it: earlier by the time of an image pull at most. Never Ready,
/// which flaps, and never creationTimestamp while there is anything better, which counts the time in the queue.
fn running_since(pod: &PodView) -> Option<Timestamp> {
    let bound = || {
        let initialized = pod.status.since("Initialized", "True");
        initialized.or_else(|| kubelet_took_it(pod))
    };
    pod.status
        .container_statuses
        .iter()
        .filter(|c| c.has_started())
        .filter_map(|c| c.first_started().or_else(bound))
        .max()
        .or_else(bound)
}

/// The start of the earliest container that waits for such a reason; the outer `None` where none does.
fn earliest_waiting(pod: &PodView, reason: fn(&str) -> bool) -> Option<Option<Timestamp>> {
    let status = &pod.status;
    let init = status.init_container_statuses.iter().filter(|c| reason(c.waiting_reason())).map(|c| {
        let before = init_position(pod, c);
        c.last_finished().or_else(|| init_done(pod, before)).or_else(|| kubelet_took_it(pod))
    });
    let app = status.container_statuses.iter().filter(|c| reason(c.waiting_reason())).map(|c| {
        c.last_finished()
            .or_else(|| status.since("Initialized", "True"))
            .or_else(|| init_done(pod, usize::MAX))
            .or_else(|| kubelet_took_it(pod))
    });
    init.chain(app).reduce(|a, b| match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    })
}

/// Where a container stands among the init containers: the spec's order, else that of the statuses.
fn init_position(pod: &PodView, container: &ContainerStatus) -> usize {
    let by_spec = pod.spec.init_containers.iter().position(|c| c.name == container.name);
    let statuses = &pod.status.init_container_statuses;
    by_spec.or_else(|| statuses.iter().position(|c| c.name == container.name)).unwrap_or(0)
}

/// When the last of the first `count` init containers let the next one go: it ended, or, a native sidecar, started.
fn init_done(pod: &PodView, count: usize) -> Option<Timestamp> {
    let mut done: Vec<(usize, Option<Timestamp>)> = pod
        .status
        .init_container_statuses
        .iter()
        .map(|c| {
            let at = if pod.spec.is_sidecar(&c.name) { c.first_started() } else { c.finished() };
            (init_position(pod, c), at)
        })
        .filter(|(position, at)| *position < count && at.is_some())
        .collect();
    done.sort_by_key(|(position, _)| *position);
    done.pop()?.1
}

/// The kubelet begins when the pod is bound and it has taken note of it, whichever is later.
fn kubelet_took_it(pod: &PodView) -> Option<Timestamp> {
    let scheduled = pod.status.since("PodScheduled", "True");
    scheduled.max(pod.status.start_time)
}

/// Some init container that is no sidecar has begun, and they are not all done: while one runs, between two crashes
/// (the clock must not start again with each), and between two of them.
fn is_initializing(pod: &PodView) -> bool {
    if pod.status.is_true("Initialized") {
        return false;
    }
    let mut init = pod.status.init_container_statuses.iter().filter(|c| !pod.spec.is_sidecar(&c.name)).peekable();
    let ended_well = |c: &ContainerStatus| {
        let ended = c.state.terminated.as_ref();
        ended.is_some_and(|ended| ended.exit_code == 0)
    };
    init.peek().is_some() && init.clone().any(ContainerStatus::has_started) && !init.all(ended_well)
}

fn containers(pod: &PodView) -> impl Iterator<Item = &ContainerStatus> {
    let status = &pod.status;
    status.init_container_statuses.iter().chain(&status.container_statuses)
}

/// The kubelet's reasons for an image that is not there (`pkg/kubelet/images/types.go`). Back-off alternates between
/// ErrImagePull and ImagePullBackOff (kubernetes#119891): one state, or the clock would start again with each attempt.
fn cannot_pull(reason: &str) -> bool {
    matches!(
        reason,
        "ImagePullBackOff"
            | "ErrImagePull"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed"
    )
}

/// The kubelet's reasons for a container or its sandbox that cannot be made (`pkg/kubelet/container/sync_result.go`).
fn cannot_create(reason: &str) -> bool {
    matches!(
        reason,
        "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
            | "PreCreateHookError"
            | "PreStartHookError"
            | "PostStartHookError"
            | "CreatePodSandboxError"
            | "ConfigPodSandboxError"
    )
}
