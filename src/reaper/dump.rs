//! The pods of a dump, held until all of it is read: a namespace, a node or a sibling may come after the pod, and of one
//! pod the last state counts.
//!
//! A pod is held in a few hundred bytes: its state, what a decision reads of it, and of its labels those that a policy
//! asks for.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::policy::Policy;
use crate::policy::snapshot::Snapshot;
use crate::reaper::input::DumpObject;
use crate::reaper::table::VerdictRow;
use crate::reaper::terms::{policy_name, speaks_to_the_watcher, watched};
use crate::threshold::action::{decide, named};
use crate::threshold::owner::{OwnerObject, kinship};
use crate::threshold::pod::OwnerReference;
use crate::threshold::resolve::{PolicyThresholds, resolve};
use crate::threshold::words::PodWords;
use crate::threshold::{
    ActionRules, Circumstances, NodeReadiness, RemovalSubject, Siblings, Standing, WatchedPod, evaluate_standing,
};

mod held;

use held::{HeldLabels, HeldPod, HeldPods};

/// Most warnings that are kept; a dump of 100,000 pods may have one each.
const WARNINGS: usize = 50;

/// How far up owners are climbed; a circle of forged references ends here.
const CLIMBED: usize = 8;

/// A dump as far as it is read.
#[derive(Debug)]
pub struct Dump {
    snapshot: Snapshot,
    rules: ActionRules,
    /// The labels that any policy selects pods by.
    asked_for: BTreeSet<String>,
    /// The resources that any policy selects pods by.
    resources: BTreeSet<String>,
    /// Policies that cannot be judged where a namespace's labels are not known.
    by_namespace_labels: Vec<Arc<Policy>>,
    pods: HeldPods,
    places: HashMap<Arc<str>, usize>,
    nodes: HashMap<String, NodeReadiness>,
    owners: HashMap<String, OwnerObject>,
    /// Pods that say that they are Spark drivers, with their own controllers.
    drivers: HashMap<Arc<str>, Option<Arc<OwnerReference>>>,
    references: HashSet<Arc<OwnerReference>>,
    texts: HashSet<Arc<str>>,
}

/// The verdicts on a dump.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// One for each pod, in the order in which the pods first came.
    pub rows: Vec<VerdictRow>,
    /// What a person should know.
    pub warnings: BTreeSet<String>,
}

impl Dump {
    /// A dump that is to be judged by these policies, and by these rules about owners.
    pub fn new(snapshot: Snapshot, rules: ActionRules) -> Self {
        let policies = snapshot.policies.policies();
        let keys = policies.iter().flat_map(|policy| policy.pods.requirements()).map(|asked| asked.key.clone());
        let asked_for = keys.collect();
        let resources = policies.iter().flat_map(|policy| policy.requests.iter().cloned()).collect();
        let by_namespace_labels = policies
            .iter()
            .filter(|policy| asks_for_namespace_labels(policy))
            .map(|policy| (*policy).clone())
            .collect();
        Self {
            snapshot,
            rules,
            asked_for,
            resources,
            by_namespace_labels,
            pods: HeldPods::default(),
            places: HashMap::new(),
            nodes: HashMap::new(),
            owners: HashMap::new(),
            drivers: HashMap::new(),
            references: HashSet::new(),
            texts: HashSet::new(),
        }
    }

    /// Takes an object in. Says whether a judgement may want it.
    pub fn add(&mut self, object: DumpObject) -> bool {
        match object {
            DumpObject::Pod(pod) => self.add_pod(&pod),
            DumpObject::Gone(pod) => {
                let place = self.places.remove(key(&pod).as_str());
                if let Some(place) = place {
                    self.pods.forget(place);
                }
            }
            DumpObject::Namespace(name, labels) => {
                Arc::make_mut(&mut self.snapshot.namespaces).insert(name, labels);
            }
            DumpObject::Node(node) => {
                self.nodes.insert(node.metadata.name.clone(), node.readiness());
            }
            DumpObject::NodeGone(name) => {
                self.nodes.insert(name, NodeReadiness::Missing);
            }
            DumpObject::Owner(owner) => {
                let is_known = kinship(&owner.reference(), &self.rules.owners).is_some();
                if !is_known && owner.metadata.controller().is_none() {
                    return false;
                }
                self.owners.insert(owner.metadata.uid.clone(), *owner);
            }
        }
        true
    }

    /// Labels of every namespace that the dump and the policy files say nothing of.
    pub fn label_the_rest(&mut self, labels: &BTreeMap<String, String>) {
        if labels.is_empty() {
            return;
        }
        for pod in self.pods.iter() {
            if !self.snapshot.knows(&pod.namespace) {
                Arc::make_mut(&mut self.snapshot.namespaces).insert(pod.namespace.to_string(), labels.clone());
            }
        }
    }

