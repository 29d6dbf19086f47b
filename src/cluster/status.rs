//! Writes what is to be said of policies into their statuses.
//!
//! Every replica sees every change. A write names the version of the object that it was made for, so the first is taken
//! and the others are refused; what they see then says the same already. What could not be written waits for the next
//! version of the object, or for a pause.

use std::collections::{HashMap, VecDeque};
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;
use tracing::{info, warn};

use super::policies::{PolicyNews, api_resource};
use super::{FIELD_MANAGER, is_conflict};
use crate::metrics::{Call, Metrics};
use crate::policy::roster::{PolicyChange, PolicyKind};
use crate::policy::spec::PolicyStatus;
use crate::policy::status::StatusChange;
use crate::policy::{PolicyId, Scope};

/// What the writer of statuses is told.
#[derive(Debug)]
enum Instruction {
    /// A policy was seen in this version, with this status.
    Seen(PolicyId, String, Option<PolicyStatus>),
    Gone(PolicyId),
    Say(StatusChange),
}

/// Tells the writer of statuses.
#[derive(Clone)]
pub struct Statuses {
    sender: UnboundedSender<Instruction>,
}

/// The other end, for [`write()`].
pub struct ToWrite {
    receiver: UnboundedReceiver<Instruction>,
}

/// Both ends.
#[must_use]
pub fn queue() -> (Statuses, ToWrite) {
    let (sender, receiver) = unbounded_channel();
    (Statuses { sender }, ToWrite { receiver })
}

impl Statuses {
    /// Tells of policies that came, before what is to be said of them.
    pub fn seen(&self, news: &PolicyNews) {
        match &news.change {
            PolicyChange::Deleted(id) => self.send(Instruction::Gone(id.clone())),
            PolicyChange::Applied(id, generation) => {
                for (_, version) in &news.versions {
                    self.send(Instruction::Seen(id.clone(), version.clone(), generation.status.clone()));
                }
            }
            PolicyChange::Relisted(_, list) => {
                for ((id, version), (_, generation)) in news.versions.iter().zip(list) {
                    self.send(Instruction::Seen(id.clone(), version.clone(), generation.status.clone()));
                }
            }
        }
    }

    /// Has this written.
    pub fn say(&self, changes: Vec<StatusChange>) {
        for change in changes.into_iter().filter(|change| change.uid.is_some()) {
            self.send(Instruction::Say(change));
        }
    }

    fn send(&self, said: Instruction) {
        // Whoever writes has ended with the process.
        let _ = self.sender.send(said);
    }
}

