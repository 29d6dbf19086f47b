//! The borrowed view of a pod that decisions read.
//!
//! One pass over the bytes: names and keys are borrowed where JSON does not escape them, everything else stays raw and
//! is read when a decision asks for it. Unknown fields are skipped, `null` counts as absent (Go writes it for empty
//! lists), and no field of the pod is ever written back from here.

pub mod bounds;
mod read;

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{Affinity, NodeSelectorTerm};

use crate::{
    json::{Fields, Raw, Str},
    labels::Labels,
    names::MIRROR_ANNOTATION,
};

/// A pod, or a pod template.
#[derive(Debug, Default)]
pub struct PodView<'a> {
    /// `metadata`.
    pub metadata: Option<MetadataView<'a>>,
    /// `spec`.
    pub spec: Option<SpecView<'a>>,
}

/// `metadata` of a pod.
#[derive(Debug, Default)]
pub struct MetadataView<'a> {
    /// `name`; absent where the API server is to make one.
    pub name: Option<Str<'a>>,
    /// `generateName`.
    pub generate_name: Option<Str<'a>>,
    /// `labels`.
    pub labels: Option<Fields<'a, Option<Str<'a>>>>,
    /// `annotations`; the values may be large, so they stay raw.
    pub annotations: Option<Fields<'a, Raw<'a>>>,
    /// `ownerReferences`.
    pub owner_references: Option<Vec<OwnerView<'a>>>,
}

/// One of a pod's `ownerReferences`.
#[derive(Debug, Default)]
pub struct OwnerView<'a> {
    /// `apiVersion`.
    pub api_version: Option<Str<'a>>,
    /// `kind`.
    pub kind: Option<Str<'a>>,
    /// `name`.
    pub name: Option<Str<'a>>,
    /// `uid`.
    pub uid: Option<Str<'a>>,
    /// `controller`.
    pub controller: Option<bool>,
}

/// `spec` of a pod.
#[derive(Debug, Default)]
pub struct SpecView<'a> {
    /// `volumes`.
    pub volumes: Option<Vec<VolumeView<'a>>>,
    /// `initContainers`.
    pub init_containers: Option<Vec<ContainerView<'a>>>,
    /// `containers`.
    pub containers: Option<Vec<ContainerView<'a>>>,
    /// `nodeName`.
    pub node_name: Option<Str<'a>>,
    /// `serviceAccountName`.
    pub service_account_name: Option<Str<'a>>,
    /// `serviceAccount`, the deprecated twin.
    pub service_account: Option<Str<'a>>,
    /// `priorityClassName`.
    pub priority_class_name: Option<Str<'a>>,
    /// `priority`, as the API server resolved it.
    pub priority: Option<i64>,
    /// `preemptionPolicy`, as the API server resolved it.
    pub preemption_policy: Option<Raw<'a>>,
    /// `nodeSelector`.
    pub node_selector: Option<Raw<'a>>,
    /// `tolerations`.
    pub tolerations: Option<Raw<'a>>,
    /// `affinity`.
    pub affinity: Option<Raw<'a>>,
    /// `securityContext` of the pod.
    pub security_context: Option<Raw<'a>>,
    /// `hostNetwork`.
    pub host_network: Option<bool>,
    /// `hostIPC`.
    pub host_ipc: Option<bool>,
    /// `imagePullSecrets`.
    pub image_pull_secrets: Option<Raw<'a>>,
    /// `resources` of the pod as a whole.
    pub resources: Option<Raw<'a>>,
    /// `runtimeClassName`.
    pub runtime_class_name: Option<Raw<'a>>,
    /// `schedulerName`.
    pub scheduler_name: Option<Raw<'a>>,
    /// `enableServiceLinks`.
    pub enable_service_links: Option<Raw<'a>>,
    /// `topologySpreadConstraints`.
    pub topology_spread_constraints: Option<Raw<'a>>,
    /// `os`.
    pub os: Option<OsView<'a>>,
}

/// `os` of a pod.
#[derive(Debug, Default)]
pub struct OsView<'a> {
    /// `linux` or `windows`.
    pub name: Option<Str<'a>>,
}

