//! Placement and defaults, as the API server's own plugins take them.

use serde_json::{Value, json};

use super::{Field, container, marker, pod, policy};

async fn class(field: &Field, name: &str, value: i32) {
    let class = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
        "value": value, "preemptionPolicy": "Never"
    });
    field.cluster.post("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await.object();
}

#[tokio::test]
async fn a_priority_class_is_resolved_anew() {
    let policies = [policy("class", json!({"priorityClassName": "t-batch"}))];
    let Some(field) = Field::start("priority", json!({}), &policies).await else { return };
    class(&field, "t-batch", 1000).await;
    class(&field, "t-own", 7).await;
    let plain = pod(json!({"containers": [container("base")]}));
    for reply in [field.try_out(&plain).await, field.create(&plain).await] {
        let made = reply.object();
        assert_eq!(made["spec"]["priorityClassName"], "t-batch");
        assert_eq!(made["spec"]["priority"], 1000);
        assert_eq!(made["spec"]["preemptionPolicy"], "Never");
    }
    let own = pod(json!({"containers": [container("base")], "priorityClassName": "t-own"}));
    let reply = field.create(&own).await;
    assert!(reply.warnings.iter().any(|warning| warning.contains("priorityClassName")), "{:?}", reply.warnings);
    assert_eq!(reply.object()["spec"]["priority"], 7);
}

#[tokio::test]
async fn an_overridden_priority_class_is_resolved_anew() {
    let policies = [policy("class", json!({"onConflict": "Override", "priorityClassName": "t-over"}))];
    let Some(field) = Field::start("override", json!({}), &policies).await else { return };
    class(&field, "t-over", 2000).await;
    class(&field, "t-under", 8).await;
    let own = pod(json!({"containers": [container("base")], "priorityClassName": "t-under"}));
    let made = field.create(&own).await.object();
    assert_eq!((&made["spec"]["priorityClassName"], &made["spec"]["priority"]), (&json!("t-over"), &json!(2000)));
}

fn spot(mode: &str) -> Value {
    json!({"preemption": {
        "mode": mode,
        "nodeSelector": {"lifecycle": "spot", "capacity": "spot"},
        "tolerations": [{"key": "spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"}]
    }})
}

/// The pod's required terms after the webhook.
async fn terms(field: &Field, mode: &str, spec: &Value) -> Vec<Value> {
    let mut pod = pod(spec.clone());
    pod["metadata"]["annotations"] = json!({"stowage.dev/preemption-mode": mode});
    let made = field.create(&pod).await.object();
    marker(&made);
    let required = &made["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    required["nodeSelectorTerms"].as_array().cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_default_pool_is_for_pods_that_say_nothing_beside_what_the_api_server_fills_in() {
    let defaults = json!({
        "nodeSelector": {"pool": "general"},
        "tolerations": [{"key": "pool", "operator": "Equal", "value": "general", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}}
        ]}}
    });
    let policies = [policy("pool", json!({"defaults": defaults}))];
    let Some(field) = Field::start("pool", json!({}), &policies).await else { return };
    let spec = |made: &Value| made["spec"].clone();
    let plain = spec(&field.create(&pod(json!({"containers": [container("base")]}))).await.object());
    assert_eq!(plain["nodeSelector"], defaults["nodeSelector"]);
    assert_eq!(plain["affinity"], defaults["affinity"]);
    let keys = |spec: &Value| -> Vec<String> {
        let all = spec["tolerations"].as_array().unwrap().iter();
        all.map(|one| one["key"].as_str().unwrap().to_owned()).collect()
    };
    // The plugin that fills these in was there before the webhook.
    assert_eq!(keys(&plain), ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable", "pool"]);
    let own = json!({"key": "gpu", "operator": "Exists"});
    let own = json!({"containers": [container("base")], "nodeSelector": {"pool": "gpu"}, "tolerations": [own]});
    let made = spec(&field.create(&pod(own.clone())).await.object());
    assert_eq!((&made["nodeSelector"], &made["affinity"]), (&own["nodeSelector"], &defaults["affinity"]));
    assert!(!keys(&made).contains(&"pool".to_owned()), "{made}");
}

