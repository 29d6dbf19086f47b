//! A dump of pods in, verdicts out: as a table, as JSON, from every form of input.

use std::io::{BufReader, Read};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use stowage::reaper::input::{Contents, InputError, read_pods};
use stowage::reaper::report::{JsonReport, Summary, TableReport};
use stowage::threshold::resolve::{PolicyThresholds, resolve};
use stowage::threshold::spec::{OnExceededSpec, StateThresholds, StateThresholdsSpec};
use stowage::threshold::{ActionRules, Resolved, WatchedPod, judge};

const NOW: &str = "2026-01-05T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn thresholds() -> StateThresholds {
    let spec: StateThresholdsSpec = serde_json::from_value(json!({
        "pendingScheduled": "1h", "pendingNotScheduled": "-1", "imagePullBackoff": "1h", "running": "24h"
    }))
    .unwrap();
    spec.compile().unwrap()
}

fn resolved(pod: &WatchedPod, thresholds: &StateThresholds) -> Resolved {
    let name: Arc<str> = "mlrun".into();
    let policy = PolicyThresholds { name: &name, cluster: true, thresholds, on_exceeded: OnExceededSpec::default() };
    resolve(pod, &[policy])
}

fn fixture(name: &str) -> String {
    let path = format!("{}/tests/fixtures/reap/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn json_of(input: &str) -> (Value, Summary) {
    let (mut out, thresholds) = (Vec::new(), thresholds());
    let mut report = JsonReport::new(&mut out);
    read_pods(input.as_bytes(), &mut |pod| {
        let resolved = resolved(pod, &thresholds);
        report.push(pod, &judge(pod, &resolved.thresholds, &ActionRules::default(), now()))
    })
    .unwrap();
    let summary = report.finish().unwrap();
    (serde_json::from_slice(&out).unwrap(), summary)
}

fn table_of(input: &str, color: bool) -> (String, Summary) {
    let (mut report, thresholds) = (TableReport::new(), thresholds());
    read_pods(input.as_bytes(), &mut |pod| {
        let resolved = resolved(pod, &thresholds);
        report.push(pod, &judge(pod, &resolved.thresholds, &ActionRules::default(), now()));
        Ok(())
    })
    .unwrap();
    let mut out = Vec::new();
    let summary = report.write(&mut out, now(), color).unwrap();
    (String::from_utf8(out).unwrap(), summary)
}

fn names(input: &str) -> Result<(Vec<String>, Contents), InputError> {
    let mut names = Vec::new();
    let contents = read_pods(input.as_bytes(), &mut |pod| {
        names.push(pod.metadata.name.clone());
        Ok(())
    })?;
    Ok((names, contents))
}

#[test]
fn the_table_of_a_mixed_dump_is_as_recorded() {
    let (table, summary) = table_of(&fixture("mixed.json"), false);
    assert_eq!(table, fixture("mixed.txt"), "\n{table}");
    assert_eq!(summary, Summary { pods: 11, due: 5 });
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
    assert_eq!(summary, Summary { pods: 11, due: 5 });
    assert_eq!(
        rows[0],
        json!({"namespace": "mlrun", "name": "train-7f3k", "uid": "0a1b2c3d-0000-4000-8000-000000000001",
            "state": "image_pull_backoff", "since": "2026-01-05T09:00:01Z", "threshold": 3600, "deadline": "2026-01-05T10:00:01Z",
            "due": true, "action": "delete", "policy": "mlrun", "reason": "it has no controller"})
    );
    let keys: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["namespace", "name", "uid", "state", "since", "threshold", "deadline", "due", "action", "policy", "reason"]
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
fn pods_of_one_name_in_two_namespaces_are_two_pods() {
    // governor keys its pods by name.
    let pod =
        |namespace: &str| json!({"kind": "Pod", "metadata": {"name": "p", "namespace": namespace, "uid": namespace}});
    let (rows, _) = json_of(&json!({"kind": "List", "items": [pod("a"), pod("b")]}).to_string());
    assert_eq!(rows.as_array().unwrap().len(), 2);
}

#[test]
fn every_form_of_input_is_read() {
    let pod = |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}});
    let bare = |name: &str| json!({"metadata": {"name": name}});
    let list = |kind: &str, items: Value| json!({"items": items, "kind": kind}).to_string();
    for (input, expect) in [
        (pod("a").to_string(), vec!["a"]),
        (format!("\n  {}\n{}{}", pod("a"), pod("b"), pod("c")), vec!["a", "b", "c"]),
        (list("List", json!([pod("a"), pod("b")])), vec!["a", "b"]),
        (list("PodList", json!([bare("a"), bare("b")])), vec!["a", "b"]),
        (json!({"kind": "PodList", "items": [bare("a")]}).to_string(), vec!["a"]),
        (list("List", json!([])), vec![]),
        (list("List", Value::Null), vec![]),
        (json!({"status": {}, "metadata": {"name": "late"}, "kind": "Pod"}).to_string(), vec!["late"]),
        ("kind: Pod\nmetadata: {name: a}\n---\n---\nkind: List\nitems:\n- kind: Pod\n  metadata:\n    name: b\n    creationTimestamp: 2026-01-01T00:00:00Z\n".to_owned(), vec!["a", "b"]),
        (format!("---\n{}\n---\n{}\n", pod("a"), pod("b")), vec!["a", "b"]),
        ("# a comment\nkind: PodList\nitems: []\n".to_owned(), vec![]),
    ] {
        let (names, _) = names(&input).unwrap_or_else(|error| panic!("{input}: {error}"));
        assert_eq!(names, expect, "{input}");
    }
}

