//! What `kubectl apply -k` would send, rendered without a cluster.
//!
//! Needs kubectl, and promtool for the alerts; without them the test passes and says on stderr that it was skipped.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use regex::Regex;
use serde_json::{Value, json};
use stowage::{
    certs::secret::SECRET_NAME,
    cluster::calls::{Account, CALLS},
    metrics::Metrics,
    policy::document,
};

use crate::webhook::root;

const OVERLAYS: [&str; 4] = ["cluster-wide", "namespace-opt-in", "cert-manager", "strict"];
const COMPONENTS: [&str; 9] = [
    "namespace-opt-in",
    "pod-opt-in",
    "strict",
    "fail-closed",
    "cert-manager",
    "monitoring",
    "watcher",
    "watcher-report",
    "watcher-evict",
];

/// Metrics of others that our alerts and panels read.
const FOREIGN: [&str; 4] = [
    "up",
    "apiserver_admission_webhook_fail_open_count",
    "apiserver_admission_webhook_rejection_count",
    "apiserver_admission_webhook_admission_duration_seconds_bucket",
];

#[test]
fn every_overlay_and_every_component_renders() {
    for overlay in OVERLAYS {
        let Some(alone) = render(overlay, &[]) else { return };
        holds_what_all_hold(overlay, &alone);
    }
    for component in COMPONENTS {
        holds_what_all_hold(component, &render("cluster-wide", &[component]).unwrap());
    }
    let whole = ["namespace-opt-in", "strict", "monitoring", "watcher"];
    holds_what_all_hold("a whole installation", &render("cluster-wide", &whole).unwrap());
}

fn holds_what_all_hold(name: &str, objects: &[Value]) {
    let last = objects.last().unwrap();
    assert_eq!(last["kind"], "MutatingWebhookConfiguration", "{name}: the registration is applied last");
    let registrations = of(objects, "MutatingWebhookConfiguration");
    assert_eq!(registrations.len(), 1, "{name}");
    assert_eq!(last["metadata"]["name"], "00-stowage");
    let entries = last["webhooks"].as_array().unwrap();
    assert_eq!(entries.len(), 1, "{name}");
    let entry = &entries[0];
    assert_eq!(entry["name"], "pods.stowage.dev", "{name}");
    assert_eq!(entry["timeoutSeconds"], 2);
    assert_eq!(entry["rules"].as_array().unwrap().len(), 1);
    assert_eq!(entry["rules"][0]["operations"], json!(["CREATE"]));
    assert_eq!(entry["rules"][0]["resources"], json!(["pods"]));
    let excluded = entry["namespaceSelector"]["matchExpressions"].as_array().unwrap();
    let own = json!({"key": "stowage.dev/control-plane", "operator": "DoesNotExist"});
    let system = json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system"]});
    assert!(excluded.contains(&own) && excluded.contains(&system), "{name}: {excluded:?}");
    let namespace = of(objects, "Namespace");
    assert_eq!(namespace.len(), 1, "{name}");
    assert_eq!(namespace[0]["metadata"]["labels"]["stowage.dev/control-plane"], "true", "{name}");
    assert!(of(objects, "Secret").is_empty(), "{name}: certificates are made in the cluster");
    let fought = last.to_string().contains("caBundle");
    assert!(!fought, "{name}: an apply would take the bundle from whoever writes it");
    let images: BTreeSet<&str> =
        of(objects, "Deployment").iter().map(|deployment| container(deployment)["image"].as_str().unwrap()).collect();
    assert_eq!(images.len(), 1, "{name}: {images:?}");
}

#[test]
fn the_definitions_that_are_installed_are_those_of_the_types() {
    let Some(objects) = render("cluster-wide", &[]) else { return };
    let found = of(&objects, "CustomResourceDefinition");
    let types = stowage::policy::crd::Definitions::generate();
    for wanted in [&types.cluster, &types.namespaced] {
        let mut installed = found
            .iter()
            .find(|object| object["metadata"]["name"] == wanted["metadata"]["name"])
            .unwrap()
            .to_owned()
            .clone();
        let labels = installed["metadata"].as_object_mut().unwrap().remove("labels").unwrap();
        assert_eq!(labels, json!({"app.kubernetes.io/part-of": "stowage"}));
        let differs = difference(&installed, wanted, "");
        assert_eq!(differs, None);
    }
}

