//! What the API server will refuse of a policy's pod security context (`ValidatePodSecurityContext`).

use k8s_openapi::api::core::v1::{PodSecurityContext, TopologySpreadConstraint, WindowsSecurityContextOptions};

use crate::{
    field_error::{FieldError, Problems, below, check, field, item},
    labels::Selector,
    names,
    placement::rules as placement_rules,
};

/// Checks the security context that pods without one of their own are given.
///
/// Stricter than the API server in one point: `runAsNonRoot` with `runAsUser: 0` is accepted there
/// and then refused by every kubelet.
#[must_use]
pub fn security_context(path: &str, context: &PodSecurityContext) -> Problems {
    let mut problems = Problems::new();
    check_ids(path, context, &mut problems);
    check_profiles(path, context, &mut problems);
    if let Some(options) = &context.windows_options {
        check_windows(&field(path, "windowsOptions"), options, &mut problems);
    }
    let words: [(&str, &Option<String>, &[&str], &'static str); 3] = [
        (
            "fsGroupChangePolicy",
            &context.fs_group_change_policy,
            &["OnRootMismatch", "Always"],
            "must be OnRootMismatch or Always",
        ),
        (
            "supplementalGroupsPolicy",
            &context.supplemental_groups_policy,
            &["Merge", "Strict"],
            "must be Merge or Strict",
        ),
        (
            "seLinuxChangePolicy",
            &context.se_linux_change_policy,
            &["MountOption", "Recursive"],
            "must be MountOption or Recursive",
        ),
    ];
    for (name, value, known, allowed) in words {
        if let Some(value) = value.as_deref().filter(|value| !known.contains(value)) {
            check(&field(path, name), value, Err(allowed), &mut problems);
        }
    }
    let sysctls = context.sysctls.as_deref().unwrap_or_default();
    for (index, sysctl) in sysctls.iter().enumerate() {
        let at = field(&item(&field(path, "sysctls"), index), "name");
        check(&at, &sysctl.name, sysctl_name(&sysctl.name), &mut problems);
        if sysctls.iter().take(index).any(|other| other.name == sysctl.name) {
            check(&at, &sysctl.name, Err("must be there only once"), &mut problems);
        }
    }
    if context.run_as_non_root == Some(true) && context.run_as_user == Some(0) {
        let why = "0 is root, which runAsNonRoot forbids";
        problems.push(FieldError::new(field(path, "runAsUser"), why));
    }
    problems
}

/// Checks topology spread constraints, as far as the API server would refuse every pod that had them.
#[must_use]
pub fn topology_spread(constraints: &[TopologySpreadConstraint]) -> Problems {
    let mut problems = Problems::new();
    for (index, constraint) in constraints.iter().enumerate() {
        let at = item("topologySpreadConstraints", index);
        let key = &constraint.topology_key;
        check(&field(&at, "topologyKey"), key, names::topology_key(key), &mut problems);
        if constraint.max_skew < 1 {
            let why = format!("{} must be at least 1", constraint.max_skew);
            problems.push(FieldError::new(field(&at, "maxSkew"), why));
        }
        let when = constraint.when_unsatisfiable.as_str();
        if !matches!(when, "DoNotSchedule" | "ScheduleAnyway") {
            let allowed = Err("must be DoNotSchedule or ScheduleAnyway");
            check(&field(&at, "whenUnsatisfiable"), when, allowed, &mut problems);
        }
        if constraint.min_domains.is_some_and(|least| least < 1 || when != "DoNotSchedule") {
            let why = "must be at least 1, and left out unless whenUnsatisfiable is DoNotSchedule";
            problems.push(FieldError::new(field(&at, "minDomains"), why));
        }
        for (name, policy) in [
            ("nodeAffinityPolicy", &constraint.node_affinity_policy),
            ("nodeTaintsPolicy", &constraint.node_taints_policy),
        ] {
            if let Some(word) = policy.as_deref().filter(|word| !matches!(*word, "Honor" | "Ignore")) {
                check(&field(&at, name), word, Err("must be Honor or Ignore"), &mut problems);
            }
        }
        let keys = constraint.match_label_keys.as_deref().unwrap_or_default();
        placement_rules::match_label_keys(keys, constraint.label_selector.as_ref(), &at, &mut problems);
        if let Some(selector) = &constraint.label_selector {
            Selector::parse(selector, &field(&at, "labelSelector"), &mut problems);
        } else if constraint.match_label_keys.as_ref().is_some_and(|keys| !keys.is_empty()) {
            problems
                .push(FieldError::new(field(&at, "matchLabelKeys"), "must be empty where labelSelector is not set"));
        }
        let same = |other: &TopologySpreadConstraint| other.topology_key == *key && other.when_unsatisfiable == when;
        if constraints.iter().take(index).any(same) {
            problems
                .push(FieldError::new(at.as_str(), "has the topologyKey and whenUnsatisfiable of another constraint"));
        }
    }
    problems
}

fn check_ids(path: &str, context: &PodSecurityContext, problems: &mut Problems) {
    let single = [
        ("runAsUser".to_owned(), context.run_as_user),
        ("runAsGroup".to_owned(), context.run_as_group),
        ("fsGroup".to_owned(), context.fs_group),
    ];
    let groups = context.supplemental_groups.iter().flatten().enumerate();
    let groups = groups.map(|(index, id)| (format!("supplementalGroups[{index}]"), Some(*id)));
    for (name, id) in single.into_iter().chain(groups) {
        if let Some(id) = id.filter(|id| !(0..=i64::from(i32::MAX)).contains(id)) {
            problems.push(FieldError::new(below(path, &name), format!("{id} must be 0 to {}", i32::MAX)));
        }
    }
}

fn check_profiles(path: &str, context: &PodSecurityContext, problems: &mut Problems) {
    let seccomp = context.seccomp_profile.as_ref();
    let app_armor = context.app_armor_profile.as_ref();
    let profiles = [
        ("seccompProfile", seccomp.map(|one| (&one.type_, &one.localhost_profile))),
        ("appArmorProfile", app_armor.map(|one| (&one.type_, &one.localhost_profile))),
    ];
    for (name, profile) in profiles {
        let Some((kind, localhost)) = profile else {
            continue;
        };
        let path = field(path, name);
        let is_localhost = kind == "Localhost";
        if !is_localhost && !matches!(kind.as_str(), "RuntimeDefault" | "Unconfined") {
            let allowed = "must be RuntimeDefault, Localhost or Unconfined";
            check(&field(&path, "type"), kind, Err(allowed), problems);
        }
        let at = field(&path, "localhostProfile");
        match localhost.as_deref() {
            None | Some("") if is_localhost => {
                problems.push(FieldError::new(at, "must be set where type is Localhost"));
            }
            Some(profile) if !is_localhost => {
                check(&at, profile, Err("must be left out unless type is Localhost"), problems);
            }
            Some(profile) if name == "seccompProfile" => {
                check(&at, profile, names::sub_path(profile), problems);
            }
            Some(profile) if profile.trim() != profile || profile.len() > 4095 => {
                let allowed = Err("must have at most 4095 characters, and no blank at either end");
                check(&at, profile, allowed, problems);
            }
            _ => {}
        }
    }
}

/// `validateWindowsSecurityContextOptions`, and `validateWindowsHostProcessPod` for pods of which nothing is known.
fn check_windows(path: &str, options: &WindowsSecurityContextOptions, problems: &mut Problems) {
    if options.host_process.is_some() {
        let why = "is no default: the API server refuses it without hostNetwork, and where a container says otherwise";
        problems.push(FieldError::new(field(path, "hostProcess"), why));
    }
    if let Some(name) = &options.gmsa_credential_spec_name {
        check(&field(path, "gmsaCredentialSpecName"), name, names::dns1123_subdomain(name), problems);
    }
    if options.gmsa_credential_spec.as_ref().is_some_and(|spec| spec.is_empty() || spec.len() > 64 * 1024) {
        problems.push(FieldError::new(field(path, "gmsaCredentialSpec"), "must have 1 to 65536 characters"));
    }
    if let Some(name) = &options.run_as_user_name {
        let (domain, user) = name.split_once('\\').unwrap_or(("", name));
        let is_odd = |c: char| c.is_control() || "\"/\\:;|=,+*?<>@[]".contains(c);
        let is_user = !user.is_empty()
            && user.chars().count() <= 104
            && !user.contains(is_odd)
            && user.chars().any(|c| !matches!(c, '.' | ' '));
        let is_dns = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        let is_net_bios = domain.chars().count() <= 15 && !domain.starts_with('.') && !domain.contains(is_odd);
        let is_domain = is_net_bios || domain.len() < 256 && domain.chars().all(is_dns);
        let is_right = is_user && is_domain && !name.starts_with('\\');
        if !is_right {
            let allowed = Err("must be a user of Windows like ContainerUser or DOMAIN\\user");
            check(&field(path, "runAsUserName"), name, allowed, problems);
        }
    }
}

/// `IsValidSysctlName`: parts of lowercase letters, digits, '-' and '_' between dots or slashes.
fn sysctl_name(name: &str) -> names::Check {
    let is_edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_part = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().copied().is_some_and(is_edge)
            && bytes.last().copied().is_some_and(is_edge)
            && bytes.iter().all(|byte| is_edge(*byte) || matches!(byte, b'-' | b'_'))
    };
    if name.len() <= names::DNS1123_SUBDOMAIN_MAX && name.split(['.', '/']).all(is_part) {
        Ok(())
    } else {
        Err("must be a kernel parameter's name like 'net.ipv4.tcp_syncookies'")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn paths(context: Value) -> Vec<String> {
        let context: PodSecurityContext = serde_json::from_value(context).unwrap();
        let problems = security_context("securityContext", &context);
        problems.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn ids_are_unsigned_31_bit_numbers() {
        assert_eq!(paths(json!({"fsGroup": 0, "runAsUser": 2147483647, "supplementalGroups": [1]})), [""; 0]);
        assert_eq!(
            paths(json!({"fsGroup": -1, "runAsUser": 2147483648_i64, "supplementalGroups": [1, -2]})),
            ["securityContext.runAsUser", "securityContext.fsGroup", "securityContext.supplementalGroups[1]"]
        );
    }

    #[test]
    fn words_and_profiles_are_those_of_the_api() {
        assert_eq!(
            paths(
                json!({"fsGroupChangePolicy": "Always", "seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"}})
            ),
            [""; 0]
        );
        assert_eq!(paths(json!({"fsGroupChangePolicy": "Never"})), ["securityContext.fsGroupChangePolicy"]);
        assert_eq!(paths(json!({"seccompProfile": {"type": "Default"}})), ["securityContext.seccompProfile.type"]);
        assert_eq!(
            paths(json!({"seccompProfile": {"type": "Localhost"}})),
            ["securityContext.seccompProfile.localhostProfile"]
        );
        assert_eq!(
            paths(json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "../x"}})),
            ["securityContext.seccompProfile.localhostProfile"]
        );
        assert_eq!(
            paths(json!({"appArmorProfile": {"type": "Unconfined", "localhostProfile": "x"}})),
            ["securityContext.appArmorProfile.localhostProfile"]
        );
    }

    #[test]
    fn sysctls_are_named_once() {
        let sysctl = |name: &str| json!({"name": name, "value": "1"});
        assert_eq!(paths(json!({"sysctls": [sysctl("net.ipv4.tcp_syncookies"), sysctl("net/ipv4/x")]})), [""; 0]);
        assert_eq!(paths(json!({"sysctls": [sysctl("A.b")]})), ["securityContext.sysctls[0].name"]);
        assert_eq!(paths(json!({"sysctls": [sysctl("a.b"), sysctl("a.b")]})), ["securityContext.sysctls[1].name"]);
    }

    #[test]
    fn options_of_windows_are_those_that_a_pod_may_have_by_default() {
        let options = |options: Value| paths(json!({"windowsOptions": options}));
        for name in ["ContainerUser", "NT AUTHORITY\\SYSTEM", "long-domain.example.com\\ann"] {
            assert_eq!(options(json!({"runAsUserName": name})), [""; 0]);
        }
        for name in ["", "a\\b\\c", "\\a", "a:b", ". ", "a\nb"] {
            assert_eq!(
                options(json!({"runAsUserName": name})),
                ["securityContext.windowsOptions.runAsUserName"],
                "{name:?}"
            );
        }
        assert_eq!(options(json!({"hostProcess": false})), ["securityContext.windowsOptions.hostProcess"]);
        assert_eq!(options(json!({"gmsaCredentialSpecName": "A b", "gmsaCredentialSpec": ""})).len(), 2);
        assert_eq!(
            paths(json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": " a"}})),
            ["securityContext.appArmorProfile.localhostProfile"]
        );
    }

    #[test]
    fn root_contradicts_run_as_non_root() {
        assert_eq!(paths(json!({"runAsNonRoot": true, "runAsUser": 0})), ["securityContext.runAsUser"]);
        assert_eq!(paths(json!({"runAsNonRoot": true, "runAsUser": 1000})), [""; 0]);
    }
}
