//! Objects of which only a slim view is read from the bytes that come; the rest is passed over and never held.

use std::borrow::Cow;

use k8s_openapi::ClusterResourceScope;
use kube::Resource;
use kube::core::ObjectMeta;
use serde::de::{Deserialize, DeserializeOwned, Deserializer};

use crate::threshold::pod::Metadata;
use crate::threshold::{WatchedNode, WatchedPod};

/// A view of a core/v1 object that a watch can read.
pub(super) trait SlimView: DeserializeOwned {
    /// The kind.
    const KIND: &'static str;
    /// The resource.
    const PLURAL: &'static str;

    /// `metadata`.
    fn metadata(&self) -> &Metadata;
}

/// A view with the little of `metadata` that kube asks an object for: from its version a broken watch goes on.
#[derive(Clone, Debug)]
pub(super) struct Slim<V> {
    metadata: ObjectMeta,
    pub(super) view: V,
}

impl SlimView for WatchedPod {
    const KIND: &'static str = "Pod";
    const PLURAL: &'static str = "pods";

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

impl SlimView for WatchedNode {
    const KIND: &'static str = "Node";
    const PLURAL: &'static str = "nodes";

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

impl<'de, V: SlimView> Deserialize<'de> for Slim<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let view = V::deserialize(deserializer)?;
        let Metadata { name, resource_version, .. } = view.metadata();
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            resource_version: Some(resource_version.clone()),
            ..ObjectMeta::default()
        };
        Ok(Self { metadata, view })
    }
}

impl<V: SlimView> Resource for Slim<V> {
    type DynamicType = ();
    // Watched in every namespace at once, so that no path of it has a namespace.
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        V::KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        V::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
