//! From an attempt and what was read live to a call, or to words.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::Watcher;
use super::case::Place;
use super::hand::Call;
use super::live::Live;
use crate::reaper::acted::GOING;
use crate::reaper::answer::again;
use crate::reaper::deadlines::Uid;
use crate::reaper::owner::{Chain, Climb, climb, is_meant};
use crate::reaper::step::{Act, ActKind, Attempt, LiveFacts, NextStep, Propagation, Read, Report, Target};
use crate::reaper::terms::judge;
use crate::reason::Reason;
use crate::threshold::action::{decide, named};
use crate::threshold::owner::OwnerObject;
use crate::threshold::pod::OwnerReference;
use crate::threshold::spec::ActionSpec;
use crate::threshold::{Action, Circumstances, Removal, RemovalSubject, WatchedPod};

/// How long after a report a pod is looked at again: what decides may be another by then. Nothing is said twice.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_hours(1);

/// How long nothing more is said of an owner that `--dry-run` would have removed.
const DRY_WORD: SignedDuration = SignedDuration::from_hours(24);

/// How long the garbage collector gets for the pods of an owner that is gone.
const COLLECTED: SignedDuration = SignedDuration::from_secs(30);

/// Why nothing is removed, and as what it is reported.
struct Instead<'a> {
    reason: Reason,
    why: &'a str,
    /// What would be done, where that is the question.
    action: &'static str,
    owner: Option<&'a OwnerReference>,
    again: Option<Timestamp>,
}

/// A call, before it is put into words.
struct Means {
    kind: ActKind,
    target: Target,
    /// Whose names are remembered.
    owners: Vec<OwnerReference>,
    /// A pod goes while others of its owner are at work.
    is_alone: bool,
}

impl Watcher {
    /// What comes next for an attempt, by what was read live.
    ///
    /// The pod is judged anew: in another state, or no longer past its threshold, it is left alone.
    #[must_use]
    pub fn decide(&mut self, attempt: &Attempt, facts: &LiveFacts, now: Timestamp) -> NextStep {
        let uid = Uid::of(&attempt.uid);
        if !self.hand.holds(uid) {
            return NextStep::Nothing;
        }
        let pod = match &facts.pod {
            Read::There(pod) if pod.metadata.uid == attempt.uid => &**pod,
            Read::There(_) | Read::Absent => {
                self.end(uid);
                self.gone(&attempt.uid, now);
                return NextStep::Nothing;
            }
            Read::Forbidden | Read::Failed => return self.try_again(uid, now),
        };
        // What the watch has told meanwhile is newer than what was read: a pod that is gone does not come back by it.
        if facts.owners.is_empty() && self.is_in_hand(uid) {
            self.pod(pod, now);
        }
        let Some(verdict) = self.verdict(uid, now).filter(|_| self.is_in_hand(uid)) else {
            self.end(uid);
            return NextStep::Nothing;
        };
        if !verdict.due || self.breaker.holds(uid) {
            // A rail holds it that did not when it was handed out.
            self.end(uid);
            self.later(uid, now, None);
            return NextStep::Nothing;
        }
        let snapshot = self.snapshot.clone();
        let judgement = judge(&snapshot, pod);
        let Some(limit) = judgement.resolved.thresholds.effective(verdict.state) else {
            self.end(uid);
            return NextStep::Nothing;
        };
        let subject = RemovalSubject::of(pod);
        let around = Circumstances {
            siblings: self.records.siblings(&attempt.uid),
            is_spared: judgement.resolved.is_spared,
            ..Circumstances::default()
        };
        let policy = judgement.policy(&limit.policy);
        self.judge_live(Live { uid, pod, subject, verdict, limit, around, policy, now }, facts)
    }

    fn is_in_hand(&self, uid: Uid) -> bool {
        self.cases.get(&uid).is_some_and(|case| case.place == Place::Hand)
    }

    fn judge_live(&mut self, mut live: Live<'_>, facts: &LiveFacts) -> NextStep {
        let removal = self.removal(&live);
        let spec = live.limit.on_exceeded.actions.of(live.verdict.state);
        let by_owner = matches!(spec, ActionSpec::Auto | ActionSpec::Owner) && live.subject.controller.is_some();
        let is_alive = !live.verdict.state.is_finished();
        let removes = matches!(removal.action, Action::Delete | Action::DeleteOwner);
        if !(by_owner && removes && (is_alive || removal.action == Action::DeleteOwner)) {
            return self.carry_out(&live, &removal, None);
        }
        let chain = match climb(live.pod, &facts.owners, &self.rules.owners) {
            Climb::Read(reference) => return NextStep::Read(reference),
            Climb::Failed => return self.try_again(live.uid, live.now),
            Climb::Going => return self.wait_for_owner(live.uid, live.now),
            Climb::Absent(why) if self.is_first_try(live.uid) => {
                self.end(live.uid);
                let at = live.now.checked_add(COLLECTED).unwrap_or(Timestamp::MAX);
                self.later(live.uid, at, Some(&why));
                return NextStep::Later(at);
            }
            Climb::Absent(why) | Climb::Unconfirmed(why) => {
                let owner = live.subject.controller.clone();
                let kept = Instead {
                    reason: Reason::OwnerNotConfirmed,
                    why: &why,
                    action: "report",
                    owner: owner.as_deref(),
                    again: None,
                };
                return self.report(&live, &kept);
            }
            Climb::Chain(chain) => chain,
        };
        let owner = self.records.record(live.uid).map_or(0, |record| record.owner());
        live.around = Circumstances {
            removed_alone: self.acted.removed_alone(owner, live.verdict.state),
            above: chain.above.clone(),
            job: chain.job(),
            is_elastic: chain.is_elastic(),
            is_driver: chain.is_driver(),
            ..live.around
        };
        let removal = self.removal(&live);
        self.carry_out(&live, &removal, Some(&chain))
    }

