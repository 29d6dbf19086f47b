//! Annotations that decide whether the API server or a kubelet takes a pod at all.

use crate::names::MIRROR_ANNOTATION;

/// Annotations that the API server holds against a field of the pod, or against its containers, by their beginning.
const OF_FIELDS: [(&str, &str); 4] = [
    ("container.apparmor.security.beta.kubernetes.io/", "defaults.securityContext.appArmorProfile"),
    ("container.seccomp.security.alpha.kubernetes.io/", "defaults.securityContext.seccompProfile"),
    ("seccomp.security.alpha.kubernetes.io/", "defaults.securityContext.seccompProfile"),
    ("scheduler.alpha.kubernetes.io/tolerations", "tolerations"),
];

/// Why no policy should set the annotation, if it should not.
pub(super) fn refusal(key: &str, value: &str) -> Option<String> {
    // `kubernetes.io/config.source` and its like tell a kubelet that the pod came from a file.
    if key == MIRROR_ANNOTATION || key.starts_with("kubernetes.io/config.") {
        return Some("is the kubelet's word for pods that it makes from files".to_owned());
    }
    if let Some((_, instead)) = OF_FIELDS.iter().find(|(start, _)| key.starts_with(start)) {
        return Some(format!(
            "is what Kubernetes had before there was a field, and the API server refuses pods that it does not fit; use {instead}"
        ));
    }
    let is_cost = key == "controller.kubernetes.io/pod-deletion-cost";
    (is_cost && value.parse::<i32>().is_err()).then(|| format!("{value:?} must be a whole number of 32 bits"))
}
