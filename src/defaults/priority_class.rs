//! The pod's priority class.
//!
//! The Priority admission plugin runs before webhooks: it fills in the globalDefault class, if the
//! cluster has one, and resolves `priority` and `preemptionPolicy`. It runs again afterwards and
//! refuses a pod whose resolved fields differ from its class, so a changed class has to come with
//! both fields removed.

use crate::{json::Json, patch::Patch};

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

    /// Gives the pod the class `wanted`.
    pub fn set(&self, wanted: &str, patch: &mut Patch) {
        for (field, is_there) in [("priority", self.has_priority), ("preemptionPolicy", self.has_preemption_policy)] {
            if is_there {
                patch.remove(&format!("/spec/{field}"));
            }
        }
        patch.set("/spec/priorityClassName", &Json::string(wanted));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(class_name: Option<&str>) -> PodPriority<'_> {
        PodPriority { class_name, has_priority: true, has_preemption_policy: true }
    }

    fn given(pod: PodPriority<'_>, mut document: Value) -> Value {
        let mut patch = Patch::default();
        pod.set("high", &mut patch);
        json_patch::patch(&mut document, &patch.ops()).unwrap();
        document
    }

    #[test]
    fn resolved_fields_are_removed_with_a_new_class() {
        let document = json!({"spec": {"priority": 0, "preemptionPolicy": "PreemptLowerPriority"}});
        assert_eq!(given(pod(None), document), json!({"spec": {"priorityClassName": "high"}}));
    }

    #[test]
    fn absent_fields_are_not_removed() {
        assert_eq!(given(PodPriority::default(), json!({"spec": {}})), json!({"spec": {"priorityClassName": "high"}}));
        assert_eq!(pod(Some("high")).compare("high", None), ClassState::Equal);
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
