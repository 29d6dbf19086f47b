//! What container statuses tell: who runs, who waits for what, and when a run began.
//!
//! The kubelet keeps two runs of a container, the newest and the one before. A try that the runtime could not start
//! (`StartError`, `ContainerCannotRun`) looks like a run and was none.

use jiff::Timestamp;

use super::pod::{ContainerStatus, Terminated, WatchedPod};

impl Terminated {
    /// Whether the runtime could not start it: nothing of it ever ran.
    pub fn never_ran(&self) -> bool {
        matches!(self.reason.as_str(), "StartError" | "ContainerCannotRun")
    }
}

impl ContainerStatus {
    /// The reason why the container waits; empty when it does not, or says none.
    pub fn waiting_reason(&self) -> &str {
        self.state.waiting.as_ref().map_or("", |waiting| &waiting.reason)
    }

    /// When the newest run ended; `None` also where the kubelet has lost the time.
    pub fn finished(&self) -> Option<Timestamp> {
        self.state.terminated.as_ref()?.finished_at
    }

    /// The run before, where it was one.
    pub fn last_run(&self) -> Option<&Terminated> {
        self.last_state.terminated.as_ref().filter(|last| !last.never_ran())
    }

    /// When the newest run began, whether it goes on or has ended.
    fn newest_started(&self) -> Option<Timestamp> {
        match (&self.state.running, &self.state.terminated) {
            (Some(running), _) => running.started_at,
            (None, Some(ended)) if !ended.never_ran() => ended.started_at,
            _ => None,
        }
    }

    /// When the container was first started, as far as the object still knows.
    ///
    /// Beside a run in `state`, `lastState` is the run before, so one restart is exact. A container that waits has its
    /// newest run in `lastState`: after a restart the first is lost. Where the run before was none, the present one
    /// counts as the first, rather later than earlier.
    pub fn first_started(&self) -> Option<Timestamp> {
        let Some(last) = &self.last_state.terminated else {
            return self.newest_started().filter(|_| self.restart_count <= 0);
        };
        let waits = self.state.waiting.is_some();
        if last.never_ran() {
            return self.newest_started();
        }
        match (waits, self.restart_count) {
            (true, ..=0) | (false, 1) => last.started_at,
            (false, ..=0) => self.newest_started(),
            _ => None,
        }
    }

    /// When the container was first started since its pod began again at `again`. A run before that is of another life; with
    /// its sandbox a native sidecar can lose the run before and keep the count.
    pub fn first_started_since(&self, again: Option<Timestamp>) -> Option<Timestamp> {
        let last_life = match &self.last_state.terminated {
            Some(last) => last.finished_at <= again,
            None => self.restart_count > 0,
        };
        if again.is_some() && last_life {
            return self.newest_started();
        }
        self.first_started()
    }

    /// Whether any run of the container has begun.
    pub fn has_run(&self) -> bool {
        let ended = self.state.terminated.as_ref().is_some_and(|ended| !ended.never_ran());
        let restarted = self.restart_count > 0 && self.last_state.terminated.is_none();
        self.state.running.is_some() || ended || self.last_run().is_some() || restarted
    }

    /// Whether the container has run and waits for its next try.
    pub fn crash_loops(&self) -> bool {
        // After a failed postStart hook the kubelet says so once, then CrashLoopBackOff; the container had run.
        matches!(self.waiting_reason(), "CrashLoopBackOff" | "PostStartHookError")
    }

    /// Whether the container waits for an image that is not there (`pkg/kubelet/images/types.go`). Back-off alternates
    /// between ErrImagePull and ImagePullBackOff (kubernetes#119891): one state, or the clock would start again with
    /// each attempt.
    pub fn cannot_pull(&self) -> bool {
        matches!(
            self.waiting_reason(),
            "ImagePullBackOff"
                | "ErrImagePull"
                | "InvalidImageName"
                | "ErrImageNeverPull"
                | "ImageInspectError"
                | "RegistryUnavailable"
                | "SignatureValidationFailed"
        )
    }