    fn add_pod(&mut self, pod: &WatchedPod) {
        let key = key(pod);
        let mut subject = RemovalSubject::of(pod);
        subject.controller = subject.controller.map(|owner| self.reference(owner));
        let uid: Arc<str> = pod.metadata.uid.as_str().into();
        if !uid.is_empty() && pod.metadata.labels.get("spark-role").is_some_and(|role| role == "driver") {
            self.drivers.insert(uid.clone(), subject.controller.clone());
        }
        let standing = Standing::of(pod);
        let words = Some(pod.words()).filter(|words| *words != PodWords::default());
        let node = Some(pod.spec.node_name.as_str()).filter(|node| !node.is_empty());
        let held = HeldPod {
            namespace: self.text(&pod.metadata.namespace),
            name: pod.metadata.name.as_str().into(),
            labels: self.labels(pod),
            requested: self.requested(pod),
            node: node.map(|node| self.text(node)),
            state: standing.state,
            since: standing.since,
            lost: pod.lost(),
            caveat: standing.caveat,
            subject,
            words: words.map(Box::new),
            uid,
        };
        let place = self.places.get(key.as_str()).copied();
        match place {
            Some(place) => self.pods.renew(place, held),
            None => {
                let key = if pod.metadata.uid.is_empty() { key.into() } else { held.uid.clone() };
                self.places.insert(key, self.pods.push(held));
            }
        }
    }

    fn labels(&mut self, pod: &WatchedPod) -> HeldLabels {
        let mut text = String::new();
        for (key, value) in pod.metadata.labels.iter().filter(|(key, _)| self.asked_for.contains(*key)) {
            text.push_str(key);
            text.push('\0');
            text.push_str(value);
            text.push('\0');
        }
        HeldLabels::new(self.text(&text))
    }

    fn requested(&mut self, pod: &WatchedPod) -> Arc<str> {
        let mut text = String::new();
        if !self.resources.is_empty() {
            for name in pod.requested().filter(|name| self.resources.contains(*name)) {
                text.push_str(name);
                text.push('\0');
            }
        }
        self.text(&text)
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.texts.insert(new.clone());
        new
    }

    fn reference(&mut self, owner: Arc<OwnerReference>) -> Arc<OwnerReference> {
        if let Some(known) = self.references.get(&owner) {
            return known.clone();
        }
        self.references.insert(owner.clone());
        owner
    }