/// One container.
#[derive(Debug, Default)]
pub struct ContainerView<'a> {
    /// `name`.
    pub name: Option<Str<'a>>,
    /// `env`.
    pub env: Option<Vec<EnvView<'a>>>,
    /// `envFrom`.
    pub env_from: Option<Vec<Raw<'a>>>,
    /// `volumeMounts`.
    pub volume_mounts: Option<Vec<MountView<'a>>>,
    /// `volumeDevices`.
    pub volume_devices: Option<Vec<DeviceView<'a>>>,
    /// `resources`.
    pub resources: Option<Raw<'a>>,
    /// `imagePullPolicy`.
    pub image_pull_policy: Option<Str<'a>>,
    /// `securityContext` of the container.
    pub security_context: Option<Raw<'a>>,
}

/// One environment variable.
#[derive(Debug, Default)]
pub struct EnvView<'a> {
    /// `name`.
    pub name: Option<Str<'a>>,
    /// `value`.
    pub value: Option<Raw<'a>>,
    /// `valueFrom`.
    pub value_from: Option<Raw<'a>>,
}

/// One block device.
#[derive(Debug, Default)]
pub struct DeviceView<'a> {
    /// `name` of the volume.
    pub name: Option<Str<'a>>,
    /// `devicePath`.
    pub device_path: Option<Str<'a>>,
}

/// One volume mount.
#[derive(Debug, Default)]
pub struct MountView<'a> {
    /// `name` of the volume.
    pub name: Option<Str<'a>>,
    /// `mountPath`.
    pub mount_path: Option<Str<'a>>,
    /// `subPath`.
    pub sub_path: Option<Str<'a>>,
    /// `subPathExpr`.
    pub sub_path_expr: Option<Str<'a>>,
    /// `readOnly`.
    pub read_only: Option<bool>,
    /// `mountPropagation`.
    pub mount_propagation: Option<Str<'a>>,
}

/// One volume: its name and its one source, whatever kind that is.
#[derive(Clone, Debug, Default)]
pub struct VolumeView<'a> {
    /// `name`.
    pub name: Str<'a>,
    /// The source's field name (`persistentVolumeClaim`, `secret`, …) and content.
    pub source: Option<(Str<'a>, Raw<'a>)>,
}