#[tokio::test]
async fn every_mode_is_valid_on_pods_with_match_fields_and_without_affinity() {
    let Some(field) = Field::start("preemption", json!({}), &[policy("spot", spot("prevent"))]).await else { return };
    let fields = json!([{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]);
    let required = json!({"nodeSelectorTerms": [{"matchFields": fields}]});
    let bound = json!({
        "containers": [container("base")],
        "nodeSelector": {"lifecycle": "spot", "pool": "ml"},
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    });
    let plain = json!({"containers": [container("base")]});
    assert_eq!(terms(&field, "none", &plain).await, [json!(null); 0]);
    assert_eq!(terms(&field, "allow", &plain).await, [json!(null); 0]);
    for (mode, operator, count) in [("constrain", "In", 2), ("prevent", "NotIn", 1)] {
        for spec in [&plain, &bound] {
            let terms = terms(&field, mode, spec).await;
            assert_eq!(terms.len(), count, "{mode} {terms:?}");
            for term in terms {
                let expressions = term["matchExpressions"].as_array().unwrap();
                assert!(expressions.iter().any(|expression| expression["operator"] == operator), "{term}");
                let kept = spec.get("affinity").map(|_| &fields);
                assert_eq!(term.get("matchFields"), kept);
            }
        }
    }
}

#[tokio::test]
async fn resource_defaults_agree_with_a_limit_range() {
    let resources = json!({
        "requests": {"cpu": "4", "memory": "64Mi", "ephemeral-storage": "1Gi"},
        "limits": {"cpu": "8", "memory": "32Mi", "ephemeral-storage": "2Gi"}
    });
    let policies = [policy("resources", json!({"defaults": {"resources": resources}}))];
    // A request over its own limit is a wrong policy; the limits here are the range's to make.
    let policies = policies.map(|mut policy| {
        policy["spec"]["defaults"]["resources"]["limits"]["memory"] = json!("128Mi");
        policy
    });
    let Some(field) = Field::start("limits", json!({}), &policies).await else { return };
    let range = json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "range"},
        "spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "500m"}}]}
    });
    field.cluster.post(&format!("/api/v1/namespaces/{}/limitranges", field.namespace), &range).await.object();
    let mut ranged = Value::Null;
    for _ in 0..100 {
        let made = field.create(&pod(json!({"containers": [container("base")]}))).await.object();
        ranged = made["spec"]["containers"][0]["resources"].clone();
        // The API server hears of the range a moment later.
        if ranged["limits"]["cpu"] == "1" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(ranged["limits"], json!({"cpu": "1", "ephemeral-storage": "2Gi", "memory": "128Mi"}));
    assert_eq!(ranged["requests"], json!({"cpu": "500m", "ephemeral-storage": "1Gi", "memory": "64Mi"}));
}

#[tokio::test]
async fn a_gpu_in_limits_only_stays_legal() {
    let resources = json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}});
    let gpu = json!({"limits": {"amd.com/gpu": 1}});
    let gpus = policy(
        "gpus",
        json!({"match": {"podSelector": {"matchLabels": {"wants": "gpu"}}}, "defaults": {"resources": gpu}}),
    );
    let policies = [policy("resources", json!({"defaults": {"resources": resources}})), gpus];
    let Some(field) = Field::start("gpu", json!({}), &policies).await else { return };
    for name in ["nvidia.com/gpu", "amd.com/gpu", "example.com/npu"] {
        let mut base = container("base");
        base["resources"] = json!({"limits": {name: 1}});
        let made = field.create(&pod(json!({"containers": [base]}))).await.object();
        let resources = &made["spec"]["containers"][0]["resources"];
        assert_eq!((&resources["limits"][name], &resources["requests"][name]), (&json!("1"), &json!("1")));
        assert_eq!((&resources["limits"]["memory"], &resources["requests"]["cpu"]), (&json!("128Mi"), &json!("100m")));
    }
    let mut wants = pod(json!({"containers": [container("base")]}));
    wants["metadata"]["labels"] = json!({"wants": "gpu"});
    let made = field.create(&wants).await.object();
    assert_eq!(made["spec"]["containers"][0]["resources"]["limits"]["amd.com/gpu"], "1");
}

#[tokio::test]
async fn defaults_reach_a_pod_that_says_nothing() {
    let policies = [policy(
        "defaults",
        json!({
            "imagePullPolicy": "Never",
            "nodeSelector": {"pool": "ml"},
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"a": "b"}}}}
            ]}},
            "defaults": {
                "serviceAccountName": "builder",
                "imagePullSecrets": [{"name": "registry"}],
                "securityContext": {"fsGroup": 100, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
            }
        }),
    )];
    let Some(field) = Field::start("defaults", json!({}), &policies).await else { return };
    let made = field.create(&pod(json!({"containers": [container("base")]}))).await.object();
    let spec = &made["spec"];
    assert_eq!((&spec["serviceAccountName"], &spec["serviceAccount"]), (&json!("builder"), &json!("builder")));
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "registry"}]));
    assert_eq!(spec["securityContext"]["fsGroup"], 100);
    assert_eq!(spec["containers"][0]["imagePullPolicy"], "Never");
    assert_eq!(spec["nodeSelector"]["pool"], "ml");
    assert!(spec["tolerations"].as_array().unwrap().iter().any(|toleration| toleration["key"] == "gpu"));
    assert_eq!(marker(&made)["policies"][0].get("skipped"), None);
}
