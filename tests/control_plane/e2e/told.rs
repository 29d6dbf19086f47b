//! Who is told of what is left out, and what `stowage explain` makes of a pod that was seen, missed or opted out.

use std::process::Command;

use serde_json::{Value, json};

use super::{Lab, image::run, lab, manifests, policy, unscheduled, until, variable};

const NAME: &str = "told-owners";

/// The first word of `stowage explain`, read by the administrator's account, and the whole.
fn explain(lab: &Lab, namespace: &str, object: &str) -> (String, String) {
    let mut explain = Command::new(env!("CARGO_BIN_EXE_stowage"));
    explain.env("KUBECONFIG", &lab.kubeconfig).args(["explain", "-n", namespace, object]);
    let text = run(&mut explain);
    (text.lines().next().unwrap_or_default().to_owned(), text)
}

fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap()
}

/// A policy of which one modifier never resolves.
fn lacking() -> Value {
    policy(
        NAME,
        json!({
            "env": [{"name": "GREETING", "value": "hello"}],
            "storage": [{"pvc": {"claimName": "{label:nobody}"}}],
        }),
    )
}

async fn in_force(lab: &Lab) {
    until("the policy is in force", async || {
        variable(&lab.tried(NAME, &unscheduled(NAME)).await, "GREETING").is_some()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_pod_lacks_something_is_told_so_and_a_dry_run_tells_nobody() {
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    lab.installed().await;
    lab.namespace(NAME, json!({})).await;
    lab.apply(&lacking());
    in_force(lab).await;
    let mut dry = unscheduled(NAME);
    let owner = json!({"apiVersion": "batch/v1", "kind": "Job", "name": "dry", "uid": "0", "controller": true});
    dry["metadata"]["ownerReferences"] = json!([owner]);
    assert!(variable(&lab.tried(NAME, &dry).await, "GREETING").is_some());
    let pod = unscheduled(NAME);
    lab.apply(&json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "train", "namespace": NAME},
        "spec": {"template": {
            "metadata": {"labels": pod["metadata"]["labels"]},
            "spec": {"restartPolicy": "Never", "schedulerName": "nobody", "containers": pod["spec"]["containers"]},
        }},
    }));
    let events = async || {
        let events = lab.cluster.get(&format!("/api/v1/namespaces/{NAME}/events")).await.object();
        let events = events["items"].as_array().unwrap().iter();
        events
            .filter(|event| event["source"]["component"] == "stowage" || event["reportingComponent"] == "stowage")
            .cloned()
            .collect::<Vec<_>>()
    };
    until("the Job is told", async || !events().await.is_empty()).await;
    let told = events().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["involvedObject"]["name"], "train");
    assert!(told[0]["message"].as_str().unwrap().contains("storage[0].pvc"), "{told:?}");
    let (word, text) = explain(lab, NAME, "job/train");
    assert_eq!(word, "WouldBeInjected", "{text}");
    lab.no_policies();
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_refuses_what_was_not_seen_and_explain_says_that_nobody_answered() {
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    lab.installed().await;
    lab.namespace(NAME, json!({})).await;
    lab.apply(&policy(NAME, json!({"env": [{"name": "GREETING", "value": "hello"}]})));
    in_force(lab).await;
    lab.install(&manifests().join("overlays/strict"));
    in_force(lab).await;
    let asking = |value: &str| {
        let mut pod = unscheduled(NAME);
        pod["metadata"]["labels"]["stowage.dev/inject"] = json!(value);
        pod
    };
    let path = format!("/api/v1/namespaces/{NAME}/pods");
    let seen = lab.create(NAME, &asking("true")).await;
    let (word, text) = explain(lab, NAME, name(&seen));
    assert_eq!(word, "Injected", "{text}");
    assert!(text.contains("so it was when the pod was made"), "{text}");
    until("an opt-out is refused", async || {
        lab.cluster.post(&path, &asking("false")).await.message().contains("is not allowed here")
    })
    .await;
    let stowage = |args: &[&str]| run(lab.kubectl().args(["-n", "stowage"]).args(args));
    stowage(&["scale", "deployment/stowage", "--replicas=0"]);
    stowage(&["wait", "--for=delete", "pod", "--all", "--timeout=60s"]);
    let missed = lab.create(NAME, &unscheduled(NAME)).await;
    assert_eq!(variable(&missed, "GREETING"), None);
    let (word, text) = explain(lab, NAME, &format!("pod/{}", name(&missed)));
    assert_eq!(word, "NobodyAnswered", "{text}");
    assert!(text.contains("replica        none is there") && text.contains("what would be done now"), "{text}");
    let refused = lab.cluster.post(&path, &asking("true")).await;
    assert!(refused.message().contains("Stowage has not seen it"), "{}", refused.message());
    stowage(&["scale", "deployment/stowage", "--replicas=2"]);
    lab.await_replicas();
    in_force(lab).await;
    lab.create(NAME, &asking("true")).await;
    // An overlay that is applied takes nothing away of what another brought.
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        run(lab.kubectl().args(["delete", kind, "stowage-injected"]));
    }
    lab.installed().await;
}
