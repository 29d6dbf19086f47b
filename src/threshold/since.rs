//! The state of a pod and since when, in the order of the table in the documentation.
//!
//! A waiting container carries no time, conditions such as Ready flap, and a pod can begin anew on its node with its old
//! conditions and statuses, so each state is timed by the latest fact that can only have happened before it and does not
//! move while it lasts. Where the object cannot tell, the answer errs to later, never to earlier: no start is taken for an
//! end, and nothing begins before the pod's creation.

use jiff::{SignedDuration, Timestamp};

use super::State;
use super::containers::{self, is_initializing, lives};
use super::pod::{ContainerStatus, Phase, WatchedPod};

/// Which state a pod is in, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing<'a> {
    /// The state.
    pub state: State,
    /// Since when; `None` where the object cannot tell: for an end or a lost node without a time, and for a manifest
    /// that no API server has seen.
    pub since: Option<Timestamp>,
    /// What the object cannot say about it.
    pub caveat: Option<Caveat>,
    /// The container that waits, for [`State::ImagePullBackoff`] and [`State::ContainerError`].
    pub waits: Option<&'a str>,
}

/// What one object cannot say, and whoever watches it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caveat {
    /// A scheduling gate that is gone leaves no trace: the pod may have been held back since its creation.
    GateMayHaveHeld,
    /// The kubelet may hide why a container that has run before waits.
    KubeletMayHide,
}

impl Caveat {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::GateMayHaveHeld => "time behind a scheduling gate counts, since the object keeps none",
            Self::KubeletMayHide => {
                "between two tries the kubelet hides a pull or configuration error of a container that has run before"
            }
        }
    }
}

impl<'a> Standing<'a> {
    /// The standing that a pod's object alone tells.
    pub fn of(pod: &'a WatchedPod) -> Self {
        let standing = known(pod);
        let created = pod.metadata.creation_timestamp;
        let since = match standing.state {
            // A birth is no end.
            State::Succeeded | State::Failed | State::Unknown => standing.since.map(|since| Some(since).max(created)),
            _ => Some(standing.since.max(created)),
        };
        Self { since: since.flatten(), ..standing }
    }

    const fn new(state: State, since: Option<Timestamp>) -> Self {
        Self { state, since, caveat: None, waits: None }
    }
}

fn known(pod: &WatchedPod) -> Standing<'_> {
    let status = &pod.status;
    if pod.metadata.deletion_timestamp.is_some() {
        // The API server has added the grace period already.
        return Standing::new(State::Terminating, pod.metadata.deletion_timestamp);
    }
    match status.phase {
        Phase::Succeeded => return Standing::new(State::Succeeded, finished(pod)),
        Phase::Failed => return Standing::new(State::Failed, finished(pod)),
        Phase::Pending | Phase::Running | Phase::Unknown => {}
    }
    // A pod made with spec.nodeName has no PodScheduled condition until a kubelet writes it; a pod of a scheduler that
    // does not exist never has any.
    if pod.spec.node_name.is_empty() && !status.is_true("PodScheduled") {
        if !pod.spec.scheduling_gates.is_empty() {
            return Standing::new(State::SchedulingGated, None);
        }
        let caveat = Some(Caveat::GateMayHaveHeld);
        return Standing { caveat, ..Standing::new(State::PendingNotScheduled, None) };
    }
    if status.phase == Phase::Unknown {
        return Standing::new(State::Unknown, pod.lost());
    }
    if let Some(standing) = waiting(pod, State::ImagePullBackoff, ContainerStatus::cannot_pull) {
        return standing;
    }
    if let Some(standing) = waiting(pod, State::ContainerError, |container| container.cannot_create(pod)) {
        return standing;
    }
    let standing = match status.phase {
        Phase::Running if lives(pod) => Standing::new(State::Running, running_since(pod)),
        _ if is_initializing(pod) => Standing::new(State::Initializing, bound(pod).max(start_again(pod))),
        _ => {
            let initialized = status.since("Initialized", "True");
            Standing::new(State::PendingScheduled, bound(pod).max(initialized).max(start_again(pod)))
        }
    };
    let hides = containers::all(pod).any(ContainerStatus::may_hide_an_error);
    Standing { caveat: hides.then_some(Caveat::KubeletMayHide), ..standing }
}