/// Where two documents first differ; 0 and 0.0 are one number.
fn difference(left: &Value, right: &Value, at: &str) -> Option<String> {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.into_iter().find_map(|key| {
                let value = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                difference(&value(a), &value(b), &format!("{at}/{key}"))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| difference(a, b, &format!("{at}/{i}")))
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => None,
        _ => (left != right).then(|| at.to_owned()),
    }
}

#[test]
fn opt_in_narrows_the_registration_and_nothing_else() {
    let Some(wide) = render("cluster-wide", &[]) else { return };
    let namespaces = render("namespace-opt-in", &[]).unwrap();
    let pods = render("cluster-wide", &["pod-opt-in"]).unwrap();
    let both = render("namespace-opt-in", &["pod-opt-in"]).unwrap();
    let entry = |objects: &[Value]| objects.last().unwrap()["webhooks"][0].clone();
    let opted_out = json!([{"key": "stowage.dev/inject", "operator": "NotIn", "values": ["false"]}]);
    assert_eq!(entry(&wide)["objectSelector"]["matchExpressions"], opted_out);
    assert_eq!(entry(&wide)["failurePolicy"], "Ignore");
    let enabled = json!({"stowage.dev/injection": "enabled"});
    let asked = json!({"matchLabels": {"stowage.dev/inject": "true"}});
    assert_eq!(entry(&namespaces)["namespaceSelector"]["matchLabels"], enabled);
    assert_eq!(entry(&namespaces)["objectSelector"], entry(&wide)["objectSelector"]);
    assert_eq!(entry(&pods)["objectSelector"], asked);
    assert_eq!(entry(&pods)["namespaceSelector"], entry(&wide)["namespaceSelector"]);
    assert_eq!(entry(&both)["objectSelector"], asked);
    assert_eq!(entry(&both)["namespaceSelector"]["matchLabels"], enabled);
    for narrowed in [&namespaces, &pods, &both] {
        assert_eq!(narrowed[..narrowed.len() - 1], wide[..wide.len() - 1]);
    }
}

#[test]
fn strict_looks_at_the_same_namespaces_as_the_registration() {
    let Some(strict) = render("strict", &[]) else { return };
    let narrowed = render("namespace-opt-in", &["strict"]).unwrap();
    for objects in [&strict, &narrowed] {
        let policy = of(objects, "ValidatingAdmissionPolicy")[0];
        let entry = &objects.last().unwrap()["webhooks"][0];
        assert_eq!(policy["spec"]["matchConstraints"]["namespaceSelector"], entry["namespaceSelector"]);
        assert_eq!(policy["spec"]["matchConstraints"]["resourceRules"], entry["rules"]);
        assert_eq!(entry["failurePolicy"], "Ignore");
        let binding = of(objects, "ValidatingAdmissionPolicyBinding")[0];
        assert_eq!(binding["spec"]["policyName"], policy["metadata"]["name"]);
    }
    let closed = render("cluster-wide", &["fail-closed"]).unwrap();
    assert_eq!(closed.last().unwrap()["webhooks"][0]["failurePolicy"], "Fail");
}

#[test]
fn the_webhooks_account_can_delete_nothing_and_only_the_full_watcher_deletes() {
    let Some(watcher) = render("cluster-wide", &["watcher"]) else { return };
    let report = render("cluster-wide", &["watcher-report"]).unwrap();
    let evict = render("cluster-wide", &["watcher-evict"]).unwrap();
    for objects in [&watcher, &report, &evict] {
        let verbs = verbs(objects, "stowage");
        assert!(!verbs.iter().any(|verb| verb.contains("delete") || verb.contains('*')), "{verbs:?}");
    }
    let removing = |objects: &[Value]| -> Vec<String> {
        let verbs = verbs(objects, "stowage-watcher");
        verbs.into_iter().filter(|verb| verb.ends_with(" delete") || verb.contains("eviction")).collect()
    };
    assert!(removing(&watcher).contains(&"/pods delete".to_owned()));
    assert!(removing(&watcher).contains(&"batch/jobs delete".to_owned()));
    assert_eq!(removing(&evict), ["/pods/eviction create"]);
    assert_eq!(removing(&report), [""; 0]);
    let args = |objects: &[Value]| container(named(objects, "Deployment", "stowage-watcher"))["args"].clone();
    assert!(args(&report).as_array().unwrap().contains(&json!("--dry-run")));
    assert!(!args(&watcher).as_array().unwrap().contains(&json!("--dry-run")));
}

