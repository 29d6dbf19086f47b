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

/// A pod with so many node terms of so many expressions each, which asks for a mode of preemption.
fn with_terms(mode: &str, terms: usize, each: usize) -> String {
    let text = review(&[(Way::Terms, terms), (Way::Expressions, each * terms)]);
    text.replace("\"annotations\":{", &format!("\"annotations\":{{\"stowage.dev/preemption-mode\":\"{mode}\""))
}

/// Terms times labels are counted before any product is made, so that what is refused costs no more than to read it.
#[test]
fn a_product_of_terms_and_labels_costs_in_proportion_whether_it_is_refused_or_made() {
    let mut found = Vec::new();
    // 64 labels of preemptible nodes, and two.
    for (own, asked, most) in
        [("prevent", "constrain", 508), ("prevent", "prevent", 508), ("constrain", "constrain", 400)]
    {
        let snapshot = policies(&largest(1, own, "Keep"));
        let sized = |part: usize| with_terms(asked, most / part, 54);
        compare(&format!("{asked} of {own}"), &sized(16), &sized(4), &snapshot, &mut found);
        for part in [1, 4, 16] {
            check_memory(&format!("{asked} of {own} / {part}"), &sized(part), &snapshot, &mut found);
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What no state is called is passed over once enough of it has been told of.
#[test]
fn names_of_no_state_cost_in_proportion_to_the_annotation() {
    let snapshot = policies(&largest(1, "prevent", "Keep"));
    let sized = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("\\\"{n}\\\":1")).collect();
        let json = format!("\"annotations\":{{\"stowage.dev/state-thresholds\":\"{{{}}}\"", names.join(","));
        review(&[]).replace("\"annotations\":{", &json)
    };
    let mut found = Vec::new();
    compare("names", &sized(5_000), &sized(20_000), &snapshot, &mut found);
    let large = sized(80_000);
    check_memory("names", &large, &snapshot, &mut found);
    // The annotation without its escapes, and nothing for each name.
    let (few, many) = (cost(&sized(20_000), &snapshot).allocations, cost(&large, &snapshot).allocations);
    assert!(many < few + 1_000, "{few} allocations, and {many}");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// The most memory that a decision may take: sixteen times its body and its patch, and a mebibyte. What is refused for
/// the patch has grown as long as a patch may be.
fn allowed(body: usize, answer: &Value) -> u64 {
    let message = answer["response"]["status"]["message"].as_str().unwrap_or_default();
    let is_too_long = message.contains("patch: ");
    let patch = if is_too_long { 4 << 20 } else { answer["response"]["patch"].as_str().map_or(0, str::len) };
    u64::try_from(16 * (body + patch) + (1 << 20)).unwrap()
}

fn check_memory(what: &str, text: &str, snapshot: &Snapshot, found: &mut Vec<String>) {
    let mut admitted = None;
    let memory = allocation_counter::measure(|| admitted = Some(admit(text.as_bytes(), snapshot).unwrap())).bytes_max;
    let answer: Value = serde_json::from_slice(&admitted.unwrap().body).unwrap();
    let allowed = allowed(text.len(), &answer);
    if memory > allowed {
        found.push(format!("{what}: {memory} bytes for a body of {}, where {allowed} are allowed", text.len()));
    }
}

#[test]
fn a_decision_takes_memory_in_proportion_to_the_pod() {
    let snapshot = policies(&largest(1, "prevent", "Keep"));
    let mut found = Vec::new();
    let mut check = |what: String, text: String| check_memory(&what, &text, &snapshot, &mut found);
    for way in Way::ALL {
        for part in [1, 4, 64] {
            check(format!("{way:?} / {part}"), review(&[(way, way.most() / part)]));
        }
    }
    for element in ["{}", "null", "[]", "0"] {
        let list = vec![element; 300_000].join(",");
        let base = r#""containers":[{"name":"base"}]"#;
        let expressions = vec![format!(r#"{{"matchExpressions":[{}]}}"#, vec![element; 9_900].join(",")); 10].join(",");
        for spec in [
            format!(r#""containers":[{list}]"#),
            format!(r#""volumes":[{list}],{base}"#),
            format!(r#""tolerations":[{list}],{base}"#),
            format!(r#""imagePullSecrets":[{list}],{base}"#),
            format!(
                r#""affinity":{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":[{list}]}}}}}},{base}"#
            ),
            format!(
                r#""affinity":{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":[{expressions}]}}}}}},{base}"#
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
                check(format!("{element} in {}", &spec[..40]), text);
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
