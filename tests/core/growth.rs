//! What a decision costs as a pod grows: with the pod, not with its square, and in bounds of memory.
//!
//! `cargo bench -p stowage-benches --bench growth` measures the same up to the largest pods.

pub(crate) mod shapes;

use std::time::Duration;

use cpu_time::ThreadTime;
use serde_json::Value;
use stowage::{admission::admit, policy::snapshot::Snapshot};

use crate::harness::{policies, policy};
use shapes::{Way, largest, review};

/// Allocations and processor time of a decision.
struct Cost {
    allocations: u64,
    time: Duration,
}

fn cost(text: &str, snapshot: &Snapshot) -> Cost {
    let decide = || admit(text.as_bytes(), snapshot).unwrap();
    let allocations = allocation_counter::measure(|| drop(decide())).count_total;
    // The least of some: whatever else the machine does can only add to it.
    let times = (0..3).map(|_| {
        let begun = ThreadTime::now();
        drop(decide());
        begun.elapsed()
    });
    Cost { allocations, time: times.min().unwrap() }
}

/// Holds the cost of a pod against that of one four times as large. Time is compared coarsely: four times is linear, and
/// sixteen times would be quadratic.
fn compare(what: &str, small: &str, large: &str, snapshot: &Snapshot, found: &mut Vec<String>) {
    let (small, large) = (cost(small, snapshot), cost(large, snapshot));
    let allocations = large.allocations as f64 / small.allocations as f64;
    let time = large.time.as_secs_f64() / small.time.as_secs_f64();
    if allocations > 4.5 || time > 7.0 {
        found.push(format!("{what}: {allocations:.2} times the allocations and {time:.2} times the time"));
    }
}

#[test]
fn a_decision_costs_at_most_in_proportion_to_the_pod() {
    let mut found = Vec::new();
    for (mode, conflict) in [("prevent", "Keep"), ("constrain", "Override")] {
        let snapshot = policies(&largest(1, mode, conflict));
        for way in Way::ALL {
            let sized = |part: usize| review(&[(way, way.most() / part)]);
            compare(&format!("{way:?} under {conflict}"), &sized(16), &sized(4), &snapshot, &mut found);
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn two_ways_to_be_large_do_not_multiply() {
    let snapshot = policies(&largest(1, "prevent", "Keep"));
    let mut found = Vec::new();
    for (place, one) in Way::ALL.into_iter().enumerate() {
        for other in Way::ALL.into_iter().skip(place + 1) {
            let sized = |part: usize| review(&[(one, one.most() / part), (other, other.most() / part)]);
            compare(&format!("{one:?} and {other:?}"), &sized(64), &sized(16), &snapshot, &mut found);
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Every mount is decided twice where a variable is missing, and looked at for what lies around it and in it.
#[test]
fn folders_named_by_variables_and_mounts_in_mounts_cost_in_proportion_too() {
    let runs = (0..64).map(|n| {
        let folder = format!("subPathExpr: \"$(N{n})\", readOnly: true");
        format!("{{pvc: {{claimName: c{n}, volumeName: v{n}, mountPath: /data/{n}/runs, {folder}}}}}")
    });
    let data = (0..63)
        .map(|n| format!("{{pvc: {{claimName: d{n}, volumeName: d{n}, mountPath: /data/{n}, readOnly: true}}}}"));
    let storage = |modifiers: Vec<String>| format!("  storage: [{}]", modifiers.join(", "));
    let text = policy("runs", &storage(runs.collect())) + &policy("data", &storage(data.collect()));
    let snapshot = policies(&text);
    let mut found = Vec::new();
    for way in [Way::Containers, Way::Mounts, Way::Variables] {
        let sized = |part: usize| review(&[(way, way.most() / part)]);
        compare(&format!("{way:?}"), &sized(64), &sized(16), &snapshot, &mut found);
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The most memory that a decision may take: sixteen times its body and its patch, and a mebibyte. What is refused for
/// the patch has grown as long as a patch may be. The affinity is read into values, twice where it is changed.
fn allowed(way: Option<Way>, body: usize, answer: &Value) -> u64 {
    let message = answer["response"]["status"]["message"].as_str().unwrap_or_default();
    let is_too_long = message.contains("patch: ") || message.contains("merging required node affinity");
    let patch = if is_too_long { 4 << 20 } else { answer["response"]["patch"].as_str().map_or(0, str::len) };
    let times = if matches!(way, Some(Way::Terms | Way::Expressions)) { 64 } else { 16 };
    u64::try_from(times * body + 16 * patch + (1 << 20)).unwrap()
}

#[test]
fn a_decision_takes_memory_in_proportion_to_the_pod() {
    let snapshot = policies(&largest(1, "prevent", "Keep"));
    let mut found = Vec::new();
    let mut check = |what: String, way: Option<Way>, text: String| {
        let mut admitted = None;
        let memory =
            allocation_counter::measure(|| admitted = Some(admit(text.as_bytes(), &snapshot).unwrap())).bytes_max;
        let answer: Value = serde_json::from_slice(&admitted.unwrap().body).unwrap();
        let allowed = allowed(way, text.len(), &answer);
        if memory > allowed {
            found.push(format!("{what}: {memory} bytes for a body of {}, where {allowed} are allowed", text.len()));
        }
    };
    for way in Way::ALL {
        for part in [1, 4, 64] {
            check(format!("{way:?} / {part}"), Some(way), review(&[(way, way.most() / part)]));
        }
    }
    for element in ["{}", "null", "[]", "0"] {
        let list = vec![element; 300_000].join(",");
        let base = r#""containers":[{"name":"base"}]"#;
        for spec in [
            format!(r#""containers":[{list}]"#),
            format!(r#""volumes":[{list}],{base}"#),
            format!(r#""tolerations":[{list}],{base}"#),
            format!(r#""imagePullSecrets":[{list}],{base}"#),
            format!(
                r#""affinity":{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":[{list}]}}}}}},{base}"#
            ),
            format!(r#""containers":[{{"name":"base","env":[{list}]}}]"#),
            format!(r#""containers":[{{"name":"base","envFrom":[{list}]}}]"#),
            format!(r#""containers":[{{"name":"base","volumeMounts":[{list}]}}]"#),
            format!(r#""containers":[{{"name":"base","resources":{{"claims":[{list}]}}}}]"#),
            format!(r#""containers":[{{"name":"base","args":[{list}]}}]"#),
        ] {
            let text = review(&[]).replace(
                r#""volumes":[],"tolerations":[],"containers":[{"name":"c0","env":[],"envFrom":[],"volumeMounts":[]}]"#,
                &spec,
            );
            assert!(text.contains(element), "{text}");
            if admit(text.as_bytes(), &snapshot).is_ok() {
                check(format!("{element} in {}", &spec[..40]), None, text);
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