#[test]
fn roles_allow_the_calls_that_are_made_and_no_others() {
    let Some(own) = render("cluster-wide", &[]) else { return };
    let calls = |accounts: &[Account]| -> BTreeSet<String> {
        let made = CALLS.iter().filter(|call| accounts.contains(&call.account));
        made.map(|call| format!("{}/{} {}", call.group, call.resource, call.verb)).collect()
    };
    assert_eq!(verbs(&own, "stowage"), calls(&[Account::Webhook, Account::Keeper]));
    let cert_manager = render("cert-manager", &[]).unwrap();
    assert_eq!(verbs(&cert_manager, "stowage"), calls(&[Account::Webhook]));
    for (component, accounts) in [
        ("watcher", &[Account::Watcher, Account::Deleter, Account::Evictor][..]),
        ("watcher-evict", &[Account::Watcher, Account::Evictor]),
        ("watcher-report", &[Account::Watcher]),
    ] {
        let objects = render("cluster-wide", &[component]).unwrap();
        assert_eq!(verbs(&objects, "stowage-watcher"), calls(accounts), "{component}");
    }
    // One object is named wherever the API has names for it: creating has none.
    for role in ["Role", "ClusterRole"] {
        for object in
            of(&own, role).into_iter().filter(|object| !object["metadata"]["name"].as_str().unwrap().contains("policy"))
        {
            for rule in object["rules"].as_array().unwrap() {
                let of_one = ["secrets", "mutatingwebhookconfigurations"];
                let resource = rule["resources"][0].as_str().unwrap();
                if of_one.contains(&resource) && rule["verbs"] != json!(["create"]) {
                    let named = rule["resourceNames"].as_array().map(Vec::len);
                    assert_eq!(named, Some(1), "{resource} {}", rule["verbs"]);
                }
            }
        }
    }
    assert_eq!(named(&own, "Role", "stowage-certificates")["rules"][0]["resourceNames"], json!([SECRET_NAME]));
}

#[test]
fn cert_manager_takes_over_and_stowage_may_write_neither_secret_nor_registration() {
    let Some(objects) = render("cert-manager", &[]) else { return };
    let verbs = verbs(&objects, "stowage");
    let writes = |verb: &&String| verb.contains("secrets") || verb.ends_with("mutatingwebhookconfigurations patch");
    assert_eq!(verbs.iter().filter(writes).count(), 0, "{verbs:?}");
    let registration = objects.last().unwrap();
    let from = registration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"].as_str().unwrap();
    let (namespace, name) = from.split_once('/').unwrap();
    let certificate = named(&objects, "Certificate", name);
    assert_eq!(certificate["metadata"]["namespace"], namespace);
    // The name that the API server verifies.
    let service = &registration["webhooks"][0]["clientConfig"]["service"];
    let called = format!("{}.{}.svc", service["name"].as_str().unwrap(), service["namespace"].as_str().unwrap());
    assert!(certificate["spec"]["dnsNames"].as_array().unwrap().contains(&json!(called)));
    // A leaf that is its own root changes trust with every renewal.
    let issuer = named(&objects, "Issuer", certificate["spec"]["issuerRef"]["name"].as_str().unwrap());
    assert!(issuer["spec"].get("selfSigned").is_none());
    let secret = certificate["spec"]["secretName"].as_str().unwrap();
    let pod = &named(&objects, "Deployment", "stowage")["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], secret);
}

#[test]
fn the_arguments_of_the_deployments_are_ones_that_the_program_takes() {
    for (overlay, component, deployment) in [
        ("cluster-wide", None, "stowage"),
        ("cert-manager", None, "stowage"),
        ("cluster-wide", Some("watcher"), "stowage-watcher"),
        ("cluster-wide", Some("watcher-report"), "stowage-watcher"),
        ("cluster-wide", Some("watcher-evict"), "stowage-watcher"),
    ] {
        let Some(objects) = render(overlay, &Vec::from_iter(component)) else { return };
        let container = container(named(&objects, "Deployment", deployment));
        let args = container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap());
        let given = ["stowage"].into_iter().chain(args);
        stowage::cli::command().try_get_matches_from(given).unwrap();
    }
}

