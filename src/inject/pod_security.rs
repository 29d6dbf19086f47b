//! What a namespace's pod security level would refuse: volumes, and fields of a default security context.
//!
//! The Pod Security Standards as of Kubernetes 1.36; of the checks only those that look at the pod's
//! own `securityContext`. A field that is refused is left out with a warning, since the pod would
//! otherwise be lost to it.

use serde_json::{Map, Value};

use crate::{defaults::security_context::SAFE_SYSCTLS, labels::Labels};

/// The level that `pod-security.kubernetes.io/enforce` names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodSecurityLevel {
    /// Everything goes; also where the label is absent or unknown.
    #[default]
    Privileged,
    /// Known privilege escalations are refused.
    Baseline,
    /// Only hardened pods.
    Restricted,
}

/// Label of a namespace that names the level.
pub const ENFORCE_LABEL: &str = "pod-security.kubernetes.io/enforce";
/// Label of a namespace that names the release of Kubernetes whose standards count.
pub const VERSION_LABEL: &str = "pod-security.kubernetes.io/enforce-version";

/// What a namespace enforces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodSecurity {
    /// The level.
    pub level: PodSecurityLevel,
    /// The minor version of Kubernetes whose standards count; `None` is the newest.
    pub minor: Option<u32>,
}

/// Volume kinds that `restricted` allows (Pod Security Standards, "Volume Types").
const RESTRICTED: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

impl PodSecurity {
    /// What a namespace with these labels enforces.
    #[must_use]
    pub fn of(labels: &dyn Labels) -> Self {
        let minor = labels.label(VERSION_LABEL).and_then(|version| version.strip_prefix("v1.")?.parse().ok());
        Self { level: PodSecurityLevel::from_label(labels.label(ENFORCE_LABEL)), minor }
    }

    /// Whether the standards that count are as new as this minor version's.
    fn is_since(self, minor: u32) -> bool {
        self.minor.is_none_or(|own| own >= minor)
    }
}

impl PodSecurityLevel {
    /// The level that a namespace's label value names.
    #[must_use]
    pub fn from_label(value: Option<&str>) -> Self {
        match value {
            Some("baseline") => Self::Baseline,
            Some("restricted") => Self::Restricted,
            _ => Self::Privileged,
        }
    }
}

/// The fields of `context` that a namespace refuses, each with what it allows.
#[must_use]
pub fn refused_fields(context: &Map<String, Value>, security: PodSecurity) -> Vec<(&'static str, &'static str)> {
    let mut refused = Vec::new();
    if security.level >= PodSecurityLevel::Baseline {
        refused.extend(refused_by_baseline(context, security));
    }
    if security.level >= PodSecurityLevel::Restricted {
        if context.get("runAsNonRoot") == Some(&Value::Bool(false)) {
            refused.push(("runAsNonRoot", "restricted allows only true"));
        }
        if context.get("runAsUser").is_some_and(|user| *user == 0) {
            refused.push(("runAsUser", "restricted allows only users other than 0"));
        }
    }
    refused
}

/// Whether the level refuses a volume of this kind; the names of both where it does.
#[must_use]
pub fn refuses_volume(level: PodSecurityLevel, kind: &str) -> Option<(&'static str, &str)> {
    match level {
        PodSecurityLevel::Privileged => None,
        PodSecurityLevel::Baseline => (kind == "hostPath").then_some(("baseline", kind)),
        PodSecurityLevel::Restricted => (!RESTRICTED.contains(&kind)).then_some(("restricted", kind)),
    }
}