    fn removal(&self, live: &Live<'_>) -> Removal {
        let namespace = &live.pod.metadata.namespace;
        decide(namespace, &live.subject, &live.verdict, Some(live.limit), &live.around, &self.rules, live.now)
    }

    fn carry_out(&mut self, live: &Live<'_>, removal: &Removal, chain: Option<&Chain<'_>>) -> NextStep {
        match removal.action {
            Action::None => self.leave(live.uid, removal.again, live.now),
            Action::Report => {
                let kept = Instead {
                    reason: Reason::StateThresholdReported,
                    why: &removal.reason,
                    action: "report",
                    owner: live.subject.controller.as_deref(),
                    again: removal.again,
                };
                self.report(live, &kept)
            }
            Action::Delete | Action::Evict => {
                let kind = if removal.action == Action::Evict { ActKind::Evict } else { ActKind::DeletePod };
                let is_alone = kind == ActKind::DeletePod && chain.is_some();
                self.act(live, removal, &Means { kind, target: target(live.pod), owners: Vec::new(), is_alone })
            }
            Action::DeleteOwner => {
                let top = removal.owner.as_ref().zip(chain);
                let Some((reference, object)) = top.and_then(|(top, chain)| Some((top, chain.object(&top.uid)?)))
                else {
                    return self.try_again(live.uid, live.now);
                };
                self.whole(live, removal, reference, object)
            }
        }
    }

    /// The owner, where it is meant by the policy and was not removed before.
    fn whole(&mut self, live: &Live<'_>, removal: &Removal, top: &OwnerReference, object: &OwnerObject) -> NextStep {
        let namespace: Arc<str> = live.pod.metadata.namespace.as_str().into();
        let direct = live.subject.controller.as_deref();
        if self.acted.is_going(&top.uid, live.now) {
            return self.wait_for_owner(live.uid, live.now);
        }
        let kept = |reason, why| Instead { reason, why, action: "report", owner: Some(top), again: None };
        if !live.policy.is_some_and(|policy| is_meant(policy, object)) {
            let why = format!("the selector of policy {} does not match {}", live.limit.policy, named(top));
            return self.report(live, &kept(Reason::OwnerNotConfirmed, &why));
        }
        if self.acted.is_made_again(&namespace, top, object.metadata.creation_timestamp) {
            let why = format!("{} was removed before and was made again", named(top));
            return self.report(live, &kept(Reason::OwnerMadeAgain, &why));
        }
        let owners = direct.into_iter().chain(Some(top).filter(|top| Some(*top) != direct)).cloned().collect();
        let target = Target {
            api_version: object.api_version.clone(),
            kind: object.kind.clone(),
            namespace: object.metadata.namespace.clone(),
            name: object.metadata.name.clone(),
            uid: object.metadata.uid.clone(),
            resource_version: object.metadata.resource_version.clone(),
        };
        self.act(live, removal, &Means { kind: ActKind::DeleteOwner, target, owners, is_alone: false })
    }

    fn act(&mut self, live: &Live<'_>, removal: &Removal, means: &Means) -> NextStep {
        let (kind, target) = (means.kind, &means.target);
        let what = match kind {
            ActKind::DeletePod => "delete pods".to_owned(),
            ActKind::Evict => "evict pods".to_owned(),
            ActKind::DeleteOwner => format!("delete {}", target.kind),
        };
        if self.disabled.is_forbidden(kind, &object_kind(target), live.now) {
            let kept = Instead {
                reason: Reason::RemovalForbidden,
                why: &what,
                action: "report",
                owner: live.subject.controller.as_deref(),
                again: None,
            };
            return self.report(live, &kept);
        }
        let owner = removal.owner.as_ref();
        let thing = |pod: &str| owner.map_or_else(|| pod.to_owned(), named);
        let done = match kind {
            ActKind::Evict => "evicted",
            ActKind::DeletePod | ActKind::DeleteOwner => "deleted",
        };
        if self.options.dry_run {
            if kind == ActKind::DeleteOwner {
                // One word for one owner a day, as there would be one call.
                self.acted.going(&target.uid, live.now.checked_add(DRY_WORD).unwrap_or(live.now));
            }
            let why = format!("{} would be {done}: {}", thing("the pod"), removal.reason);
            let kept = Instead { reason: Reason::RemovalDryRun, why: &why, action: kind.name(), owner, again: None };
            return self.report(live, &kept);
        }
        self.give_out(live, removal, means, &format!("{} was {done}: {}", thing("The pod"), removal.reason))
    }

