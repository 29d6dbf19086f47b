use std::sync::{Arc, Mutex};

use super::*;
use crate::cluster::mock::{Asked, MockReply as Said, server};
use crate::reaper::said::RemovalLog;
use crate::reaper::step::Propagation;
use crate::threshold::State;
use crate::threshold::resolve::Word;

/// How a server answers.
type Says = fn() -> Said;

fn target() -> Target {
    Target {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        namespace: "team".to_owned(),
        name: "train-0".to_owned(),
        uid: "u-1".to_owned(),
        resource_version: "42".to_owned(),
    }
}

fn act(kind: ActKind, target: Target) -> Act {
    Act {
        pod_uid: "u-1".to_owned(),
        kind,
        target,
        propagation: Propagation::Background,
        grace_period_seconds: None,
        log: RemovalLog {
            namespace: "team".into(),
            pod: "train-0".to_owned(),
            uid: "u-1".to_owned(),
            state: State::Running,
            since: None,
            threshold: "1h".parse().unwrap(),
            word: Word::Policy,
            policy: "mlrun".into(),
            age: Duration::ZERO,
            action: "delete",
            owner: None,
            why: String::new(),
            dry_run: false,
        },
    }
}

/// What a server was asked, which answers always so.
fn recording(mut said: impl FnMut() -> Said + Send + 'static) -> (Removals, Arc<Mutex<Vec<Asked>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&asked);
    let client = server(move |request| {
        record.lock().unwrap().push(request.clone());
        said()
    });
    (Removals::new(client), asked)
}

#[tokio::test(start_paused = true)]
async fn each_answer_of_the_api_server_becomes_its_value() {
    let cases: [(Says, Answer); 9] = [
        (|| Said::Json(json!({"kind": "Pod"})), Answer::Done),
        (|| Said::Status(403, "Forbidden"), Answer::Forbidden),
        (|| Said::Status(404, "NotFound"), Answer::NotFound),
        (|| Said::Status(409, "Conflict"), Answer::Conflict),
        (|| Said::Status(429, "TooManyRequests"), Answer::TooMany(None)),
        (|| Said::RetryAfter(7), Answer::TooMany(Some(Duration::from_secs(7)))),
        (|| Said::Status(500, "InternalError"), Answer::Failed),
        (|| Said::Status(401, "Unauthorized"), Answer::Failed),
        (|| Said::Hang, Answer::Failed),
    ];
    for (said, expected) in cases {
        let (removals, asked) = recording(said);
        for kind in ActKind::ALL {
            let begun = tokio::time::Instant::now();
            assert_eq!(removals.act(&act(kind, target())).await, expected);
            assert!(begun.elapsed() <= ACT);
        }
        assert_eq!(asked.lock().unwrap().len(), 3, "nothing is tried twice");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_read_is_there_absent_forbidden_or_not_known() {
    let cases: [(Says, Read<OwnerObject>); 5] = [
        (|| Said::Status(404, "NotFound"), Read::Absent),
        (|| Said::Status(403, "Forbidden"), Read::Forbidden),
        (|| Said::Status(429, "TooManyRequests"), Read::Failed),
        (|| Said::Status(503, "ServiceUnavailable"), Read::Failed),
        (|| Said::Json(json!({"metadata": "odd"})), Read::Failed),
    ];
    let job =
        OwnerReference { api_version: "batch/v1".into(), kind: "Job".into(), name: "a".into(), ..Default::default() };
    for (said, expected) in cases {
        let (removals, asked) = recording(said);
        assert_eq!(removals.owner("team", &job).await, expected);
        assert_eq!(asked.lock().unwrap()[0].path, "/apis/batch/v1/namespaces/team/jobs/a");
    }
    let (removals, _) = recording(|| Said::Hang);
    assert_eq!(removals.pod("team", "a").await, Read::Failed);
    let (removals, asked) = recording(|| Said::Json(json!({"kind": "Pod", "metadata": {"name": "a", "uid": "u-1"}})));
    let Read::There(pod) = removals.pod("team", "a").await else { panic!("it is there") };
    assert_eq!(pod.metadata.uid, "u-1");
    assert_eq!(asked.lock().unwrap()[0].path, "/api/v1/namespaces/team/pods/a");
}

#[tokio::test]
async fn a_removal_is_bound_to_what_was_read_and_says_what_becomes_of_the_rest() {
    let (removals, asked) = recording(|| Said::Status(200, ""));
    let owner = Target { api_version: "batch/v1".into(), kind: "Job".into(), name: "train".into(), ..target() };
    removals.act(&Act { grace_period_seconds: Some(0), ..act(ActKind::DeletePod, target()) }).await;
    removals.act(&act(ActKind::DeleteOwner, owner)).await;
    removals.act(&act(ActKind::Evict, target())).await;
    let asked = asked.lock().unwrap();
    let calls: Vec<(&str, &str)> = asked.iter().map(|asked| (&*asked.method, &*asked.path)).collect();
    assert_eq!(
        calls,
        [
            ("DELETE", "/api/v1/namespaces/team/pods/train-0"),
            ("DELETE", "/apis/batch/v1/namespaces/team/jobs/train"),
            ("POST", "/api/v1/namespaces/team/pods/train-0/eviction"),
        ]
    );
    let bound = json!({"uid": "u-1", "resourceVersion": "42"});
    for options in [&asked[0].body, &asked[1].body, &asked[2].body["deleteOptions"]] {
        assert_eq!(options["preconditions"], bound);
        assert_eq!(options["propagationPolicy"], "Background");
    }
    assert_eq!(asked[0].body["gracePeriodSeconds"], 0);
    assert_eq!(asked[1].body.get("gracePeriodSeconds"), None);
    assert_eq!(asked[2].body["metadata"], json!({"name": "train-0", "namespace": "team"}));
}

#[tokio::test]
async fn what_is_no_name_is_never_asked_for() {
    let (removals, asked) = recording(|| panic!("nothing should be asked"));
    for (api_version, kind, name) in [
        ("batch/v1", "Job", "../secrets/token"),
        ("batch/v1", "Job", ".."),
        ("batch/v1", "Job", "a?dryRun=All"),
        ("batch/v1", "Job", ""),
        ("batch/v1/namespaces", "Job", "a"),
        ("batch/..", "Job", "a"),
        ("..", "Pod", "a"),
        ("batch/v1", "Job/../x", "a"),
        ("batch/v1", "", "a"),
    ] {
        let reference = OwnerReference {
            api_version: api_version.into(),
            kind: kind.into(),
            name: name.into(),
            ..Default::default()
        };
        assert_eq!(removals.owner("team", &reference).await, Read::Absent, "{api_version} {kind} {name}");
    }
    assert_eq!(removals.pod("team/pods/a", "b").await, Read::Absent);
    let odd = Target { name: "a/eviction".to_owned(), ..target() };
    assert_eq!(removals.act(&act(ActKind::DeletePod, odd)).await, Answer::NotFound);
    assert!(asked.lock().unwrap().is_empty());
}

#[test]
fn the_reason_of_a_refusal_is_its_word_alone() {
    assert_eq!(reason(br#"{"reason": "Forbidden", "message": "env TOKEN=s3cret"}"#), "Forbidden");
    assert_eq!(reason(br#"{"reason": "a b\nc"}"#), "abc");
    assert_eq!(reason(b"<html>"), "");
}
