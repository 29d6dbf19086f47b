//! What a person should know of defaults that are right: pods for which they are not are lost to them, and nobody can see
//! in a pod which those are.

use crate::{
    defaults::{DefaultsSpec, security_context::is_safe_sysctl},
    field_error::{FieldError, Problems, field, item},
};

/// The notes, each with its path below `defaults`.
#[must_use]
pub fn defaults(spec: &DefaultsSpec) -> Problems {
    let mut notes = Problems::new();
    let Some(context) = &spec.security_context else { return notes };
    let at = |name: &str| field("securityContext", name);
    if context.run_as_non_root == Some(true) && context.run_as_user.is_none() {
        let why = "an image whose user is root, or has a name instead of a number, never starts with it; runAsUser beside it says who else to run as";
        notes.push(FieldError::new(at("runAsNonRoot"), why));
    }
    for (index, sysctl) in context.sysctls.iter().flatten().enumerate() {
        if !is_safe_sysctl(&sysctl.name) {
            let why = "a kubelet fails the pod unless its --allowed-unsafe-sysctls has it";
            notes.push(FieldError::new(item(&at("sysctls"), index), format!("{:?}: {why}", sysctl.name)));
        }
    }
    if context.supplemental_groups_policy.as_deref() == Some("Strict") {
        let why = "a node whose container runtime cannot do it rejects the pod";
        notes.push(FieldError::new(at("supplementalGroupsPolicy"), why));
    }
    for (name, is_local) in [
        ("seccompProfile", context.seccomp_profile.as_ref().is_some_and(|profile| profile.type_ == "Localhost")),
        ("appArmorProfile", context.app_armor_profile.as_ref().is_some_and(|profile| profile.type_ == "Localhost")),
    ] {
        if is_local {
            notes.push(FieldError::new(at(name), "containers start only on nodes that have the profile"));
        }
    }
    notes
}