    /// The call, and what is said once it is done.
    fn give_out(&mut self, live: &Live<'_>, removal: &Removal, means: &Means, what: &str) -> NextStep {
        let (kind, owner) = (means.kind, removal.owner.as_ref());
        let [age, threshold, whose] = live.words();
        let state = live.verdict.state;
        let text = Reason::StateThresholdExceeded.with(&[&state.name(), &what, &age, &threshold, &whose]);
        let shown = owner.or(live.subject.controller.as_deref());
        let said = live.events(shown, Reason::StateThresholdExceeded, "Remove", &text);
        let log = live.log(kind.name(), owner, &removal.reason, false);
        let notice = self.cases.get(&live.uid).and_then(|case| case.notice);
        let call = Call {
            kind,
            target: means.target.clone(),
            owners: means.owners.clone(),
            is_alone: means.is_alone,
            state,
            threshold: live.limit.threshold,
            // What was found overdue is late from the end of its notice on.
            deadline: notice.or(live.verdict.deadline).unwrap_or(live.now),
            said,
            log: log.clone(),
        };
        if let Some(held) = self.hand.get_mut(live.uid) {
            held.call = Some(Box::new(call));
        }
        let grace_period_seconds = live.limit.on_exceeded.grace_period_seconds.filter(|_| kind != ActKind::DeleteOwner);
        NextStep::Act(Box::new(Act {
            pod_uid: live.pod.metadata.uid.clone(),
            kind,
            target: means.target.clone(),
            propagation: Propagation::Background,
            grace_period_seconds,
            log,
        }))
    }

    /// Says it, once for each pod and state, and looks again later.
    fn report(&mut self, live: &Live<'_>, kept: &Instead<'_>) -> NextStep {
        self.end(live.uid);
        self.later(live.uid, kept.again.unwrap_or_else(|| look_again(live.uid, live.now)), Some(kept.why));
        let is_news = self.cases.get_mut(&live.uid).is_some_and(|case| !std::mem::replace(&mut case.is_reported, true));
        let [age, threshold, whose] = live.words();
        let state = live.verdict.state.name();
        let said = if is_news {
            let why = match (kept.reason, kept.owner) {
                (Reason::OwnerMadeAgain, Some(owner)) => named(owner),
                _ => kept.why.to_owned(),
            };
            let text = kept.reason.with(&[&state, &why, &age, &threshold, &whose]);
            // Nothing is said of an owner that may be somebody else's.
            let owner = kept.owner.filter(|_| kept.reason != Reason::OwnerNotConfirmed);
            live.events(owner, kept.reason, "Report", &text)
        } else {
            Vec::new()
        };
        let log = live.log(kept.action, kept.owner, kept.why, self.options.dry_run);
        NextStep::Report(Box::new(Report { said, log }))
    }

    /// Nothing is to be done, or nothing now.
    fn leave(&mut self, uid: Uid, again: Option<Timestamp>, now: Timestamp) -> NextStep {
        self.end(uid);
        self.later(uid, again.unwrap_or_else(|| look_again(uid, now)), None);
        again.map_or(NextStep::Nothing, NextStep::Later)
    }

    /// Its owner is being removed already, and the pod goes with it.
    fn wait_for_owner(&mut self, uid: Uid, now: Timestamp) -> NextStep {
        self.end(uid);
        self.later(uid, now.checked_add(GOING).unwrap_or(Timestamp::MAX), Some("its owner is being removed"));
        NextStep::Nothing
    }

    fn try_again(&mut self, uid: Uid, now: Timestamp) -> NextStep {
        self.end(uid);
        let Some(case) = self.cases.get_mut(&uid) else { return NextStep::Nothing };
        let at = again(now, case.tries, None);
        case.tries = case.tries.saturating_add(1);
        self.later(uid, at, Some("it could not be read"));
        NextStep::Later(at)
    }

    /// Counts a try. Says whether it was the first.
    fn is_first_try(&mut self, uid: Uid) -> bool {
        let Some(case) = self.cases.get_mut(&uid) else { return false };
        case.tries = case.tries.saturating_add(1);
        case.tries == 1
    }

    /// An attempt ends without a call: its token goes back.
    fn end(&mut self, uid: Uid) {
        if let Some(held) = self.let_go(uid) {
            self.turns.give_back(&held.namespace);
        }
    }
}

/// Not all that were reported together are read together again.
fn look_again(uid: Uid, now: Timestamp) -> Timestamp {
    let spread = SignedDuration::from_secs(i64::try_from(uid.half() % 900).unwrap_or_default());
    now.checked_add(LOOK_AGAIN + spread).unwrap_or(Timestamp::MAX)
}

fn target(pod: &WatchedPod) -> Target {
    Target {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
    }
}

/// What a role speaks of: group and kind.
pub(super) fn object_kind(target: &Target) -> String {
    let group = target.api_version.split_once('/').map_or("", |(group, _)| group);
    format!("{group}/{}", target.kind)
}