impl<'a> PodView<'a> {
    /// The pod's labels, in order.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata
            .iter()
            .filter_map(|metadata| metadata.labels.as_ref())
            .flat_map(Fields::iter)
            .map(|(key, value)| (key, value.as_ref().map_or("", Str::as_str)))
    }

    /// The raw value of an annotation.
    #[must_use]
    pub fn raw_annotation(&self, key: &str) -> Option<Raw<'a>> {
        self.metadata.as_ref()?.annotations.as_ref()?.get(key).copied()
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<Cow<'a, str>> {
        self.raw_annotation(key).and_then(Raw::text)
    }

    /// Every container, init containers first, with the field it stands in and its index there.
    pub fn containers(&self) -> impl Iterator<Item = (&'static str, usize, &ContainerView<'a>)> {
        let lists = self.spec.iter().flat_map(|spec| {
            [("initContainers", spec.init_containers.as_deref()), ("containers", spec.containers.as_deref())]
        });
        lists.flat_map(|(list, containers)| {
            containers.unwrap_or_default().iter().enumerate().map(move |(index, container)| (list, index, container))
        })
    }

    /// Whether a container asks for one of these resources. The API server has made requests of limits before a webhook is
    /// called; a template has not been there, so a limit counts as well.
    #[must_use]
    pub fn requests_any(&self, resources: &[String]) -> bool {
        let asks = |raw: Raw<'_>| {
            let Ok(value) = serde_json::from_str::<serde_json::Value>(raw.get()) else { return false };
            ["requests", "limits"].iter().filter_map(|list| value.get(list)?.as_object()).any(|amounts| {
                let of = |resource: &String| amounts.get(resource).filter(|amount| **amount != "0" && **amount != 0);
                resources.iter().any(|resource| of(resource).is_some())
            })
        };
        self.containers().filter_map(|(_, _, container)| container.resources).any(asks)
    }

    /// The service account the pod runs as; `default` where it names none.
    #[must_use]
    pub fn service_account(&self) -> &str {
        self.spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.as_ref())
            .map(Str::as_str)
            .filter(|name| !name.is_empty())
            .unwrap_or("default")
    }

    /// The pod's name, or the prefix of the one that the API server will make.
    #[must_use]
    pub fn name(&self) -> &str {
        let Some(metadata) = &self.metadata else { return "" };
        metadata.name.as_ref().or(metadata.generate_name.as_ref()).map_or("", Str::as_str)
    }

    /// Whether this is the mirror of a static pod.
    #[must_use]
    pub fn is_mirror(&self) -> bool {
        self.raw_annotation(MIRROR_ANNOTATION).is_some()
    }

    /// The owners that control the pod: one at most, once the API server has looked at it.
    pub fn controllers(&self) -> impl Iterator<Item = &OwnerView<'a>> {
        let owners = self.metadata.iter().filter_map(|metadata| metadata.owner_references.as_ref()).flatten();
        owners.filter(|owner| owner.controller == Some(true))
    }

    /// Whether a DaemonSet controls the pod.
    ///
    /// An owner reference is the word of whoever made the pod. It is believed only of the group `apps`, and only with the
    /// affinity that the DaemonSet controller writes (`ReplaceDaemonSetPodNodeNameNodeAffinity`), which binds the pod to
    /// one node by name.
    #[must_use]
    pub fn is_of_daemon_set(&self) -> bool {
        let text =
            |text: &Option<Str<'_>>, wanted: fn(&str) -> bool| text.as_ref().is_some_and(|text| wanted(text.as_str()));
        let says_so = self.controllers().any(|owner| {
            text(&owner.kind, |kind| kind == "DaemonSet")
                && text(&owner.api_version, |version| version.starts_with("apps/"))
        });
        says_so && self.is_bound_to_one_node()
    }

    /// Whether every term of the required node affinity names one node.
    fn is_bound_to_one_node(&self) -> bool {
        let raw = self.spec.as_ref().and_then(|spec| spec.affinity);
        let affinity = raw.and_then(|raw| serde_json::from_str::<Affinity>(raw.get()).ok());
        let required = affinity
            .and_then(|affinity| affinity.node_affinity)
            .and_then(|node| node.required_during_scheduling_ignored_during_execution);
        let terms = required.map(|required| required.node_selector_terms).unwrap_or_default();
        let names_one_node = |term: &NodeSelectorTerm| {
            term.match_fields.iter().flatten().any(|field| {
                field.key == "metadata.name"
                    && field.operator == "In"
                    && field.values.as_ref().is_some_and(|values| values.len() == 1)
            })
        };
        !terms.is_empty() && terms.iter().all(names_one_node)
    }
}

impl Labels for PodView<'_> {
    fn label(&self, key: &str) -> Option<&str> {
        let value = self.metadata.as_ref()?.labels.as_ref()?.get(key)?;
        Some(value.as_ref().map_or("", Str::as_str))
    }

    fn each<'s>(&'s self, visit: &mut dyn FnMut(&'s str, &'s str)) {
        self.labels().for_each(|(key, value)| visit(key, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borrows_names_and_tolerates_nulls_and_unknown_fields() {
        let json = r#"{"metadata":{"name":"p","labels":{"a\/b":"c","d":null},"annotations":null,"x":[1]},
            "spec":{"volumes":[{"name":"v","newSource":{"a":1}},{"name":"w"}],"containers":[{"name":"c","env":null,
            "envFrom":[],"volumeMounts":[{"name":"v","mountPath":"\/data\/"}],"future":{"deep":[{}]}}]}}"#;
        let pod: PodView<'_> = crate::json::read(json).unwrap();
        assert_eq!(pod.label("a/b"), Some("c"));
        assert_eq!(pod.label("d"), Some(""));
        assert_eq!(pod.name(), "p");
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!(spec.volumes.as_ref().unwrap()[0].source.as_ref().unwrap().0.as_str(), "newSource");
        assert!(matches!(spec.containers.as_ref().unwrap()[0].name.as_ref().unwrap().0, Cow::Borrowed("c")));
    }
}
