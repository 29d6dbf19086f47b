//! What is to be done about a due pod: by itself, by its owner's other pods, and by what is known of that owner.
//!
//! A decision to delete an owner is made of the pod's ownerReferences, which whoever may create pods can forge: it is
//! carried out only after the owner has been read live and confirms it. What of that is not known offline is a value that
//! is empty there.

use std::borrow::Cow;
use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::owner::{JobBudget, Kinship, OwnerKind, is_kind, kinship, replaces_its_pods};
use super::pod::OwnerReference;
use super::resolve::Limit;
use super::spec::ActionSpec;
use super::subject::{RemovalSubject, Siblings};
use super::{State, Verdict, deadline};

/// The age from which a pod's owner may be deleted: a Job controller has let go of a forged reference long before.
pub const OWNER_AGE: SignedDuration = SignedDuration::from_secs(30);

/// How many pods of one owner are deleted alone in one state before the rest is reported: who makes them again each time
/// is not helped by more.
pub const ALONE_AT_MOST: u32 = 3;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The pod is deleted.
    Delete,
    /// The pod is evicted.
    Evict,
    /// The controller is deleted, with the pod and its siblings.
    DeleteOwner,
    /// An Event, and nothing else.
    Report,
    /// Nothing at all.
    None,
}

/// An action and why it is that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// What is to be done now.
    pub action: Action,
    /// Why, for people.
    pub reason: Cow<'static, str>,
    /// What `delete-owner` deletes, now or when the pod is due.
    pub owner: Option<OwnerReference>,
    /// When a due pod is to be judged once more because time alone changes the decision.
    pub again: Option<Timestamp>,
}

/// What decides besides the pod and its thresholds, the same for every pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActionRules {
    /// Owner kinds besides the known ones.
    pub owners: Vec<OwnerKind>,
    /// The namespace that Stowage runs in, which it never touches; empty offline.
    pub own_namespace: String,
}

/// What is known of a pod's surroundings. The default is nothing, and the decision then goes by the pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// What its owner's other pods do.
    pub siblings: Siblings,
    /// How many pods of the owner were deleted alone in this state.
    pub removed_alone: u32,
    /// The owner's own controller, that one's, and so on, as they were read.
    pub above: Vec<OwnerReference>,
    /// What the owner, a Job, does with one more failure.
    pub job: Option<JobBudget>,
    /// Whether the owner, a PyTorchJob, works with whatever number of pods it has.
    pub is_elastic: bool,
    /// Whether the Pod that owns a Spark executor is a driver; `None` where it was not read.
    pub is_driver: Option<bool>,
    /// Whether the pod asks to be reported only, and may.
    pub is_spared: bool,
}

impl Action {
    /// As printed: `delete`, `delete-owner`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Evict => "evict",
            Self::DeleteOwner => "delete-owner",
            Self::Report => "report",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Removal {
    fn new(action: Action, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { action, reason: reason.into(), owner: None, again: None }
    }

    fn report(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Action::Report, reason)
    }
}

/// Decides about a pod of `namespace`. A pod that is not due has [`Action::None`], and the reason says what will be done
/// and when.
pub fn decide(
    namespace: &str,
    subject: &RemovalSubject,
    verdict: &Verdict,
    limit: Option<&Limit>,
    around: &Circumstances,
    rules: &ActionRules,
    now: Timestamp,
) -> Removal {
    if let Some(why) = subject.never_touched {
        return Removal::new(Action::None, why);
    }
    if !namespace.is_empty() && namespace == rules.own_namespace {
        return Removal::new(Action::None, "Stowage's own namespace is never touched");
    }
    let Some(limit) = limit else {
        return Removal::new(Action::None, format!("no threshold is set for {}", verdict.state.name()));
    };
    let Some(due_at) = verdict.deadline else {
        let why = match verdict.since {
            Some(_) => "the threshold is never",
            None => "the object does not tell since when",
        };
        return Removal::new(Action::None, why);
    };
    let deciding =
        |now| Deciding { subject, state: verdict.state, since: verdict.since, limit, around, rules, now }.act();
    if verdict.due {
        return deciding(now);
    }
    let then = deciding(now.max(due_at));
    let when = if verdict.held_by_node { "its node is not ready; once it is" } else { "then" };
    Removal { owner: then.owner, ..Removal::new(Action::None, format!("{when} {}: {}", then.action, then.reason)) }
}