fn refused_by_baseline(context: &Map<String, Value>, security: PodSecurity) -> Vec<(&'static str, &'static str)> {
    let nested = |object: &str, field: &str| {
        let value = context.get(object).and_then(|object| object.get(field));
        value.and_then(Value::as_str).unwrap_or_default()
    };
    let mut refused = Vec::new();
    let kind = nested("seLinuxOptions", "type");
    let is_known_kind = matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t")
        || kind == "container_engine_t" && security.is_since(31);
    let names_identity = !nested("seLinuxOptions", "user").is_empty() || !nested("seLinuxOptions", "role").is_empty();
    if !is_known_kind || names_identity {
        refused.push(("seLinuxOptions", "baseline allows container types only, and neither user nor role"));
    }
    if nested("seccompProfile", "type") == "Unconfined" {
        refused.push(("seccompProfile", "baseline allows RuntimeDefault and Localhost"));
    }
    if nested("appArmorProfile", "type") == "Unconfined" {
        refused.push(("appArmorProfile", "baseline allows RuntimeDefault and Localhost"));
    }
    let sysctls = context.get("sysctls").and_then(Value::as_array);
    let is_unsafe = |sysctl: &Value| {
        let name = sysctl.get("name").and_then(Value::as_str).unwrap_or_default();
        // They are compared as they are written: with slashes none is allowed.
        !SAFE_SYSCTLS.iter().any(|(safe, since)| *safe == name && security.is_since(*since))
    };
    if sysctls.is_some_and(|sysctls| sysctls.iter().any(is_unsafe)) {
        refused.push(("sysctls", "baseline allows safe kernel parameters only"));
    }
    let host_process = context.get("windowsOptions").and_then(|options| options.get("hostProcess"));
    if host_process == Some(&Value::Bool(true)) {
        refused.push(("windowsOptions", "baseline allows no host process"));
    }
    refused
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(context: Value, level: PodSecurityLevel) -> Vec<&'static str> {
        let refused = refused_fields(context.as_object().unwrap(), PodSecurity { level, minor: None });
        refused.into_iter().map(|(field, _)| field).collect()
    }

    #[test]
    fn levels_are_read_from_the_label() {
        assert_eq!(PodSecurityLevel::from_label(Some("restricted")), PodSecurityLevel::Restricted);
        assert_eq!(PodSecurityLevel::from_label(Some("baseline")), PodSecurityLevel::Baseline);
        assert_eq!(PodSecurityLevel::from_label(Some("odd")), PodSecurityLevel::Privileged);
        assert_eq!(PodSecurityLevel::from_label(None), PodSecurityLevel::Privileged);
    }

    #[test]
    fn groups_and_users_pass_every_level_but_root_not_restricted() {
        let harmless = json!({"fsGroup": 100, "runAsUser": 1000, "runAsNonRoot": true, "supplementalGroups": [0]});
        assert_eq!(refused(harmless, PodSecurityLevel::Restricted), [""; 0]);
        let root = json!({"runAsUser": 0, "runAsNonRoot": false});
        assert_eq!(refused(root.clone(), PodSecurityLevel::Baseline), [""; 0]);
        assert_eq!(refused(root, PodSecurityLevel::Restricted), ["runAsNonRoot", "runAsUser"]);
    }

    #[test]
    fn baseline_refuses_escalations_and_privileged_nothing() {
        let all = json!({
            "seLinuxOptions": {"type": "spc_t"},
            "seccompProfile": {"type": "Unconfined"},
            "appArmorProfile": {"type": "Unconfined"},
            "sysctls": [{"name": "kernel.msgmax", "value": "1"}],
            "windowsOptions": {"hostProcess": true},
        });
        let fields = ["seLinuxOptions", "seccompProfile", "appArmorProfile", "sysctls", "windowsOptions"];
        assert_eq!(refused(all.clone(), PodSecurityLevel::Baseline), fields);
        assert_eq!(refused(all, PodSecurityLevel::Privileged), [""; 0]);
        let safe = json!({
            "seLinuxOptions": {"type": "container_t", "level": "s0"},
            "seccompProfile": {"type": "RuntimeDefault"},
            "sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}],
        });
        assert_eq!(refused(safe, PodSecurityLevel::Restricted), [""; 0]);
        let slashes = json!({"sysctls": [{"name": "net/ipv4/tcp_syncookies", "value": "1"}]});
        assert_eq!(refused(slashes, PodSecurityLevel::Baseline), ["sysctls"]);
        let role = json!({"seLinuxOptions": {"role": "sysadm_r"}});
        assert_eq!(refused(role, PodSecurityLevel::Baseline), ["seLinuxOptions"]);
    }

    #[test]
    fn an_older_standard_allows_what_it_allowed_then() {
        let context = json!({
            "seLinuxOptions": {"type": "container_engine_t"},
            "sysctls": [{"name": "net.ipv4.tcp_keepalive_time", "value": "1"}],
        });
        let at = |version: Option<&str>| {
            let labels = [(ENFORCE_LABEL, Some("baseline")), (VERSION_LABEL, version)];
            let labels = labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned())));
            let refused = refused_fields(context.as_object().unwrap(), PodSecurity::of(&OfNamespace(labels.collect())));
            refused.into_iter().map(|(field, _)| field).collect::<Vec<_>>()
        };
        assert_eq!(at(Some("v1.28")), ["seLinuxOptions", "sysctls"]);
        assert_eq!(at(Some("v1.29")), ["seLinuxOptions"]);
        for newest in [Some("v1.31"), Some("latest"), None] {
            assert_eq!(at(newest), [""; 0]);
        }
    }

    #[derive(Debug)]
    struct OfNamespace(std::collections::BTreeMap<String, String>);

    impl Labels for OfNamespace {
        fn label(&self, key: &str) -> Option<&str> {
            self.0.get(key).map(String::as_str)
        }

        fn each<'s>(&'s self, _: &mut dyn FnMut(&'s str, &'s str)) {}
    }
}
