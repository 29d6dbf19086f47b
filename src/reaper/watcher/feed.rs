//! What the watches tell.

use std::sync::Arc;

use jiff::Timestamp;

use super::Watcher;
use super::case::Place;
use crate::policy::Policy;
use crate::policy::snapshot::Snapshot;
use crate::reaper::deadlines::{Kin, Seen, Uid};
use crate::reaper::missed::Registration;
use crate::reaper::said::{ObjectRef, Said};
use crate::reaper::terms::{Terms, judge, speaks_to_the_watcher};
use crate::reason::Reason;
use crate::threshold::{
    Kept, NodeReadiness, RemovalSubject, State, Verdict, WatchedNode, WatchedPod, evaluate_standing,
};

impl Watcher {
    /// Takes in policies and namespaces. Says whether a relist of pods is wanted: policies that speak to the watcher, or
    /// labels of namespaces with pods, are others. Until the relist pods keep their deadlines by the older ones, and are
    /// judged by the newer ones when they are read live.
    #[must_use]
    pub fn snapshot(&mut self, snapshot: Arc<Snapshot>, now: Timestamp) -> bool {
        let is_other = !Arc::ptr_eq(&self.snapshot.policies, &snapshot.policies);
        let is_wanted = is_other && !speak_alike(&self.snapshot, &snapshot)
            || !Arc::ptr_eq(&self.snapshot.namespaces, &snapshot.namespaces)
                && self
                    .records
                    .namespaces()
                    .any(|name| self.snapshot.namespaces.get(name) != snapshot.namespaces.get(name));
        if is_other || !self.has_snapshot {
            self.missed.policies(&snapshot, now);
        }
        self.has_snapshot = true;
        self.snapshot = snapshot;
        is_wanted && !self.records.is_empty()
    }

    /// Takes in the webhook's live registration; `None` where there is none, and then no pod counts as missed.
    pub fn registration(&mut self, registration: Option<Registration>, now: Timestamp) {
        self.missed.registration(registration, now);
    }

    /// A list of all pods begins: at the start, after the watch lost its place, or because a snapshot wants it.
    pub fn begin_list(&mut self) {
        self.is_listing = true;
        self.records.begin_list();
    }

    /// The list of pods is complete: forgets those that were not in it. Says how many.
    pub fn end_list(&mut self, now: Timestamp) -> usize {
        let gone = self.records.end_list();
        gone.iter().for_each(|uid| {
            self.seen_removed(*uid, None, now);
            self.close(*uid);
        });
        self.is_listing = false;
        self.is_listed = true;
        gone.len()
    }

    /// Takes in a pod, from a list or a watch.
    pub fn pod(&mut self, pod: &WatchedPod, now: Timestamp) {
        let uid = Uid::of(&pod.metadata.uid);
        let snapshot = self.snapshot.clone();
        let judgement = judge(&snapshot, pod);
        let subject = RemovalSubject::of(pod);
        let kin = Kin::of(&subject, &self.rules.owners);
        let is_untouched = subject.never_touched.is_some() || self.is_own(&pod.metadata.namespace);
        let terms = if is_untouched { self.nothing.clone() } else { self.terms.share(judgement.terms()) };
        let before = self.records.record(uid);
        let is_first = before.is_none();
        let kept = Kept::next(before.map(|record| record.kept()).as_ref(), pod, now);
        let node = self.nodes.readiness(&pod.spec.node_name);
        let verdict = verdict(&kept, node, &terms, kin, now);
        let is_overdue = verdict.deadline.is_some_and(|deadline| deadline <= now)
            && before.is_none_or(|before| {
                let was = before.terms().thresholds.effective(verdict.state).map(|limit| limit.threshold);
                was != verdict.threshold || self.is_listing && before.state() != verdict.state
            });
        let is_news = self.records.upsert(&Seen { pod, kept: &kept, verdict: &verdict, terms: &terms, kin });
        if is_news {
            if verdict.state == State::Terminating {
                self.seen_removed(uid, Some(pod), now);
            }
            self.close(uid);
            self.announce(uid, now);
            if is_overdue {
                self.records.mark_overdue(uid);
            }
        }
        if matches!(verdict.state, State::Running | State::Succeeded) {
            let created = self.records.record(uid).map_or(0, |record| record.created());
            terms.setters().for_each(|policy| self.breaker.lived(policy, created));
        }
        if is_first && let Some(policy) = self.missed.look(pod, &judgement.matching, &snapshot) {
            self.said.push(Said {
                on: pod_ref(pod),
                reason: Reason::InjectionMissed,
                action: "Inject",
                text: Reason::InjectionMissed.with(&[&policy]),
            });
        }
    }

    /// A pod is gone.
    pub fn gone(&mut self, uid: &str, now: Timestamp) {
        let id = Uid::of(uid);
        self.seen_removed(id, None, now);
        self.close(id);
        self.records.remove(uid);
    }

