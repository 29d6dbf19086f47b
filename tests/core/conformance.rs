//! Cases recorded from MLRun 1.10 and Polyaxon 0.5: what the originals put into a pod, ours does too.

use serde_json::{Map, Value};

use crate::harness::{answer_to, load, review};

const MLRUN_MOUNTS: &str = include_str!("../fixtures/conformance/mlrun-mounts.json");
const MLRUN_AUTO_MOUNT: &str = include_str!("../fixtures/conformance/mlrun-automount.json");
const POLYAXON: &str = include_str!("../fixtures/conformance/polyaxon.json");

#[test]
fn mlruns_modifiers_give_what_mlrun_gives() {
    run(MLRUN_MOUNTS, 13);
}

#[test]
fn auto_mount_gives_what_mlrun_gives() {
    run(MLRUN_AUTO_MOUNT, 24);
}

#[test]
fn the_catalogue_gives_what_polyaxon_gives() {
    run(POLYAXON, 9);
}

fn run(text: &str, count: usize) {
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    assert_eq!(cases.len(), count);
    let wrong: Vec<String> =
        cases.iter().filter_map(|case| Some(format!("{}: {}", case["id"], judge(case).err()?))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn judge(case: &Value) -> Result<(), String> {
    let expect = &case["expect"];
    let list = serde_json::json!({"kind": "List", "apiVersion": "v1", "items": case["policies"]});
    let loaded = load(&list.to_string());
    let said: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
    if let Some(word) = expect["policyRefused"].as_str() {
        return said.iter().any(|line| line.contains(word)).then_some(()).ok_or(format!("not refused: {said:?}"));
    }
    if !said.is_empty() {
        return Err(format!("refused: {said:?}"));
    }
    let snapshot = loaded.snapshot();
    let namespace = case["pod"]["metadata"]["namespace"].as_str().unwrap_or("ns");
    let mut asked = review(&case["pod"]);
    asked["request"]["namespace"] = namespace.into();
    let answer = answer_to(&asked, &snapshot);
    if let Some(word) = expect["refused"].as_str() {
        let is_told = !answer.is_allowed() && answer.message().contains(word);
        return is_told.then_some(()).ok_or(format!("refused with {:?}", answer.message()));
    }
    if !answer.is_allowed() {
        return Err(answer.message().to_owned());
    }
    if expect["unchanged"] == true && bare(&answer.pod) != bare(&case["pod"]) {
        return Err(format!("changed: {}", answer.patch));
    }
    holds(expect, &answer.pod)
}

fn holds(expect: &Value, pod: &Value) -> Result<(), String> {
    let containers = items(&pod["spec"]["containers"]);
    let mounts: Vec<&Value> = containers.iter().flat_map(|container| items(&container["volumeMounts"])).collect();
    let volumes = items(&pod["spec"]["volumes"]);
    let contains = &expect["contains"];
    for container in &containers {
        for want in items(&contains["env"]) {
            let found: Vec<&Value> =
                items(&container["env"]).into_iter().filter(|env| env["name"] == want["name"]).collect();
            let [found] = found.as_slice() else { return Err(format!("{want}: there {} times", found.len())) };
            let same = match want.get("json") {
                Some(json) => serde_json::from_str::<Value>(found["value"].as_str().unwrap()).unwrap() == *json,
                None => within(want, found),
            };
            same.then_some(()).ok_or(format!("{found} is not {want}"))?;
        }
        for want in items(&contains["envFrom"]) {
            let count = items(&container["envFrom"]).into_iter().filter(|from| within(want, from)).count();
            (count == 1).then_some(()).ok_or(format!("{want}: there {count} times"))?;
        }
        for name in items(&expect["absentEnv"]) {
            let there = items(&container["env"]).iter().any(|env| env["name"] == *name);
            (!there).then_some(()).ok_or(format!("{name} is there"))?;
        }
    }
    let has = |list: &[&Value], want: &Value| list.iter().any(|got| within(want, got));
    for want in items(&contains["volumes"]).into_iter().chain(items(&contains["sources"])) {
        has(&volumes, want).then_some(()).ok_or(format!("no volume {want}"))?;
    }
    for want in items(&contains["mounts"]) {
        has(&mounts, want).then_some(()).ok_or(format!("no mount {want}"))?;
    }
    let is_mounted = |path: &Value| mounts.iter().any(|mount| mount["mountPath"] == *path);
    for path in items(&contains["mountPaths"]).into_iter().filter(|path| path.as_str().unwrap().starts_with('/')) {
        is_mounted(path).then_some(()).ok_or(format!("nothing at {path}"))?;
    }
    for path in items(&expect["absentMountPaths"]) {
        (!is_mounted(path)).then_some(()).ok_or(format!("{path} is mounted"))?;
    }
    let labels = contains["labels"].as_object().cloned().unwrap_or_default();
    within(&Value::Object(labels), &pod["metadata"]["labels"]).then_some(()).ok_or("labels differ")?;
    Ok(())
}

/// Whether `want` is contained in `got`; an empty string or null stands for an absent field.
fn within(want: &Value, got: &Value) -> bool {
    let blank = |value: &Value| value.is_null() || value == "";
    match (want, got) {
        (Value::Object(want), got) => {
            let none = Map::new();
            let got = got.as_object().unwrap_or(&none);
            want.iter().all(|(key, want)| {
                let got = got.get(key).unwrap_or(&Value::Null);
                blank(want) && blank(got) || within(want, got)
            })
        }
        (Value::Array(want), Value::Array(got)) => {
            want.len() == got.len() && want.iter().zip(got).all(|(want, got)| within(want, got))
        }
        _ => want == got,
    }
}

fn bare(pod: &Value) -> Value {
    let mut pod = pod.clone();
    if let Some(annotations) = pod["metadata"]["annotations"].as_object_mut() {
        annotations.remove("stowage.dev/injected");
    }
    if pod["metadata"]["annotations"].as_object().is_none_or(Map::is_empty) {
        pod["metadata"].as_object_mut().unwrap().remove("annotations");
    }
    pod
}

fn items(value: &Value) -> Vec<&Value> {
    value.as_array().into_iter().flatten().collect()
}