#[test]
fn pods_are_restricted_and_two_replicas_never_become_none() {
    let Some(objects) = render("cluster-wide", &["watcher"]) else { return };
    for deployment in of(&objects, "Deployment") {
        let name = deployment["metadata"]["name"].as_str().unwrap();
        let pod = &deployment["spec"]["template"]["spec"];
        let secured = &container(deployment)["securityContext"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{name}");
        assert_eq!(secured["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(secured["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(secured["capabilities"]["drop"], json!(["ALL"]), "{name}");
        assert_eq!(deployment["spec"]["replicas"], 2, "{name}");
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            assert_eq!(container(deployment)[probe]["httpGet"]["port"], "admin", "{name}");
        }
    }
    let webhook = named(&objects, "Deployment", "stowage");
    assert_eq!(webhook["spec"]["strategy"]["rollingUpdate"], json!({"maxUnavailable": 0, "maxSurge": 1}));
    for (kind, name, pointer) in [
        ("PodDisruptionBudget", "stowage", "/spec/selector/matchLabels"),
        ("NetworkPolicy", "stowage", "/spec/podSelector/matchLabels"),
        ("NetworkPolicy", "stowage-watcher", "/spec/podSelector/matchLabels"),
        ("Service", "stowage", "/spec/selector"),
    ] {
        let labels = &named(&objects, "Deployment", name)["spec"]["template"]["metadata"]["labels"];
        let selector = named(&objects, kind, name).pointer(pointer).unwrap().as_object().unwrap();
        assert!(selector.iter().all(|(key, value)| labels[key] == *value), "{kind} selects {selector:?}");
    }
}

#[test]
fn every_metric_of_the_dashboard_and_the_alerts_exists() {
    let Some(objects) = render("cluster-wide", &["monitoring"]) else { return };
    let dashboard = named(&objects, "ConfigMap", "stowage-dashboard")["data"]["stowage.json"].as_str().unwrap();
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut read = Vec::new();
    for panel in panels {
        for target in panel["targets"].as_array().unwrap() {
            read.push((format!("panel {}", panel["title"]), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    assert!(read.len() >= panels.len());
    for rule in alerts(&objects) {
        let name = rule["alert"].as_str().unwrap();
        assert!(rule["annotations"]["runbook"].as_str().is_some_and(|line| line.len() > 20), "{name} has no runbook");
        assert!(rule["labels"]["severity"].is_string(), "{name}");
        read.push((name.to_owned(), rule["expr"].as_str().unwrap().to_owned()));
    }
    let metrics = Metrics::new("1").unwrap();
    let _registered = metrics.watcher().unwrap();
    let ours = metrics.text().unwrap();
    let series: BTreeSet<&str> =
        ours.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(['{', ' ']).next().unwrap()).collect();
    for (place, expression) in read {
        let names = metric_names(&expression);
        assert!(!names.is_empty(), "{place}: {expression}");
        for name in names {
            assert!(series.contains(name.as_str()) || FOREIGN.contains(&name.as_str()), "{place}: no metric {name}");
        }
        for (label, values) in label_values(&expression) {
            for value in values {
                let known = ours.contains(&format!("{label}=\"{value}\""))
                    || !["outcome", "reason", "result", "watch"].contains(&&*label);
                assert!(known, "{place}: no {label} is {value}");
            }
        }
    }
}

#[test]
fn every_alert_fires_when_it_should_and_not_before() {
    let Some(objects) = render("cluster-wide", &["monitoring"]) else { return };
    let tests = root().join("tests/fixtures/monitoring/alerts.yaml");
    let text = fs::read_to_string(&tests).unwrap();
    for rule in alerts(&objects) {
        let name = rule["alert"].as_str().unwrap();
        assert!(text.matches(&format!("alertname: {name}\n")).count() >= 2, "{name} has no test for both ways");
    }
    let folder = tempfile::tempdir().unwrap();
    let groups = &named(&objects, "PrometheusRule", "stowage")["spec"]["groups"];
    fs::write(folder.path().join("whole.yaml"), json!({"groups": groups}).to_string()).unwrap();
    // What an alert says is not what is tried: the expectations would have to repeat every word.
    let mut silent = groups.clone();
    for rule in silent[0]["rules"].as_array_mut().unwrap() {
        rule.as_object_mut().unwrap().remove("annotations");
    }
    fs::write(folder.path().join("rules.yaml"), json!({"groups": silent}).to_string()).unwrap();
    fs::write(folder.path().join("alerts.yaml"), text).unwrap();
    for arguments in [["check", "rules", "whole.yaml"], ["test", "rules", "alerts.yaml"]] {
        let Ok(output) = Command::new("promtool").args(arguments).current_dir(folder.path()).output() else {
            skipped("no promtool in PATH: the alerts were not tried");
            return;
        };
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
}

/// The objects of an overlay with components on top, in the order in which they would be applied; `None`, said once
/// for each test, where there is no kubectl.
pub(crate) fn render(overlay: &str, components: &[&str]) -> Option<Vec<Value>> {
    let manifests = root().join("manifests");
    let folder = tempfile::tempdir().unwrap();
    let mut at = manifests.join("overlays").join(overlay);
    if !components.is_empty() {
        let relative = |path: &str| from(folder.path(), &manifests.join(path));
        let kustomization = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [relative(&format!("overlays/{overlay}"))],
            "components": components.iter().map(|name| relative(&format!("components/{name}"))).collect::<Vec<_>>(),
        });
        fs::write(folder.path().join("kustomization.yaml"), kustomization.to_string()).unwrap();
        at = folder.path().to_owned();
    }
    let Ok(output) = Command::new("kubectl").arg("kustomize").arg(&at).output() else {
        skipped("no kubectl in PATH: the manifests were not rendered");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{overlay} {components:?}: {said}");
    let text = String::from_utf8(output.stdout).unwrap();
    Some(document::parse(&text).unwrap().into_iter().map(|document| document.value).collect())
}

/// Past the harness, which shows what a passing test says only when asked.
fn skipped(why: &str) {
    let _ = writeln!(io::stderr(), "skipped: {why}");
}

/// The way from one absolute folder to another.
fn from(folder: &Path, to: &Path) -> PathBuf {
    let up = folder.canonicalize().unwrap().components().skip(1).map(|_| "..").collect::<PathBuf>();
    up.join(to.canonicalize().unwrap().strip_prefix("/").unwrap())
}

fn of<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    of(objects, kind).into_iter().find(|object| object["metadata"]["name"] == name).unwrap()
}

fn container(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]
}

fn alerts(objects: &[Value]) -> &Vec<Value> {
    named(objects, "PrometheusRule", "stowage")["spec"]["groups"][0]["rules"].as_array().unwrap()
}

/// `group/resource verb` for everything that roles bound to this service account allow.
pub(crate) fn verbs(objects: &[Value], account: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (binding, role) in [("ClusterRoleBinding", "ClusterRole"), ("RoleBinding", "Role")] {
        for bound in of(objects, binding) {
            let subjects = bound["subjects"].as_array().unwrap();
            if !subjects.iter().any(|subject| subject["name"] == account && subject["namespace"] == "stowage") {
                continue;
            }
            assert_eq!(bound["roleRef"]["kind"], role);
            for rule in named(objects, role, bound["roleRef"]["name"].as_str().unwrap())["rules"].as_array().unwrap() {
                let list = |key: &str| rule[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap());
                for group in list("apiGroups") {
                    for resource in list("resources") {
                        found.extend(list("verbs").map(|verb| format!("{group}/{resource} {verb}")));
                    }
                }
            }
        }
    }
    assert!(!found.is_empty(), "no role for {account}");
    found
}

/// The names of metrics in an expression: words that no parenthesis, quote or grouping claims.
fn metric_names(expression: &str) -> BTreeSet<String> {
    let cut = |text: &str, pattern: &str| Regex::new(pattern).unwrap().replace_all(text, " ").into_owned();
    let bare = cut(expression, r"\{[^}]*\}|\[[^\]]*\]|\b(by|without|on|ignoring) *\([^)]*\)|\b[a-z_0-9]+ *\(");
    let words = Regex::new(r"[a-z][a-z_0-9]+").unwrap();
    let names = words.find_iter(&bare).map(|word| word.as_str().to_owned());
    let aggregations = ["and", "or", "unless", "sum", "min", "max", "count", "avg"];
    names.filter(|word| !aggregations.contains(&word.as_str())).collect()
}

fn label_values(expression: &str) -> Vec<(String, Vec<String>)> {
    let matcher = Regex::new("([a-z_]+)=~?\"([^\"]*)\"").unwrap();
    let found = matcher.captures_iter(expression);
    found.map(|found| (found[1].to_owned(), found[2].split('|').map(str::to_owned).collect())).collect()
}

#[test]
fn the_names_of_metrics_are_found_in_expressions() {
    let expression =
        "histogram_quantile(0.99, sum by (le) (rate(a_bucket{x=\"y\"}[5m]))) > 2 and min(b_total) - time() > 0";
    assert_eq!(metric_names(expression), BTreeSet::from(["a_bucket".to_owned(), "b_total".to_owned()]));
    assert_eq!(
        label_values("a{x=\"y\",z=~\"p|q\"}"),
        [("x".to_owned(), vec!["y".to_owned()]), ("z".to_owned(), vec!["p".to_owned(), "q".to_owned()])]
    );
}