/// When the pod was bound, else when the kubelet took it in.
fn bound(pod: &WatchedPod) -> Option<Timestamp> {
    pod.status.since("PodScheduled", "True").or(pod.status.start_time)
}

/// Where the waiting of a pod begins that has begun anew on its node: after a reboot, a lost sandbox, a restart in place.
/// None of these moves while a container waits, since ContainersReady cannot become true then. No container's end is among
/// them: it moves with every crash of a sibling.
pub(super) fn start_again(pod: &WatchedPod) -> Option<Timestamp> {
    let status = &pod.status;
    // A sandbox that goes takes the time of its coming with it.
    status
        .since("Initialized", "False")
        .max(status.changed("PodReadyToStartContainers"))
        .max(status.since("ContainersReady", "False"))
        .max(status.changed("AllContainersRestarting"))
}

/// Ended when. The kubelet loses ends: an evicted pod often has no container statuses, and a lost one null times in
/// them. The end of one container is not that of the pod while that of another is not known: of one that waits still
/// (`activeDeadlineSeconds` strikes while an image is pulled after the init containers), unless an init container that
/// failed for good has ended the pod before it could begin.
fn finished(pod: &WatchedPod) -> Option<Timestamp> {
    let known = containers::all(pod).filter_map(ContainerStatus::finished).max();
    let init_failed = containers::init(pod).any(|init| {
        let failed = init.state.terminated.as_ref().is_some_and(|ended| ended.exit_code != 0);
        failed && pod.spec.restart_policy_of(&init.name) == "Never"
    });
    let open = containers::all(pod).any(|container| match &container.state.terminated {
        Some(ended) => ended.finished_at.is_none(),
        None => container.state.running.is_some() || !init_failed,
    });
    if known.is_some() && !open {
        return known;
    }
    let status = &pod.status;
    let end = status
        .since("DisruptionTarget", "True")
        .or_else(|| sandbox_gone(pod))
        .or_else(|| unready_after_running(pod))?;
    Some(end).max(known)
}

/// When the pod's sandbox went. A pod that never had one says the moment at which the kubelet took it in.
fn sandbox_gone(pod: &WatchedPod) -> Option<Timestamp> {
    let gone = pod.status.since("PodReadyToStartContainers", "False")?;
    let started = pod.status.start_time?;
    (gone.duration_since(started) > SignedDuration::from_secs(1)).then_some(gone)
}

/// When Ready went after the pod had run. A pod that never was ready says its birth.
fn unready_after_running(pod: &WatchedPod) -> Option<Timestamp> {
    let status = &pod.status;
    let unready = status.since("Ready", "False")?;
    let started = status.start_time?;
    let begun = containers::all(pod)
        .flat_map(|container| {
            let ended = container.state.terminated.as_ref().and_then(|ended| ended.started_at);
            let running = container.state.running.as_ref().and_then(|running| running.started_at);
            [ended, running]
        })
        .max()
        .flatten();
    let birth = Some(started).max(status.since("Initialized", "True")).max(begun)?;
    (unready.duration_since(birth) > SignedDuration::from_secs(1)).then_some(unready)
}

impl WatchedPod {
    /// When the node controller took Ready from the pod, if its containers were ready. A pod that was unready before
    /// keeps its own old time.
    pub fn lost(&self) -> Option<Timestamp> {
        let status = &self.status;
        let ready = status.condition("Ready").filter(|ready| ready.status != "True")?;
        let was_ready = status.condition("ContainersReady").is_none_or(|containers| containers.status == "True");
        let taken = ready.last_transition_time.filter(|_| was_ready)?;
        Some(taken).max(self.metadata.creation_timestamp)
    }
}

