//! What a policy weighs while it is in force: 5,000 of them and 2,000 namespaces have to fit into 40 MiB, with the program
//! itself.

use std::{collections::BTreeMap, sync::Arc};

use allocation_counter::{AllocationInfo, measure};
use serde_json::{Value, json};
use stowage::policy::{
    compile::Compiler,
    roster::{Generation, PolicyChange, PolicyKind},
    world::{Change, Watched, World},
};

const POLICIES: usize = 1_000;
/// What glibc takes for a block beside what it is asked for: eight bytes, and what is lost by rounding up to sixteen.
const BESIDE: i64 = 16;

/// One policy of a large cluster: a claim, a store's credentials, two variables and preemption.
fn document(number: usize) -> Value {
    json!({
        "apiVersion": "stowage.dev/v1alpha1", "kind": "InjectionPolicy",
        "metadata": {"name": format!("p{number}"), "namespace": format!("n{}", number / 2), "generation": 1},
        "spec": {
            "match": {"podSelector": {"matchLabels": {"app": format!("a{number}")}}},
            "env": [{"name": "NUMBER", "value": number.to_string()}, {"name": "HTTP_PROXY", "value": "http://proxy:3128"}],
            "storage": [
                {"pvc": {"claimName": format!("data-{number}"), "subPath": "{label:project}"}},
                {"s3": {"secretName": "s3-creds", "endpointUrl": "http://minio:9000"}}
            ],
            "preemption": {"nodeSelector": {"lifecycle": "spot"}}
        }
    })
}

/// Bytes of what is still held, for each of [`POLICIES`] things.
fn each(held: &AllocationInfo) -> i64 {
    (held.bytes_current + BESIDE * held.count_current) / POLICIES as i64
}

#[test]
fn a_policy_in_force_and_a_namespace_weigh_little() {
    let compiler = Compiler::new();
    let mut compiled = Vec::with_capacity(POLICIES);
    let policies = measure(|| {
        compiled.extend((0..POLICIES).map(|number| Arc::new(compiler.compile(&document(number)).unwrap())));
    });
    let generation = |policy: &Arc<_>| Generation {
        uid: "4b1e9a1c-9c0e-4f6e-8a52-0d7f2b3c4d5e".to_owned(),
        number: 1,
        status: None,
        compiled: Ok(Arc::clone(policy)),
    };
    let list = compiled.iter().map(|policy| (policy.id.clone(), generation(policy))).collect();
    let mut world = World::default();
    let filed = measure(|| {
        drop(world.apply(Change::Policies(PolicyChange::Relisted(PolicyKind::Namespaced, list))));
    });
    let namespaces = measure(|| {
        let named = (0..POLICIES).map(|number| {
            let labels = [("team", format!("t{number}")), ("stowage.dev/injection", "enabled".to_owned())];
            let labels: BTreeMap<_, _> = labels.map(|(key, value)| (key.to_owned(), value)).into();
            (format!("n{number}").into(), labels)
        });
        drop(world.apply(Change::Namespaces(Watched::Relisted(named.collect()))));
    });
    assert_eq!(world.policies_in_force(), POLICIES);
    let (policy, filed, namespace) = (each(&policies), each(&filed), each(&namespaces));
    assert!(policy <= 3_000, "a compiled policy takes {policy} bytes");
    assert!(filed <= 600, "a policy in force takes {filed} bytes beside itself");
    assert!(namespace <= 1_000, "a namespace with two labels takes {namespace} bytes");
}
