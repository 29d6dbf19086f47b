//! Verdicts over recorded pods, and over what peers get wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use regex::Regex;
use serde_json::{Value, json};
use stowage::duration::{Threshold, parse};
use stowage::threshold::resolve::{PolicyThresholds, resolve};
use stowage::threshold::spec::{OnExceeded, StateThresholdsSpec, TimeString};
use stowage::threshold::{NodeReadiness, State, Verdict, WatchedNode, WatchedPod, evaluate};

const POLICY_NAME: &str = "case";

/// Judges a pod under one ClusterInjectionPolicy with those thresholds, given in snake_case.
fn verdict(pod: &Value, thresholds: Value, now: &str) -> Verdict {
    let pod: WatchedPod = serde_json::from_value(pod.clone()).unwrap();
    let camel: serde_json::Map<String, Value> =
        thresholds.as_object().unwrap().iter().map(|(key, value)| (camel_case(key), value.clone())).collect();
    let spec: StateThresholdsSpec = serde_json::from_value(Value::Object(camel)).unwrap();
    let compiled = spec.compile().unwrap();
    let name: Arc<str> = POLICY_NAME.into();
    let policy = PolicyThresholds {
        name: &name,
        cluster: true,
        thresholds: Some(&compiled),
        on_exceeded: OnExceeded::default(),
    };
    let resolved = resolve(&pod.words(), &[policy]);
    assert!(resolved.warnings.is_empty(), "{:?}", resolved.warnings);
    evaluate(&pod, NodeReadiness::Unheard, &resolved.thresholds, time(now))
}

