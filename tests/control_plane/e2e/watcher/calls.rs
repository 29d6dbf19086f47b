//! The calls that the installed accounts make, from the API server's audit log, against the table of them.

use std::collections::BTreeSet;

use hyper::Method;
use serde_json::{Value, json};
use stowage::{
    certs::secret::SECRET_NAME,
    cluster::calls::{Account, CALLS},
};

use super::{
    super::{Lab, SECOND, audited, image::run, is_ready, lab, policy, replica::asked, say, unscheduled, until},
    installed::Installed,
};

const NAME: &str = "node-calls";

/// A call by the name of its account, as `GROUP/RESOURCE VERB`.
type Call = (String, String);

fn call(event: &Value) -> Call {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let user = text(&event["user"]["username"]);
    let account = user.rsplit(':').next().unwrap().to_owned();
    let object = &event["objectRef"];
    let Some(resource) = object["resource"].as_str() else {
        return (account, format!("{} {}", text(&event["requestURI"]), text(&event["verb"])));
    };
    let resource = match object["subresource"].as_str() {
        Some(sub) => format!("{resource}/{sub}"),
        None => resource.to_owned(),
    };
    (account, format!("{}/{resource} {}", text(&object["apiGroup"]), text(&event["verb"])))
}

/// The table, of the API groups that are served here.
async fn table(lab: &Lab) -> BTreeSet<Call> {
    let served = lab.cluster.get("/apis").await.object();
    let served: Vec<&str> =
        served["groups"].as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap()).collect();
    CALLS
        .iter()
        .filter(|call| call.group.is_empty() || served.contains(&call.group))
        .map(|call| {
            let account = match call.account {
                Account::Webhook | Account::Keeper => "stowage",
                Account::Watcher | Account::Deleter | Account::Evictor => "stowage-watcher",
            };
            (account.to_owned(), format!("{}/{} {}", call.group, call.resource, call.verb))
        })
        .collect()
}

/// Has both Deployments do everything that they do.
async fn everything(lab: &Lab) {
    let with = |name: &str, spec: Value| policy(&format!("{NAME}-{name}"), spec);
    // An owner is not deleted before its pod is 30 s old.
    let lacking = json!([{"pvc": {"claimName": "{label:nobody}"}}]);
    lab.apply(&with("job", json!({"storage": lacking, "stateThresholds": {"pendingNotScheduled": "32s"}})));
    // Were the account set, the pod would be refused.
    let absent = json!({"serviceAccountName": "nobody"});
    lab.apply(&with("bare", json!({"defaults": absent, "stateThresholds": {"pendingNotScheduled": "3s"}})));
    let evict = json!({"stateThresholds": {"pendingNotScheduled": "3s"}, "onExceeded": {"action": "Evict"}});
    let mut evict = with("evict", evict);
    evict["kind"] = json!("InjectionPolicy");
    evict["metadata"]["namespace"] = json!(NAME);
    lab.apply(&evict);
    let is_accepted = async |path: &str| {
        lab.cluster.get(&format!("/apis/stowage.dev/v1alpha1/{path}")).await.body["status"]["conditions"][0]["status"]
            == "True"
    };
    until("both kinds of policies are accepted", async || {
        is_accepted(&format!("clusterinjectionpolicies/{NAME}-job")).await
            && is_accepted(&format!("namespaces/{NAME}/injectionpolicies/{NAME}-evict")).await
    })
    .await;
    let job = unscheduled(&format!("{NAME}-job"));
    let mut spec = job["spec"].clone();
    spec["restartPolicy"] = json!("Never");
    // Two pods lack the same: their Job is told once, and once more.
    lab.apply(&json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "train", "namespace": NAME},
        "spec": {"parallelism": 2, "completions": 2,
                 "template": {"metadata": {"labels": job["metadata"]["labels"]}, "spec": spec}},
    }));
    for name in ["bare", "evict"] {
        lab.create(NAME, &unscheduled(&format!("{NAME}-{name}"))).await;
    }
    let secret = format!("/api/v1/namespaces/stowage/secrets/{SECRET_NAME}");
    let is_whole =
        async || lab.cluster.get(&secret).await.body["data"]["tls.crt"].as_str().is_some_and(|text| !text.is_empty());
    lab.cluster.patch(&secret, &json!({"data": {"tls.crt": ""}})).await.object();
    until("the Secret is mended", is_whole).await;
    lab.cluster.call(Method::DELETE, &secret, None).await.object();
    until("the Secret is made again", is_whole).await;
    until("all that is due is gone", async || {
        let pods = lab.cluster.get(&format!("/api/v1/namespaces/{NAME}/pods")).await.object();
        pods["items"].as_array().unwrap().is_empty()
    })
    .await;
}

