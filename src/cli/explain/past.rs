//! Whether a replica was ready when a pod was made, out of what the cluster still knows. Pure.
//!
//! A replica that is there says since when it is ready. The Deployment's condition says since when there were enough,
//! whichever they were. Of a replica that is gone Events tell for as long as the API server keeps them, and they tell that
//! it ran, not that it was ready. A pod made nearby that carries the marker shows that somebody answered.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Event, Pod, PodCondition},
    },
    apimachinery::pkg::{
        apis::meta::v1::{ObjectMeta, Time},
        util::intstr::IntOrString,
    },
    jiff::Timestamp,
};

use crate::{inject::controls::INJECTED, reason::Reason};

/// What was read; `None` is what may not be read.
#[derive(Default)]
pub(super) struct Past {
    /// Stowage's own pods that are there.
    pub(super) replicas: Option<Vec<Pod>>,
    /// Their Deployment.
    pub(super) deployments: Option<Vec<Deployment>>,
    /// Events on pods of Stowage's namespace.
    pub(super) events: Option<Vec<Event>>,
    /// The pods of the namespace that is asked about.
    pub(super) neighbours: Option<Vec<ObjectMeta>>,
    /// Events on the pod that is asked about.
    pub(super) said: Option<Vec<Event>>,
}

/// A pod that was made.
#[derive(Clone, Copy)]
pub(super) struct Made<'a> {
    pub(super) at: Timestamp,
    pub(super) uid: &'a str,
    /// It carries the marker.
    pub(super) is_marked: bool,
}

/// A replica that Events alone tell of.
#[derive(Default)]
struct GoneReplica {
    started: Option<Timestamp>,
    starts: i32,
    stopped: Option<Timestamp>,
    unready: Option<(Timestamp, Timestamp)>,
}