#[test]
fn other_kinds_are_left_out_and_counted_even_where_no_slim_pod_would_decode() {
    let odd = json!({"kind": "Odd", "metadata": {"name": "o", "labels": 5}, "spec": [1], "status": "fine"});
    let pod = json!({"kind": "Pod", "metadata": {"name": "p"}});
    let (pods, contents) = names(&json!({"kind": "List", "items": [odd, pod, odd]}).to_string()).unwrap();
    assert_eq!(pods, ["p"]);
    assert_eq!(contents.skipped_words(), "2 Odd");
    let (_, contents) = names(&format!("{odd}{pod}")).unwrap();
    assert_eq!(contents.skipped_words(), "1 Odd");
    let (_, contents) = names(&format!("--- {odd}\n--- {pod}\n")).unwrap();
    assert_eq!(contents.skipped_words(), "1 Odd");
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place() {
    let wrong = json!({"kind": "Pod", "metadata": {"name": "p", "namespace": "ns", "creationTimestamp": "today"}});
    let good = json!({"kind": "Pod", "metadata": {"name": "g"}});
    for (input, said) in [
        (
            json!({"kind": "List", "items": [good, wrong]}).to_string(),
            "reading item 1 (ns/p): metadata.creationTimestamp: not an RFC 3339 time",
        ),
        (format!("{good}{wrong}"), "reading document 1 (ns/p): metadata.creationTimestamp"),
        (
            format!("--- {good}\n--- {{kind: List, items: [{wrong}]}}"),
            "reading item 0 of document 1 (ns/p): metadata.creationTimestamp",
        ),
        (json!({"kind": "List", "items": ["x"]}).to_string(), "reading item 0: invalid type"),
        (r#"{"kind": "List", "items": [{"kind": "Pod""#.to_owned(), "reading pods: EOF"),
        (r#"{"kind": "Pod"} x"#.to_owned(), "reading pods: expected value"),
        ("[1]".to_owned(), "expected a Pod or a List"),
        ("kind: [".to_owned(), "reading pods: "),
        (String::new(), "the input is empty"),
        (" \n\n".to_owned(), "the input is empty"),
        (json!({"kind": "Service"}).to_string(), "the input holds 1 Service"),
        (json!({"a": 1}).to_string(), "the input holds 1 object without a kind"),
        (json!({"kind": "JobList", "items": [{"metadata": {}}]}).to_string(), "the input holds 1 Job"),
    ] {
        let error = names(&input).expect_err(&input).to_string();
        assert!(error.contains(said), "{input}: {error}");
    }
}

#[test]
fn an_error_never_shows_the_env_of_a_pod() {
    let pod = json!({"kind": "Pod", "metadata": {"name": "p", "labels": 1}, "spec": {"containers": [{"env": [{"name": "A", "value": "hunter2"}]}]}});
    let error = names(&pod.to_string()).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[test]
fn a_failing_output_ends_the_reading() {
    let pod = json!({"kind": "Pod", "metadata": {"name": "p"}});
    let mut seen = 0;
    let error = read_pods(format!("{pod}{pod}").as_bytes(), &mut |_| {
        seen += 1;
        Err(std::io::ErrorKind::BrokenPipe.into())
    })
    .unwrap_err();
    assert!(matches!(error, InputError::Write(_)), "{error}");
    assert_eq!(seen, 1);
}

#[test]
fn names_from_a_file_send_no_escape_codes_to_a_terminal() {
    let pod = json!({"kind": "Pod", "metadata": {"name": "p\u{1b}[2J", "namespace": "n\u{7}"}});
    let (table, _) = table_of(&pod.to_string(), false);
    assert!(!table.contains(['\u{1b}', '\u{7}']), "{table:?}");
}

#[test]
fn nothing_in_an_empty_list_is_said_plainly() {
    assert_eq!(table_of(r#"{"kind":"List","items":[]}"#, true).0, "no pods\n");
    assert_eq!(json_of(r#"{"kind":"List","items":[]}"#).0, json!([]));
}

/// A PodList of `pods` pods, made as it is read, `kind` at its end.
struct Dump {
    item: Vec<u8>,
    pods: usize,
    buffer: Vec<u8>,
    at: usize,
}

impl Read for Dump {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.buffer.len() {
            if self.pods == 0 {
                return Ok(0);
            }
            self.pods -= 1;
            self.at = 0;
            self.buffer.clear();
            self.buffer.extend_from_slice(&self.item);
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
    let item = serde_json::to_vec(&dump["items"][0]).unwrap();
    let dump = Dump { item, pods: 5_000, buffer: br#"{"items": ["#.to_vec(), at: 0 };
    let mut largest = 0;
    let mut pods = 0;
    read_pods(BufReader::new(dump), &mut |pod| {
        pods += 1;
        largest = largest.max(pod.metadata.name.len());
        Ok(())
    })
    .unwrap();
    assert_eq!((pods, largest), (5_000, "train-7f3k".len()));
}
