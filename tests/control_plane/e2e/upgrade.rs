//! One release rolled to another and back, while pods are created.
//!
//! `STOWAGE_E2E_OTHER_RELEASE` names the program of the other release, an earlier one or a later one. Its marker may have
//! fields that ours has not; which they are is seen in the pods, and said.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use hyper::Method;
use serde_json::{Value, json};

use super::{
    IMAGE, audited,
    failures::{loaded, serving, shared},
    image::run,
    lab::Lab,
    load::{Load, NAME, Tally, VARIABLE, fields},
    replica::{asked, patched, version},
    say, unscheduled, until, variable,
};

/// What the image of the other release is called.
const OTHER_IMAGE: &str = "localhost/stowage:other";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/stowage/deployments/stowage";
const POLICY: &str = "/apis/stowage.dev/v1alpha1/clusterinjectionpolicies/load";

/// The program of the other release. There may be none to be had, so its want is no failure even where the control
/// plane is required.
fn other_release() -> Option<PathBuf> {
    let program = std::env::var_os("STOWAGE_E2E_OTHER_RELEASE").map(PathBuf::from);
    if program.is_none() {
        say("skipped: STOWAGE_E2E_OTHER_RELEASE names no program of another release: none was rolled to another");
    }
    program
}

/// A policy that leaves in the marker whatever there may be.
fn policy(value: &str) -> Value {
    super::policy(
        NAME,
        json!({
            "env": [{"name": VARIABLE, "value": value}],
            "labels": {"rolled": "yes"},
            "storage": [
                {"configMap": {"name": "conf", "mountPath": "/conf"}},
                {"pvc": {"claimName": "{label:nobody}"}}
            ],
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
        }),
    )
}

/// One that both refuse, by what no schema can see.
fn refused() -> Value {
    let mut policy = policy("refused");
    policy["spec"]["storage"][1]["pvc"]["subPath"] = json!("{label:no label}");
    policy
}

fn is_of(replica: &Value, image: &str) -> bool {
    replica["spec"]["containers"][0]["image"] == image
}

/// A replica of this image.
async fn one_of(lab: &Lab, image: &str) -> Value {
    let replicas = lab.replicas().await;
    let found = replicas.into_iter().find(|replica| is_of(replica, image) && super::is_ready(replica));
    found.unwrap_or_else(|| panic!("no replica of {image} is ready"))
}

fn marker(pod: &Value) -> Value {
    serde_json::from_str(pod["metadata"]["annotations"]["stowage.dev/injected"].as_str().unwrap()).unwrap()
}

/// A pod that this release has made is one to which the other has nothing to add, and whose marker it believes.
async fn read_by(lab: &Lab, pod: &Value, image: &str) {
    let replica = one_of(lab, image).await;
    let again = asked(lab, &replica, NAME, pod).await;
    assert_eq!(again["allowed"], true, "{image}: {again}");
    assert_eq!(patched(pod, &again), *pod, "{image}: a second pass has something to do");
    // Without the annotation it would take our own label and mount for the user's; with it, a container that comes late
    // gets what the others have.
    let mut with_late = pod.clone();
    let late = json!({"name": "late", "image": "localhost/tools:1"});
    with_late["spec"]["containers"].as_array_mut().unwrap().push(late);
    let after = patched(&with_late, &asked(lab, &replica, NAME, &with_late).await);
    let of = |container: usize, what: &str| after["spec"]["containers"][container][what].clone();
    assert_eq!(of(1, "env"), of(0, "env"), "{image}: {after}");
    assert!(of(1, "volumeMounts").to_string().contains("/conf"), "{image}: {after}");
    let record = |pod: &Value, field: &str| marker(pod)["policies"][0][field].clone();
    assert_eq!(record(&after, "applied"), record(pod, "applied"), "{image}");
    assert_eq!(marker(&after)["labels"], json!({"rolled": null}), "{image}");
}

/// Begins to roll to this image, and stops where both releases serve.
async fn halfway(lab: &Lab, image: &str) {
    run(lab.kubectl().args(["-n", "stowage", "set", "image", "deployment/stowage", &format!("stowage={image}")]));
    // The old replicas stay until a new one is ready, which takes it longer than this takes us.
    until("the first of the others is made", async || lab.replicas().await.iter().any(|one| is_of(one, image))).await;
    lab.cluster.patch(DEPLOYMENT, &json!({"spec": {"paused": true}})).await.object();
    lab.await_ready_replicas(3).await;
    let others = lab.replicas().await.iter().filter(|replica| is_of(replica, image)).count();
    assert_eq!(others, 1, "of three replicas");
}

async fn the_whole_way(lab: &Lab) {
    lab.cluster.patch(DEPLOYMENT, &json!({"spec": {"paused": false}})).await.object();
    lab.await_replicas();
    lab.gone_are_gone().await;
}

/// How often the status of the policy was written since the audit log had so many lines.
fn statuses_written(lab: &Lab, since: usize) -> usize {
    let is_written = |event: &&Value| {
        let object = &event["objectRef"];
        object["subresource"] == "status" && object["name"] == NAME && event["responseStatus"]["code"] == 200
    };
    audited(lab).iter().skip(since).filter(is_written).count()
}