    /// Remembers for a standby what the leader did: a pod that waited for its turn here was removed there.
    fn seen_removed(&mut self, uid: Uid, pod: Option<&WatchedPod>, now: Timestamp) {
        if self.is_leader {
            return;
        }
        let Some(case) = self.cases.get(&uid) else { return };
        if case.owner == 0 || !matches!(case.place, Place::Line) {
            return;
        }
        self.acted.alone(case.owner, case.state, now);
        let threshold = self
            .records
            .record(uid)
            .and_then(|record| record.terms().thresholds.effective(case.state).map(|limit| limit.threshold));
        if let Some((owner, threshold)) = pod.and_then(|pod| pod.metadata.controller()).zip(threshold) {
            self.acted.removed(&case.namespace, owner, threshold, now);
        }
    }

    /// A list of all nodes begins.
    pub fn begin_nodes(&mut self) {
        self.nodes.begin();
    }

    /// The list of nodes is complete: those that were not in it do not exist.
    pub fn end_nodes(&mut self, now: Timestamp) {
        let was_listed = self.nodes.is_listed();
        let gone = self.nodes.end();
        if was_listed {
            gone.iter().for_each(|name| self.node_turned(name, now));
        } else {
            // Until now every node counted as not heard of.
            let all: Vec<Uid> = self.records.records().map(|(uid, _)| uid).collect();
            all.into_iter().for_each(|uid| self.judge_again(uid, now));
        }
    }

    /// Takes in a node.
    pub fn node(&mut self, node: &WatchedNode, now: Timestamp) {
        if self.nodes.set(node) && self.nodes.is_listed() {
            self.node_turned(&node.metadata.name, now);
        }
    }

    /// A node is gone.
    pub fn node_gone(&mut self, name: &str, now: Timestamp) {
        if self.nodes.remove(name) && self.nodes.is_listed() {
            self.node_turned(name, now);
        }
    }

    fn node_turned(&mut self, name: &str, now: Timestamp) {
        self.records.on_node(name).into_iter().for_each(|uid| self.judge_again(uid, now));
    }

    /// Judges a pod again by what is kept of it, since its node is another.
    fn judge_again(&mut self, uid: Uid, now: Timestamp) {
        let Some(verdict) = self.verdict(uid, now) else { return };
        let was_overdue = self.records.record(uid).is_some_and(|record| record.is_overdue());
        if self.records.settle(uid, &verdict) {
            self.close(uid);
            self.announce(uid, now);
            // A node that blinks ends no notice.
            if was_overdue {
                self.records.mark_overdue(uid);
            }
        } else {
            self.node_holds(uid, verdict.held_by_node, now);
        }
    }

    /// The verdict on a tracked pod by what is kept of it.
    pub(super) fn verdict(&self, uid: Uid, now: Timestamp) -> Option<Verdict> {
        let record = self.records.record(uid)?;
        let node = self.nodes.readiness(self.records.node(record));
        Some(verdict(&record.kept(), node, record.terms(), record.kin(), now))
    }

    pub(super) fn is_own(&self, namespace: &str) -> bool {
        !namespace.is_empty() && namespace == self.options.own_namespace
    }
}

/// A living pod that its controller replaces has no deadline while it runs: nothing is ever done about it.
fn verdict(kept: &Kept, node: NodeReadiness, terms: &Terms, kin: Kin, now: Timestamp) -> Verdict {
    let verdict = evaluate_standing(kept.state, kept.since, node, &terms.thresholds, now);
    let is_left_alone = matches!(kin, Kin::ReplicaSet | Kin::StatefulSet) && verdict.state == State::Running;
    if is_left_alone { Verdict { deadline: None, due: false, ..verdict } } else { verdict }
}

pub(super) fn pod_ref(pod: &WatchedPod) -> ObjectRef {
    ObjectRef {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
    }
}

/// Whether two snapshots say the same to the watcher, whatever they do at admission.
fn speak_alike(one: &Snapshot, other: &Snapshot) -> bool {
    let speaking = |snapshot: &Snapshot| -> Vec<Arc<Policy>> {
        let policies = snapshot.policies.policies();
        policies.into_iter().filter(|policy| speaks_to_the_watcher(policy)).cloned().collect()
    };
    let (one, other) = (speaking(one), speaking(other));
    let alike = |(one, other): (&Arc<Policy>, &Arc<Policy>)| {
        Arc::ptr_eq(one, other)
            || one.id == other.id
                && one.pods == other.pods
                && one.namespaces == other.namespaces
                && one.requests == other.requests
                && one.thresholds == other.thresholds
                && one.on_exceeded == other.on_exceeded
    };
    one.len() == other.len() && one.iter().zip(&other).all(alike)
}