/// A line of the answer: its name and its text.
type Row = (&'static str, String);

impl Past {
    /// What is known of the replicas, and of the moment when the pod was made, where it is a pod that was.
    pub(super) fn rows(&self, made: Option<Made<'_>>) -> Vec<Row> {
        let created = made.map(|made| made.at);
        let mut rows: Vec<Row> = self.replica_lines(created).into_iter().map(|line| ("replica", line)).collect();
        let Some(Made { at: created, uid, is_marked }) = made else { return rows };
        rows.extend(
            self.deployments.iter().flatten().filter_map(enough).map(|enough| ("deployment", enough.line(created))),
        );
        let (gone, others) = self.gone(created);
        rows.extend(gone.iter().map(|line| ("gone", line.clone())));
        if self.events.is_some() && gone.is_empty() {
            rows.push((
                "gone",
                format!("of {others} replicas that Events still tell of none ran when the pod was made"),
            ));
        }
        rows.extend(self.neighbour_lines(created, uid).into_iter().map(|line| ("neighbour", line)));
        let missed = |event: &&Event| event.reason.as_deref() == Some(Reason::InjectionMissed.name());
        let told = self.said.iter().flatten().filter(missed).filter_map(|event| event.message.clone());
        rows.extend(told.map(|line| ("watcher", line)));
        let answered = || "yes, one answered: the pod carries the marker".to_owned();
        rows.push(("ready then", if is_marked { answered() } else { self.ready_then(created, !gone.is_empty()) }));
        rows
    }

    /// A line for each of Stowage's pods: whether it is ready, and since before or after the pod was made.
    fn replica_lines(&self, created: Option<Timestamp>) -> Vec<String> {
        let Some(replicas) = &self.replicas else { return Vec::new() };
        if replicas.is_empty() {
            return vec!["none is there".to_owned()];
        }
        let line = |pod: &Pod| {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let Some(ready) = ready(pod) else { return format!("{name} is not ready") };
            let Some(since) = since(ready) else { return format!("{name} is ready") };
            let then = match created {
                Some(created) if since <= created => ", so it was when the pod was made",
                Some(_) => ", after the pod was made",
                None => "",
            };
            format!("{name} is ready since {since}{then}")
        };
        replicas.iter().map(line).collect()
    }

    /// A line for each replica that is gone and ran then; and how many others are gone.
    fn gone(&self, created: Timestamp) -> (Vec<String>, usize) {
        let there: BTreeSet<_> = self.replicas.iter().flatten().filter_map(|pod| pod.metadata.uid.as_deref()).collect();
        let names: Vec<_> = self.deployments.iter().flatten().filter_map(|one| one.metadata.name.as_deref()).collect();
        let mut gone: BTreeMap<(&str, &str), GoneReplica> = BTreeMap::new();
        for event in self.events.iter().flatten() {
            let (name, uid) = (event.involved_object.name.as_deref(), event.involved_object.uid.as_deref());
            let Some((name, uid)) = name.zip(uid).filter(|(_, uid)| !there.contains(uid)) else { continue };
            if names.iter().any(|deployment| is_pod_of(name, deployment)) {
                gone.entry((name, uid)).or_default().take(event);
            }
        }
        gone.retain(|_, gone| gone.started.is_some() || gone.stopped.is_some());
        let all = gone.len();
        gone.retain(|_, gone| gone.ran_at(created));
        (gone.iter().map(|((name, _), gone)| gone.line(name, created)).collect(), all - gone.len())
    }

    /// The nearest pods made before and after it that carry the marker.
    fn neighbour_lines(&self, created: Timestamp, uid: &str) -> Vec<String> {
        let marked = self.neighbours.iter().flatten().filter(|pod| {
            pod.uid.as_deref() != Some(uid) && pod.annotations.iter().flatten().any(|(key, _)| key == INJECTED)
        });
        let made = marked.filter_map(|pod| Some((pod.creation_timestamp.as_ref()?.0, pod.name.as_deref()?)));
        let before = made.clone().filter(|(at, _)| *at <= created).max();
        let after = made.filter(|(at, _)| *at > created).min();
        let line = |(at, name): (Timestamp, &str)| {
            let gap = created.duration_since(at);
            let apart = match gap.as_secs() {
                0 => "in the same second".to_owned(),
                _ if gap.is_positive() => format!("{gap:#} before"),
                _ => format!("{:#} after", gap.abs()),
            };
            format!("{name}, made {apart}, carries the marker: a replica answered then")
        };
        before.into_iter().chain(after).map(line).collect()
    }

    fn ready_then(&self, created: Timestamp, ran: bool) -> String {
        let was_ready = |pod: &&Pod| ready(pod).and_then(since).is_some_and(|since| since <= created);
        if let Some(replica) = self.replicas.iter().flatten().find(was_ready) {
            return format!("yes, {} was", replica.metadata.name.as_deref().unwrap_or_default());
        }
        let known: Vec<_> = self.deployments.iter().flatten().filter_map(enough).collect();
        if let Some(enough) = known.iter().find(|enough| enough.held(created)) {
            return format!("yes, {} at least", enough.least);
        }
        if self.replicas.is_none() || self.events.is_none() {
            return "not known: what is told of Stowage's replicas may not be read".to_owned();
        }
        if ran {
            return "not known: a replica ran that is gone, and nothing records whether it was ready".to_owned();
        }
        "none is known to have been; Events are kept for an hour unless the API server was told otherwise".to_owned()
    }
}

impl GoneReplica {
    fn take(&mut self, event: &Event) {
        let at = |time: &Option<Time>| time.as_ref().map(|time| time.0);
        let first = at(&event.first_timestamp).or_else(|| event.event_time.as_ref().map(|time| time.0));
        let Some(first) = first else { return };
        let last = at(&event.last_timestamp).unwrap_or(first);
        match event.reason.as_deref() {
            Some("Started") => {
                self.started = Some(self.started.map_or(first, |before| before.min(first)));
                self.starts += event.count.unwrap_or(1);
            }
            Some("Killing") => self.stopped = Some(self.stopped.map_or(last, |before| before.max(last))),
            Some("Unhealthy") if event.message.as_deref().is_some_and(|text| text.starts_with("Readiness")) => {
                let (from, to) = self.unready.unwrap_or((first, last));
                self.unready = Some((from.min(first), to.max(last)));
            }
            _ => {}
        }
    }

    /// Where its start is forgotten, or nobody saw its end, it may have run.
    fn ran_at(&self, moment: Timestamp) -> bool {
        self.started.is_none_or(|started| started <= moment) && self.stopped.is_none_or(|stopped| moment <= stopped)
    }

    fn line(&self, name: &str, created: Timestamp) -> String {
        let from = self.started.map_or_else(|| "a forgotten moment".to_owned(), |at| at.to_string());
        let to = self.stopped.map_or_else(|| "a moment that nobody noted".to_owned(), |at| at.to_string());
        let mut line = format!("{name} ran from {from} to {to}, so it may have been ready when the pod was made");
        if self.starts > 1 {
            line += &format!("; it was started {} times", self.starts);
        }
        if let Some((from, to)) = self.unready.filter(|(from, to)| *from <= created && created <= *to) {
            line += &format!("; its readiness probe failed between {from} and {to}");
        }
        line
    }
}

/// How many replicas a Deployment keeps ready at least, and since when it does, or does not.
struct Enough<'a> {
    deployment: &'a str,
    made: Option<Timestamp>,
    least: i32,
    is_so: bool,
    since: Timestamp,
}

