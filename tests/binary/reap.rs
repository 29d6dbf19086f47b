//! A dump of pods in, verdicts out: as a table, as JSON, from every form of input.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::process::{Command, Output, Stdio};

use jiff::Timestamp;
use serde_json::{Value, json};
use stowage::policy::loaded::Loaded;
use stowage::reaper::dump::{Dump, Verdicts};
use stowage::reaper::input::{Contents, DumpObject, InputError, read_dump};
use stowage::reaper::table::{VerdictCount, count, write_json, write_table};
use stowage::threshold::ActionRules;

const NOW: &str = "2026-01-05T12:00:00Z";
const CREATED: &str = "2026-01-05T00:00:00Z";
const POLICY: &str = "{apiVersion: stowage.dev/v1alpha1, kind: ClusterInjectionPolicy, metadata: {name: mlrun}, spec: {match: {podSelector: {}},
    stateThresholds: {pendingScheduled: 1h, pendingNotScheduled: '-1', imagePullBackoff: 1h, running: 24h}}}";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn fixture(name: &str) -> String {
    let path = format!("{}/tests/fixtures/reap/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn judged_under(policies: &str, namespace_labels: &[(&str, &str)], input: &str) -> (Verdicts, Contents) {
    let mut loaded = Loaded::default();
    loaded.add("policies.yaml", policies);
    assert!(loaded.errors.is_empty(), "{:?}", loaded.errors);
    let mut dump = Dump::new(loaded.snapshot(), ActionRules::default());
    let (contents, read) = read_dump(input.as_bytes(), &mut |object| dump.add(object));
    read.unwrap();
    let labels: BTreeMap<String, String> =
        namespace_labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    dump.label_the_rest(&labels);
    (dump.judge(now()), contents)
}

fn rows_of(verdicts: &Verdicts) -> Value {
    let mut out = Vec::new();
    write_json(&verdicts.rows, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

fn json_of(input: &str) -> (Value, VerdictCount) {
    let (verdicts, _) = judged_under(POLICY, &[], input);
    (rows_of(&verdicts), count(&verdicts.rows))
}

fn table_of(input: &str, color: bool) -> (String, VerdictCount) {
    let (mut verdicts, _) = judged_under(POLICY, &[], input);
    let mut out = Vec::new();
    write_table(&mut verdicts.rows, &mut out, now(), color).unwrap();
    (String::from_utf8(out).unwrap(), count(&verdicts.rows))
}

/// The pods that are passed on, by name, and how the reading ended.
fn names(input: &str) -> (Vec<String>, Contents, Result<(), InputError>) {
    let mut names = Vec::new();
    let (contents, read) = read_dump(input.as_bytes(), &mut |object| {
        if let DumpObject::Pod(pod) = &object {
            names.push(pod.metadata.name.clone());
        }
        matches!(object, DumpObject::Pod(_))
    });
    (names, contents, read)
}

/// A pod as the API server has it.
fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "creationTimestamp": CREATED}})
}

