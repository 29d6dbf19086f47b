//! Who is told of what is left out, and what `stowage explain` makes of a pod that was seen, missed or opted out.

use std::process::Command;

use serde_json::{Value, json};

use super::{Lab, SECOND, image::run, lab, manifests, policy, say, unscheduled, until, variable};

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

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_what_is_known_of_replicas_that_are_gone() {
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    lab.installed().await;
    lab.namespace(NAME, json!({})).await;
    lab.apply(&policy(NAME, json!({"env": [{"name": "GREETING", "value": "hello"}]})));
    in_force(lab).await;
    let stowage = |args: &[&str]| run(lab.kubectl().args(["-n", "stowage"]).args(args));
    // Times are of whole seconds.
    let pause = async || tokio::time::sleep(SECOND * 2).await;
    pause().await;
    let seen = lab.create(NAME, &unscheduled(NAME)).await;
    let mut opted_out = unscheduled(NAME);
    opted_out["metadata"]["labels"]["stowage.dev/inject"] = json!("false");
    let opted_out = lab.create(NAME, &opted_out).await;
    let then = lab.replicas().await;
    pause().await;
    stowage(&["rollout", "restart", "deployment/stowage"]);
    lab.await_replicas();
    lab.gone_are_gone().await;
    let (word, text) = explain(lab, NAME, name(&opted_out));
    assert_eq!(word, "OptedOut", "{text}");
    assert!(text.contains("ready then     yes, 2 at least\n"), "{text}");
    for replica in &then {
        assert!(text.contains(&format!("gone           {} ran from ", name(replica))), "{text}");
    }
    let (_, text) = explain(lab, NAME, name(&seen));
    assert!(text.contains("ready then     yes, one answered"), "{text}");
    stowage(&["scale", "deployment/stowage", "--replicas=0"]);
    stowage(&["wait", "--for=delete", "pod", "--all", "--timeout=60s"]);
    pause().await;
    let missed = lab.create(NAME, &unscheduled(NAME)).await;
    pause().await;
    stowage(&["scale", "deployment/stowage", "--replicas=2"]);
    lab.await_replicas();
    let (word, text) = explain(lab, NAME, name(&missed));
    assert_eq!(word, "NobodyAnswered", "{text}");
    assert!(text.contains("ready then     none is known to have been"), "{text}");
    assert!(text.contains("; before, it lacked some\n") && text.contains("none ran when the pod was made\n"), "{text}");
    assert!(text.contains(&format!("neighbour      {}, made ", name(&seen))), "{text}");
    // What the Deployment said of that time is overwritten.
    let (_, text) = explain(lab, NAME, name(&opted_out));
    assert!(text.contains("ready then     not known: a replica ran that is gone"), "{text}");
    lab.no_policies();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_without_the_account_of_a_policy_loses_no_pod_and_is_told() {
    const NAME: &str = "told-accounts";
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    lab.installed().await;
    lab.namespace(NAME, json!({})).await;
    let defaults = json!({"serviceAccountName": "runner"});
    lab.apply(&policy(NAME, json!({"env": [{"name": "GREETING", "value": "hello"}], "defaults": defaults})));
    let account = |pod: &Value| pod["spec"]["serviceAccountName"].as_str().unwrap().to_owned();
    until("the policy is in force", async || {
        variable(&lab.tried(NAME, &unscheduled(NAME)).await, "GREETING").is_some()
    })
    .await;
    let reply = lab.cluster.post(&format!("/api/v1/namespaces/{NAME}/pods"), &unscheduled(NAME)).await;
    let told = reply.warnings.concat();
    assert!(told.contains("namespace told-accounts has no service account runner"), "{told}");
    let without = reply.object();
    assert_eq!(account(&without), "default");
    let (word, text) = explain(lab, NAME, name(&without));
    assert_eq!(word, "Injected", "{text}");
    assert!(text.contains("has no service account runner"), "{text}");
    lab.apply(
        &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "runner", "namespace": NAME}}),
    );
    // That there is none is remembered for a second.
    let waited =
        until("the account is set", async || account(&lab.tried(NAME, &unscheduled(NAME)).await) == "runner").await;
    say(&format!("an account that was made is set {waited:.1?} later"));
    assert_eq!(account(&lab.create(NAME, &unscheduled(NAME)).await), "runner");
    lab.no_policies();
}