impl Enough<'_> {
    fn held(&self, moment: Timestamp) -> bool {
        self.is_so && self.since <= moment
    }

    fn line(&self, created: Timestamp) -> String {
        let Self { deployment, least, since, .. } = self;
        if let Some(made) = self.made.filter(|made| created < *made) {
            return format!("{deployment} was made at {made}, after the pod");
        }
        match (self.is_so, *since <= created) {
            (true, true) => {
                format!("{deployment} has {least} ready at least since {since}, so it had when the pod was made")
            }
            (true, false) => {
                format!(
                    "{deployment} has {least} ready at least since {since}, after the pod was made; before, it lacked some"
                )
            }
            (false, true) => {
                format!("{deployment} lacks some of {least} since {since}, so it did when the pod was made")
            }
            (false, false) => {
                format!(
                    "{deployment} lacks some of {least} since {since}, after the pod was made; nothing older is recorded"
                )
            }
        }
    }
}

/// `None` where the condition tells nothing of a ready replica: a Deployment of none has all that it needs. While there are
/// some now, it cannot have been true since before a time without: it turns when they are asked for again.
fn enough(deployment: &Deployment) -> Option<Enough<'_>> {
    let (spec, status) = (deployment.spec.as_ref()?, deployment.status.as_ref()?);
    let least = spec.replicas.unwrap_or(1) - unavailable(deployment);
    let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == "Available")?;
    let is_current = status.observed_generation == deployment.metadata.generation;
    (least > 0 && is_current).then_some(Enough {
        deployment: deployment.metadata.name.as_deref()?,
        made: deployment.metadata.creation_timestamp.as_ref().map(|time| time.0),
        least,
        is_so: condition.status == "True",
        since: condition.last_transition_time.as_ref()?.0,
    })
}

/// How many may be missing, as the Deployment's controller counts.
fn unavailable(deployment: &Deployment) -> i32 {
    let spec = deployment.spec.as_ref();
    let replicas = spec.and_then(|spec| spec.replicas).unwrap_or(1);
    let strategy = spec.and_then(|spec| spec.strategy.as_ref());
    if strategy.is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate")) {
        return 0;
    }
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let number = |value: Option<&IntOrString>| match value {
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(share)) => replicas * share.trim_end_matches('%').parse().unwrap_or(100) / 100,
        None => replicas / 4,
    };
    let unavailable = number(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()));
    let surges = rolling.and_then(|rolling| rolling.max_surge.as_ref());
    // Both cannot be nothing: one may be missing then.
    let has_no_surge = surges.is_some_and(|surge| number(Some(surge)) == 0);
    if has_no_surge { unavailable.max(1) } else { unavailable }
}

/// Its condition, where it is ready.
fn ready(pod: &Pod) -> Option<&PodCondition> {
    let mut conditions = pod.status.iter().filter_map(|status| status.conditions.as_ref()).flatten();
    conditions.find(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn since(condition: &PodCondition) -> Option<Timestamp> {
    Some(condition.last_transition_time.as_ref()?.0)
}

/// DEPLOYMENT-HASH-NAME; the watcher's have a word more.
fn is_pod_of(name: &str, deployment: &str) -> bool {
    let rest = name.strip_prefix(deployment).and_then(|rest| rest.strip_prefix('-'));
    rest.is_some_and(|rest| rest.split('-').count() == 2)
}

#[cfg(test)]
mod tests;
