//! Every call that is made to an API server, by the account that makes it.
//!
//! `tests/binary/manifests.rs` holds the installed roles against this table, both ways, and the tests with a real
//! control plane hold it against the audit log.

/// Whose service account makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Account {
    /// `stowage serve`.
    Webhook,
    /// `stowage serve` where it keeps its own certificates.
    Keeper,
    /// `stowage reap` in a cluster, whatever it does to pods.
    Watcher,
    /// `stowage reap` where it deletes pods and their owners.
    Deleter,
    /// `stowage reap` where it evicts pods.
    Evictor,
}

/// One verb on one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApiCall {
    /// Who calls.
    pub account: Account,
    /// API group; empty for the core.
    pub group: &'static str,
    /// Resource, with its subresource.
    pub resource: &'static str,
    /// Verb, as RBAC has it.
    pub verb: &'static str,
}

const fn call(account: Account, group: &'static str, resource: &'static str, verb: &'static str) -> ApiCall {
    ApiCall { account, group, resource, verb }
}

const ADMISSION: &str = "admissionregistration.k8s.io";
const POLICIES: &str = "stowage.dev";

/// All of them.
pub const CALLS: [ApiCall; 70] = [
    call(Account::Webhook, POLICIES, "injectionpolicies", "list"),
    call(Account::Webhook, POLICIES, "injectionpolicies", "watch"),
    call(Account::Webhook, POLICIES, "injectionpolicies/status", "patch"),
    call(Account::Webhook, POLICIES, "clusterinjectionpolicies", "list"),
    call(Account::Webhook, POLICIES, "clusterinjectionpolicies", "watch"),
    call(Account::Webhook, POLICIES, "clusterinjectionpolicies/status", "patch"),
    call(Account::Webhook, "", "namespaces", "get"),
    call(Account::Webhook, "", "namespaces", "list"),
    call(Account::Webhook, "", "namespaces", "watch"),
    call(Account::Webhook, "", "serviceaccounts", "get"),
    call(Account::Webhook, "scheduling.k8s.io", "priorityclasses", "list"),
    call(Account::Webhook, "scheduling.k8s.io", "priorityclasses", "watch"),
    call(Account::Webhook, "node.k8s.io", "runtimeclasses", "list"),
    call(Account::Webhook, "node.k8s.io", "runtimeclasses", "watch"),
    call(Account::Webhook, ADMISSION, "mutatingwebhookconfigurations", "list"),
    call(Account::Webhook, ADMISSION, "mutatingwebhookconfigurations", "watch"),
    call(Account::Webhook, "events.k8s.io", "events", "create"),
    call(Account::Webhook, "events.k8s.io", "events", "patch"),
    call(Account::Keeper, ADMISSION, "mutatingwebhookconfigurations", "patch"),
    call(Account::Keeper, "", "secrets", "list"),
    call(Account::Keeper, "", "secrets", "watch"),
    call(Account::Keeper, "", "secrets", "create"),
    call(Account::Keeper, "", "secrets", "update"),
    call(Account::Watcher, POLICIES, "injectionpolicies", "list"),
    call(Account::Watcher, POLICIES, "injectionpolicies", "watch"),
    call(Account::Watcher, POLICIES, "clusterinjectionpolicies", "list"),
    call(Account::Watcher, POLICIES, "clusterinjectionpolicies", "watch"),
    call(Account::Watcher, "", "namespaces", "list"),
    call(Account::Watcher, "", "namespaces", "watch"),
    call(Account::Watcher, "", "nodes", "list"),
    call(Account::Watcher, "", "nodes", "watch"),
    call(Account::Watcher, "", "pods", "get"),
    call(Account::Watcher, "", "pods", "list"),
    call(Account::Watcher, "", "pods", "watch"),
    call(Account::Watcher, ADMISSION, "mutatingwebhookconfigurations", "list"),
    call(Account::Watcher, ADMISSION, "mutatingwebhookconfigurations", "watch"),
    call(Account::Watcher, "events.k8s.io", "events", "create"),
    call(Account::Watcher, "events.k8s.io", "events", "patch"),
    call(Account::Watcher, "coordination.k8s.io", "leases", "get"),
    call(Account::Watcher, "coordination.k8s.io", "leases", "create"),
    call(Account::Watcher, "coordination.k8s.io", "leases", "update"),
    call(Account::Watcher, "apps", "deployments", "get"),
    call(Account::Evictor, "", "pods/eviction", "create"),
    call(Account::Deleter, "", "pods", "delete"),
    call(Account::Watcher, "batch", "jobs", "get"),
    call(Account::Deleter, "batch", "jobs", "delete"),
    call(Account::Watcher, "kubeflow.org", "mpijobs", "get"),
    call(Account::Deleter, "kubeflow.org", "mpijobs", "delete"),
    call(Account::Watcher, "kubeflow.org", "pytorchjobs", "get"),
    call(Account::Deleter, "kubeflow.org", "pytorchjobs", "delete"),
    call(Account::Watcher, "kubeflow.org", "tfjobs", "get"),
    call(Account::Deleter, "kubeflow.org", "tfjobs", "delete"),
    call(Account::Watcher, "kubeflow.org", "xgboostjobs", "get"),
    call(Account::Deleter, "kubeflow.org", "xgboostjobs", "delete"),
    call(Account::Watcher, "kubeflow.org", "paddlejobs", "get"),
    call(Account::Deleter, "kubeflow.org", "paddlejobs", "delete"),
    call(Account::Watcher, "trainer.kubeflow.org", "trainjobs", "get"),
    call(Account::Deleter, "trainer.kubeflow.org", "trainjobs", "delete"),
    call(Account::Watcher, "jobset.x-k8s.io", "jobsets", "get"),
    call(Account::Deleter, "jobset.x-k8s.io", "jobsets", "delete"),
    call(Account::Watcher, "ray.io", "rayjobs", "get"),
    call(Account::Deleter, "ray.io", "rayjobs", "delete"),
    call(Account::Watcher, "ray.io", "rayclusters", "get"),
    call(Account::Deleter, "ray.io", "rayclusters", "delete"),
    call(Account::Watcher, "sparkoperator.k8s.io", "sparkapplications", "get"),
    call(Account::Deleter, "sparkoperator.k8s.io", "sparkapplications", "delete"),
    call(Account::Watcher, "batch.volcano.sh", "jobs", "get"),
    call(Account::Deleter, "batch.volcano.sh", "jobs", "delete"),
    call(Account::Watcher, "core.polyaxon.com", "operations", "get"),
    call(Account::Deleter, "core.polyaxon.com", "operations", "delete"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::removals::resource;
    use crate::threshold::owner::known_kinds;

    #[test]
    fn every_known_kind_of_owner_can_be_read_and_deleted_and_no_other() {
        let mut owners = 0;
        for (group, kind) in known_kinds() {
            let plural = resource(kind);
            for (account, verb) in [(Account::Watcher, "get"), (Account::Deleter, "delete")] {
                let wanted = |call: &&ApiCall| {
                    (call.account, call.group, call.resource, call.verb) == (account, group, plural.as_str(), verb)
                };
                assert_eq!(CALLS.iter().filter(wanted).count(), 1, "{verb} {plural}.{group}");
            }
            owners += 1;
        }
        assert_eq!(CALLS.iter().filter(|call| call.account == Account::Deleter).count(), owners);
    }
}
