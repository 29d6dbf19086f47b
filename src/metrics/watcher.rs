//! What the watcher tells; only `stowage reap` in a cluster registers it.

use prometheus::{Histogram, IntCounter, IntGauge, Registry};

use super::labels::Label;
use super::{CounterGrid, GaugeGrid, Gauges, counter, counter_grid, gauge, gauge_grid, gauges, histogram};
use crate::reaper::board::Rail;
use crate::reaper::said::Group;
use crate::reaper::step::{ActKind, Answer};
use crate::threshold::State;

/// Metrics of the watcher.
pub struct WatcherMetrics {
    /// Pods that are tracked, by state.
    pub pods: Gauges<State>,
    /// What was done about due pods, by what became of it.
    pub actions: CounterGrid<ActionTaken, Answer>,
    /// From a deadline to the answer to the call that removed the pod.
    pub lateness: Histogram,
    /// Due pods that something holds.
    pub held: GaugeGrid<Rail, State>,
    /// When the next deadline comes, in seconds since 1970; 0 where none will.
    pub next_deadline: IntGauge,
    /// Whether the circuit breaker holds: 1 or 0.
    pub breaker_open: Gauges<Group>,
    /// Whether the API server forbids a kind of call, so that it is not made: 1 or 0.
    pub forbidden: Gauges<ActKind>,
    /// Whether this replica acts: 1 or 0.
    pub leader: IntGauge,
    /// Due pods in hand: read, decided about or being removed.
    pub in_hand: IntGauge,
    /// Pods that were created while no replica of the webhook answered.
    pub missed_injections: IntCounter,
}

/// What is done about a due pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionTaken {
    /// A call that removes something.
    By(ActKind),
    /// An Event, and nothing else.
    Report,
}

/// From what a prompt removal takes to the longest that rate limits and notices usually hold.
const LATENESS_BUCKETS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

impl WatcherMetrics {
    pub(super) fn new(r: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            pods: gauges(r, "stowage_watcher_pods", "Tracked pods by state.", "state")?,
            actions: counter_grid(
                r,
                "stowage_watcher_actions_total",
                "What was done about due pods, by what the API server answered.",
                ["action", "result"],
            )?,
            lateness: histogram(
                r,
                "stowage_watcher_lateness_seconds",
                "From a pod's deadline to the answer to its removal.",
                &LATENESS_BUCKETS,
            )?,
            held: gauge_grid(r, "stowage_watcher_held_pods", "Due pods that a rail holds.", ["rail", "state"])?,
            next_deadline: gauge(
                r,
                "stowage_watcher_next_deadline_timestamp_seconds",
                "When the next deadline comes; 0 where none will.",
            )?,
            breaker_open: gauges(
                r,
                "stowage_watcher_breaker_open",
                "Whether the circuit breaker holds what is due in a state, or was found overdue.",
                "group",
            )?,
            forbidden: gauges(
                r,
                "stowage_watcher_action_forbidden",
                "Whether the API server forbids a kind of call, so that it is not made.",
                "action",
            )?,
            leader: gauge(r, "stowage_watcher_leader", "Whether this replica acts.")?,
            in_hand: gauge(
                r,
                "stowage_watcher_in_hand_pods",
                "Due pods that are being read, decided about or removed.",
            )?,
            missed_injections: counter(
                r,
                "stowage_watcher_missed_injections_total",
                "Pods created while no replica of the webhook answered.",
            )?,
        })
    }
}

impl Label for State {
    const ALL: &'static [Self] = &Self::ALL;

    fn text(self) -> &'static str {
        self.name()
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for Rail {
    const ALL: &'static [Self] = &Self::ALL;

    fn text(self) -> &'static str {
        self.name()
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for ActKind {
    const ALL: &'static [Self] = &Self::ALL;

    fn text(self) -> &'static str {
        self.name()
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for ActionTaken {
    const ALL: &'static [Self] =
        &[Self::By(ActKind::DeletePod), Self::By(ActKind::DeleteOwner), Self::By(ActKind::Evict), Self::Report];

    fn text(self) -> &'static str {
        match self {
            Self::By(kind) => kind.name(),
            Self::Report => "report",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::By(kind) => kind.index(),
            Self::Report => ActKind::ALL.len(),
        }
    }
}

impl Label for Answer {
    const ALL: &'static [Self] = &[
        Self::Done,
        Self::NotFound,
        Self::Conflict,
        Self::TooMany(None),
        Self::Forbidden,
        Self::Failed,
        Self::NotTried,
    ];

    fn text(self) -> &'static str {
        self.name()
    }

    fn index(self) -> usize {
        match self {
            Self::Done => 0,
            Self::NotFound => 1,
            Self::Conflict => 2,
            Self::TooMany(_) => 3,
            Self::Forbidden => 4,
            Self::Failed => 5,
            Self::NotTried => 6,
        }
    }
}

impl Label for Group {
    const ALL: &'static [Self] = &[
        Self::State(State::PendingNotScheduled),
        Self::State(State::PendingScheduled),
        Self::State(State::ImagePullBackoff),
        Self::State(State::SchedulingGated),
        Self::State(State::ContainerError),
        Self::State(State::Initializing),
        Self::State(State::Unknown),
        Self::FoundOverdue,
    ];

    fn text(self) -> &'static str {
        self.name()
    }

    fn index(self) -> usize {
        // A state that is no waiting one has no place, and nothing is counted for it.
        Self::ALL.iter().position(|group| *group == self).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn each_index_is_its_place<L: Label>() {
        for (place, value) in L::ALL.iter().enumerate() {
            assert_eq!(value.index(), place, "{}", value.text());
        }
    }

    #[test]
    fn every_value_stands_at_its_index() {
        each_index_is_its_place::<State>();
        each_index_is_its_place::<Rail>();
        each_index_is_its_place::<ActKind>();
        each_index_is_its_place::<ActionTaken>();
        each_index_is_its_place::<Answer>();
        each_index_is_its_place::<Group>();
        let waiting = State::ALL.into_iter().filter(|state| state.waits()).count();
        assert_eq!(Group::ALL.len(), waiting + 1);
    }

    #[test]
    fn the_watchers_series_are_there_once_it_asks_for_them() {
        let metrics = Metrics::new("1").unwrap();
        assert!(!metrics.text().unwrap().contains("stowage_watcher"));
        let watcher = metrics.watcher().unwrap();
        watcher.actions.count(ActionTaken::By(ActKind::Evict), Answer::TooMany(None));
        watcher.held.set(Rail::Breaker, State::ImagePullBackoff, 7);
        let text = metrics.text().unwrap();
        for line in [
            "stowage_watcher_actions_total{action=\"evict\",result=\"too-many\"} 1",
            "stowage_watcher_actions_total{action=\"report\",result=\"done\"} 0",
            "stowage_watcher_held_pods{rail=\"breaker\",state=\"image_pull_backoff\"} 7",
            "stowage_watcher_pods{state=\"running\"} 0",
            "stowage_watcher_breaker_open{group=\"found_overdue\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
        }
    }
}
