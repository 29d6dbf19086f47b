//! What stands in the way of a default of the pod's security context.
//!
//! What the API server has filled in before a webhook is called counts as the pod's own word. Containers have their own
//! security context, which wins over the pod's field by field; a default that only one of them contradicts is left out
//! all the same, since the kubelet would never start that one.

use serde_json::{Map, Value};

/// What of a pod decides whether a default of its security context can hold.
#[derive(Clone, Debug, Default)]
pub struct SecurityFacts {
    /// A container runs as user 0 and does not say that it may.
    pub container_is_root: bool,
    /// A container must not run as user 0 and names no user of its own.
    pub container_is_not_root: bool,
    /// The pod is for Windows nodes.
    pub is_windows: bool,
    /// The pod says that it is for Linux nodes.
    pub is_linux: bool,
    /// The pod uses the network of its node.
    pub host_network: bool,
    /// The pod uses the inter-process communication of its node.
    pub host_ipc: bool,
    /// What the pod says of seccomp by [`SECCOMP_ANNOTATION`], as before Kubernetes had a field for it.
    pub seccomp_annotation: Option<String>,
    /// An annotation of AppArmor's is there and says nothing: the API server makes no field of it for the container, and
    /// then holds it against the pod's.
    pub has_blank_app_armor: bool,
}

/// Kernel parameters that every kubelet sets (`pkg/kubelet/sysctl/safe_sysctls.go`), each with the minor version of
/// Kubernetes whose pod security standards were the first to allow it.
pub const SAFE_SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.tcp_wmem", 32),
];

/// Beginning of the annotations with AppArmor profiles, before the name of a container.
pub const APP_ARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Annotation of a pod with a seccomp profile; the API server refuses a pod whose field says otherwise.
pub const SECCOMP_ANNOTATION: &str = "seccomp.security.alpha.kubernetes.io/pod";

impl SecurityFacts {
    /// Adds what a container's security context says.
    pub fn add_container(&mut self, context: &Map<String, Value>) {
        let says = |field: &str| context.get(field).filter(|value| !value.is_null());
        let non_root = says("runAsNonRoot");
        match says("runAsUser") {
            Some(user) if *user == 0 && non_root.is_none_or(|own| *own == true) => self.container_is_root = true,
            None if non_root.is_some_and(|own| *own == true) => self.container_is_not_root = true,
            _ => {}
        }
    }

    /// Why the default `field: value` cannot hold beside `own`, the pod's security context, if it cannot.
    #[must_use]
    pub fn contradiction(&self, field: &str, value: &Value, own: &Map<String, Value>) -> Option<&'static str> {
        let is_own = |field: &str, wanted: &Value| own.get(field) == Some(wanted);
        let is_windows_only = field == "windowsOptions";
        match field {
            _ if self.is_windows && !is_windows_only && field != "runAsNonRoot" => {
                Some("the pod's operating system is windows")
            }
            _ if self.is_linux && is_windows_only => Some("the pod's operating system is linux"),
            "runAsNonRoot" if *value == true && is_own("runAsUser", &Value::from(0)) => {
                Some("the pod sets runAsUser to 0")
            }
            "runAsNonRoot" if *value == true && self.container_is_root => Some("a container sets runAsUser to 0"),
            "runAsUser" if *value == 0 && is_own("runAsNonRoot", &Value::Bool(true)) => {
                Some("the pod sets runAsNonRoot")
            }
            "runAsUser" if *value == 0 && self.container_is_not_root => Some("a container sets runAsNonRoot"),
            "sysctls" if self.host_network && sets_sysctl(value, is_of_network) => {
                Some("the pod uses its node's network")
            }
            "sysctls" if self.host_ipc && sets_sysctl(value, is_of_ipc) => {
                Some("the pod uses its node's inter-process communication")
            }
            "seccompProfile" if self.seccomp_annotation.as_deref().is_some_and(|own| !is_seccomp(own, value)) => {
                Some("an annotation of the pod says otherwise")
            }
            "appArmorProfile" if self.has_blank_app_armor => Some("an annotation of the pod says otherwise"),
            _ => None,
        }
    }
}

/// Whether every kubelet sets the kernel parameter, written with dots or slashes.
#[must_use]
pub fn is_safe_sysctl(name: &str) -> bool {
    let name = name.replace('/', ".");
    SAFE_SYSCTLS.iter().any(|(safe, _)| *safe == name)
}

/// Whether a list of kernel parameters has one that `is_meant`, by its name with dots.
fn sets_sysctl(list: &Value, is_meant: fn(&str) -> bool) -> bool {
    let names = list.as_array().into_iter().flatten().filter_map(|sysctl| sysctl.get("name")?.as_str());
    names.map(|name| name.replace('/', ".")).any(|name| is_meant(&name))
}

