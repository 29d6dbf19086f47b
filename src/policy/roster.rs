//! Which generation of each policy is in force, and what was last refused.
//!
//! Of every policy the last accepted generation stays in force when a newer one is refused, for as long as the process
//! lives and the object is the same: one that was deleted and made again begins anew.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    field_error::FieldError,
    policy::{
        Policy, PolicyId, Scope,
        replaced::{self, is_read_by_others},
        spec::PolicyStatus,
        status::{Acceptance, StatusChange, accepted},
    },
};

/// One generation of a policy of the cluster, as it was read and compiled.
#[derive(Clone, Debug)]
pub struct Generation {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub number: i64,
    /// The status that the object has.
    pub status: Option<PolicyStatus>,
    /// What compiling it came to.
    pub compiled: Result<Arc<Policy>, Vec<FieldError>>,
}

/// What happened to policies of the cluster.
#[derive(Clone, Debug)]
pub enum PolicyChange {
    /// One was made or changed, or was seen again.
    Applied(PolicyId, Generation),
    /// One is gone.
    Deleted(PolicyId),
    /// The whole list of one kind; what is not in it is gone.
    Relisted(PolicyKind, Vec<(PolicyId, Generation)>),
}

/// The two kinds of policies; each is watched by itself.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PolicyKind {
    /// ClusterInjectionPolicy.
    Cluster,
    /// InjectionPolicy.
    Namespaced,
}

/// All policies, of files and of the cluster.
#[derive(Debug, Default)]
pub(super) struct Roster {
    files: HashMap<PolicyId, Arc<Policy>>,
    cluster: HashMap<PolicyId, PolicyStanding>,
    in_force: HashMap<PolicyId, Arc<Policy>>,
    /// The policies that change what others may read.
    replacing: Vec<Arc<Policy>>,
}

/// Where one policy of the cluster stands.
#[derive(Debug)]
struct PolicyStanding {
    uid: String,
    number: i64,
    /// The newest generation, or why it is refused.
    newest: Result<Arc<Policy>, Vec<FieldError>>,
    /// The last generation that was in force.
    accepted: Option<Arc<Policy>>,
    said: Option<Acceptance>,
}

/// What a change comes to.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// What went out of force and what came into force, by policy.
    pub(super) turned: Vec<Turned>,
    /// What is new to be said.
    pub(super) statuses: Vec<StatusChange>,
}

/// One policy that is in force in another form, or not any more.
#[derive(Debug)]
pub(super) struct Turned {
    pub(super) out: Option<Arc<Policy>>,
    pub(super) into: Option<Arc<Policy>>,
}

impl Roster {
    /// Replaces all policies of files.
    pub(super) fn files(&mut self, policies: Vec<Arc<Policy>>) -> Settled {
        let before = std::mem::take(&mut self.files);
        self.files = policies.into_iter().map(|policy| (policy.id.clone(), policy)).collect();
        let touched: HashSet<PolicyId> = before.into_keys().chain(self.files.keys().cloned()).collect();
        self.settle(touched, &HashMap::new())
    }

    /// Takes in what happened to policies of the cluster.
    pub(super) fn cluster(&mut self, change: PolicyChange) -> Settled {
        let mut seen = HashMap::new();
        let mut touched = HashSet::new();
        match change {
            PolicyChange::Applied(id, generation) => self.take(id, generation, &mut touched, &mut seen),
            PolicyChange::Deleted(id) => {
                self.cluster.remove(&id);
                touched.insert(id);
            }
            PolicyChange::Relisted(kind, list) => {
                let listed: HashSet<&PolicyId> = list.iter().map(|(id, _)| id).collect();
                let gone = self.cluster.keys().filter(|id| kind.has(id) && !listed.contains(id));
                touched.extend(gone.cloned());
                for id in &touched {
                    self.cluster.remove(id);
                }
                for (id, generation) in list {
                    self.take(id, generation, &mut touched, &mut seen);
                }
            }
        }
        self.settle(touched, &seen)
    }

    /// How many policies are in force, in whatever generation.
    pub(super) fn in_force(&self) -> usize {
        self.in_force.len()
    }

    /// How many policies have a newest generation that is refused.
    pub(super) fn refused(&self) -> usize {
        let said = self.cluster.values().filter_map(|standing| standing.said.as_ref());
        said.filter(|said| !said.is_accepted()).count()
    }

