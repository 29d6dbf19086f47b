//! How much of a pod a decision works on.
//!
//! A webhook is called before the API server validates, with whatever somebody sends, and three bytes of a list become
//! dozens in memory. Reading stops keeping where a bound is passed, and the pod is refused where a policy may match it:
//! leaving it alone would be a way out of injection.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::{
    json::{AtMost, Raw, read, read_members},
    pod::{ContainerView, PodView, SpecView},
};

/// Most containers of a pod, init containers included.
pub const CONTAINERS: usize = 1_000;
/// Most elements of a list that a decision works on.
pub const ELEMENTS: usize = 10_000;
/// Most elements in the lists of all containers together. An earlier pass adds at most what a patch holds, so no pod that
/// was let through once is refused here at the second pass.
pub const CONTAINER_ELEMENTS: usize = 200_000;
/// Most elements of all lists, and members of all objects that are longer than a hundred, in one field that is read as a
/// whole, such as `affinity`.
pub const FIELD_ELEMENTS: usize = 100_000;
/// Most terms of the required node affinity, of a pod and after policies have multiplied them.
pub const NODE_TERMS: usize = 1_024;
/// Longest patch, in bytes. etcd takes 1.5 MiB for a whole object.
pub const PATCH: usize = 4 << 20;

/// A pod that has, or would get, more than a decision works on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: more than {limit} {unit}; at most {limit} are allowed in a pod that a policy matches")]
pub struct TooMany {
    /// The field of the pod, or `patch`.
    pub field: String,
    /// The bound.
    pub limit: usize,
    /// What is counted.
    pub unit: &'static str,
}

impl TooMany {
    /// More than [`ELEMENTS`] elements of the list `field`.
    #[must_use]
    pub fn elements(field: impl Into<String>) -> Self {
        Self { field: field.into(), limit: ELEMENTS, unit: "elements" }
    }

    /// A patch over [`PATCH`].
    #[must_use]
    pub fn patch() -> Self {
        Self { field: "patch".to_owned(), limit: PATCH, unit: "bytes" }
    }
}

impl PodView<'_> {
    /// Holds the pod against the bounds.
    ///
    /// # Errors
    ///
    /// The first bound that is passed.
    pub fn bounded(&self) -> Result<(), TooMany> {
        let Some(spec) = &self.spec else { return Ok(()) };
        let owners = self.metadata.as_ref().and_then(|metadata| metadata.owner_references.as_ref());
        if owners.is_some_and(|owners| owners.len() > ELEMENTS) {
            return Err(TooMany::elements("metadata.ownerReferences"));
        }
        self.bounded_containers()?;
        let volumes = spec.volumes.as_deref().unwrap_or_default();
        if volumes.len() > ELEMENTS {
            return Err(TooMany::elements("spec.volumes"));
        }
        for (index, volume) in volumes.iter().enumerate() {
            bounded(volume.source.as_ref().map(|(_, raw)| *raw), || format!("spec.volumes[{index}]"))?;
        }
        spec.bounded()
    }

    fn bounded_containers(&self) -> Result<(), TooMany> {
        let mut elements = 0;
        for (number, (list, index, container)) in self.containers().enumerate() {
            if number >= CONTAINERS {
                return Err(TooMany { field: "spec.containers".to_owned(), limit: CONTAINERS, unit: "containers" });
            }
            let field = |name: &str| format!("spec.{list}[{index}].{name}");
            if let Some((name, _)) = container.lists().into_iter().find(|(_, length)| *length > ELEMENTS) {
                return Err(TooMany::elements(field(name)));
            }
            elements += container.elements();
            if elements > CONTAINER_ELEMENTS {
                let unit = "elements in the lists of all containers";
                return Err(TooMany { field: "spec.containers".to_owned(), limit: CONTAINER_ELEMENTS, unit });
            }
            bounded(container.resources, || field("resources"))?;
            for (place, env) in container.env.iter().flatten().enumerate() {
                bounded(env.value_from, || field(&format!("env[{place}].valueFrom")))?;
            }
            for (place, source) in container.env_from.iter().flatten().enumerate() {
                bounded(Some(*source), || field(&format!("envFrom[{place}]")))?;
            }
        }
        Ok(())
    }
}

