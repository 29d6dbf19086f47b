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
pub const CALLS: [ApiCall; 22] = [
    call(Account::Webhook, POLICIES, "injectionpolicies", "list"),
    call(Account::Webhook, POLICIES, "injectionpolicies", "watch"),
    call(Account::Webhook, POLICIES, "injectionpolicies/status", "patch"),
    call(Account::Webhook, POLICIES, "clusterinjectionpolicies", "list"),
    call(Account::Webhook, POLICIES, "clusterinjectionpolicies", "watch"),
    call(Account::Webhook, POLICIES, "clusterinjectionpolicies/status", "patch"),
    call(Account::Webhook, "", "namespaces", "get"),
    call(Account::Webhook, "", "namespaces", "list"),
    call(Account::Webhook, "", "namespaces", "watch"),
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
];
