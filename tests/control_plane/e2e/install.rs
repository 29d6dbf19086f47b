//! From an empty cluster to a running injected pod, and what policies do from then on.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    SECOND,
    image::run,
    lab::{self, Lab},
    manifests, overlay, policy, say, unscheduled, until, variable,
};

/// How long a change takes to show, of three tries the quickest: the machine may be busy with something else.
async fn quickest(what: &str, mut change: impl AsyncFnMut(u32) -> Duration) {
    let mut took = Vec::new();
    for turn in 0..3 {
        took.push(change(turn).await);
    }
    let best = *took.iter().min().unwrap();
    say(&format!("{what}: {took:?}"));
    assert!(best < SECOND, "{what}: {took:?}");
}

/// Waits until a pod made now has the variable `TOLD` with this value.
async fn told(lab: &Lab, namespace: &str, value: Option<&str>) -> Duration {
    until("the change shows", async || variable(&lab.tried(namespace, &unscheduled("told")).await, "TOLD") == value)
        .await
}

fn telling(value: &str) -> Value {
    policy("told", json!({"env": [{"name": "TOLD", "value": value}]}))
}

/// Where a policy of the cluster is.
fn path(name: &str) -> String {
    format!("/apis/stowage.dev/v1alpha1/clusterinjectionpolicies/{name}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_takes_effect_within_a_second_of_being_applied_changed_and_deleted() {
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    lab.installed().await;
    lab.namespace("policies", json!({})).await;
    quickest("a policy applied", async |turn| {
        lab.cluster.post(&path(""), &telling(&turn.to_string())).await.object();
        let took = told(lab, "policies", Some(&turn.to_string())).await;
        lab.cluster.call(Method::DELETE, &path("told"), None).await.object();
        told(lab, "policies", None).await;
        took
    })
    .await;
    lab.cluster.post(&path(""), &telling("first")).await.object();
    quickest("a policy changed", async |turn| {
        let mut stored = lab.cluster.get(&path("told")).await.object();
        stored["spec"]["env"][0]["value"] = json!(turn.to_string());
        lab.cluster.call(Method::PUT, &path("told"), Some(&stored)).await.object();
        told(lab, "policies", Some(&turn.to_string())).await
    })
    .await;
    let condition = until("accepted", async || {
        let stored = lab.cluster.get(&path("told")).await.object();
        stored["status"]["conditions"][0]["status"] == "True"
            && stored["status"]["observedGeneration"] == stored["metadata"]["generation"]
    })
    .await;
    say(&format!("status written: {condition:?}"));
    quickest("a policy deleted", async |_| {
        lab.cluster.call(Method::DELETE, &path("told"), None).await.object();
        let took = told(lab, "policies", None).await;
        lab.cluster.post(&path(""), &telling("again")).await.object();
        told(lab, "policies", Some("again")).await;
        took
    })
    .await;
    lab.no_policies();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_policy_is_refused_by_kubectl_apply_or_said_to_be_wrong_in_its_status() {
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    lab.installed().await;
    lab.namespace("wrong", json!({})).await;
    lab.apply(&telling("right"));
    told(lab, "wrong", Some("right")).await;
    // By the rules of the schema: kubectl shows the field.
    let refused = lab.try_apply(&policy("told", json!({"storage": [{"v3io": {}}]}))).unwrap_err();
    assert!(refused.contains("spec.storage") && refused.contains("need spec.v3io"), "{refused}");
    // By what a schema cannot see: the status says it, and what was accepted last stays in force.
    lab.apply(&policy(
        "told",
        json!({
            "env": [{"name": "TOLD", "value": "wrong"}],
            "storage": [{"pvc": {"claimName": "c", "subPath": "{label:no label}"}}]
        }),
    ));
    let mut condition = Value::Null;
    let took = until("refused in the status", async || {
        let stored = lab.cluster.get(&path("told")).await.object();
        condition = stored["status"]["conditions"][0].clone();
        condition["status"] == "False"
    })
    .await;
    say(&format!("refused by compile, status after {took:?}: {condition}"));
    assert_eq!(condition["type"], "Accepted");
    assert!(condition["message"].as_str().unwrap().contains("spec.storage[0].pvc.subPath"), "{condition}");
    assert_eq!(variable(&lab.tried("wrong", &unscheduled("told")).await, "TOLD"), Some("right"));
    lab.no_policies();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_opts_in_and_out_by_its_label() {
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    lab.installed().await;
    lab.namespace("optional", json!({})).await;
    lab.apply(&telling("in"));
    told(lab, "optional", Some("in")).await;
    lab.install(&manifests().join("overlays/namespace-opt-in"));
    let took = told(lab, "optional", None).await;
    say(&format!("the overlay namespace-opt-in, applied over cluster-wide, has effect after {took:?}"));
    let label = async |value: Value| {
        let labels = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "optional", "labels": {"stowage.dev/injection": value}}});
        lab.cluster.patch("/api/v1/namespaces/optional", &labels).await;
    };
    quickest("a namespace opted in", async |_| {
        label(json!("enabled")).await;
        let took = told(lab, "optional", Some("in")).await;
        label(Value::Null).await;
        told(lab, "optional", None).await;
        took
    })
    .await;
    quickest("a namespace opted out", async |_| {
        label(json!("enabled")).await;
        told(lab, "optional", Some("in")).await;
        label(Value::Null).await;
        told(lab, "optional", None).await
    })
    .await;
    // And back: what the label asked for is no longer asked.
    lab.install(&overlay());
    told(lab, "optional", Some("in")).await;
    lab.no_policies();
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_delete_leaves_nothing_and_pods_are_created_as_before() {
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    lab.installed().await;
    lab.namespace("left", json!({})).await;
    lab.apply(&telling("here"));
    told(lab, "left", Some("here")).await;
    let overlay = overlay();
    let begun = Instant::now();
    let mut removal = lab.kubectl();
    removal.args(["delete", "--timeout=120s", "-k"]).arg(&overlay).stdout(Stdio::null());
    let mut removal = removal.spawn().unwrap();
    let mut created = 0;
    while removal.try_wait().unwrap().is_none() {
        let reply = lab.cluster.post("/api/v1/namespaces/left/pods?dryRun=All", &unscheduled("told")).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.message());
        created += 1;
    }
    assert!(removal.wait().unwrap().success());
    say(&format!("removed in {:?}, {created} pods tried meanwhile, none refused", begun.elapsed()));
    let kinds = "namespace,crd,clusterrole,clusterrolebinding,mutatingwebhookconfiguration,validatingadmissionpolicy";
    let left = run(lab.kubectl().args(["get", "-o", "name", kinds]));
    let left: Vec<_> = left.lines().filter(|name| name.contains("stowage")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(variable(&lab.create("left", &unscheduled("told")).await, "TOLD"), None);
}