    /// Whether the container cannot be made or started (`pkg/kubelet/container/sync_result.go`), so that nothing of it
    /// runs; between two tries too.
    pub fn cannot_create(&self, pod: &WatchedPod) -> bool {
        match self.waiting_reason() {
            "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError"
            | "PreCreateHookError"
            | "PreStartHookError"
            | "CreatePodSandboxError"
            | "ConfigPodSandboxError" => true,
            "CrashLoopBackOff" => self.last_state.terminated.as_ref().is_some_and(Terminated::never_ran),
            _ => {
                // Where nothing is tried again, its end is what it is.
                let tried_again = pod.spec.restart_policy_of(&self.name) != "Never";
                tried_again && self.state.terminated.as_ref().is_some_and(Terminated::never_ran)
            }
        }
    }

    /// Whether a native sidecar has let what comes after it begin. A dump made by hand may not say; then one that runs has.
    fn is_started(&self) -> bool {
        self.started.unwrap_or_else(|| self.state.running.is_some())
    }

    /// Whether an init container has done its work. The kubelet shows one whose image is gone after a restart as
    /// `Completed` without times: finished, never run.
    pub fn is_done(&self) -> bool {
        self.state.terminated.as_ref().is_some_and(|ended| ended.exit_code == 0 && ended.finished_at.is_some())
    }

    /// Whether the kubelet may hide why this container waits: after a first run, pull and configuration errors
    /// alternate with the back-off of the run before, or with `Completed` without times.
    pub fn may_hide_an_error(&self) -> bool {
        let completed =
            self.state.terminated.as_ref().is_some_and(|ended| ended.exit_code == 0 && ended.finished_at.is_none());
        completed || self.waiting_reason() == "CrashLoopBackOff" && self.last_run().is_some()
    }
}

/// All containers, init containers first.
pub(super) fn all(pod: &WatchedPod) -> impl Iterator<Item = &ContainerStatus> {
    let status = &pod.status;
    status.init_container_statuses.iter().chain(&status.container_statuses)
}

/// Init containers that are to end, without native sidecars.
pub(super) fn init(pod: &WatchedPod) -> impl Iterator<Item = &ContainerStatus> + Clone {
    pod.status.init_container_statuses.iter().filter(|container| !pod.spec.is_sidecar(&container.name))
}

/// Native sidecars.
pub(super) fn sidecars(pod: &WatchedPod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.init_container_statuses.iter().filter(|container| pod.spec.is_sidecar(&container.name))
}

/// Whether something of the pod lives: an app container runs, crash-loops, or ended in this sandbox. An end before the
/// sandbox was ready is of another one; where none is known to be ready (the condition came with Kubernetes 1.29), every
/// end counts. Of a pod that shows no app container at all the phase is believed.
pub(super) fn lives(pod: &WatchedPod) -> bool {
    let sandbox = pod.status.since("PodReadyToStartContainers", "True");
    let ended_here = |ended: &Terminated| {
        !ended.never_ran() && sandbox.is_none_or(|sandbox| ended.finished_at.is_some_and(|end| end >= sandbox))
    };
    let apps = &pod.status.container_statuses;
    let lives = |container: &ContainerStatus| {
        container.state.running.is_some()
            || container.crash_loops()
            || container.state.terminated.as_ref().is_some_and(ended_here)
    };
    apps.is_empty() || apps.iter().any(lives)
}

/// Whether an init container is at work, crashes, or is still to come after one that has begun, a native sidecar among
/// them; or a native sidecar that has begun is not started.
pub(super) fn is_initializing(pod: &WatchedPod) -> bool {
    let begun = |container: &ContainerStatus| container.has_run() || container.crash_loops();
    let unfinished = pod.status.init_container_statuses.iter().any(begun) && !init(pod).all(ContainerStatus::is_done);
    unfinished || sidecars(pod).any(|sidecar| begun(sidecar) && !sidecar.is_started())
}