    /// The verdicts at `now`.
    pub fn judge(mut self, now: Timestamp) -> Verdicts {
        let mut verdicts = Verdicts { rows: Vec::with_capacity(self.places.len()), ..Verdicts::default() };
        let siblings = self.siblings();
        let mut unknown: BTreeMap<String, BTreeSet<Arc<str>>> = BTreeMap::new();
        let mut texts = HashSet::new();
        for pod in std::mem::take(&mut self.pods) {
            let resolved = self.resolved(&pod, &mut unknown);
            for warning in &resolved.warnings {
                if verdicts.warnings.len() < WARNINGS {
                    verdicts.warnings.insert(format!("{}/{}: {warning}", pod.namespace, pod.name));
                }
            }
            let around = self.circumstances(&pod, &siblings, resolved.is_spared);
            let node = self.node(&pod);
            let verdict = evaluate_standing(pod.state, pod.since, node, &resolved.thresholds, now);
            let limit = resolved.thresholds.effective(verdict.state);
            let removal = decide(&pod.namespace, &pod.subject, &verdict, limit, &around, &self.rules, now);
            let caveat = pod.caveat.filter(|_| verdict.state == pod.state);
            let HeldPod { namespace, name, uid, .. } = pod;
            verdicts.rows.push(VerdictRow::new((namespace, name, uid), &verdict, limit, &removal, caveat, &mut texts));
        }
        verdicts.warnings.extend(unknown.into_iter().map(|(policy, namespaces)| {
            let names: Vec<&str> = namespaces.iter().map(AsRef::as_ref).take(4).collect();
            let more = namespaces.len().saturating_sub(names.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!(
                "policy {policy} selects namespaces by their labels, and nothing tells those of {}{more}: dump the \
                 Namespaces with the pods (`kubectl get ns,pods -A -o json`), or give --namespace-labels",
                names.join(", ")
            )
        }));
        verdicts
    }

    /// What the pods of each owner do.
    fn siblings(&self) -> HashMap<String, Siblings> {
        let mut siblings: HashMap<String, Siblings> = HashMap::new();
        for pod in self.pods.iter() {
            if let Some(owner) = &pod.subject.controller {
                let (state, _) = self.node(pod).apply(pod.state, pod.since);
                let identity = identity(&pod.namespace, owner);
                match siblings.get_mut(&*identity) {
                    Some(of_owner) => of_owner.count(state),
                    None => siblings.entry(identity.into_owned()).or_default().count(state),
                }
            }
        }
        siblings
    }

    fn node(&self, pod: &HeldPod) -> NodeReadiness {
        let known = pod.node.as_ref().and_then(|node| self.nodes.get(&**node));
        // One that is not in the dump counts as ready.
        known.copied().unwrap_or(NodeReadiness::Unheard).dated_by(pod.lost)
    }

    fn resolved(
        &self,
        pod: &HeldPod,
        unknown: &mut BTreeMap<String, BTreeSet<Arc<str>>>,
    ) -> crate::threshold::Resolved {
        let index = &self.snapshot.policies;
        let labels = self.snapshot.namespace(&pod.namespace);
        let matching = index.matching(&pod.namespace, &labels, &pod.labels);
        if !self.snapshot.knows(&pod.namespace) {
            for policy in self.by_namespace_labels.iter().filter(|policy| policy.pods.matches(&pod.labels)) {
                unknown.entry(policy.id.to_string()).or_default().insert(pod.namespace.clone());
            }
        }
        let names: Vec<(&Policy, Arc<str>)> = matching
            .into_iter()
            .filter(|policy| speaks_to_the_watcher(policy) && is_requested(policy, &pod.requested))
            .map(|policy| (&**policy, policy_name(policy)))
            .collect();
        let policies: Vec<PolicyThresholds<'_>> = names.iter().map(|(policy, name)| watched(policy, name)).collect();
        let none = PodWords::default();
        resolve(pod.words.as_deref().unwrap_or(&none), &policies)
    }

    fn circumstances(&self, pod: &HeldPod, siblings: &HashMap<String, Siblings>, is_spared: bool) -> Circumstances {
        let Some(owner) = &pod.subject.controller else {
            return Circumstances { is_spared, ..Circumstances::default() };
        };
        let object = self.owners.get(&owner.uid);
        let mut above = Vec::new();
        let mut climbed = object.map(|object| object.metadata.controller().cloned());
        let driver = self.drivers.get(owner.uid.as_str());
        if let Some(of_driver) = driver {
            climbed = Some(of_driver.as_deref().cloned());
        }
        while let Some(Some(next)) = climbed.take()
            && above.len() < CLIMBED
        {
            climbed = self.owners.get(&next.uid).map(|object| object.metadata.controller().cloned());
            above.push(next);
        }
        let (state, _) = self.node(pod).apply(pod.state, pod.since);
        Circumstances {
            siblings: siblings.get(&*identity(&pod.namespace, owner)).copied().unwrap_or_default().without(state),
            removed_alone: 0,
            job: object.and_then(OwnerObject::job_budget),
            is_elastic: object.is_some_and(OwnerObject::is_elastic)
                || above.iter().filter_map(|above| self.owners.get(&above.uid)).any(OwnerObject::is_elastic),
            is_driver: driver.map(|_| true).or_else(|| self.places.contains_key(owner.uid.as_str()).then_some(false)),
            above,
            is_spared,
        }
    }
}

/// Whether a policy that is for pods which request a resource is for this one.
fn is_requested(policy: &Policy, requested: &str) -> bool {
    policy.requests.is_empty() || requested.split('\0').any(|name| policy.requests.iter().any(|asked| asked == name))
}

fn asks_for_namespace_labels(policy: &Policy) -> bool {
    let by_label = |key: &str| key != crate::policy::snapshot::NAMESPACE_NAME_LABEL;
    speaks_to_the_watcher(policy)
        && policy
            .namespaces
            .as_ref()
            .is_some_and(|selector| selector.requirements().iter().any(|requirement| by_label(&requirement.key)))
}

/// What tells an owner from others: its uid, or where a dump has none its kind and name.
fn identity<'o>(namespace: &str, owner: &'o OwnerReference) -> Cow<'o, str> {
    if owner.uid.is_empty() {
        return format!("{namespace}/{}/{}", owner.group(), named(owner)).into();
    }
    Cow::Borrowed(&owner.uid)
}

/// What makes two states those of one pod: its uid, or where a dump has none its name.
fn key(pod: &WatchedPod) -> String {
    let metadata = &pod.metadata;
    if metadata.uid.is_empty() { format!("{}/{}", metadata.namespace, metadata.name) } else { metadata.uid.clone() }
}
