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
}

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
            _ => None,
        }
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
}