    /// The policies in force.
    pub(super) fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.in_force.values()
    }

    fn take(
        &mut self,
        id: PolicyId,
        generation: Generation,
        touched: &mut HashSet<PolicyId>,
        seen: &mut HashMap<PolicyId, Option<PolicyStatus>>,
    ) {
        let Generation { uid, number, status, compiled } = generation;
        let before = self.cluster.remove(&id).filter(|standing| standing.uid == uid);
        let is_news = before.as_ref().is_none_or(|standing| standing.number != number);
        let standing = match before {
            // A change of the status or of an annotation: nothing is decided anew.
            Some(standing) if !is_news => standing,
            before => {
                let accepted = before.as_ref().and_then(|standing| standing.accepted.clone());
                let said = before.and_then(|standing| standing.said);
                PolicyStanding { uid, number, newest: compiled, accepted, said }
            }
        };
        self.cluster.insert(id.clone(), standing);
        seen.insert(id.clone(), status);
        touched.insert(id);
    }

    /// All policies as each would be in force if nothing else were.
    fn wanted(&self) -> impl Iterator<Item = &Arc<Policy>> {
        let of_cluster = self.cluster.iter().filter(|(id, _)| !self.files.contains_key(id));
        self.files.values().chain(of_cluster.filter_map(|(_, standing)| standing.wanted()))
    }

    /// Why `policy` cannot be in force beside the others.
    fn refusal(&self, policy: &Policy) -> Option<FieldError> {
        if is_read_by_others(policy) {
            return replaced::refusal(policy, self.wanted());
        }
        replaced::refusal(policy, &self.replacing)
    }

    /// What was touched, and the policies whose verdict may follow from it: all of them where one that changes what
    /// others may read came or went, else those that do.
    fn with_those_that_depend(&mut self, mut touched: HashSet<PolicyId>) -> HashSet<PolicyId> {
        let mut replacing: Vec<Arc<Policy>> =
            self.wanted().filter(|policy| is_read_by_others(policy)).cloned().collect();
        replacing.sort_by(|a, b| a.order(b));
        let is_same = replacing.len() == self.replacing.len()
            && replacing.iter().zip(&self.replacing).all(|(one, other)| Arc::ptr_eq(one, other));
        if is_same {
            touched.extend(self.replacing.iter().map(|policy| policy.id.clone()));
        } else {
            self.replacing = replacing;
            touched.extend(self.files.keys().chain(self.cluster.keys()).cloned());
        }
        touched
    }

    /// Decides what of the touched policies is in force.
    fn settle(&mut self, touched: HashSet<PolicyId>, seen: &HashMap<PolicyId, Option<PolicyStatus>>) -> Settled {
        let mut settled = Settled::default();
        let touched = self.with_those_that_depend(touched);
        let mut touched: Vec<PolicyId> = touched.into_iter().collect();
        touched.sort_by(|a, b| (&a.scope, &a.name).cmp(&(&b.scope, &b.name)));
        for id in touched {
            let of_file = self.files.get(&id);
            // It is put back below; meanwhile the others are looked at.
            let standing = self.cluster.remove(&id);
            let refusal = |policy: &Policy| self.refusal(policy);
            let into = match standing {
                None => match of_file.map(|policy| (policy, refusal(policy))) {
                    Some((policy, Some(error))) => {
                        let acceptance = Acceptance::of_refused(policy.generation.unwrap_or(0), &[error], None);
                        let id = id.clone();
                        settled.statuses.push(StatusChange { id, uid: None, acceptance, previous: None, seen: None });
                        None
                    }
                    of_file => of_file.map(|(policy, _)| Arc::clone(policy)),
                },
                Some(mut standing) => {
                    let previous = standing.said.take();
                    let (into, acceptance) = standing.decide(of_file, refusal);
                    standing.said = Some(acceptance.clone());
                    let seen = seen.get(&id);
                    // What was said and is not there was never written, or taken away.
                    let is_lost = seen.is_some_and(|seen| seen.as_ref().and_then(accepted).is_none());
                    if previous.as_ref() != Some(&acceptance) || is_lost {
                        let uid = Some(standing.uid.clone());
                        let (id, seen) = (id.clone(), seen.cloned().flatten());
                        settled.statuses.push(StatusChange { id, uid, acceptance, previous, seen });
                    }
                    self.cluster.insert(id.clone(), standing);
                    into
                }
            };
            let out = match &into {
                Some(policy) => self.in_force.insert(id, Arc::clone(policy)),
                None => self.in_force.remove(&id),
            };
            let is_same = match (&out, &into) {
                (Some(out), Some(into)) => Arc::ptr_eq(out, into),
                (out, into) => out.is_none() && into.is_none(),
            };
            if !is_same {
                settled.turned.push(Turned { out, into });
            }
        }
        settled
    }
}

impl PolicyStanding {
    /// The policy as it would be in force if nothing else were: the newest generation, or the last accepted one.
    fn wanted(&self) -> Option<&Arc<Policy>> {
        self.newest.as_ref().ok().or(self.accepted.as_ref())
    }

    /// What of the policy is in force: the newest generation, or the last accepted one; nothing where a file holds a policy
    /// of that name.
    fn decide(
        &mut self,
        of_file: Option<&Arc<Policy>>,
        refusal: impl Fn(&Policy) -> Option<FieldError>,
    ) -> (Option<Arc<Policy>>, Acceptance) {
        if let Some(policy) = of_file {
            let why = "a policy file of the server has a policy of this kind and name, which is in force instead";
            let errors = [FieldError::new("metadata.name", why)];
            let into = refusal(policy).is_none().then(|| Arc::clone(policy));
            return (into, Acceptance::of_refused(self.number, &errors, None));
        }
        let errors = match &self.newest {
            Ok(policy) => match refusal(policy) {
                None => {
                    self.accepted = Some(Arc::clone(policy));
                    return (Some(Arc::clone(policy)), Acceptance::of_valid(self.number, &policy.notes));
                }
                Some(error) => vec![error],
            },
            Err(errors) => errors.clone(),
        };
        let older = self.accepted.clone().filter(|policy| refusal(policy).is_none());
        let number = older.as_ref().and_then(|policy| policy.generation);
        (older, Acceptance::of_refused(self.number, &errors, number))
    }
}

impl PolicyKind {
    /// Whether a policy of this identity is of this kind.
    #[must_use]
    pub const fn has(self, id: &PolicyId) -> bool {
        matches!((self, &id.scope), (Self::Cluster, Scope::Cluster) | (Self::Namespaced, Scope::Namespace(_)))
    }
}
