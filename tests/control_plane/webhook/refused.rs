//! What the API server would refuse: of a policy's source, which is refused early, and of single pods, which come out
//! without what does not fit them.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::{Field, container, pod, policy, volume};
use crate::cluster;

/// Holds a table of sources against the API server: each is put into a pod as a policy would put it.
async fn hold(name: &str, table: &str, spec: impl Fn(&str, &Value) -> Value) {
    let Some(cluster) = cluster::shared() else { return };
    cluster.namespace(name, &json!({})).await;
    let rows: Vec<Value> = serde_json::from_str(table).unwrap();
    let mut odd = Vec::new();
    for row in &rows {
        let kind = row["kind"].as_str().unwrap();
        let wrong = row["wrong"].as_array().unwrap().iter().map(|wrong| (&wrong["source"], wrong.get("stricter")));
        let right = row["right"].as_array().unwrap().iter().map(|source| (source, None));
        for (index, (source, stricter)) in right.chain(wrong).enumerate() {
            let is_right = index < row["right"].as_array().unwrap().len();
            let path = format!("/api/v1/namespaces/{name}/pods?dryRun=All");
            let reply = cluster.post(&path, &pod(spec(kind, source))).await;
            if (reply.status == StatusCode::CREATED) != (is_right || stricter.is_some()) {
                odd.push(format!("{kind} {source}: {} {}", reply.status, reply.message()));
            }
        }
    }
    assert!(odd.is_empty(), "{}", odd.join("\n"));
}

#[tokio::test]
async fn a_source_that_check_refuses_costs_the_pod() {
    hold("t-refused-sources", include_str!("../../fixtures/admissible/sources.json"), |kind, source| {
        let mut base = container("base");
        base["volumeMounts"] = json!([{"name": "v", "mountPath": "/m"}]);
        json!({"containers": [base], "volumes": [{"name": "v", kind: source}]})
    })
    .await;
    hold("t-refused-variables", include_str!("../../fixtures/admissible/variables.json"), |kind, source| {
        let mut base = container("base");
        base["env"] = json!([{"name": "A", "valueFrom": {kind: source}}]);
        json!({"containers": [base]})
    })
    .await;
}

/// A pod with these fields, in a policy that does not fit it.
fn odd_pods() -> [(&'static str, Value); 6] {
    let of = |metadata: Value, fields: Value| {
        let mut spec = json!({"containers": [container("base")]});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    };
    let long = "a".repeat(250);
    [
        ("sysctls", of(json!({"name": "host-network"}), json!({"hostNetwork": true}))),
        (
            "seccompProfile",
            of(
                json!({"name": "annotated", "annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}),
                json!({}),
            ),
        ),
        (
            "appArmorProfile",
            of(
                json!({"name": "blank", "annotations": {"container.apparmor.security.beta.kubernetes.io/base": ""}}),
                json!({}),
            ),
        ),
        ("ephemeral", of(json!({"name": long}), json!({}))),
        (
            "ephemeral",
            of(
                json!({"name": "mounting"}),
                json!({"volumes": [{"name": "own", "persistentVolumeClaim": {"claimName": "mounting-scratch"}}]}),
            ),
        ),
        ("hugepages-2Mi", of(json!({"name": "whole"}), json!({"resources": {"limits": {"memory": "2Gi"}}}))),
    ]
}

#[tokio::test]
async fn a_pod_that_a_policy_does_not_fit_is_admitted_without_it() {
    let amounts = json!({"memory": "1Gi", "hugepages-2Mi": "4Mi"});
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let scratch = json!({"name": "scratch", "source": {"ephemeral": {"volumeClaimTemplate": {"spec": claim}}}, "mountPath": "/s"});
    let context = json!({
        "sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}],
        "seccompProfile": {"type": "RuntimeDefault"},
        "appArmorProfile": {"type": "RuntimeDefault"}
    });
    let spec = json!({
        "storage": [{"volume": scratch}],
        "defaults": {"resources": {"requests": amounts, "limits": amounts}, "securityContext": context}
    });
    let Some(field) = Field::start("refused", json!({}), &[policy("refused", spec)]).await else { return };
    let plain = field.create(&pod(json!({"containers": [container("base")]}))).await.object();
    let shown = |pod: &Value| [pod["spec"].to_string(), pod["metadata"]["annotations"].to_string()].concat();
    for word in ["\"appArmorProfile\"", "\"sysctls\"", "\"seccompProfile\"", "\"ephemeral\"", "\"hugepages-2Mi\""] {
        assert!(shown(&plain).contains(word), "a pod that it fits has {word}");
    }
    field.cluster.namespace("t-refused-bare", &json!({})).await;
    for (word, given) in odd_pods() {
        let made = field.create(&given).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}: {}", given["metadata"], made.message());
        assert!(!made.body["spec"].to_string().contains(&format!("\"{word}\"")), "{word}: {}", made.body["spec"]);
        // And with what was left out it is refused: the others of these tests hold each to a field of its own.
        let mut refused = made.body.clone();
        refused["metadata"] = given["metadata"].clone();
        match word {
            "ephemeral" => {
                let volumes = refused["spec"]["volumes"].as_array_mut().unwrap();
                volumes.push(json!({"name": "scratch", "ephemeral": volume(&plain, "scratch")["ephemeral"]}));
            }
            "hugepages-2Mi" => {
                let pages = json!({"hugepages-2Mi": "4Mi"});
                refused["spec"]["containers"][0]["resources"] = json!({"requests": pages, "limits": pages});
            }
            _ => refused["spec"]["securityContext"][word] = context[word].clone(),
        }
        let reply = field.cluster.post("/api/v1/namespaces/t-refused-bare/pods?dryRun=All", &refused).await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{word}: {}", reply.message());
    }
}