impl SpecView<'_> {
    fn bounded(&self) -> Result<(), TooMany> {
        let fields = [
            ("spec.tolerations", self.tolerations),
            ("spec.nodeSelector", self.node_selector),
            ("spec.affinity", self.affinity),
            ("spec.imagePullSecrets", self.image_pull_secrets),
            ("spec.securityContext", self.security_context),
            ("spec.resources", self.resources),
        ];
        for (field, raw) in fields {
            bounded(raw, || field.to_owned())?;
        }
        let affinity = self.affinity.and_then(|raw| read::<AffinityTerms<'_>>(raw.get()).ok());
        let node = affinity.and_then(|affinity| affinity.node_affinity);
        let terms = node.and_then(|node| node.required).and_then(|required| required.node_selector_terms);
        if terms.is_some_and(|terms| terms.len() > NODE_TERMS) {
            let field = "spec.affinity.nodeAffinity".to_owned();
            return Err(TooMany { field, limit: NODE_TERMS, unit: "node selector terms" });
        }
        Ok(())
    }
}

impl ContainerView<'_> {
    /// The lists that were read, with their lengths.
    fn lists(&self) -> [(&'static str, usize); 3] {
        [
            ("env", self.env.as_ref().map_or(0, Vec::len)),
            ("envFrom", self.env_from.as_ref().map_or(0, Vec::len)),
            ("volumeMounts", self.volume_mounts.as_ref().map_or(0, Vec::len)),
        ]
    }

    /// The elements of all of them.
    pub(super) fn elements(&self) -> usize {
        self.lists().into_iter().map(|(_, length)| length).sum()
    }
}

/// Counts what a field holds that a decision may read as a whole.
fn bounded(raw: Option<Raw<'_>>, field: impl FnOnce() -> String) -> Result<(), TooMany> {
    // An element takes two bytes, so that of the usual field nothing need be counted.
    let Some(raw) = raw.filter(|raw| raw.get().len() > 2 * ELEMENTS) else { return Ok(()) };
    let mut count = Content::default();
    let counted = (&mut count).deserialize(&mut serde_json::Deserializer::from_str(raw.get()));
    if count.longest > ELEMENTS {
        return Err(TooMany::elements(field()));
    }
    if count.total > FIELD_ELEMENTS {
        return Err(TooMany { field: field(), limit: FIELD_ELEMENTS, unit: "elements in all" });
    }
    // The text is JSON, so what cannot be counted is nested beyond serde_json's limit, or a number beyond any.
    counted.map_err(|_| TooMany { field: field(), limit: 128, unit: "levels of nesting" })
}

/// What there is in a value: elements of lists and members of objects, at any depth.
#[derive(Debug, Default)]
struct Content {
    /// The longest list or object.
    longest: usize,
    /// All of them together.
    total: usize,
}

impl Content {
    fn one_more(&mut self, number: usize) {
        self.longest = self.longest.max(number);
        self.total += 1;
    }

    const fn is_over(&self) -> bool {
        self.longest > ELEMENTS || self.total > FIELD_ELEMENTS
    }
}

impl<'de> DeserializeSeed<'de> for &mut Content {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.is_over() {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(|_| ());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Content {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut number = 0;
        while seq.next_element_seed(&mut *self)?.is_some() {
            number += 1;
            self.one_more(number);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // What describes one thing is no list of things.
        const FEW: usize = 100;
        let mut number = 0;
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(&mut *self)?;
            number += 1;
            if number > FEW {
                self.one_more(number);
            }
        }
        Ok(())
    }
}

/// The required node terms of an `affinity`, to be counted.
#[derive(Default)]
struct AffinityTerms<'a> {
    node_affinity: Option<NodeAffinityTerms<'a>>,
}

#[derive(Default)]
struct NodeAffinityTerms<'a> {
    required: Option<RequiredTerms<'a>>,
}

#[derive(Default)]
struct RequiredTerms<'a> {
    node_selector_terms: Option<Vec<Raw<'a>>>,
}

read_members!(AffinityTerms { "nodeAffinity" => node_affinity });
read_members!(NodeAffinityTerms { "requiredDuringSchedulingIgnoredDuringExecution" => required });
read_members!(RequiredTerms { "nodeSelectorTerms" => node_selector_terms by AtMost::new(NODE_TERMS) });