/// A pod that runs since its creation, of the owner of that kind and name.
fn running(name: &str, kind: &str, owner: &str) -> Value {
    let mut pod = pod(name);
    pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
    pod["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "batch/v1", "kind": kind, "name": owner, "uid": owner, "controller": true}]);
    pod["spec"] = json!({"nodeName": "n"});
    pod["status"] = json!({"phase": "Running"});
    pod
}

fn list(items: &[Value]) -> String {
    json!({"kind": "List", "items": items}).to_string()
}

/// Runs the program over `input`, under the fixture's policy.
fn stowage_reap(input: &[u8], args: &[&str]) -> Output {
    use std::io::Write as _;
    let policy = format!("{}/tests/fixtures/reap/stuck/policy.yaml", env!("CARGO_MANIFEST_DIR"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_stowage"))
        .args(["reap", "-f", "-", "--policies", &policy, "--now", NOW, "-o", "json"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// Public reports of stuck, restarted, rejected and lost pods, rebuilt, with what is right for each.
#[test]
fn pods_that_were_stuck_in_the_field_are_judged_as_they_should_have_been() {
    let folder = format!("{}/tests/fixtures/reap/stuck", env!("CARGO_MANIFEST_DIR"));
    let cases: Vec<Value> = serde_json::from_str(&fixture("stuck/cases.json")).unwrap();
    assert!(cases.len() > 40);
    let mut wrong = Vec::new();
    for case in &cases {
        let text = |key: &str| case[key].as_str().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_stowage"))
            .current_dir(&folder)
            .args(["reap", "-f", text("file"), "--policies", text("policy"), "--now", text("now"), "-o", "json"])
            .args(case["args"].as_array().unwrap().iter().filter_map(Value::as_str))
            .output()
            .unwrap();
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let expected = case["expect"].as_array().unwrap();
        if rows.len() < expected.len() {
            wrong.push(format!("{}: {}", text("file"), String::from_utf8_lossy(&output.stderr)));
        }
        for (row, expect) in rows.iter().zip(expected) {
            for (key, want) in expect.as_object().unwrap() {
                let is_so = match key.strip_suffix("_contains") {
                    Some(key) => row[key].as_str().is_some_and(|text| text.contains(want.as_str().unwrap())),
                    None => row[key] == *want,
                };
                if !is_so {
                    wrong.push(format!("{} ({}): {key} is not {want} in {row}", text("file"), text("report")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_of_a_mixed_dump_is_as_recorded() {
    let (table, summary) = table_of(&fixture("mixed.json"), false);
    assert_eq!(table, fixture("mixed.txt"), "\n{table}");
    assert_eq!(summary, VerdictCount { pods: 11, due: 5, to_do: 3 });
}

#[test]
fn colour_changes_nothing_but_colour() {
    let (colored, _) = table_of(&fixture("mixed.json"), true);
    assert!(colored.contains("\x1b[31mimage_pull_backoff\x1b[0m"), "{colored}");
    let mut plain = String::new();
    let mut rest = colored.as_str();
    while let Some((before, after)) = rest.split_once('\x1b') {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain.push_str(rest);
    let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    assert_eq!(trimmed(&plain), trimmed(&fixture("mixed.txt")));
}

#[test]
fn a_verdict_in_json_has_the_promised_fields_in_the_order_of_the_input() {
    let (rows, summary) = json_of(&fixture("mixed.json"));
    let rows = rows.as_array().unwrap();
    assert_eq!(summary, VerdictCount { pods: 11, due: 5, to_do: 3 });
    assert_eq!(
        rows[0],
        json!({"namespace": "mlrun", "name": "train-7f3k", "uid": "0a1b2c3d-0000-4000-8000-000000000001",
            "state": "image_pull_backoff", "since": "2026-01-05T09:00:01Z", "threshold": 3600, "deadline": "2026-01-05T10:00:01Z",
            "due": true, "action": "delete", "owner": null, "policy": "mlrun", "reason": "it has no controller"})
    );
    let keys: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "namespace",
            "name",
            "uid",
            "state",
            "since",
            "threshold",
            "deadline",
            "due",
            "action",
            "owner",
            "policy",
            "reason"
        ]
    );
    let waiting = &rows[5];
    assert_eq!(
        (&waiting["threshold"], &waiting["deadline"], &waiting["due"]),
        (&Value::Null, &Value::Null, &json!(false))
    );
    let gated = &rows[6];
    assert_eq!((&gated["policy"], &gated["action"]), (&Value::Null, &json!("none")));
    assert_eq!(rows[2]["reason"], "then delete: it has no controller (the pod's own threshold)");
}

#[test]
fn pods_of_one_name_in_two_namespaces_are_two_pods_and_of_one_uid_the_last_state_counts() {
    // governor keys its pods by name.
    let of = |namespace: &str| json!({"kind": "Pod", "metadata": {"name": "p", "namespace": namespace, "creationTimestamp": CREATED}});
    let (rows, _) = json_of(&list(&[of("a"), of("b")]));
    assert_eq!(rows.as_array().unwrap().len(), 2);
    let mut later = pod("a");
    later["status"] = json!({"phase": "Running"});
    later["spec"] = json!({"nodeName": "n"});
    let (rows, _) = json_of(&list(&[pod("a"), pod("b"), later]));
    let states: Vec<&Value> = rows.as_array().unwrap().iter().map(|row| &row["state"]).collect();
    assert_eq!(states, ["running", "pending_not_scheduled"]);
}

#[test]
fn every_form_of_input_is_read() {
    let bare = |name: &str| json!({"metadata": {"name": name, "creationTimestamp": CREATED}});
    let listed = |kind: &str, items: Value| json!({"items": items, "kind": kind}).to_string();
    let event = |kind: &str, object: Value| json!({"type": kind, "object": object});
    for (input, expect) in [
        (pod("a").to_string(), vec!["a"]),
        (format!("\n  {}\n{}{}", pod("a"), pod("b"), pod("c")), vec!["a", "b", "c"]),
        (listed("List", json!([pod("a"), pod("b")])), vec!["a", "b"]),
        (listed("PodList", json!([bare("a"), bare("b")])), vec!["a", "b"]),
        (json!({"kind": "PodList", "items": [bare("a")]}).to_string(), vec!["a"]),
        (listed("List", json!([])), vec![]),
        (listed("List", Value::Null), vec![]),
        (listed("List", json!([{"kind": "PodList", "items": [bare("a")]}, pod("b")])), vec!["a", "b"]),
        (json!([pod("a"), pod("b")]).to_string(), vec!["a", "b"]),
        (format!("{}{}", event("ADDED", pod("a")), event("BOOKMARK", pod("b"))), vec!["a"]),
        (format!("--- {}\n--- {}\n", event("MODIFIED", pod("a")), json!([pod("b")])), vec!["a", "b"]),
        (json!([[pod("a")], [pod("b"), [pod("c")]]]).to_string(), vec!["a", "b", "c"]),
        (format!("--- {}\n", json!([[pod("a")], {"kind": "List", "items": [[pod("b")]]}])), vec!["a", "b"]),
        (listed("List", json!([{"items": [pod("a")]}, pod("b")])), vec!["a", "b"]),
        (json!([[event("ADDED", pod("a"))], event("ADDED", json!({"kind": "List", "items": [pod("b")]}))]).to_string(), vec!["a", "b"]),
        (json!([{"metadata": {"name": "a", "uid": "u"}, "spec": {"nodeName": "n"}}, bare("b")]).to_string(), vec!["a", "b"]),
        (json!({"status": {}, "metadata": {"name": "late", "uid": "u"}, "kind": "Pod"}).to_string(), vec!["late"]),
        ("kind: Pod\nmetadata: {name: a, uid: u}\n---\n---\nkind: List\nitems:\n- kind: Pod\n  metadata:\n    name: b\n    creationTimestamp: 2026-01-01T00:00:00Z\n".to_owned(), vec!["a", "b"]),
        (format!("---\n{}\n---\n{}\n", pod("a"), pod("b")), vec!["a", "b"]),
        ("# a comment\nkind: PodList\nitems: []\n".to_owned(), vec![]),
        ("kind: Pod\nmetadata: {name: a, uid: u, labels: {team: }}\n".to_owned(), vec!["a"]),
    ] {
        let (names, contents, read) = names(&input);
        read.unwrap_or_else(|error| panic!("{input}: {error}"));
        assert_eq!((names, contents.unreadable), (expect.iter().map(ToString::to_string).collect(), vec![]), "{input}");
    }
}

#[test]
fn what_says_no_kind_and_is_no_pod_is_not_judged_as_one() {
    // `kubectl get --raw /apis/batch/v1/jobs | jq .items`, and a JobList whose keys were sorted.
    let of = |rest: Value| {
        let mut object =
            json!({"metadata": {"name": "o", "namespace": "ns", "uid": "u", "creationTimestamp": CREATED}});
        object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        object
    };
    for other in [
        of(
            json!({"spec": {"parallelism": 1, "template": {"spec": {"containers": [{"name": "c"}]}}}, "status": {"active": 1}}),
        ),
        of(json!({"spec": {"replicas": 1, "template": {}}, "status": {"replicas": 1}})),
        of(json!({"spec": {"clusterIP": "10.0.0.1"}, "status": {"loadBalancer": {}}})),
        of(
            json!({"spec": {"podCIDR": "10.0.0.0/24"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
        ),
        of(json!({"data": {"key": "value"}})),
        of(json!({"involvedObject": {"kind": "Pod"}, "reason": "Failed"})),
    ] {
        for input in [
            json!([other, pod("a")]),
            json!({"items": [other, pod("a")]}),
            json!({"kind": "List", "items": [[other], pod("a")]}),
        ] {
            let (names, contents, read) = names(&input.to_string());
            read.unwrap();
            assert_eq!((names, contents.unreadable_count), (vec!["a".to_owned()], 1), "{input}");
            assert!(contents.unreadable[0].contains("(ns/o): it has no kind"), "{:?}", contents.unreadable);
        }
    }
}

#[test]
fn what_is_nested_deeper_than_any_dump_is_refused_and_does_not_end_the_program() {
    let nested = |open: &str, close: &str| {
        format!("[{}{}{}, {}]", open.repeat(20_000), pod("deep"), close.repeat(20_000), pod("a"))
    };
    for (open, close) in [(r#"{"kind":"List","items":["#, "]}"), ("[", "]"), (r#"{"type":"ADDED","object":"#, "}")] {
        let (names, contents, read) = names(&nested(open, close));
        read.unwrap();
        assert_eq!((names, contents.unreadable_count), (vec!["a".to_owned()], 1), "{open}");
        assert!(contents.unreadable[0].contains("deeper than any dump"), "{:?}", contents.unreadable);
    }
}

#[test]
fn what_a_verdict_would_read_is_named_where_it_cannot_be_read() {
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "ns", "uid": "j"}, "spec": {"backoffLimit": "six"}});
    let namespace = json!({"kind": "Namespace", "metadata": {"name": "ns", "labels": 5}});
    let node = json!({"kind": "Node", "metadata": {"name": "n"}, "status": {"conditions": 5}});
    for (object, called) in [(job, "(ns/j)"), (namespace, "(default/ns)"), (node, "(default/n)")] {
        let (names, contents, read) = names(&list(&[pod("a"), object, pod("b")]));
        read.unwrap();
        assert_eq!((names, contents.unreadable_count), (vec!["a".to_owned(), "b".to_owned()], 1));
        assert!(contents.unreadable[0].contains(called), "{:?}", contents.unreadable);
    }
}

#[test]
fn a_pod_that_a_watch_saw_go_is_not_judged() {
    let input = format!("{}{}", pod("a"), json!({"type": "DELETED", "object": pod("a")}));
    assert_eq!(json_of(&input).0, json!([]));
}

#[test]
fn other_kinds_are_left_out_and_counted_even_where_no_slim_pod_would_decode() {
    let odd = json!({"kind": "Odd", "metadata": {"name": "o", "labels": 5}, "spec": [1], "status": "fine"});
    let pod = pod("p");
    let (pods, contents, _) = names(&json!({"kind": "List", "items": [odd, pod, odd]}).to_string());
    assert_eq!(pods, ["p"]);
    assert_eq!(contents.skipped_words(), "2 Odd");
    for input in [format!("{odd}{pod}"), format!("--- {odd}\n--- {pod}\n")] {
        assert_eq!(names(&input).1.skipped_words(), "1 Odd");
    }
}

#[test]
fn what_cannot_be_read_is_named_with_its_field_and_left_out() {
    let wrong = json!({"kind": "Pod", "metadata": {"name": "p", "namespace": "ns", "creationTimestamp": "today"}});
    let typed =
        json!({"kind": "Pod", "metadata": {"name": "p"}, "status": {"containerStatuses": [{}, {"restartCount": "x"}]}});
    let foreign = json!({"kind": "Pod", "metadata": {"name": "p", "creation_timestamp": "2026-05-04 09:00:00"}});
    for (input, said) in [
        (
            list(&[pod("a"), wrong.clone(), pod("b")]),
            "reading item 1 (ns/p): metadata.creationTimestamp: not an RFC 3339 time",
        ),
        (format!("{}{wrong}{}", pod("a"), pod("b")), "reading document 1 (ns/p): metadata.creationTimestamp"),
        (
            format!("--- {}\n--- {{kind: List, items: [{wrong}]}}\n--- {}", pod("a"), pod("b")),
            "reading item 0 of document 1 (ns/p): metadata.creationTimestamp",
        ),
        (list(&[pod("a"), typed, pod("b")]), "status.containerStatuses[1].restartCount: invalid type: string"),
        (list(&[pod("a"), foreign, pod("b")]), "neither a metadata.uid nor a metadata.creationTimestamp"),
        (list(&[pod("a"), json!("x"), pod("b")]), "reading item 1: invalid type"),
    ] {
        let (names, contents, read) = names(&input);
        read.unwrap();
        assert_eq!(names, ["a", "b"], "{input}");
        let [why] = contents.unreadable.as_slice() else { panic!("{input}: {:?}", contents.unreadable) };
        assert!(why.contains(said), "{input}: {why}");
        assert_eq!(why.matches("invalid type").count().max(1), 1, "said once: {why}");
    }
}

#[test]
fn what_ends_the_reading_is_refused() {
    for (input, said) in [
        (r#"{"kind": "List", "items": [{"kind": "Pod""#.to_owned(), "reading pods: EOF"),
        (r#"{"kind": "Service"} x"#.to_owned(), "reading pods: expected value"),
        ("kind: [".to_owned(), "reading pods: "),
        (String::new(), "the input is empty"),
        (" \n\n".to_owned(), "the input is empty"),
        (json!({"kind": "Service"}).to_string(), "the input holds 1 Service"),
        (json!({"a": 1}).to_string(), "the input holds 1 object without a kind"),
        (json!({"kind": "JobList", "items": [{"metadata": {}}]}).to_string(), "the input holds 1 Job"),
    ] {
        let error = names(&input).2.expect_err(&input).to_string();
        assert!(error.contains(said), "{input}: {error}");
    }
}

#[test]
fn after_an_unreadable_object_the_output_is_whole_the_rest_is_judged_and_the_status_is_1() {
    let bad = json!({"kind": "Pod", "metadata": {"name": "bad", "uid": 5}});
    let broken_off = format!("{}{}", pod("a"), &pod("b").to_string()[..40]);
    for (input, judged, said) in [
        (list(&[pod("a"), bad, pod("b")]), 2, "(default/bad): metadata.uid"),
        (broken_off, 1, "EOF"),
        (fixture("forms/one-bad-of-three.json"), 2, "reading item"),
        (fixture("forms/cluster-info-dump.txt"), 1, "expected"),
        (fixture("forms/watch-broken-off.json"), 1, "EOF"),
        (fixture("forms/python-client.json"), 0, "neither"),
    ] {
        let output = stowage_reap(input.as_bytes(), &[]);
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let talk = String::from_utf8(output.stderr).unwrap();
        assert_eq!((rows.len(), output.status.code()), (judged, Some(1)), "{talk}");
        assert!(talk.contains(said), "{talk}");
    }
}

#[test]
fn forms_from_the_field_are_read() {
    for (name, judged) in [
        ("watch-events.json", 0),
        ("watch.yaml", 1),
        ("array.json", 2),
        ("list-of-lists.json", 1),
        ("negative-restarts.json", 1),
    ] {
        let output = stowage_reap(fixture(&format!("forms/{name}")).as_bytes(), &[]);
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((rows.len(), output.status.code()), (judged, Some(0)), "{name}");
    }
}

#[test]
fn the_exit_code_counts_pods_with_something_to_do() {
    let of_deployment = running("web", "ReplicaSet", "web");
    let mut of_deployment = of_deployment;
    of_deployment["metadata"]["ownerReferences"][0]["apiVersion"] = json!("apps/v1");
    let mut mirror = running("static", "Job", "x");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    let quiet = stowage_reap(list(&[of_deployment.clone(), mirror]).as_bytes(), &["--exit-code"]);
    assert_eq!(quiet.status.code(), Some(0), "{}", String::from_utf8_lossy(&quiet.stdout));
    let due = stowage_reap(list(&[of_deployment, running("run", "Job", "j")]).as_bytes(), &["--exit-code"]);
    assert_eq!(due.status.code(), Some(1));
}

#[test]
fn an_owner_is_named_and_counted_once() {
    let pods: Vec<Value> = (0..20).map(|index| running(&format!("w-{index}"), "Job", "j")).collect();
    let (table, _) = table_of(&list(&pods), false);
    assert!(table.contains("20 due (1 delete-owner for 20 pods)"), "{table}");
    let (rows, _) = json_of(&list(&pods));
    assert_eq!((&rows[0]["action"], &rows[0]["owner"]), (&json!("delete-owner"), &json!("Job/j")));
}

#[test]
fn what_siblings_do_and_who_owns_the_owner_is_read_out_of_the_dump_whatever_its_order() {
    let mut waits = running("waits", "Job", "j");
    waits["status"]["phase"] = json!("Pending");
    let alone = json_of(&list(&[waits.clone()])).0;
    assert_eq!(alone[0]["action"], "delete-owner");
    let beside = json_of(&list(&[waits.clone(), running("works", "Job", "j")])).0;
    assert_eq!(beside[0]["action"], "delete");
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "uid": "j", "ownerReferences":
        [{"apiVersion": "core.polyaxon.com/v1", "kind": "Operation", "name": "op", "uid": "op", "controller": true}]},
        "spec": {"backoffLimit": 0}});
    let climbed = json_of(&list(&[waits.clone(), job.clone()])).0;
    assert_eq!(climbed[0]["owner"], "Operation/op");
    let spent = json_of(&list(&[job, waits, running("works", "Job", "j")])).0;
    assert_eq!(spent[0]["action"], "report", "{}", spent[0]["reason"]);
}

#[test]
fn owners_without_a_uid_are_told_apart_by_their_names() {
    let of = |name: &str, owner: &str, phase: &str| {
        let mut pod = running(name, "Job", owner);
        pod["metadata"]["ownerReferences"][0].as_object_mut().unwrap().remove("uid");
        pod["status"]["phase"] = json!(phase);
        pod
    };
    let (rows, _) = json_of(&list(&[of("waits", "one", "Pending"), of("works", "two", "Running")]));
    assert_eq!(
        (&rows[0]["action"], &rows[0]["owner"]),
        (&json!("delete-owner"), &json!("Job/one")),
        "{}",
        rows[0]["reason"]
    );
    let (rows, _) = json_of(&list(&[of("waits", "one", "Pending"), of("works", "one", "Running")]));
    assert_eq!(rows[0]["action"], "delete", "{}", rows[0]["reason"]);
    let (table, _) =
        table_of(&list(&[of("a", "one", "Running"), of("b", "two", "Running"), of("c", "two", "Running")]), false);
    assert!(table.contains("3 due (2 delete-owner for 3 pods)"), "{table}");
    let mut executor = of("executor", "driver", "Running");
    executor["metadata"]["labels"] = json!({"spark-role": "executor"});
    executor["metadata"]["ownerReferences"][0]["apiVersion"] = json!("v1");
    executor["metadata"]["ownerReferences"][0]["kind"] = json!("Pod");
    let mut other = running("driver", "SparkApplication", "other");
    other["metadata"]["ownerReferences"][0]["apiVersion"] = json!("sparkoperator.k8s.io/v1beta2");
    other["metadata"]["labels"] = json!({"spark-role": "driver"});
    other["metadata"].as_object_mut().unwrap().remove("uid");
    let (rows, _) = json_of(&list(&[executor, other]));
    assert_ne!(rows[0]["owner"], "SparkApplication/other", "a driver without a uid is nobody's");
}

#[test]
fn a_node_that_a_watch_saw_go_holds_its_pods() {
    let node = |status: &str| json!({"kind": "Node", "metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": status}]}});
    let event = |kind: &str, object: Value| json!({"type": kind, "object": object}).to_string();
    let pod = event("ADDED", running("run", "Job", "j"));
    let due = |input: String| json_of(&input).0[0]["due"].clone();
    assert_eq!(due(format!("{pod}{}", event("ADDED", node("True")))), true);
    assert_eq!(due(format!("{pod}{}{}", event("ADDED", node("True")), event("DELETED", node("True")))), false);
    assert_eq!(due(format!("{pod}{}{}", event("DELETED", node("True")), event("ADDED", node("True")))), true);
}

#[test]
fn a_node_of_the_dump_says_whether_its_pods_are_lost() {
    let node = json!({"kind": "Node", "metadata": {"name": "n"}, "status": {"conditions":
        [{"type": "Ready", "status": "Unknown", "lastTransitionTime": "2026-01-05T11:00:00Z"}]}});
    let (rows, _) = json_of(&list(&[running("run", "Job", "j"), node]));
    assert_eq!((&rows[0]["state"], &rows[0]["since"]), (&json!("unknown"), &json!("2026-01-05T11:00:00Z")));
    let away = json!({"kind": "Node", "metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let (rows, _) = json_of(&list(&[running("run", "Job", "j"), away]));
    assert_eq!(
        (&rows[0]["state"], &rows[0]["due"], &rows[0]["action"]),
        (&json!("running"), &json!(false), &json!("none"))
    );
    assert!(rows[0]["reason"].as_str().unwrap().starts_with("its node is not ready"), "{}", rows[0]);
}

const BY_NAMESPACE: &str = "{apiVersion: stowage.dev/v1alpha1, kind: ClusterInjectionPolicy, metadata: {name: ml},
    spec: {match: {podSelector: {}, namespaceSelector: {matchLabels: {team: ml}}}, stateThresholds: {running: 24h}}}";

#[test]
fn a_policy_by_namespace_labels_is_judged_by_the_dump_or_the_option_and_else_warned_of() {
    let run = running("run", "Job", "j");
    let namespace = |team: &str| json!({"kind": "Namespace", "metadata": {"name": "ns", "labels": {"team": team}}});
    let due = |verdicts: &Verdicts| count(&verdicts.rows).due;
    let (unknown, _) = judged_under(BY_NAMESPACE, &[], &list(std::slice::from_ref(&run)));
    assert_eq!((due(&unknown), unknown.warnings.len()), (0, 1));
    let warning = unknown.warnings.first().unwrap();
    assert!(warning.contains("policy ml") && warning.contains("--namespace-labels"), "{warning}");
    let (dumped, _) = judged_under(BY_NAMESPACE, &[], &list(&[run.clone(), namespace("ml")]));
    assert_eq!((due(&dumped), dumped.warnings.len()), (1, 0));
    let (optional, _) = judged_under(BY_NAMESPACE, &[("team", "ml")], &list(std::slice::from_ref(&run)));
    assert_eq!((due(&optional), optional.warnings.len()), (1, 0));
    let (other, _) = judged_under(BY_NAMESPACE, &[("team", "ml")], &list(&[run, namespace("web")]));
    assert_eq!((due(&other), other.warnings.len()), (0, 0), "what the dump says counts");
}

#[test]
fn a_namespaced_policy_is_called_by_its_namespace_and_one_of_on_exceeded_alone_counts() {
    let policies = "
{apiVersion: stowage.dev/v1alpha1, kind: InjectionPolicy, metadata: {name: same, namespace: ns},
 spec: {match: {podSelector: {}}, onExceeded: {action: Report}}}
---
{apiVersion: stowage.dev/v1alpha1, kind: ClusterInjectionPolicy, metadata: {name: same},
 spec: {match: {podSelector: {}}, stateThresholds: {failed: 1h}}}
";
    let mut own = running("run", "Job", "j");
    own["metadata"]["annotations"] = json!({"stowage.dev/running-threshold": "1h"});
    let (verdicts, _) = judged_under(policies, &[], &list(&[own]));
    let row = &rows_of(&verdicts)[0];
    assert_eq!((&row["policy"], &row["action"]), (&json!("ns/same"), &json!("report")), "{row}");
}

#[test]
fn a_policy_for_pods_that_request_a_resource_is_for_those_alone() {
    let policy = POLICY.replace("podSelector: {}", "podSelector: {}, requests: [nvidia.com/gpu]");
    let with = |name: &str, resources: Value| {
        let mut pod = running(name, "Job", name);
        pod["spec"]["containers"] = json!([{"name": "a"}, {"name": "b", "resources": resources}]);
        pod
    };
    let pods = [
        with("requests", json!({"requests": {"nvidia.com/gpu": "1"}})),
        with("limits", json!({"limits": {"nvidia.com/gpu": 2}})),
        with("none", json!({"requests": {"nvidia.com/gpu": "0", "cpu": "1"}, "limits": null})),
    ];
    let (verdicts, _) = judged_under(&policy, &[], &list(&pods));
    let due: Vec<Value> = rows_of(&verdicts).as_array().unwrap().iter().map(|row| row["due"].clone()).collect();
    assert_eq!(due, [true, true, false]);
}

#[test]
fn what_one_object_cannot_say_is_in_the_reason() {
    let (waits, _) = judged_under(&POLICY.replace("'-1'", "30m"), &[], &list(&[pod("a")]));
    let rows = rows_of(&waits);
    assert!(rows[0]["reason"].as_str().unwrap().contains("scheduling gate"), "{}", rows[0]);
    let mut loops = running("run", "Job", "j");
    loops["status"]["containerStatuses"] = json!([{"name": "c", "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 1, "startedAt": CREATED, "finishedAt": CREATED}}}]);
    let (rows, _) = json_of(&list(&[loops]));
    assert!(rows[0]["reason"].as_str().unwrap().contains("the kubelet hides"), "{}", rows[0]);
}

#[test]
fn an_error_never_shows_the_env_of_a_pod() {
    let pod = json!({"kind": "Pod", "metadata": {"name": "p", "labels": 1}, "spec": {"containers": [{"env": [{"name": "A", "value": "hunter2"}]}]}});
    let (_, contents, _) = names(&pod.to_string());
    assert_eq!(contents.unreadable_count, 1);
    assert!(!format!("{:?}", contents.unreadable).contains("hunter2"));
}

#[test]
fn names_from_a_file_send_no_escape_codes_to_a_terminal() {
    let pod = json!({"kind": "Pod", "metadata": {"name": "p\u{1b}[2J", "namespace": "n\u{7}", "uid": "u"}});
    let (table, _) = table_of(&pod.to_string(), false);
    assert!(!table.contains(['\u{1b}', '\u{7}']), "{table:?}");
}

#[test]
fn nothing_in_an_empty_list_is_said_plainly() {
    assert_eq!(table_of(r#"{"kind":"List","items":[]}"#, true).0, "no pods\n");
    assert_eq!(json_of(r#"{"kind":"List","items":[]}"#).0, json!([]));
}

/// A PodList of `pods` pods, made as it is read, `kind` at its end.
struct EndlessList<F> {
    item: F,
    pods: usize,
    buffer: Vec<u8>,
    at: usize,
}

impl<F: Fn(usize) -> Value> Read for EndlessList<F> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.buffer.len() {
            if self.pods == 0 {
                return Ok(0);
            }
            self.pods -= 1;
            self.at = 0;
            self.buffer.clear();
            serde_json::to_writer(&mut self.buffer, &(self.item)(self.pods)).unwrap();
            self.buffer.extend_from_slice(if self.pods == 0 { b"], \"kind\": \"List\"}" } else { b"," });
        }
        let count = out.len().min(self.buffer.len() - self.at);
        out[..count].copy_from_slice(&self.buffer[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[test]
fn a_list_longer_than_memory_would_like_is_passed_on_pod_by_pod() {
    let dump: Value = serde_json::from_str(&fixture("mixed.json")).unwrap();
    let dump =
        EndlessList { item: |_| dump["items"][0].clone(), pods: 5_000, buffer: br#"{"items": ["#.to_vec(), at: 0 };
    let mut pods = 0;
    let (contents, read) = read_dump(BufReader::new(dump), &mut |object| {
        pods += usize::from(matches!(object, DumpObject::Pod(_)));
        true
    });
    read.unwrap();
    assert_eq!((pods, contents.pods), (5_000, 5_000));
}

#[test]
fn what_is_held_of_a_pod_of_a_dump_is_small_however_large_the_pod_is() {
    const PODS: usize = 3_000;
    let held = |environment: usize| {
        let item = |index: usize| {
            let mut pod =
                running(&format!("training-run-of-a-usual-name-{index:06}"), "Job", &format!("job-{}", index / 4));
            pod["metadata"]["uid"] = json!(format!("{index:08x}-0000-4000-8000-{index:012x}"));
            pod["metadata"]["labels"] = json!({"mlrun/uid": format!("{index:032x}")});
            pod["spec"]["containers"] =
                json!([{"name": "c", "env": [{"name": "A", "value": "x".repeat(environment)}]}]);
            pod
        };
        let measured = allocation_counter::measure(|| {
            let dump = EndlessList { item, pods: PODS, buffer: br#"{"items": ["#.to_vec(), at: 0 };
            let mut loaded = Loaded::default();
            loaded.add("policies.yaml", POLICY);
            let mut held = Dump::new(loaded.snapshot(), ActionRules::default());
            read_dump(BufReader::new(dump), &mut |object| held.add(object)).1.unwrap();
            assert_eq!(held.judge(now()).rows.len(), PODS);
        });
        measured.bytes_max / PODS as u64
    };
    let (small, large) = (held(1), held(20_000));
    println!("{small} and {large} B a pod");
    assert!(small > 300, "{small}: nothing was held");
    assert!(large <= small + 100 && large <= 1_200, "{small} and {large} B a pod");
}

#[test]
fn without_a_dump_nothing_is_watched_before_somebody_says_where_stowage_runs() {
    let policies = format!("{}/manifests/examples", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO_BIN_EXE_stowage"))
        .args(["reap", "--policies", &policies])
        .env_remove("POD_NAMESPACE")
        .env("KUBECONFIG", "/nowhere")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--own-namespace") && said.contains("-f judges a dump"), "{said}");
    for offline in [["--now", NOW], ["-o", "json"], ["--namespace-labels", "a=b"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_stowage")).arg("reap").args(offline).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{offline:?} is for a dump");
    }
}