fn camel_case(snake: &str) -> String {
    let mut words = snake.split('_');
    let mut camel = words.next().unwrap().to_owned();
    for word in words {
        camel.push_str(&word[..1].to_uppercase());
        camel.push_str(&word[1..]);
    }
    camel
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn at(text: &str) -> Option<Timestamp> {
    Some(time(text))
}

fn fixture(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/fixtures/threshold/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn recorded_pods_are_judged_as_recorded() {
    let cases = fixture("time-in-state.json");
    assert!(cases.len() > 30);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let thresholds: Value = case["thresholds"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(state, seconds)| match seconds.as_i64() {
                Some(-1) => (state.clone(), json!(-1)),
                _ => (state.clone(), json!(format!("{seconds}s"))),
            })
            .collect();
        let got = verdict(&case["pod"], thresholds, case["now"].as_str().unwrap());
        let expect = &case["expect"];
        let recorded = |key: &str| expect[key].as_str().map(time);
        assert_eq!(Some(got.state), State::from_name(expect["state"].as_str().unwrap()), "{name}");
        assert_eq!(got.since, recorded("anchor"), "{name}");
        assert_eq!(got.due, expect["due"].as_bool().unwrap(), "{name}");
        assert_eq!(got.deadline, recorded("deadline"), "{name}");
    }
}

/// Recordings of a kubelet of Kubernetes 1.36, each read at its moment, with what was done to the pod as the truth.
/// Conditions and container starts are seconds apart, so six seconds either way are right.
#[test]
fn what_a_kubelet_reports_is_judged_as_what_was_done_to_the_pod() {
    let cases = fixture("kubelet.json");
    assert!(cases.len() > 110);
    let mut wrong = Vec::new();
    for case in cases {
        let objects = case["objects"].as_array().unwrap();
        let node = objects.iter().find(|object| object["kind"] == "Node");
        let node = node.map_or(NodeReadiness::Unheard, |node| {
            serde_json::from_value::<WatchedNode>(node.clone()).unwrap().readiness()
        });
        for object in objects.iter().filter(|object| object["kind"] == "Pod") {
            let pod: WatchedPod = serde_json::from_value(object.clone()).unwrap();
            let node = if pod.spec.node_name.is_empty() { NodeReadiness::Unheard } else { node };
            let got = evaluate(&pod, node, &resolve(&pod.words(), &[]).thresholds, time(case["now"].as_str().unwrap()));
            let is_state = case["states"].as_array().unwrap().iter().any(|state| state == got.state.name());
            let is_since = match case.get("since") {
                None => true,
                Some(Value::Null) => got.since.is_none(),
                Some(truth) => got
                    .since
                    .is_some_and(|since| since.duration_since(time(truth.as_str().unwrap())).as_secs().abs() <= 6),
            };
            if !is_state || !is_since {
                wrong.push(format!(
                    "{}: {:?} since {:?}, not {} {}",
                    case["name"], got.state, got.since, case["states"], case["since"]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn recorded_time_strings_are_read_as_recorded_and_the_schema_takes_every_one_of_them() {
    let pattern = Regex::new(TimeString::PATTERN).unwrap();
    let cases = fixture("durations.json");
    assert!(cases.len() > 40);
    let only_the_parser_sees = ["9999999999y"];
    for case in cases {
        let text = case["input"].as_str().unwrap();
        let got = parse(text);
        match case["seconds"].as_f64() {
            None => assert!(got.is_err(), "{text:?}: {got:?}"),
            Some(-1.0) => assert_eq!(got, Ok(Threshold::Never), "{text:?}"),
            Some(seconds) => {
                let length = got.clone().unwrap().length().unwrap();
                assert_eq!(length.as_secs_f64(), seconds, "{text:?}");
            }
        }
        let by_schema = pattern.is_match(text) && !only_the_parser_sees.contains(&text);
        assert_eq!(by_schema, got.is_ok(), "{text:?}");
    }
}

/// A scheduled pod of 2026-01-01T00:00:00Z, with what `status` adds.
fn pod(phase: &str, status: Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "n"},
        "status": {"phase": phase, "startTime": "2026-01-01T00:00:02Z",
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    });
    for (key, value) in status.as_object().unwrap() {
        pod["status"][key] = value.clone();
    }
    pod
}

fn condition(kind: &str, status: &str, time: &str) -> Value {
    json!({"type": kind, "status": status, "lastTransitionTime": time})
}

#[test]
fn an_evicted_pod_without_container_statuses_keeps_its_time() {
    // governor reaps it ignoring the time (keikoproj/governor#33), pod-reaper never.
    let evicted = pod("Failed", json!({"conditions": [condition("Ready", "False", "2026-01-01T03:00:00Z")]}));
    let got = verdict(&evicted, json!({"failed": "1h"}), "2026-01-01T03:59:59Z");
    assert_eq!((got.state, got.since, got.due), (State::Failed, at("2026-01-01T03:00:00Z"), false));
    let bare = pod(
        "Failed",
        json!({"conditions": null, "containerStatuses": [{"name": "c", "state": {"terminated": {"finishedAt": null}}}]}),
    );
    let got = verdict(&bare, json!({"failed": "1h"}), "2026-01-01T01:00:02Z");
    assert_eq!((got.since, got.due), (None, false), "its birth is no end");
}

#[test]
fn the_end_of_one_container_is_not_that_of_a_pod_another_of_which_still_waits() {
    let ended = |exit: i32, at: &str| json!({"terminated": {"exitCode": exit, "startedAt": "2026-01-01T00:00:05Z", "finishedAt": at}});
    let waits = || json!({"waiting": {"reason": "ContainerCreating"}});
    let sandbox = |at: &str| json!([condition("PodReadyToStartContainers", "False", at)]);
    let (init, strikes) = ("2026-01-01T00:10:00Z", "2026-01-01T01:00:00Z");
    let initializing = || json!({"waiting": {"reason": "PodInitializing"}});
    for (policy, init_state, app_state, conditions, since) in [
        // activeDeadlineSeconds strikes while the app's image is pulled: the init container ended well long before.
        ("Never", ended(0, init), waits(), sandbox(strikes), at(strikes)),
        ("Never", ended(0, init), json!({}), sandbox(strikes), at(strikes)),
        ("Never", ended(0, init), waits(), json!([]), None),
        ("Never", ended(0, init), waits(), json!([condition("DisruptionTarget", "True", strikes)]), at(strikes)),
        // The second init container was still to come.
        ("Never", waits(), initializing(), sandbox(strikes), at(strikes)),
        // A failed init container is the end of the pod, whatever waited for it; but not where it is tried again.
        ("Never", ended(1, init), initializing(), sandbox(strikes), at(init)),
        ("OnFailure", ended(1, init), initializing(), sandbox(strikes), at(strikes)),
        ("Always", ended(1, init), initializing(), json!([]), None),
        ("Never", ended(0, init), ended(0, strikes), sandbox("2026-01-01T01:00:09Z"), at(strikes)),
    ] {
        let mut object = pod(
            "Failed",
            json!({"conditions": conditions,
            "initContainerStatuses": [{"name": "first", "state": ended(0, init)}, {"name": "i", "state": init_state}],
            "containerStatuses": [{"name": "a", "state": app_state}]}),
        );
        object["spec"]["restartPolicy"] = json!(policy);
        object["spec"]["initContainers"] = json!([{"name": "first"}, {"name": "i"}]);
        let got = verdict(&object, json!({"failed": "1h"}), "2026-01-01T01:30:00Z");
        assert_eq!((got.state, got.since), (State::Failed, since), "{object}");
        assert_eq!(got.due, since == at(init), "{object}");
    }
}

#[test]
fn a_node_that_does_not_say_when_it_was_lost_is_lost_since_ready_was_taken_from_the_pod() {
    let taken = "2026-01-01T05:00:00Z";
    for (status, containers_ready, at_node, since) in [
        ("False", "True", Value::Null, at(taken)),
        ("Unknown", "True", json!("1970-01-01T00:00:00Z"), at(taken)),
        ("False", "True", json!("2026-01-01T04:00:00Z"), at("2026-01-01T04:00:00Z")),
        // Its own, from before the loss.
        ("False", "False", Value::Null, None),
        ("True", "True", Value::Null, None),
    ] {
        let ready = json!({"type": "Ready", "status": "Unknown", "lastTransitionTime": at_node});
        let node: WatchedNode = serde_json::from_value(json!({"status": {"conditions": [ready]}})).unwrap();
        let conditions =
            [condition("Ready", status, taken), condition("ContainersReady", containers_ready, "2026-01-01T00:00:09Z")];
        let object: WatchedPod = serde_json::from_value(pod("Running", json!({"conditions": conditions}))).unwrap();
        let got = evaluate(
            &object,
            node.readiness(),
            &resolve(&object.words(), &[]).thresholds,
            time("2026-01-01T06:00:00Z"),
        );
        assert_eq!((got.state, got.since), (State::Unknown, since), "{status} {containers_ready} {at_node}");
    }
}

#[test]
fn the_grace_period_is_not_counted_twice() {
    // governor subtracts deletionGracePeriodSeconds from a deletionTimestamp that includes it.
    let mut stuck = pod("Running", json!({}));
    stuck["metadata"]["deletionTimestamp"] = json!("2026-01-01T02:00:00Z");
    stuck["metadata"]["deletionGracePeriodSeconds"] = json!(3600);
    let got = verdict(&stuck, json!({"terminating": "5m"}), "2026-01-01T02:04:59Z");
    assert_eq!((got.state, got.due, got.deadline), (State::Terminating, false, at("2026-01-01T02:05:00Z")));
}

#[test]
fn failed_and_succeeded_have_thresholds_of_their_own() {
    // governor's exclusion of failed pods has the name of that of completed ones.
    let thresholds = json!({"failed": "1h", "succeeded": "-1"});
    let ended =
        json!({"containerStatuses": [{"name": "c", "state": {"terminated": {"finishedAt": "2026-01-01T01:00:00Z"}}}]});
    assert!(verdict(&pod("Failed", ended.clone()), thresholds.clone(), "2026-01-01T02:00:00Z").due);
    assert!(!verdict(&pod("Succeeded", ended), thresholds, "2027-01-01T00:00:00Z").due);
}

#[test]
fn a_pod_without_times_of_its_containers_does_not_end_the_judging() {
    // governor returns from the whole scan at the first one.
    for phase in ["Pending", "Running", "Succeeded", "Failed", "Unknown", "", "Later"] {
        let mut empty = pod(phase, json!({"startTime": null, "conditions": null, "containerStatuses": null}));
        let got = verdict(&empty, json!({}), "2026-01-01T00:00:00Z");
        let is_no_end = matches!(phase, "Pending" | "Running" | "");
        assert_eq!(got.since, at("2026-01-01T00:00:00Z").filter(|_| is_no_end), "{phase}");
        empty["metadata"]["creationTimestamp"] = Value::Null;
        let all: serde_json::Map<String, Value> =
            State::ALL.into_iter().map(|s| (s.name().to_owned(), json!("1s"))).collect();
        let got = verdict(&empty, Value::Object(all), "2026-01-01T00:00:00Z");
        assert_eq!((got.since, got.due), (None, false), "{phase}");
    }
}

#[test]
fn an_unscheduled_pod_and_one_on_a_lost_node_are_judged() {
    // descheduler walks the pods of ready nodes (#858, #832, #1183).
    let mut waiting = pod("Pending", json!({"conditions": null, "startTime": null}));
    waiting["spec"] = json!({});
    assert!(verdict(&waiting, json!({"pending_not_scheduled": "5m"}), "2026-01-01T00:05:00Z").due);
    let lost = pod(
        "Running",
        json!({"conditions": [condition("Ready", "Unknown", "2026-01-01T05:00:00Z"), condition("Initialized", "True", "2026-01-01T00:00:03Z")]}),
    );
    assert!(verdict(&lost, json!({"running": "1h"}), "2026-01-01T01:00:03Z").due);
    let unknown = pod("Unknown", json!({"conditions": [condition("Ready", "Unknown", "2026-01-01T05:00:00Z")]}));
    let got = verdict(&unknown, json!({"unknown": "1h"}), "2026-01-01T06:00:00Z");
    assert_eq!((got.state, got.since, got.due), (State::Unknown, at("2026-01-01T05:00:00Z"), true));
}

#[test]
fn a_threshold_measures_the_time_in_the_state_and_not_the_age() {
    // descheduler's States with maxPodLifeTimeSeconds is total age; MLRun counts from the submission.
    let late = pod(
        "Running",
        json!({"startTime": "2026-01-01T23:00:00Z", "conditions": [condition("Initialized", "True", "2026-01-01T23:00:00Z")],
        "containerStatuses": [{"name": "c", "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T23:01:00Z"}}}]}),
    );
    assert!(!verdict(&late, json!({"running": "24h"}), "2026-01-02T00:00:00Z").due);
}

#[test]
fn a_pod_without_any_condition_is_pending_since_its_creation() {
    // kube-cleanup needs PodScheduled=False; a pod of an unknown schedulerName has no conditions, ever.
    let mut unseen = pod("Pending", json!({}));
    unseen["spec"] = json!({});
    unseen["status"] = json!({"phase": "Pending"});
    let got = verdict(&unseen, json!({"pending_not_scheduled": "1h"}), "2026-01-01T01:00:00Z");
    assert_eq!((got.state, got.due), (State::PendingNotScheduled, true));
    unseen["spec"] = json!({"nodeName": "n"});
    let got = verdict(&unseen, json!({"pending_scheduled": "1h"}), "2026-01-01T01:00:00Z");
    assert_eq!((got.state, got.due), (State::PendingScheduled, true));
}

#[test]
fn every_state_has_a_deadline_to_wake_up_for() {
    // Prow wakes up for pending pods only (test-infra#22439).
    let running = pod("Running", json!({}));
    assert_eq!(
        verdict(&running, json!({"running": "1h"}), "2026-01-01T00:00:02Z").deadline,
        at("2026-01-01T01:00:02Z")
    );
}

#[test]
fn flapping_conditions_do_not_start_the_clock_again() {
    // Armada's LastStatusChange is the latest of all conditions, readiness gates too.
    let conditions = json!([
        condition("Initialized", "True", "2026-01-01T00:00:03Z"),
        condition("Ready", "False", "2026-01-01T09:00:00Z"),
        condition("ContainersReady", "False", "2026-01-01T09:00:00Z"),
        condition("example.com/gate", "False", "2026-01-01T09:30:00Z")
    ]);
    let flapping = pod("Running", json!({"conditions": conditions}));
    assert_eq!(verdict(&flapping, json!({"running": "1h"}), "2026-01-01T10:00:00Z").since, at("2026-01-01T00:00:03Z"));
}

#[test]
fn the_way_in_which_a_pull_fails_does_not_start_the_clock_again() {
    // MLRun knows ImagePullBackOff only; the kubelet alternates with ErrImagePull (kubernetes#119891).
    let mut seen = BTreeMap::new();
    for reason in [
        "ImagePullBackOff",
        "ErrImagePull",
        "RegistryUnavailable",
        "ErrImageNeverPull",
        "ImageInspectError",
        "SignatureValidationFailed",
    ] {
        let status = json!({"initContainerStatuses": [{"name": "i", "state": {"waiting": {"reason": reason}}}]});
        let got = verdict(&pod("Pending", status), json!({"image_pull_backoff": "1h"}), "2026-01-01T00:30:00Z");
        seen.insert(got.state, got.since);
    }
    assert_eq!(seen, BTreeMap::from([(State::ImagePullBackoff, at("2026-01-01T00:00:02Z"))]));
}

#[test]
fn the_second_init_container_is_timed_from_the_end_of_the_first_and_behind_a_sidecar_from_its_start() {
    let statuses = json!({"initContainerStatuses": [
        {"name": "a", "state": {"terminated": {"startedAt": "2026-01-01T00:00:05Z", "finishedAt": "2026-01-01T00:50:00Z", "exitCode": 0}}},
        {"name": "b", "state": {"waiting": {"reason": "ErrImagePull"}}}]});
    let got = verdict(&pod("Pending", statuses), json!({}), "2026-01-01T01:00:00Z");
    assert_eq!(got.since, at("2026-01-01T00:50:00Z"));
    let statuses = json!({"initContainerStatuses": [
        {"name": "sidecar", "state": {"running": {"startedAt": "2026-01-01T00:02:00Z"}}},
        {"name": "b", "state": {"waiting": {"reason": "ErrImagePull"}}}]});
    let mut behind_sidecar = pod("Pending", statuses);
    behind_sidecar["spec"]["initContainers"] = json!([{"name": "sidecar", "restartPolicy": "Always"}, {"name": "b"}]);
    let got = verdict(&behind_sidecar, json!({}), "2026-01-01T01:00:00Z");
    assert_eq!((got.state, got.since), (State::ImagePullBackoff, at("2026-01-01T00:02:00Z")));
}

#[test]
fn a_running_sidecar_is_not_an_init_container_at_work() {
    let status = json!({"initContainerStatuses": [{"name": "sidecar", "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}}]});
    let mut waiting = pod("Pending", status);
    assert_eq!(verdict(&waiting, json!({}), "2026-01-01T01:00:00Z").state, State::Initializing);
    waiting["spec"]["initContainers"] = json!([{"name": "sidecar", "restartPolicy": "Always"}]);
    assert_eq!(verdict(&waiting, json!({}), "2026-01-01T01:00:00Z").state, State::PendingScheduled);
}

#[test]
fn a_sidecar_that_lost_its_last_run_with_the_sandbox_counts_from_its_start_in_this_life() {
    let mut object = pod(
        "Running",
        json!({
        "conditions": [condition("PodScheduled", "True", "2026-01-01T00:00:00Z"), condition("PodReadyToStartContainers", "True", "2026-01-01T05:00:00Z")],
        "initContainerStatuses": [
            {"name": "sidecar", "restartCount": 1, "started": true, "state": {"running": {"startedAt": "2026-01-01T05:30:00Z"}}},
            {"name": "i", "restartCount": 1, "state": {"waiting": {"reason": "ErrImagePull"}},
                "lastState": {"terminated": {"exitCode": 0, "startedAt": "2026-01-01T00:02:00Z", "finishedAt": "2026-01-01T00:03:00Z"}}}],
        "containerStatuses": [{"name": "a", "restartCount": 1, "state": {"waiting": {"reason": "PodInitializing"}}}]}),
    );
    object["spec"]["initContainers"] = json!([{"name": "sidecar", "restartPolicy": "Always"}, {"name": "i"}]);
    let got = verdict(&object, json!({"image_pull_backoff": "1h"}), "2026-01-01T06:00:00Z");
    assert_eq!((got.state, got.since, got.due), (State::ImagePullBackoff, at("2026-01-01T05:30:00Z"), false));
}

#[test]
fn a_sidecar_that_has_begun_and_lets_nothing_after_it_begin_is_initializing() {
    let crashed = json!({"terminated": {"exitCode": 1, "startedAt": "2026-01-01T00:00:05Z", "finishedAt": "2026-01-01T00:00:06Z"}});
    let runs = json!({"running": {"startedAt": "2026-01-01T00:00:05Z"}});
    let loops = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let initializing = json!({"waiting": {"reason": "PodInitializing"}});
    for (sidecar, started, last, behind, state) in [
        (runs.clone(), json!(false), json!({}), None, State::Initializing),
        (runs.clone(), json!(true), json!({}), None, State::PendingScheduled),
        (runs.clone(), Value::Null, json!({}), None, State::PendingScheduled),
        (loops.clone(), json!(false), crashed.clone(), None, State::Initializing),
        // As dumps made by hand have it.
        (loops, Value::Null, crashed.clone(), None, State::Initializing),
        (crashed, Value::Null, json!({}), None, State::Initializing),
        // Once one of them has begun, the next is still to come: between two of them the state stays.
        (runs.clone(), json!(true), json!({}), Some(initializing.clone()), State::Initializing),
        (
            runs,
            json!(true),
            json!({}),
            Some(json!({"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T00:10:00Z"}})),
            State::PendingScheduled,
        ),
        (initializing.clone(), json!(false), json!({}), Some(initializing), State::PendingScheduled),
    ] {
        let mut statuses = vec![json!({"name": "sidecar", "started": started, "state": sidecar, "lastState": last})];
        statuses.extend(behind.map(|state| json!({"name": "i", "started": false, "state": state})));
        let mut object = pod("Pending", json!({"initContainerStatuses": statuses}));
        object["spec"]["initContainers"] = json!([{"name": "sidecar", "restartPolicy": "Always"}, {"name": "i"}]);
        assert_eq!(verdict(&object, json!({}), "2026-01-01T01:00:00Z").state, state, "{object}");
    }
}

#[test]
fn a_container_that_could_not_be_started_is_in_error_between_two_tries_and_ended_where_none_is_to_come() {
    let failed = json!({"terminated": {"exitCode": 128, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:30:00Z"}});
    for (of_pod, of_container, state) in [
        ("Always", Value::Null, State::ContainerError),
        ("", Value::Null, State::ContainerError),
        ("Never", Value::Null, State::Running),
        // Kubernetes 1.34: a container may have a policy of its own.
        ("Always", json!("Never"), State::Running),
        ("Never", json!("OnFailure"), State::ContainerError),
    ] {
        let mut object = pod(
            "Running",
            json!({"containerStatuses": [{"name": "a", "state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}},
            {"name": "b", "state": failed}]}),
        );
        object["spec"]["restartPolicy"] = json!(of_pod);
        object["spec"]["containers"] = json!([{"name": "a"}, {"name": "b", "restartPolicy": of_container}]);
        assert_eq!(verdict(&object, json!({}), "2026-01-01T01:00:00Z").state, state, "{object}");
    }
}

#[test]
fn between_two_crashes_and_between_two_init_containers_the_state_stays() {
    let crashed = json!({"name": "a", "restartCount": 3, "state": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:40:00Z"}}});
    let done = json!({"name": "a", "state": {"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T00:40:00Z"}}});
    let next = json!({"name": "b", "state": {"waiting": {"reason": "PodInitializing"}}});
    for statuses in [json!([crashed]), json!([done, next])] {
        let between = pod("Pending", json!({"initContainerStatuses": statuses}));
        let got = verdict(&between, json!({"pending_scheduled": "1h"}), "2026-01-01T01:00:00Z");
        assert_eq!((got.state, got.since, got.due), (State::Initializing, at("2026-01-01T00:00:00Z"), true));
    }
}

#[test]
fn the_time_of_the_init_containers_is_not_charged_to_what_follows() {
    let status = json!({
        "conditions": [condition("PodScheduled", "True", "2026-01-01T00:00:00Z"), condition("Initialized", "True", "2026-01-01T02:00:00Z")],
        "initContainerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T02:00:00Z"}}}],
        "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "ContainerCreating"}}}]});
    let pulling = pod("Pending", status);
    let got = verdict(&pulling, json!({"pending_scheduled": "1h"}), "2026-01-01T02:00:01Z");
    assert_eq!((got.state, got.due, got.deadline), (State::PendingScheduled, false, at("2026-01-01T03:00:00Z")));
}

#[test]
fn a_container_in_a_crash_loop_is_not_timed_from_its_last_crash() {
    let waiting = |restarts: u32| {
        json!({"conditions": [condition("Initialized", "True", "2026-01-01T00:00:03Z")], "containerStatuses": [{"name": "c", "restartCount": restarts,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"startedAt": "2026-01-01T00:10:00Z"}}}]})
    };
    let first = verdict(&pod("Running", waiting(0)), json!({}), "2026-01-01T01:00:00Z");
    assert_eq!(first.since, at("2026-01-01T00:10:00Z"), "its only run");
    let later = verdict(&pod("Running", waiting(1)), json!({}), "2026-01-01T01:00:00Z");
    assert_eq!(later.since, at("2026-01-01T00:00:03Z"), "lastState is its second run");
}

#[test]
fn a_start_in_the_future_is_due_later_and_a_far_threshold_is_far() {
    let ahead = pod("Running", json!({"startTime": "2026-01-01T01:00:00Z", "conditions": null}));
    let got = verdict(&ahead, json!({"running": "1h"}), "2026-01-01T00:00:00Z");
    assert_eq!((got.due, got.deadline), (false, at("2026-01-01T02:00:00Z")));
    let got = verdict(&ahead, json!({"running": "9999y"}), "2026-01-01T00:00:00Z");
    assert_eq!(got.deadline, at("9999-12-30T22:00:00Z"));
}

#[test]
fn nobodys_threshold_is_no_threshold() {
    let running = pod("Running", json!({}));
    let pod: WatchedPod = serde_json::from_value(running).unwrap();
    let resolved = resolve(&pod.words(), &[]);
    let got = evaluate(&pod, NodeReadiness::Unheard, &resolved.thresholds, time("2999-01-01T00:00:00Z"));
    assert_eq!((got.threshold, got.deadline, got.due), (None, None, false));
}
