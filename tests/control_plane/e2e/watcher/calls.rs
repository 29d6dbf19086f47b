//! The calls that the installed accounts make, from the API server's audit log, against the table of them.

use std::{collections::BTreeSet, fs};

use hyper::Method;
use serde_json::{Value, json};
use stowage::{
    certs::secret::SECRET_NAME,
    cluster::calls::{Account, CALLS},
};

use super::{
    super::{Lab, lab, policy, say, unscheduled, until},
    installed::Installed,
};

const NAME: &str = "node-calls";

/// Calls that no test here can arrange: one of a webhook to which a pod comes before the news of its namespace, one of a
/// watcher that says the same words of the same object again, and one of a watcher whose API server streams no lists.
const RARE: [(&str, &str); 3] = [
    ("stowage", "/namespaces get"),
    ("stowage-watcher", "events.k8s.io/events patch"),
    ("stowage-watcher", "/pods list"),
];

/// A call by the name of its account, as `GROUP/RESOURCE VERB`.
type Call = (String, String);

/// What the accounts of Stowage's namespace have asked for, as the API server noted it.
fn asked(lab: &Lab) -> Vec<Value> {
    let log = fs::read_to_string(lab.folder.join("audit.log")).unwrap();
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

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
    let before = asked(lab).len();
    lab.namespace(NAME, json!({})).await;
    everything(lab).await;
    let table = table(lab).await;
    until("all removals are told", async || watcher.removals().len() == 3).await;
    // What earlier tests had it do counts as well. Events are sent behind a removal's back.
    until("all that is to be said is said", async || is_said(lab).await).await;
    let events = asked(lab);
    let seen: BTreeSet<Call> = events.iter().map(call).collect();
    say(&format!("{} kinds of calls in {} lines of the audit log, of {}", seen.len(), events.len(), table.len()));
    let beyond: Vec<&Call> = seen.difference(&table).collect();
    assert!(beyond.is_empty(), "not in the table: {beyond:?}");
    let is_rare = |(account, call): &&Call| RARE.contains(&(account, call));
    let never: Vec<&Call> = table.difference(&seen).filter(|call| !is_rare(call)).collect();
    assert!(never.is_empty(), "in the table, and never made: {never:?}");
    // An API server that has just come back forbids everything for a moment, and earlier tests restart it.
    let forbidden: Vec<Call> =
        events.iter().skip(before).filter(|event| event["responseStatus"]["code"] == 403).map(call).collect();
    assert!(forbidden.is_empty(), "{forbidden:?}");
    watcher.says_of_no_failure();
}
