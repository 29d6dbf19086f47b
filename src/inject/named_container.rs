//! Containers that a variable or a file names by their resources: a kubelet never starts a pod that lacks one.

use serde_json::Value;

use crate::{
    inject::Injection,
    json::Json,
    reason::{Note, Reason},
};

impl<'a, 'p: 'a> Injection<'a, 'p> {
    /// Why the pod would never start with what is to be put there: it has not the container whose resources that shows.
    pub(super) fn container_against(&self, put: &Json<'_>) -> Option<Note> {
        // Most things say nothing of the kind, and are not read for it.
        let value = put.as_str().contains("\"resourceFieldRef\"").then(|| put.value())?;
        let is_there = |name: &str| self.draft.containers.iter().any(|container| container.name == name);
        let missing = named(&value).into_iter().find(|name| !is_there(name))?;
        Some(Reason::ContainerMissing.note(&[&missing]))
    }
}

fn named(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(map) => {
            let own = map.get("resourceFieldRef").and_then(|of| of.get("containerName")).and_then(Value::as_str);
            own.into_iter().filter(|name| !name.is_empty()).chain(map.values().flat_map(named)).collect()
        }
        Value::Array(items) => items.iter().flat_map(named).collect(),
        _ => Vec::new(),
    }
}
