//! How the view of a pod is read: member by member, and no list further than its bound.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    ContainerView, DeviceView, EnvView, MetadataView, MountView, OsView, OwnerView, PodView, SpecView, VolumeView,
};
use crate::{
    json::{AtMost, Raw, Str, read_members},
    pod::bounds::{CONTAINER_ELEMENTS, CONTAINERS, ELEMENTS},
};

read_members!(PodView { "metadata" => metadata, "spec" => spec });
read_members!(MetadataView {
    "name" => name,
    "generateName" => generate_name,
    "labels" => labels,
    "annotations" => annotations,
    "ownerReferences" => owner_references by AtMost::new(ELEMENTS),
});
read_members!(OwnerView {
    "apiVersion" => api_version,
    "kind" => kind,
    "name" => name,
    "uid" => uid,
    "controller" => controller,
});
read_members!(SpecView {
    "volumes" => volumes by AtMost::new(ELEMENTS),
    "initContainers" => init_containers by ContainerList,
    "containers" => containers by ContainerList,
    "nodeName" => node_name,
    "serviceAccountName" => service_account_name,
    "serviceAccount" => service_account,
    "priorityClassName" => priority_class_name,
    "priority" => priority,
    "preemptionPolicy" => preemption_policy,
    "nodeSelector" => node_selector,
    "tolerations" => tolerations,
    "affinity" => affinity,
    "securityContext" => security_context,
    "hostNetwork" => host_network,
    "hostIPC" => host_ipc,
    "imagePullSecrets" => image_pull_secrets,
    "resources" => resources,
    "runtimeClassName" => runtime_class_name,
    "schedulerName" => scheduler_name,
    "enableServiceLinks" => enable_service_links,
    "topologySpreadConstraints" => topology_spread_constraints,
    "os" => os,
});
read_members!(OsView { "name" => name });
read_members!(ContainerView {
    "name" => name,
    "env" => env by AtMost::new(ELEMENTS),
    "envFrom" => env_from by AtMost::new(ELEMENTS),
    "volumeMounts" => volume_mounts by AtMost::new(ELEMENTS),
    "volumeDevices" => volume_devices by AtMost::new(ELEMENTS),
    "resources" => resources,
    "imagePullPolicy" => image_pull_policy,
    "securityContext" => security_context,
});
read_members!(EnvView { "name" => name, "value" => value, "valueFrom" => value_from });
read_members!(DeviceView { "name" => name, "devicePath" => device_path });
read_members!(MountView {
    "name" => name,
    "mountPath" => mount_path,
    "subPath" => sub_path,
    "subPathExpr" => sub_path_expr,
    "readOnly" => read_only,
    "mountPropagation" => mount_propagation,
});

/// Reads a list of containers until a bound is passed, on their number or on the elements of all of them.
struct ContainerList;

impl<'de> DeserializeSeed<'de> for ContainerList {
    type Value = Option<Vec<ContainerView<'de>>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for ContainerList {
    type Value = Option<Vec<ContainerView<'de>>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of containers")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut containers: Vec<ContainerView<'_>> = Vec::new();
        let mut elements = 0;
        while containers.len() <= CONTAINERS && elements <= CONTAINER_ELEMENTS {
            let Some(container) = seq.next_element::<ContainerView<'_>>()? else { return Ok(Some(containers)) };
            elements += container.elements();
            containers.push(container);
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Some(containers))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for VolumeView<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VolumeVisitor;

        impl<'de> Visitor<'de> for VolumeVisitor {
            type Value = VolumeView<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VolumeView<'de>, A::Error> {
                let mut volume = VolumeView::default();
                while let Some(key) = map.next_key::<Str<'de>>()? {
                    if key.as_str() == "name" {
                        volume.name = map.next_value::<Option<Str<'de>>>()?.unwrap_or_default();
                    } else if volume.source.is_none() {
                        volume.source = map.next_value::<Option<Raw<'de>>>()?.map(|source| (key, source));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(volume)
            }
        }

        deserializer.deserialize_map(VolumeVisitor)
    }
}
