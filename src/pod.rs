//! The borrowed view of a pod that decisions read.
//!
//! One pass over the bytes: names and keys are borrowed where JSON does not escape them, everything else stays raw and
//! is read when a decision asks for it. Unknown fields are skipped, `null` counts as absent (Go writes it for empty
//! lists), and no field of the pod is ever written back from here.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::policy::template::Labels;

/// Annotation of a static pod's mirror; the API server lets nobody change such a pod.
pub const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// A string of the review, borrowed where JSON does not escape it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Str<'a>(pub Cow<'a, str>);

/// A JSON object as its fields, in order.
#[derive(Clone, Debug)]
pub struct Fields<'a, T>(pub Vec<(Str<'a>, T)>);

/// A pod, or a pod template.
#[derive(Debug, Default, Deserialize)]
pub struct PodView<'a> {
    /// `metadata`.
    #[serde(borrow, default)]
    pub metadata: Option<Metadata<'a>>,
    /// `spec`.
    #[serde(borrow, default)]
    pub spec: Option<Spec<'a>>,
}

/// `metadata` of a pod.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// `name`; absent where the API server is to make one.
    #[serde(borrow, default)]
    pub name: Option<Str<'a>>,
    /// `generateName`.
    #[serde(borrow, default)]
    pub generate_name: Option<Str<'a>>,
    /// `labels`.
    #[serde(borrow, default)]
    pub labels: Option<Fields<'a, Option<Str<'a>>>>,
    /// `annotations`; the values may be large, so they stay raw.
    #[serde(borrow, default)]
    pub annotations: Option<Fields<'a, &'a RawValue>>,
    /// `ownerReferences`.
    #[serde(borrow, default)]
    pub owner_references: Option<Vec<Owner<'a>>>,
}

/// One of a pod's `ownerReferences`.
#[derive(Debug, Deserialize)]
pub struct Owner<'a> {
    /// `kind`.
    #[serde(borrow, default)]
    pub kind: Option<Str<'a>>,
    /// `controller`.
    #[serde(default)]
    pub controller: Option<bool>,
}

/// `spec` of a pod.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec<'a> {
    /// `volumes`.
    #[serde(borrow, default)]
    pub volumes: Option<Vec<VolumeView<'a>>>,
    /// `initContainers`.
    #[serde(borrow, default)]
    pub init_containers: Option<Vec<ContainerView<'a>>>,
    /// `containers`.
    #[serde(borrow, default)]
    pub containers: Option<Vec<ContainerView<'a>>>,
    /// `nodeName`.
    #[serde(borrow, default)]
    pub node_name: Option<Str<'a>>,
    /// `serviceAccountName`.
    #[serde(borrow, default)]
    pub service_account_name: Option<Str<'a>>,
    /// `serviceAccount`, the deprecated twin.
    #[serde(borrow, default)]
    pub service_account: Option<Str<'a>>,
    /// `priorityClassName`.
    #[serde(borrow, default)]
    pub priority_class_name: Option<Str<'a>>,
    /// `priority`, as the API server resolved it.
    #[serde(default)]
    pub priority: Option<i64>,
    /// `preemptionPolicy`, as the API server resolved it.
    #[serde(borrow, default)]
    pub preemption_policy: Option<&'a RawValue>,
    /// `nodeSelector`.
    #[serde(borrow, default)]
    pub node_selector: Option<&'a RawValue>,
    /// `tolerations`.
    #[serde(borrow, default)]
    pub tolerations: Option<&'a RawValue>,
    /// `affinity`.
    #[serde(borrow, default)]
    pub affinity: Option<&'a RawValue>,
    /// `securityContext` of the pod.
    #[serde(borrow, default)]
    pub security_context: Option<&'a RawValue>,
    /// `imagePullSecrets`.
    #[serde(borrow, default)]
    pub image_pull_secrets: Option<&'a RawValue>,
    /// `resources` of the pod as a whole.
    #[serde(borrow, default)]
    pub resources: Option<&'a RawValue>,
    /// `os`.
    #[serde(borrow, default)]
    pub os: Option<Os<'a>>,
}

/// `os` of a pod.
#[derive(Debug, Default, Deserialize)]
pub struct Os<'a> {
    /// `linux` or `windows`.
    #[serde(borrow, default)]
    pub name: Option<Str<'a>>,
}

/// One container.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerView<'a> {
    /// `name`.
    #[serde(borrow, default)]
    pub name: Option<Str<'a>>,
    /// `env`.
    #[serde(borrow, default)]
    pub env: Option<Vec<EnvView<'a>>>,
    /// `envFrom`.
    #[serde(borrow, default)]
    pub env_from: Option<Vec<&'a RawValue>>,
    /// `volumeMounts`.
    #[serde(borrow, default)]
    pub volume_mounts: Option<Vec<MountView<'a>>>,
    /// `resources`.
    #[serde(borrow, default)]
    pub resources: Option<&'a RawValue>,
    /// `imagePullPolicy`.
    #[serde(borrow, default)]
    pub image_pull_policy: Option<Str<'a>>,
}

/// One environment variable.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvView<'a> {
    /// `name`.
    #[serde(borrow, default)]
    pub name: Option<Str<'a>>,
    /// `value`.
    #[serde(borrow, default)]
    pub value: Option<&'a RawValue>,
    /// `valueFrom`.
    #[serde(borrow, default)]
    pub value_from: Option<&'a RawValue>,
}