/// Writes statuses until nobody has anything to say any more.
pub async fn write(client: Client, mut queue: ToWrite, clock: fn() -> Timestamp, metrics: Arc<Metrics>) {
    let mut inbox = Inbox::default();
    let mut pause = FIRST_PAUSE;
    while let Some(said) = queue.receiver.recv().await {
        inbox.take(said);
        while let Ok(said) = queue.receiver.try_recv() {
            inbox.take(said);
        }
        while let Some(writing) = inbox.next(clock()) {
            match put(&client, &writing).await {
                Ok(()) => {
                    metrics.cluster.status_writes.count(Call::Done);
                    pause = FIRST_PAUSE;
                    inbox.written(&writing.id);
                }
                // Its next version is on its way.
                Err(error) if is_conflict(&error) => metrics.cluster.status_writes.count(Call::Conflict),
                Err(error) => {
                    metrics.cluster.status_writes.count(Call::Failed);
                    warn!(policy = %writing.id, error = &error as &dyn StdError, "writing a policy's status");
                    inbox.again(writing.id);
                    sleep(pause).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
            }
            while let Ok(said) = queue.receiver.try_recv() {
                inbox.take(said);
            }
        }
        inbox.tidy();
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// What the writer has been told and has not done yet.
#[derive(Default)]
struct Inbox {
    versions: HashMap<PolicyId, String>,
    pending: HashMap<PolicyId, (StatusChange, Option<PolicyStatus>)>,
    ready: VecDeque<PolicyId>,
}

/// One write.
struct Writing {
    id: PolicyId,
    uid: String,
    version: String,
    status: PolicyStatus,
}

impl Inbox {
    fn take(&mut self, said: Instruction) {
        match said {
            Instruction::Seen(id, version, status) => {
                if let Some((_, current)) = self.pending.get_mut(&id) {
                    *current = status;
                    self.ready.push_back(id.clone());
                }
                self.versions.insert(id, version);
            }
            Instruction::Gone(id) => {
                self.versions.remove(&id);
                self.pending.remove(&id);
            }
            Instruction::Say(change) => {
                self.ready.push_back(change.id.clone());
                let seen = change.seen.clone();
                self.pending.insert(change.id.clone(), (change, seen));
            }
        }
    }

    /// The next write that is still needed; each version is tried once.
    fn next(&mut self, now: Timestamp) -> Option<Writing> {
        while let Some(id) = self.ready.pop_front() {
            let Some((change, current)) = self.pending.get(&id) else { continue };
            let (Some(version), Some(uid)) = (self.versions.get(&id), &change.uid) else { continue };
            match change.to_write(current.as_ref(), now) {
                Some(status) => {
                    return Some(Writing { uid: uid.clone(), version: version.clone(), status, id });
                }
                None => {
                    self.pending.remove(&id);
                }
            }
        }
        None
    }

    fn written(&mut self, id: &PolicyId) {
        self.pending.remove(id);
    }

    /// Gives back the room of what was written: at the start every policy has something to be said of it, and a map keeps
    /// the room of the most that it ever held.
    fn tidy(&mut self) {
        if self.pending.is_empty() {
            self.pending = HashMap::new();
            self.ready = VecDeque::new();
        }
    }

    fn again(&mut self, id: PolicyId) {
        self.ready.push_back(id);
    }
}

async fn put(client: &Client, writing: &Writing) -> Result<(), kube::Error> {
    let api: Api<DynamicObject> = match &writing.id.scope {
        Scope::Cluster => Api::all_with(client.clone(), &api_resource(PolicyKind::Cluster)),
        Scope::Namespace(namespace) => {
            Api::namespaced_with(client.clone(), namespace, &api_resource(PolicyKind::Namespaced))
        }
    };
    let patch = json!({
        "metadata": {"resourceVersion": writing.version, "uid": writing.uid},
        "status": writing.status,
    });
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch_status(&writing.id.name, &params, &Patch::Merge(&patch)).await?;
    info!(policy = %writing.id, generation = writing.status.observed_generation, "wrote the status of a policy");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::status::Acceptance;

    fn id() -> PolicyId {
        PolicyId { scope: Scope::Cluster, name: "p".into() }
    }

    fn say(generation: i64) -> Instruction {
        let acceptance = Acceptance::of_valid(generation, &[]);
        Instruction::Say(StatusChange { id: id(), uid: Some("u".to_owned()), acceptance, previous: None, seen: None })
    }

    fn seen(version: &str, status: Option<PolicyStatus>) -> Instruction {
        Instruction::Seen(id(), version.to_owned(), status)
    }

    #[test]
    fn a_version_is_tried_once_and_the_next_one_again_until_it_says_so() {
        let now = Timestamp::UNIX_EPOCH;
        let mut inbox = Inbox::default();
        inbox.take(seen("1", None));
        inbox.take(say(1));
        let first = inbox.next(now).unwrap();
        assert_eq!((&*first.version, &*first.uid, first.status.observed_generation), ("1", "u", Some(1)));
        // Refused as a conflict: nothing to do until the object is seen again.
        assert!(inbox.next(now).is_none());
        inbox.take(seen("2", None));
        assert_eq!(inbox.next(now).unwrap().version, "2");
        // The other replica was first.
        inbox.take(seen("3", Some(first.status)));
        assert!(inbox.next(now).is_none());
        inbox.take(seen("4", None));
        assert!(inbox.next(now).is_none(), "what was said is not said again");
    }

    #[test]
    fn a_policy_that_is_gone_needs_no_status() {
        let mut inbox = Inbox::default();
        inbox.take(seen("1", None));
        inbox.take(say(1));
        inbox.take(Instruction::Gone(id()));
        assert!(inbox.next(Timestamp::UNIX_EPOCH).is_none());
        assert!(inbox.versions.is_empty() && inbox.pending.is_empty());
        inbox.tidy();
        assert_eq!((inbox.pending.capacity(), inbox.ready.capacity()), (0, 0));
    }
}