/// The latest first start among the app containers. Where the object has lost it (after the second restart), the latest
/// moment before it that is known stands for it; never ContainersReady, which moves with every crash.
fn running_since(pod: &WatchedPod) -> Option<Timestamp> {
    let status = &pod.status;
    let lost = || {
        let sandbox = status.since("PodReadyToStartContainers", "True");
        let begun = status.since("Initialized", "True").max(sandbox).max(status.changed("AllContainersRestarting"));
        begun.or_else(|| kubelet_took_it(pod))
    };
    status
        .container_statuses
        .iter()
        .filter(|container| container.has_run())
        .filter_map(|container| container.first_started().or_else(lost))
        .max()
        .or_else(lost)
}

/// The state of a pod in which such a container waits, since the earliest of them could have begun.
fn waiting(pod: &WatchedPod, state: State, waits: impl Fn(&ContainerStatus) -> bool) -> Option<Standing<'_>> {
    let status = &pod.status;
    let init = status.init_container_statuses.iter().map(|container| (container, true));
    let app = status.container_statuses.iter().map(|container| (container, false));
    let (since, container) = init
        .chain(app)
        .filter(|(container, _)| waits(container))
        .map(|(container, is_init)| {
            let since =
                if is_init { init_could_have_begun(pod, container) } else { app_could_have_begun(pod, container) };
            (since, container)
        })
        // `None` would be the earliest.
        .min_by_key(|(since, _)| (since.is_none(), *since))?;
    Some(Standing { waits: Some(&container.name), ..Standing::new(state, since) })
}

/// When an init container could have begun at the earliest.
fn init_could_have_begun(pod: &WatchedPod, container: &ContainerStatus) -> Option<Timestamp> {
    let before = init_position(pod, &container.name);
    let own = container.last_run().and_then(|last| last.finished_at);
    own.max(init_done(pod, before)).max(kubelet_took_it(pod)).max(start_again(pod))
}

/// When an app container could have begun at the earliest: the kubelet starts them one after the other.
fn app_could_have_begun(pod: &WatchedPod, container: &ContainerStatus) -> Option<Timestamp> {
    let status = &pod.status;
    let own = container.last_run().and_then(|last| last.finished_at);
    let place = app_position(pod, &container.name);
    let again = start_again(pod);
    let before = status
        .container_statuses
        .iter()
        .filter(|other| app_position(pod, &other.name) < place)
        .filter_map(|other| other.first_started_since(again))
        .max();
    own.max(init_done(pod, usize::MAX))
        .max(status.since("Initialized", "True"))
        .max(before)
        .max(kubelet_took_it(pod))
        .max(again)
}

/// Where a container stands among the init containers: the spec's order, else that of the statuses.
fn init_position(pod: &WatchedPod, name: &str) -> usize {
    let by_spec = pod.spec.init_containers.iter().position(|c| c.name == name);
    by_spec.or_else(|| pod.status.init_container_statuses.iter().position(|c| c.name == name)).unwrap_or(0)
}

/// Where a container stands among the app containers. Statuses are sorted by name, so that only the spec tells.
fn app_position(pod: &WatchedPod, name: &str) -> usize {
    let by_spec = pod.spec.containers.iter().position(|c| c.name == name);
    by_spec.or_else(|| pod.status.container_statuses.iter().position(|c| c.name == name)).unwrap_or(0)
}

/// When the first `count` init containers let the next one go: the last of them ended, or, a native sidecar, started.
fn init_done(pod: &WatchedPod, count: usize) -> Option<Timestamp> {
    let again = start_again(pod);
    pod.status
        .init_container_statuses
        .iter()
        .filter(|container| init_position(pod, &container.name) < count)
        .filter_map(|container| {
            let is_sidecar = pod.spec.is_sidecar(&container.name);
            if is_sidecar { container.first_started_since(again) } else { container.finished() }
        })
        .max()
}

/// The kubelet begins when the pod is bound and it has taken note of it, whichever is later.
fn kubelet_took_it(pod: &WatchedPod) -> Option<Timestamp> {
    pod.status.since("PodScheduled", "True").max(pod.status.start_time)
}
