//! Owners of due pods before a real API server: one pod of them at a time, the whole of them once, or not at all.
//!
//! The kinds of operators are definitions that the tests make, with the groups and names of the real ones. What an operator
//! would do is done by the test.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    ABORTED, PROMPT, no_calls_fail,
    stage::{Running, SECOND, Turn, apart, merge, turn, until},
};

/// A kind that the tests define.
struct Kind {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
}

const RAY_CLUSTER: Kind = Kind { group: "ray.io", version: "v1", kind: "RayCluster" };
const JOB_SET: Kind = Kind { group: "jobset.x-k8s.io", version: "v1alpha2", kind: "JobSet" };
const MPI_JOB: Kind = Kind { group: "kubeflow.org", version: "v2beta1", kind: "MPIJob" };
/// Of no known kind.
const CREW: Kind = Kind { group: "example.com", version: "v1", kind: "Crew" };

impl Kind {
    fn plural(&self) -> String {
        format!("{}s", self.kind.to_lowercase())
    }

    fn collection(&self, namespace: &str) -> String {
        format!("/apis/{}/{}/namespaces/{namespace}/{}", self.group, self.version, self.plural())
    }

    fn path(&self, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.collection(namespace))
    }

    /// Has the API server know the kind; it may already.
    async fn define(&self, turn: &Turn) {
        let plural = self.plural();
        let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {
                "name": format!("{plural}.{}", self.group),
                // Groups of Kubernetes' own ask who has agreed.
                "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
            },
            "spec": {
                "group": self.group, "scope": "Namespaced", "names": {"kind": self.kind, "plural": plural},
                "versions": [{"name": self.version, "served": true, "storage": true, "schema": schema}],
            },
        });
        turn.cluster().post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
        let served = self.collection(&turn.namespace);
        until("the kind is served", async || turn.is_there(&served).await).await;
    }

    /// An object of it with these labels.
    async fn make(&self, turn: &Turn, name: &str, labels: Value) -> Value {
        let object = json!({
            "apiVersion": format!("{}/{}", self.group, self.version), "kind": self.kind,
            "metadata": {"name": name, "labels": labels},
        });
        turn.cluster().post(&self.collection(&turn.namespace), &object).await.object()
    }
}

/// A change to an object that makes it the owner's.
fn of(owner: &Value) -> Value {
    json!({"metadata": {"ownerReferences": [{
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true,
    }]}})
}

fn with(mut value: Value, change: Value) -> Value {
    merge(&mut value, change);
    value
}

async fn job(turn: &Turn, name: &str, change: Value) -> Value {
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"template": {"spec": {
            "schedulerName": "nobody", "restartPolicy": "Never", "containers": [{"name": "main", "image": "localhost/none:1"}],
        }}},
    });
    turn.cluster().post(&job_path(turn, ""), &with(job, change)).await.object()
}

fn job_path(turn: &Turn, name: &str) -> String {
    format!("/apis/batch/v1/namespaces/{}/jobs{}{name}", turn.namespace, if name.is_empty() { "" } else { "/" })
}

/// The names of the pods that nobody has deleted.
async fn living(turn: &Turn) -> BTreeSet<String> {
    let pods = turn.pods().await;
    let living = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    living.map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// What `check --owner` prints for the kind, given to the watcher.
async fn allow(turn: &Turn, kind: &Kind) {
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let name = format!("test-{}", kind.plural());
    let rules = json!([{"apiGroups": [kind.group], "resources": [kind.plural()], "verbs": ["get", "delete"]}]);
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
                      "rules": rules});
    turn.cluster().post(&format!("{rbac}/clusterroles"), &role).await;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": "stowage-watcher", "namespace": "stowage"}],
    });
    turn.cluster().post(&format!("{rbac}/clusterrolebindings"), &binding).await;
}

/// The reasons and notes of the Events on a pod, once there is one.
async fn told(turn: &Turn, pod: &str) -> Vec<(String, String)> {
    let mut events = Vec::new();
    until(&format!("an Event is on {pod}"), async || {
        events = turn.events(pod).await;
        !events.is_empty()
    })
    .await;
    events
}