fn is_of_network(name: &str) -> bool {
    name.starts_with("net.")
}

/// `namespaceOf` in `component-helpers/node/util/sysctl`.
fn is_of_ipc(name: &str) -> bool {
    name.starts_with("fs.mqueue.")
        || matches!(
            name,
            "kernel.sem"
                | "kernel.shmall"
                | "kernel.shmmax"
                | "kernel.shmmni"
                | "kernel.shm_rmid_forced"
                | "kernel.shm"
                | "kernel.msgmax"
                | "kernel.msgmnb"
                | "kernel.msgmni"
                | "kernel.msg"
        )
}

/// Whether an annotation says what the field says (`validateSeccompAnnotationsAndFieldsMatch`).
fn is_seccomp(annotation: &str, profile: &Value) -> bool {
    let text = |name: &str| profile.get(name).and_then(Value::as_str).unwrap_or_default();
    match text("type") {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => matches!(annotation, "runtime/default" | "docker/default"),
        "Localhost" => annotation.strip_prefix("localhost/") == Some(text("localhostProfile")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts(containers: &[Value]) -> SecurityFacts {
        let mut facts = SecurityFacts::default();
        containers.iter().for_each(|context| facts.add_container(context.as_object().unwrap()));
        facts
    }

    #[test]
    fn a_container_that_is_root_and_says_nothing_of_it_contradicts() {
        let none = Map::new();
        for (context, contradicts) in [
            (json!({"runAsUser": 0}), true),
            (json!({"runAsUser": 0, "runAsNonRoot": false}), false),
            (json!({"runAsUser": 1}), false),
            (json!({}), false),
        ] {
            let facts = facts(&[json!({"runAsUser": 5}), context.clone()]);
            let why = facts.contradiction("runAsNonRoot", &json!(true), &none);
            assert_eq!(why.is_some(), contradicts, "{context}");
            assert_eq!(facts.contradiction("runAsNonRoot", &json!(false), &none), None);
        }
        let strict = facts(&[json!({"runAsNonRoot": true})]);
        assert!(strict.contradiction("runAsUser", &json!(0), &none).is_some());
        assert!(strict.contradiction("runAsUser", &json!(1), &none).is_none());
    }

    #[test]
    fn the_operating_system_decides_what_can_be_set() {
        let windows = SecurityFacts { is_windows: true, ..SecurityFacts::default() };
        assert!(windows.contradiction("fsGroup", &json!(1), &Map::new()).is_some());
        assert!(windows.contradiction("windowsOptions", &json!({}), &Map::new()).is_none());
        let linux = SecurityFacts { is_linux: true, ..SecurityFacts::default() };
        assert!(linux.contradiction("windowsOptions", &json!({}), &Map::new()).is_some());
    }

    #[test]
    fn a_kernel_parameter_of_the_node_is_not_the_pods_to_set() {
        let network = SecurityFacts { host_network: true, ..SecurityFacts::default() };
        let ipc = SecurityFacts { host_ipc: true, ..SecurityFacts::default() };
        for (name, of_network, of_ipc) in [
            ("net.ipv4.tcp_syncookies", true, false),
            ("net/ipv4/tcp_syncookies", true, false),
            ("kernel.shm_rmid_forced", false, true),
            ("fs.mqueue.msg_max", false, true),
            ("vm.swappiness", false, false),
        ] {
            let sysctls = json!([{"name": "kernel.domainname", "value": "a"}, {"name": name, "value": "1"}]);
            let contradicts = |facts: &SecurityFacts| facts.contradiction("sysctls", &sysctls, &Map::new()).is_some();
            assert_eq!((contradicts(&network), contradicts(&ipc)), (of_network, of_ipc), "{name}");
            assert!(!contradicts(&SecurityFacts::default()));
        }
    }

    #[test]
    fn a_seccomp_annotation_and_the_field_say_the_same_or_the_field_is_left_out() {
        let profile = |kind: &str| json!({"type": kind, "localhostProfile": "a.json"});
        for (annotation, kind, agrees) in [
            ("runtime/default", "RuntimeDefault", true),
            ("docker/default", "RuntimeDefault", true),
            ("unconfined", "RuntimeDefault", false),
            ("unconfined", "Unconfined", true),
            ("localhost/a.json", "Localhost", true),
            ("localhost/b.json", "Localhost", false),
        ] {
            let facts = SecurityFacts { seccomp_annotation: Some(annotation.to_owned()), ..SecurityFacts::default() };
            let contradicts = facts.contradiction("seccompProfile", &profile(kind), &Map::new()).is_some();
            assert_eq!(contradicts, !agrees, "{annotation} {kind}");
        }
    }
}