/// Has the webhook asked about a namespace of which no news has come to it.
async fn a_namespace_is_asked_for(lab: &Lab) {
    let replica = lab.replicas().await.into_iter().find(is_ready).unwrap();
    let answer = asked(lab, &replica, "nowhere", &unscheduled(NAME)).await;
    assert_eq!(answer["allowed"], true, "{answer}");
}

/// Has the watcher say the same of the same pod again: its policy is changed, and changed back.
async fn the_same_is_said_again(lab: &Lab) {
    let name = format!("{NAME}-noticed");
    let announced = |minutes: u32| {
        let seconds = minutes * 60 - 1;
        let on_exceeded = json!({"noticeBefore": format!("{seconds}s")});
        let thresholds = json!({"pendingNotScheduled": format!("{minutes}m")});
        lab.apply(&policy(&name, json!({"stateThresholds": thresholds, "onExceeded": on_exceeded})));
    };
    announced(60);
    let pod = lab.create(NAME, &unscheduled(&name)).await;
    let pod = pod["metadata"]["name"].as_str().unwrap();
    let told = async || {
        let path = format!("/apis/events.k8s.io/v1/namespaces/{NAME}/events");
        let mut events = lab.cluster.get(&path).await.object()["items"].take();
        events
            .as_array_mut()
            .unwrap()
            .retain(|event| event["regarding"]["name"] == pod && event["reason"] == "RemovalAnnounced");
        events.as_array().unwrap().clone()
    };
    until("the removal is announced", async || told().await.len() == 1).await;
    announced(61);
    until("another one is announced", async || told().await.len() == 2).await;
    announced(60);
    until("the first is announced again", async || {
        told().await.iter().any(|event| event["series"]["count"].as_i64() >= Some(2))
    })
    .await;
    run(lab.kubectl().args(["-n", NAME, "delete", "pod", "--grace-period=0", "--force", pod]));
}

/// Has the watcher list all pods once more from an API server that streams no lists.
async fn pods_are_listed_in_pages(lab: &Lab) {
    lab.restart_apiserver_with(&["--feature-gates=WatchList=false"]);
    let listed = async || audited(lab).iter().map(call).any(|(_, call)| call == "/pods list");
    let mut turn = 0;
    until("pods are listed in pages", async || {
        // The replicas may not have come back to the API server yet when a policy changes.
        turn += 1;
        lab.apply(&policy(&format!("{NAME}-listed"), json!({"stateThresholds": {"running": format!("{turn}h")}})));
        tokio::time::sleep(SECOND * 2).await;
        listed().await
    })
    .await;
    lab.restart_apiserver();
}

/// Whether the Job was told what its pods lack, twice, and of its end.
async fn is_said(lab: &Lab) -> bool {
    let events = lab.cluster.get(&format!("/apis/events.k8s.io/v1/namespaces/{NAME}/events")).await.object();
    let events: Vec<&Value> = events["items"].as_array().unwrap().iter().collect();
    let of_job = |event: &&&Value| event["regarding"]["name"] == "train";
    let told = |test: &dyn Fn(&Value) -> bool| events.iter().filter(of_job).any(|event| test(event));
    told(&|event| event["series"]["count"].as_i64() >= Some(2)) && told(&|event| super::is_of_removal(event))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accounts_make_the_calls_of_the_table_and_no_others() {
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    let watcher = Installed::start(lab).await;
    a_namespace_is_asked_for(lab).await;
    let before = audited(lab).len();
    lab.namespace(NAME, json!({})).await;
    everything(lab).await;
    the_same_is_said_again(lab).await;
    let table = table(lab).await;
    until("all removals are told", async || watcher.removals().len() == 3).await;
    // What earlier tests had it do counts as well. Events are sent behind a removal's back.
    until("all that is to be said is said", async || is_said(lab).await).await;
    // An API server that has just come back forbids everything for a moment, and tests restart it.
    let forbidden: Vec<Call> =
        audited(lab).iter().skip(before).filter(|event| event["responseStatus"]["code"] == 403).map(call).collect();
    assert!(forbidden.is_empty(), "{forbidden:?}");
    watcher.says_of_no_failure();
    pods_are_listed_in_pages(lab).await;
    let events = audited(lab);
    let seen: BTreeSet<Call> = events.iter().map(call).collect();
    say(&format!("{} kinds of calls in {} lines of the audit log, of {}", seen.len(), events.len(), table.len()));
    let beyond: Vec<&Call> = seen.difference(&table).collect();
    assert!(beyond.is_empty(), "not in the table: {beyond:?}");
    let never: Vec<&Call> = table.difference(&seen).collect();
    assert!(never.is_empty(), "in the table, and never made: {never:?}");
}