fn removed(watcher: &Running, action: &str) -> Vec<String> {
    let removals = watcher.removals();
    let of_action = removals.iter().filter(|line| line["action"] == action);
    let what = if action == "delete-owner" { "owner" } else { "pod" };
    of_action.map(|line| line[what].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_goes_alone_while_its_siblings_run_and_after_three_the_next_is_reported() {
    let Some(turn) = turn("watch-alone").await else { return };
    turn.node("n1").await;
    for kind in [RAY_CLUSTER, CREW] {
        kind.define(&turn).await;
    }
    allow(&turn, &CREW).await;
    let rays = RAY_CLUSTER.make(&turn, "rays", json!({})).await;
    let crew = CREW.make(&turn, "crew", json!({})).await;
    turn.policy(json!({"pendingNotScheduled": "5s"}), Value::Null).await;
    let watcher = turn.watch("watcher", "one", &[&PROMPT[..], &["--owner=example.com/Crew"]].concat()).await;
    for owner in [&rays, &crew] {
        let head = format!("{}-head", owner["metadata"]["name"].as_str().unwrap());
        turn.pod(&head, with(of(owner), json!({"spec": {"nodeName": "n1"}}))).await;
        turn.run(&head).await;
    }
    // Two workers of each wait together, and their operators make the missing ones again.
    for round in 1..=4 {
        for owner in [&rays, &crew] {
            let name = owner["metadata"]["name"].as_str().unwrap();
            let first = if round == 1 { 1 } else { round + 1 };
            for number in first..=round + 1 {
                turn.pod(&format!("{name}-{number}"), of(owner)).await;
            }
        }
        if round < 4 {
            until("one worker of each is gone", async || living(&turn).await.len() == 4).await;
        }
    }
    let mut reported = BTreeSet::new();
    until("the others are reported", async || {
        for pod in living(&turn).await {
            for (reason, note) in turn.events(&pod).await {
                let owner = if pod.starts_with("rays") { "RayCluster/rays" } else { "Crew/crew" };
                assert_eq!(reason, "StateThresholdReported", "{pod}: {note}");
                assert!(note.contains(&format!("3 pods of {owner} were removed")), "{pod}: {note}");
                reported.insert(pod.clone());
            }
        }
        reported.len() == 4
    })
    .await;
    let gone = removed(&watcher, "delete");
    for owner in ["rays", "crew"] {
        let of_owner = gone.iter().filter(|pod| pod.starts_with(owner)).count();
        assert_eq!(of_owner, 3, "{gone:?}");
    }
    assert_eq!(watcher.removals().len(), 6);
    assert!(living(&turn).await.is_superset(&BTreeSet::from(["rays-head".to_owned(), "crew-head".to_owned()])));
    assert!(turn.is_there(&RAY_CLUSTER.path(&turn.namespace, "rays")).await);
    assert!(turn.is_there(&CREW.path(&turn.namespace, "crew")).await);
    no_calls_fail(&watcher.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gang_goes_as_a_whole_and_once_and_a_job_of_a_foreign_controller_is_reported() {
    let Some(turn) = turn("watch-gang").await else { return };
    turn.node("n1").await;
    for kind in [JOB_SET, MPI_JOB, CREW] {
        kind.define(&turn).await;
    }
    // An owner is not deleted before its pod is 30 s old.
    turn.policy(json!({"pendingNotScheduled": "32s"}), Value::Null).await;
    let watcher = turn.watch("watcher", "one", &PROMPT).await;
    let set = JOB_SET.make(&turn, "set", json!({})).await;
    job(&turn, "set-workers", with(of(&set), json!({"spec": {"parallelism": 3, "completions": 3}}))).await;
    let on_node = json!({"spec": {"template": {"spec": {"nodeName": "n1"}}}});
    job(&turn, "set-leader", with(of(&set), on_node)).await;
    let mpi = MPI_JOB.make(&turn, "mpi", json!({})).await;
    turn.pod("mpi-launcher", with(of(&mpi), json!({"spec": {"nodeName": "n1"}}))).await;
    turn.run("mpi-launcher").await;
    for number in 0..3 {
        turn.pod(&format!("mpi-worker-{number}"), of(&mpi)).await;
    }
    let crew = CREW.make(&turn, "crew", json!({})).await;
    job(&turn, "crew-job", of(&crew)).await;
    until("the Jobs have their pods", async || living(&turn).await.len() == 9).await;
    let leader = living(&turn).await.into_iter().find(|pod| pod.starts_with("set-leader")).unwrap();
    turn.run(&leader).await;
    for (kind, name) in [(JOB_SET, "set"), (MPI_JOB, "mpi")] {
        let path = kind.path(&turn.namespace, name);
        until(&format!("{name} is gone"), async || !turn.is_there(&path).await).await;
    }
    // Those on the node are marked, as no kubelet lets them go.
    until("their pods go after them", async || living(&turn).await.iter().all(|pod| pod.starts_with("crew-job"))).await;
    for name in ["set-workers", "set-leader"] {
        until(&format!("{name} is gone"), async || !turn.is_there(&job_path(&turn, name)).await).await;
    }
    let foreign = living(&turn).await.into_iter().next().unwrap();
    let events = told(&turn, &foreign).await;
    assert_eq!(events[0].0, "StateThresholdReported", "{events:?}");
    assert!(events[0].1.contains("Crew/crew would only make Job/crew-job again"), "{events:?}");
    tokio::time::sleep(SECOND * 10).await;
    assert_eq!(living(&turn).await, BTreeSet::from([foreign]));
    assert!(turn.is_there(&job_path(&turn, "crew-job")).await);
    let mut owners = removed(&watcher, "delete-owner");
    owners.sort_unstable();
    assert_eq!(owners, ["JobSet/set", "MPIJob/mpi"], "one removal for each, however many of its pods are due");
    assert_eq!(watcher.removals().len(), 2, "{:?}", watcher.removals());
    for name in ["set", "mpi"] {
        assert!(told(&turn, name).await.iter().any(|(_, note)| note.starts_with(ABORTED)));
    }
    no_calls_fail(&watcher.log());
}

/// Pods that name owners which did not make them, and the owners.
struct Forged {
    pods: Vec<(&'static str, Value)>,
    owners: Vec<String>,
}

fn team(team: &str) -> Value {
    json!({"metadata": {"labels": {"team": team}}})
}

fn template(of_team: &str) -> Value {
    json!({"spec": {"template": team(of_team)}})
}

impl Forged {
    /// The policy means the Job `kept` and the MPIJob, and nothing called `victim` besides.
    async fn come(turn: &Turn, other: &Turn) -> Self {
        let kept = job(turn, "kept", template("a")).await;
        let victim = job(turn, "victim", template("b")).await;
        let rays = RAY_CLUSTER.make(turn, "victim", json!({"team": "b"})).await;
        let mpi = MPI_JOB.make(turn, "victim", json!({"team": "a"})).await;
        let afar = job(other, "afar", template("a")).await;
        let claim = |kind: &Value, name: &str, of: &Value| {
            json!({"apiVersion": kind["apiVersion"], "kind": kind["kind"],
                   "metadata": {"name": name, "uid": of["metadata"]["uid"]}})
        };
        let pods = vec![
            ("wrong-uid", claim(&kept, "kept", &victim)),
            ("wrong-kind", claim(&mpi, "victim", &kept)),
            ("absent-kind", claim(&mpi, "kept", &kept)),
            ("other-namespace", afar.clone()),
            ("out-of-the-path", claim(&afar, &format!("../../{}/jobs/afar", other.namespace), &afar)),
            ("complete-job", victim.clone()),
            ("complete-rays", rays),
        ];
        for (name, owner) in &pods {
            turn.pod(name, with(of(owner), team("a"))).await;
        }
        let mut loose = with(of(&victim), team("a"));
        loose["metadata"]["ownerReferences"][0]["controller"] = json!(false);
        turn.pod("no-controller", loose).await;
        let owners = vec![
            job_path(turn, "kept"),
            job_path(turn, "victim"),
            RAY_CLUSTER.path(&turn.namespace, "victim"),
            MPI_JOB.path(&turn.namespace, "victim"),
            job_path(other, "afar"),
        ];
        Self { pods, owners }
    }
}

/// Without the garbage collector, which removes pods of owners that are not there, before anybody else looks at them.
#[tokio::test(flavor = "multi_thread")]
async fn owners_that_did_not_make_the_pod_are_left_alone() {
    let Some(turn) = apart("watch-forged").await else { return };
    for kind in [RAY_CLUSTER, MPI_JOB] {
        kind.define(&turn).await;
    }
    turn.policy(json!({"pendingNotScheduled": "32s"}), Value::Null).await;
    turn.edit_policy(json!({"match": {"podSelector": {"matchLabels": {"team": "a"}}}})).await;
    let watcher = turn.watch("watcher", "one", &PROMPT).await;
    let other = turn.elsewhere("watch-forged-other").await;
    let forged = Forged::come(&turn, &other).await;
    // What is as it says is removed, so that the others are left alone for what they are.
    let own = job(&turn, "own", template("a")).await;
    let own_rays = RAY_CLUSTER.make(&turn, "own", json!({"team": "a"})).await;
    for (name, owner) in [("of-own-job", &own), ("of-own-rays", &own_rays)] {
        turn.pod(name, with(of(owner), team("a"))).await;
    }
    for path in [job_path(&turn, "own"), RAY_CLUSTER.path(&turn.namespace, "own")] {
        until("the policy's own is removed", async || !turn.is_there(&path).await).await;
    }
    // A bare pod, whatever else it is counted to.
    until("a pod without controller goes alone", async || !living(&turn).await.contains("no-controller")).await;
    for (name, _) in &forged.pods {
        let events = told(&turn, name).await;
        assert_eq!(events.len(), 1, "{name}: {events:?}");
        assert_eq!(events[0].0, "OwnerNotConfirmed", "{name}: {events:?}");
    }
    for name in ["kept", "victim", "afar"] {
        // Nothing is said of what may be somebody else's.
        assert!(turn.events(name).await.is_empty() && other.events(name).await.is_empty(), "{name}");
    }
    for path in &forged.owners {
        assert!(turn.is_there(path).await, "{path}");
    }
    let left = living(&turn).await;
    assert!(forged.pods.iter().all(|(name, _)| left.contains(*name)), "{left:?}");
    let mut owners = removed(&watcher, "delete-owner");
    owners.sort_unstable();
    assert_eq!(owners, ["Job/own", "RayCluster/own"]);
    assert_eq!(removed(&watcher, "delete"), ["no-controller"]);
    no_calls_fail(&watcher.log());
}