/// One volume mount.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MountView<'a> {
    /// `name` of the volume.
    #[serde(borrow, default)]
    pub name: Option<Str<'a>>,
    /// `mountPath`.
    #[serde(borrow, default)]
    pub mount_path: Option<Str<'a>>,
    /// `subPath`.
    #[serde(borrow, default)]
    pub sub_path: Option<Str<'a>>,
    /// `subPathExpr`.
    #[serde(borrow, default)]
    pub sub_path_expr: Option<Str<'a>>,
    /// `readOnly`.
    #[serde(default)]
    pub read_only: Option<bool>,
    /// `mountPropagation`.
    #[serde(borrow, default)]
    pub mount_propagation: Option<Str<'a>>,
}

/// One volume: its name and its one source, whatever kind that is.
#[derive(Clone, Debug, Default)]
pub struct VolumeView<'a> {
    /// `name`.
    pub name: Str<'a>,
    /// The source's field name (`persistentVolumeClaim`, `secret`, …) and content.
    pub source: Option<(Str<'a>, &'a RawValue)>,
}

impl Str<'_> {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'a> PodView<'a> {
    /// The pod's labels, in order.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.metadata
            .iter()
            .filter_map(|metadata| metadata.labels.as_ref())
            .flat_map(|labels| &labels.0)
            .map(|(key, value)| (key.as_str(), value.as_ref().map_or("", Str::as_str)))
    }

    /// The raw value of an annotation.
    #[must_use]
    pub fn raw_annotation(&self, key: &str) -> Option<&'a RawValue> {
        let annotations = &self.metadata.as_ref()?.annotations.as_ref()?.0;
        annotations.iter().find(|(name, _)| name.as_str() == key).map(|(_, value)| *value)
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<Cow<'a, str>> {
        self.raw_annotation(key).and_then(text)
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

    /// Whether a DaemonSet controls the pod.
    #[must_use]
    pub fn is_of_daemon_set(&self) -> bool {
        let owners = self.metadata.iter().filter_map(|metadata| metadata.owner_references.as_ref()).flatten();
        owners
            .filter(|owner| owner.controller == Some(true))
            .any(|owner| owner.kind.as_ref().is_some_and(|kind| kind.as_str() == "DaemonSet"))
    }
}

impl Labels for PodView<'_> {
    fn label(&self, key: &str) -> Option<&str> {
        self.labels().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    fn each<'s>(&'s self, visit: &mut dyn FnMut(&'s str, &'s str)) {
        self.labels().for_each(|(key, value)| visit(key, value));
    }
}

/// The string in `raw`; `None` where it is something else.
#[must_use]
pub fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Str<'_>>(raw.get()).ok().map(|text| text.0)
}

/// A path as the kubelet compares it: without double and trailing slashes.
#[must_use]
pub fn clean_path(path: &str) -> Cow<'_, str> {
    let clean = !path.contains("//") && (path.len() == 1 || !path.ends_with('/')) && !path.contains("/.");
    if clean {
        return Cow::Borrowed(path);
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    Cow::Owned(format!("{root}{}", parts.join("/")))
}

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StrVisitor<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for StrVisitor<'a> {
            type Value = Str<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Str<'a>, E> {
                Ok(Str(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Str<'a>, E> {
                Ok(Str(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(StrVisitor(PhantomData))
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Fields<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor<'a, T>(PhantomData<(&'a (), T)>);

        impl<'de: 'a, 'a, T: Deserialize<'de>> Visitor<'de> for FieldsVisitor<'a, T> {
            type Value = Fields<'a, T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some(entry) = access.next_entry()? {
                    fields.push(entry);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(FieldsVisitor(PhantomData))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for VolumeView<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VolumeVisitor<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for VolumeVisitor<'a> {
            type Value = VolumeView<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a volume")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<VolumeView<'a>, A::Error> {
                let mut volume = VolumeView::default();
                while let Some(key) = access.next_key::<Str<'a>>()? {
                    if key.as_str() == "name" {
                        volume.name = access.next_value::<Option<Str<'a>>>()?.unwrap_or_default();
                    } else if volume.source.is_none() {
                        volume.source = access.next_value::<Option<&'a RawValue>>()?.map(|source| (key, source));
                    } else {
                        access.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(volume)
            }
        }

        deserializer.deserialize_map(VolumeVisitor(PhantomData))
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
        let pod: PodView<'_> = serde_json::from_str(json).unwrap();
        assert_eq!(pod.label("a/b"), Some("c"));
        assert_eq!(pod.label("d"), Some(""));
        assert_eq!(pod.name(), "p");
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!(spec.volumes.as_ref().unwrap()[0].source.as_ref().unwrap().0.as_str(), "newSource");
        assert!(matches!(spec.containers.as_ref().unwrap()[0].name.as_ref().unwrap().0, Cow::Borrowed("c")));
    }

    #[test]
    fn compares_paths_as_the_kubelet_does() {
        for (path, clean) in
            [("/a", "/a"), ("/a/", "/a"), ("//a//b", "/a/b"), ("/a/./b/..", "/a"), ("/", "/"), ("a/", "a")]
        {
            assert_eq!(clean_path(path), clean, "{path}");
        }
    }
}
