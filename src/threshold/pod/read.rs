//! How single fields of a watched pod are read.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;

use super::INDEX_FAILURES;

/// A value, its default for null.
pub(in crate::threshold) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Leaves out what no judgement reads: `last-applied-configuration` alone can be as large as the pod.
pub(super) fn known_annotations<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    struct LabelsVisitor;
    impl<'de> Visitor<'de> for LabelsVisitor {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("annotations")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut known = BTreeMap::new();
            while let Some(key) = map.next_key::<String>()? {
                if key.starts_with("stowage.dev/") || key.starts_with("kubernetes.io/config.") || key == INDEX_FAILURES
                {
                    known.insert(key, map.next_value::<Option<String>>()?.unwrap_or_default());
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(known)
        }
    }
    deserializer.deserialize_any(LabelsVisitor)
}

/// A label without a value, as YAML may have it, is one with an empty value.
pub(super) fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let labels = Option::<BTreeMap<String, Option<String>>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(labels.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect())
}

/// The names of what a container requests. A limit counts as well: the API server has made a request of it.
pub(super) fn requested<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
    #[derive(Default, Deserialize)]
    struct Requested {
        requests: BTreeMap<String, Value>,
        limits: BTreeMap<String, Value>,
    }
    let resources = Option::<Requested>::deserialize(deserializer)?.unwrap_or_default();
    let asked = resources.requests.into_iter().chain(resources.limits);
    let some = asked.filter(|(_, amount)| *amount != "0" && *amount != 0 && !amount.is_null());
    Ok(some.map(|(name, _)| name).collect())
}

/// Of `managedFields` the latest write of the status.
pub(super) fn last_status_write<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    #[serde_with::apply(_ => #[serde(default, deserialize_with = "or_default")])]
    #[derive(Default, Deserialize)]
    struct ManagedFields {
        subresource: String,
        #[serde_with(skip_apply)]
        #[serde(default, deserialize_with = "time")]
        time: Option<Timestamp>,
    }
    let managers = Option::<Vec<ManagedFields>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(managers.into_iter().filter(|manager| manager.subresource == "status").filter_map(|manager| manager.time).max())
}

/// An RFC 3339 time; `None` for null, and for one at or before the epoch, which no pod has lived through.
pub(super) fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    struct TimeVisitor;
    impl Visitor<'_> for TimeVisitor {
        type Value = Option<Timestamp>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an RFC 3339 time")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let time: Timestamp = text.parse().map_err(|_| E::custom("not an RFC 3339 time"))?;
            Ok(Some(time).filter(|time| *time > Timestamp::UNIX_EPOCH))
        }
    }
    deserializer.deserialize_any(TimeVisitor)
}
