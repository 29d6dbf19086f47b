//! The pod's priority class.
//!
//! The Priority admission plugin runs before webhooks: it fills in the globalDefault class, if the
//! cluster has one, and resolves `priority` and `preemptionPolicy`. It runs again afterwards and
//! refuses a pod whose resolved fields differ from its class, so a changed class has to come with
//! both fields removed.

use json_patch::{PatchOperation, RemoveOperation};
use serde_json::Value;

use crate::defaults::edits::{add, pointer};

/// What a pod says about its priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodPriority<'a> {
    /// `spec.priorityClassName`.
    pub class_name: Option<&'a str>,
    /// `spec.priority` is there.
    pub has_priority: bool,
    /// `spec.preemptionPolicy` is there.
    pub has_preemption_policy: bool,
}

/// How a pod's priority class relates to the one that a policy wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassState {
    /// It has that class.
    Equal,
    /// It says nothing: no class, or the cluster's globalDefault, which the API server fills in.
    Unset,
    /// It names another class; `onConflict` decides.
    Other,
}

impl PodPriority<'_> {
    /// How the pod's class relates to `wanted`. `global_default` is the name of the cluster's
    /// globalDefault class.
    #[must_use]
    pub fn compare(&self, wanted: &str, global_default: Option<&str>) -> ClassState {
        match self.class_name.filter(|name| !name.is_empty()) {
            Some(own) if own == wanted => ClassState::Equal,
            Some(own) if Some(own) != global_default => ClassState::Other,
            _ => ClassState::Unset,
        }
    }

    /// The operations that give the pod the class `wanted`. `base` is the JSON pointer of the object that holds `spec`: `""`
    /// for a pod.
    #[must_use]
    pub fn ops(&self, wanted: &str, base: &str) -> Vec<PatchOperation> {
        if self.class_name == Some(wanted) {
            return Vec::new();
        }
        let resolved = [("priority", self.has_priority), ("preemptionPolicy", self.has_preemption_policy)];
        let removed = resolved.into_iter().filter(|(_, is_there)| *is_there);
        let removed =
            removed.map(|(field, _)| PatchOperation::Remove(RemoveOperation { path: pointer(base, &["spec", field]) }));
        let name = add(base, &["spec", "priorityClassName"], Value::from(wanted));
        removed.chain([name]).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(class_name: Option<&str>) -> PodPriority<'_> {
        PodPriority { class_name, has_priority: true, has_preemption_policy: true }
    }

    #[test]
    fn resolved_fields_are_removed_with_a_new_class() {
        let mut document = json!({"spec": {"priority": 0, "preemptionPolicy": "PreemptLowerPriority"}});
        json_patch::patch(&mut document, &pod(None).ops("high", "")).unwrap();
        assert_eq!(document, json!({"spec": {"priorityClassName": "high"}}));
    }

    #[test]
    fn absent_fields_are_not_removed() {
        let bare = PodPriority::default();
        let mut document = json!({"spec": {"template": {"spec": {}}}});
        json_patch::patch(&mut document, &bare.ops("high", "/spec/template")).unwrap();
        assert_eq!(document["spec"]["template"]["spec"], json!({"priorityClassName": "high"}));
    }

    #[test]
    fn the_same_class_needs_nothing() {
        assert_eq!(pod(Some("high")).compare("high", None), ClassState::Equal);
        assert_eq!(pod(Some("high")).ops("high", ""), []);
    }

    #[test]
    fn only_a_class_that_the_pod_chose_is_in_the_way() {
        assert_eq!(pod(None).compare("high", None), ClassState::Unset);
        assert_eq!(pod(Some("")).compare("high", None), ClassState::Unset);
        assert_eq!(pod(Some("usual")).compare("high", Some("usual")), ClassState::Unset);
        assert_eq!(pod(Some("usual")).compare("high", None), ClassState::Other);
        assert_eq!(pod(Some("low")).compare("high", Some("usual")), ClassState::Other);
    }
}