/// One decision about a pod that is due.
struct Deciding<'a> {
    subject: &'a RemovalSubject,
    state: State,
    since: Option<Timestamp>,
    limit: &'a Limit,
    around: &'a Circumstances,
    rules: &'a ActionRules,
    now: Timestamp,
}

impl Deciding<'_> {
    fn act(&self) -> Removal {
        let controller = self.subject.controller.as_deref();
        let action = self.limit.on_exceeded.actions.of(self.state);
        if let Some(owner) = controller.filter(|owner| replaces_its_pods(owner)) {
            // What ended or is ending is replaced already, and nobody removes it.
            if !self.state.is_finished() && self.state != State::Terminating {
                let action = if self.state == State::Running { Action::None } else { Action::Report };
                return Removal::new(action, format!("{} replaces its pods itself", named(owner)));
            }
        }
        if self.around.is_spared {
            return Removal::report("the pod asks to be left alone, by stowage.dev/reap");
        }
        if action == ActionSpec::Report {
            return Removal::report("the policy only reports");
        }
        if self.state == State::Terminating {
            return self.terminating(action);
        }
        match (action, controller) {
            (ActionSpec::Delete, _) => Removal::new(Action::Delete, "the policy deletes pods"),
            (ActionSpec::Evict, _) => Removal::new(Action::Evict, "the policy evicts pods"),
            (ActionSpec::Owner, None) => Removal::report("the policy deletes owners, and the pod has no controller"),
            (ActionSpec::Owner, Some(owner)) => self.whole(owner),
            (ActionSpec::Auto | ActionSpec::Report, owner) => self.auto(owner),
        }
    }

    /// A second DELETE changes nothing but with a shorter grace period, which can leave a container running; and nothing
    /// at all while a finalizer holds the pod.
    fn terminating(&self, action: ActionSpec) -> Removal {
        let finalizers = &self.subject.finalizers;
        if !finalizers.is_empty() {
            let plural = if finalizers.len() == 1 { "" } else { "s" };
            let names = finalizers.join(", ");
            return Removal::report(format!(
                "held by its finalizer{plural} {names}; deleting it again would do nothing"
            ));
        }
        if action == ActionSpec::Delete && self.limit.on_exceeded.grace_period_seconds.is_some() {
            return Removal::new(
                Action::Delete,
                "it is being deleted already; the policy's gracePeriodSeconds presses on",
            );
        }
        Removal::report("it is being deleted already; only `action: Delete` with a gracePeriodSeconds presses on")
    }

    fn auto(&self, owner: Option<&OwnerReference>) -> Removal {
        if self.state.is_finished() {
            return self.ended(owner);
        }
        if self.subject.beside_work {
            return Removal::report("a container of it cannot be made again, and another one is at work");
        }
        let Some(owner) = owner else {
            return Removal::new(Action::Delete, "it has no controller");
        };
        if self.is_executor(owner) && self.state.waits() {
            return Removal::report("a Spark executor that waits: Spark itself replaces it");
        }
        let Some(kinship) = self.kinship(owner) else {
            return unknown_owner(owner);
        };
        let siblings_at_work =
            self.around.siblings.are_at_work() || self.around.job.is_some_and(|job| job.succeeded > 0);
        if self.state == State::Running || kinship == Kinship::Gang || !siblings_at_work {
            return self.whole(owner);
        }
        self.alone(owner)
    }

    /// A pod that has ended is not made again by its Job or its ReplicaSet, and its siblings may still be at work: it
    /// goes alone. Other controllers do make a missing pod again, whatever its end was.
    fn ended(&self, owner: Option<&OwnerReference>) -> Removal {
        let Some(owner) = owner else {
            return Removal::new(Action::Delete, "it has no controller");
        };
        if is_kind(owner, "batch", "Job") {
            return Removal::new(Action::Delete, "it has ended, and its Job has counted it");
        }
        if is_kind(owner, "apps", "ReplicaSet") || is_kind(owner, "", "ReplicationController") {
            return Removal::new(Action::Delete, format!("it has ended, and {} has replaced it", named(owner)));
        }
        if replaces_its_pods(owner) {
            return Removal::report(format!("it has ended, and {} replaces its pods itself", named(owner)));
        }
        if self.kinship(owner).is_none() {
            return unknown_owner(owner);
        }
        let owner = named(owner);
        Removal::report(format!("it has ended, but {owner} may have others at work; `action: Owner` deletes it"))
    }

    fn is_executor(&self, owner: &OwnerReference) -> bool {
        self.subject.is_spark_executor && is_kind(owner, "", "Pod")
    }

    /// How the owner's pods hang together, by any kind above it too: a launcher Job's by its MPIJob. A Pod owns nothing
    /// but as the driver of executors.
    fn kinship(&self, owner: &OwnerReference) -> Option<Kinship> {
        let own =
            kinship(owner, &self.rules.owners).filter(|_| !is_kind(owner, "", "Pod") || self.is_executor(owner))?;
        let above = self.around.above.iter().filter_map(|owner| kinship(owner, &self.rules.owners));
        let gang = std::iter::once(own).chain(above).any(|kinship| match kinship {
            Kinship::Gang => true,
            Kinship::GangUnlessElastic => !self.around.is_elastic,
            Kinship::Independent => false,
        });
        Some(if gang { Kinship::Gang } else { Kinship::Independent })
    }

    /// The pod alone, while its siblings are at work.
    fn alone(&self, owner: &OwnerReference) -> Removal {
        if self.around.removed_alone >= ALONE_AT_MOST {
            let (owner, state) = (named(owner), self.state.name());
            return Removal::report(format!(
                "{ALONE_AT_MOST} pods of {owner} were removed in {state}, and it made them again; its siblings are at work"
            ));
        }
        let ends = self.around.job.and_then(|job| job.ends_with_one_more(self.subject.index_failures));
        if let Some(why) = ends {
            return Removal::report(why);
        }
        Removal::new(Action::Delete, format!("others of {} are at work: it goes alone", named(owner)))
    }

    /// The topmost owner that is known, which takes the pod along.
    fn whole(&self, owner: &OwnerReference) -> Removal {
        let through_driver = self.is_executor(owner);
        if self.kinship(owner).is_none() {
            return unknown_owner(owner);
        }
        if through_driver && self.around.is_driver == Some(false) {
            return Removal::report(format!("a Spark executor, but {} is no live driver", named(owner)));
        }
        let top = match self.topmost(owner) {
            Ok(top) => top,
            Err(unknown) => {
                let why = format!("{} would only make {} again, and is of no known kind", named(unknown), named(owner));
                return Removal::report(why);
            }
        };
        if self.limit.is_shortened() {
            // The policy's own threshold still reaches the owner in its time, or a pod could shield it by a short one.
            let from = deadline(self.since, self.limit.policy_threshold);
            if from.is_none_or(|from| self.now < from) {
                let why = format!(
                    "the pod made its threshold shorter than the policy's, which does not reach {}",
                    named(top)
                );
                return Removal { again: from, ..Removal::report(why) };
            }
        }
        let old_enough = self.subject.created.map(|created| created.checked_add(OWNER_AGE).unwrap_or(Timestamp::MAX));
        if let Some(from) = old_enough.filter(|from| self.now < *from) {
            let why = "an owner is not deleted before its pod is 30s old";
            return Removal { again: Some(from), ..Removal::new(Action::None, why) };
        }
        let why = if through_driver {
            format!("a Spark executor: through its driver {}, if that is one", owner.name)
        } else if top == owner {
            format!("{} would only make it again", named(owner))
        } else {
            format!("{} is of {}, which would only make it again", named(owner), named(top))
        };
        Removal { owner: Some(top.clone()), ..Removal::new(Action::DeleteOwner, why) }
    }

    /// The topmost owner of a known kind. A CronJob is no way up: its next Job is another run.
    ///
    /// # Errors
    ///
    /// The first owner above of which nothing is known: it would make what is below it again.
    fn topmost<'o>(&'o self, owner: &'o OwnerReference) -> Result<&'o OwnerReference, &'o OwnerReference> {
        let mut top = owner;
        for above in &self.around.above {
            if is_kind(above, "batch", "CronJob") {
                break;
            }
            if kinship(above, &self.rules.owners).is_none() || is_kind(above, "", "Pod") {
                return Err(above);
            }
            top = above;
        }
        Ok(top)
    }
}

/// `Job/train`.
pub fn named(owner: &OwnerReference) -> String {
    format!("{}/{}", owner.kind, owner.name)
}

fn unknown_owner(owner: &OwnerReference) -> Removal {
    let (group, named) = (owner.group(), named(owner));
    Removal::report(if group.is_empty() {
        format!("{named} is not an owner to delete")
    } else if is_kind(owner, "batch", "CronJob") {
        format!("{named} is not an owner to delete: its next run is another one")
    } else {
        format!("{named} is of no known kind; `--owner {group}/{}` makes it one", owner.kind)
    })
}