/// Changes the policy, back and forth between what is accepted and what is refused; how often its status was written.
async fn edited(lab: &Lab, edits: usize) -> usize {
    let before = audited(lab).len();
    for edit in 0..edits {
        let (change, verdict) = if edit % 2 == 0 { (refused(), "False") } else { (policy("yes"), "True") };
        lab.apply(&change);
        let is_told = |stored: &Value| {
            stored["status"]["observedGeneration"] == stored["metadata"]["generation"]
                && stored["status"]["conditions"][0]["status"] == verdict
        };
        until("the status is written", async || is_told(&lab.cluster.get(POLICY).await.object())).await;
        // Long enough for whoever is of another opinion.
        tokio::time::sleep(super::SECOND * 2).await;
    }
    statuses_written(lab, before)
}

/// Until the API server keeps to a replica of this image, which is not up to it: it chooses anew where its own goes.
async fn served_by(lab: &Lab, load: &Load, image: &str) -> usize {
    let mut moves = 0;
    loop {
        let now = serving(lab, load).await;
        if is_of(&now, image) {
            return moves;
        }
        assert!(moves < 20, "20 times another one");
        moves += 1;
        run(lab.kubectl().args(["-n", "stowage", "delete", "pod", now["metadata"]["name"].as_str().unwrap()]));
        lab.await_ready_replicas(3).await;
    }
}

/// Rolls to this image, with a stop halfway; what was made before and after it.
async fn rolled(lab: &Lab, load: &Load, [from, to]: [&str; 2]) -> [Value; 2] {
    let begun = Instant::now();
    let lines = audited(lab).len();
    load.more(200).await;
    let before = lab.create(NAME, &unscheduled(NAME)).await;
    read_by(lab, &before, from).await;
    halfway(lab, to).await;
    read_by(lab, &before, to).await;
    assert_eq!(statuses_written(lab, lines), 0, "of a policy that nobody changed");
    let moves = served_by(lab, load, to).await;
    let side_by_side = lab.create(NAME, &unscheduled(NAME)).await;
    read_by(lab, &side_by_side, from).await;
    read_by(lab, &side_by_side, to).await;
    load.more(200).await;
    let edits = 6;
    assert_eq!(edited(lab, edits).await, edits, "statuses of {edits} changes");
    the_whole_way(lab).await;
    let after = lab.create(NAME, &unscheduled(NAME)).await;
    read_by(lab, &after, to).await;
    load.more(200).await;
    let versions = version(&one_of(lab, to).await).await;
    say(&format!("rolled to {versions} in {:?}; {moves} replicas deleted until it served halfway", begun.elapsed()));
    [before, after]
}

/// Says which fields the pods of the load have in their markers, and holds that both releases made some.
fn by_release(tally: &Tally, ours: &Value, others: &Value) {
    let (ours, others) = (fields(ours), fields(others));
    say(&format!(
        "fields of the other release's marker alone: {:?}; of ours alone: {:?}",
        others.difference(&ours).collect::<Vec<_>>(),
        ours.difference(&others).collect::<Vec<_>>()
    ));
    let made = [&ours, &others].map(|fields| tally.markers.get(fields).copied().unwrap_or_default());
    say(&format!("pods of the load with our marker: {}, with the other release's: {}", made[0], made[1]));
    if ours == others {
        return say("both releases write the same fields");
    }
    assert!(made.iter().all(|number| *number >= 200), "{made:?}");
    assert_eq!(made.iter().sum::<usize>(), tally.injected, "a marker of neither");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_rolled_to_another_and_back_costs_no_creation() {
    let Some(lab) = shared() else { return };
    let Some(program) = other_release() else { return };
    let _turn = lab.turn().await;
    loaded(lab, "Fail").await;
    lab.import_stowage(OTHER_IMAGE, Path::new(&program));
    lab.apply(&policy("yes"));
    until("the policy is in force", async || {
        lab.tried(NAME, &unscheduled(NAME)).await["metadata"]["labels"]["rolled"] == "yes"
    })
    .await;
    let load = Load::begin(lab);
    let begun = Instant::now();
    let [ours, theirs] = rolled(lab, &load, [IMAGE, OTHER_IMAGE]).await;
    // A replica that knew of no policy would have nothing to add to anything.
    let bare = asked(lab, &one_of(lab, OTHER_IMAGE).await, NAME, &unscheduled(NAME)).await;
    assert_eq!(variable(&patched(&unscheduled(NAME), &bare), VARIABLE), Some("yes"), "{bare}");
    let [_, again] = rolled(lab, &load, [OTHER_IMAGE, IMAGE]).await;
    assert_eq!(fields(&again), fields(&ours));
    let tally = load.end().await;
    lab.cluster.call(Method::DELETE, &format!("/api/v1/namespaces/{NAME}/pods"), None).await.object();
    by_release(&tally, &ours, &theirs);
    tally.is_whole(&format!("rolled to another release and back in {:?}", begun.elapsed()), begun);
}
