//! Polyaxon's catalogue: the `persistence` block of its chart.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{
    field_error::field,
    names::{self, clean_path},
    policy::{
        Catalogue, CatalogueEntry, StoreEntry,
        compile::{
            checker::Checker,
            mount::WrittenMount,
            storage::one_volume,
            variables::{azure_env, gcs_unit, s3_plain_keys},
        },
        fragment::{Fragment, Hole},
        modifier::{EnvUnit, Injectable, VolumeUnit},
        spec::{CatalogueEntrySpec, PersistenceSpec, Store},
        template::{Kind, Template},
    },
};

impl Checker<'_> {
    pub(super) fn catalogue(&mut self, spec: &PersistenceSpec) -> Catalogue {
        let data = self.entries(&spec.data, "persistence.data", false);
        let outputs = self.entries(&spec.outputs, "persistence.outputs", true);
        if let Some(default) = &spec.default_outputs
            && !spec.outputs.contains_key(default)
        {
            let known = spec.outputs.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            self.error(
                "persistence.defaultOutputs",
                format!("{default:?} is not one of persistence.outputs ({known})"),
            );
        }
        if spec.default_outputs.is_none() && spec.outputs.len() > 1 {
            let first = spec.outputs.keys().next().map_or("", String::as_str);
            self.note("persistence.outputs", format!("without defaultOutputs the first by name, {first:?}, is used"));
        }
        if spec.data.is_empty() && spec.outputs.is_empty() {
            self.error("persistence", "needs data or outputs");
        }
        Catalogue { data, outputs, default_outputs: spec.default_outputs.clone() }
    }

    fn entries(
        &mut self,
        entries: &BTreeMap<String, CatalogueEntrySpec>,
        at: &str,
        outputs: bool,
    ) -> Vec<CatalogueEntry> {
        let mut taken = BTreeSet::new();
        entries
            .iter()
            .filter_map(|(name, entry)| {
                let at = field(at, name);
                if matches!(name.as_str(), "all" | "none" | "") || name.contains(',') {
                    self.error(&at, "an entry cannot be called all, none or nothing, or hold a comma");
                }
                let compiled = self.entry(name, entry, &at, outputs)?;
                if let Some(mount) = entry.mount_path.as_deref().filter(|_| entry.store.is_none() && !outputs)
                    && !taken.insert(clean_path(mount).into_owned())
                {
                    self.error(&field(&at, "mountPath"), format!("{mount:?} is taken by another entry"));
                }
                Some(compiled)
            })
            .collect()
    }

    fn entry(&mut self, name: &str, entry: &CatalogueEntrySpec, at: &str, outputs: bool) -> Option<CatalogueEntry> {
        let given = |value: &Option<String>| value.as_deref().filter(|text| !text.is_empty()).map(str::to_owned);
        let (claim, host) = (given(&entry.existing_claim), given(&entry.host_path));
        let kinds = usize::from(claim.is_some()) + usize::from(host.is_some()) + usize::from(entry.store.is_some());
        if kinds > 1 {
            self.error(at, "only one of existingClaim, hostPath and store can be used");
            return None;
        }
        let read_only = entry.read_only.unwrap_or(false);
        if outputs && read_only {
            self.note(&field(at, "readOnly"), "runs cannot write to outputs that are read-only");
        }
        if let Some(store) = entry.store {
            return self.store(name, entry, store, at);
        }
        if given(&entry.bucket).is_some() || given(&entry.secret).is_some() || given(&entry.secret_key).is_some() {
            self.error(&field(at, "store"), "required with bucket, secret or secretKey: one of s3, gcs, azure");
            return None;
        }
        let Some(mount_path) = given(&entry.mount_path) else {
            self.error(&field(at, "mountPath"), "required");
            return None;
        };
        let mount = WrittenMount {
            path: &mount_path,
            path_field: "mountPath",
            sub_path: entry.sub_path.as_deref(),
            sub_path_expr: entry.sub_path_expr.as_deref(),
            read_only,
        };
        let mount = self.mount(mount, at)?;
        let (kind, source) = match (claim, host) {
            (Some(claim), _) => {
                let claim = self.template(&claim, Kind::Claim, &field(at, "existingClaim"))?;
                let mut source = json!({"claimName": ""});
                if let (true, Some(source)) = (read_only, source.as_object_mut()) {
                    source.insert("readOnly".into(), Value::Bool(true));
                }
                ("persistentVolumeClaim", Fragment::with_holes(&source, &[Hole::whole("/claimName", claim)]))
            }
            (None, Some(path)) => {
                self.name(&path, names::host_path, &field(at, "hostPath"));
                // Without a type the runtime makes a missing folder and says nothing. What runs only read must be there.
                let kind = if read_only { "Directory" } else { "DirectoryOrCreate" };
                ("hostPath", Fragment::fixed(&json!({"path": path, "type": kind})))
            }
            (None, None) => {
                self.note(at, "without existingClaim, hostPath or store it is an emptyDir, lost with the pod");
                ("emptyDir", Fragment::fixed(&json!({})))
            }
        };
        let path = mount.path.clone();
        let volume = VolumeUnit { name: volume_name(name), kind: kind.into(), source, mounts: [mount].into() };
        Some(CatalogueEntry {
            name: name.to_owned(),
            path: at.to_owned(),
            unit: one_volume(volume),
            location: Fragment::fixed(&Value::String(path.into())),
            store: None,
            read_only,
        })
    }

    fn store(&mut self, name: &str, entry: &CatalogueEntrySpec, store: Store, at: &str) -> Option<CatalogueEntry> {
        let Some(bucket) = entry.bucket.as_deref().filter(|bucket| !bucket.is_empty()) else {
            self.error(&field(at, "bucket"), format!("required with store {}", word(store)));
            return None;
        };
        if entry.mount_path.as_deref().is_some_and(|path| !path.is_empty()) {
            self.note(&field(at, "mountPath"), "a store is not mounted; the path is not used");
        }
        let bucket = self.template(bucket, Kind::Bucket, &field(at, "bucket"))?;
        if let Some(url) = bucket.fixed()
            && let Err(wanted) = check_bucket(store, url)
        {
            self.error(&field(at, "bucket"), format!("{url:?} {wanted}"));
        }
        let secret = match entry.secret.as_deref().filter(|secret| !secret.is_empty()) {
            Some(secret) => Some(self.template(secret, Kind::Secret, &field(at, "secret"))?),
            None => None,
        };
        let key = entry.secret_key.clone().filter(|key| !key.is_empty());
        if let Some(key) = &key {
            self.name(key, names::data_key, &field(at, "secretKey"));
            if secret.is_none() {
                self.error(&field(at, "secret"), "required with secretKey");
            }
        }
        let mut unit = Injectable::default();
        let mut sdk = Injectable::default();
        if let Some(secret) = &secret {
            if let Some(key) = &key {
                let names = [key.clone()].into_iter().chain(shell_name(key));
                unit.env = names.map(|name| EnvUnit::from_secret(name, secret.clone(), key, false)).collect();
            }
            match (store, &key) {
                (Store::Gcs, key) => sdk = gcs_unit(secret, key.as_deref().unwrap_or("key.json"))?,
                (Store::S3, None) => sdk.env = s3_plain_keys(secret).into(),
                (Store::Azure, None) => sdk.env = azure_env(secret).into(),
                (Store::S3 | Store::Azure, Some(_)) => {}
            }
        }
        Some(CatalogueEntry {
            name: name.to_owned(),
            path: at.to_owned(),
            unit,
            location: Fragment::with_holes(&Value::String(String::new()), &[Hole::whole("", bucket)]),
            store: Some(StoreEntry { store, secret, key, sdk }),
            read_only: false,
        })
    }
}

/// Polyaxon's word for a store.
pub const fn word(store: Store) -> &'static str {
    match store {
        Store::S3 => "s3",
        Store::Gcs => "gcs",
        Store::Azure => "azure",
    }
}

/// Whether `url` is a bucket of `store` (rhea's `parse_gcs_spec`, `parse_s3_spec` and `parse_wasbs_spec`, with the host
/// of the last matched to its end, which rhea forgot).
///
/// # Errors
///
/// A phrase that says what a bucket of the store looks like.
pub fn check_bucket(store: Store, url: &str) -> Result<(), &'static str> {
    let rest = |scheme: &str| url.strip_prefix(scheme).map(|rest| rest.split('/').next().unwrap_or(rest));
    let (bucket, wanted) = match store {
        Store::Gcs => (rest("gs://"), "must be gs://BUCKET or gs://BUCKET/PATH"),
        Store::S3 => (rest("s3://"), "must be s3://BUCKET or s3://BUCKET/PATH"),
        Store::Azure => {
            let wanted = "must be wasbs://CONTAINER@ACCOUNT.blob.core.windows.net/PATH";
            let account = rest("wasbs://").and_then(|host| host.split_once('@')).filter(|(c, _)| !c.is_empty());
            let account = account.and_then(|(_, host)| host.strip_suffix(".blob.core.windows.net"));
            (account.filter(|account| !account.contains('.')), wanted)
        }
    };
    if bucket.is_some_and(|bucket| !bucket.is_empty()) { Ok(()) } else { Err(wanted) }
}

/// `KEY_JSON` for `key.json`: a name that a shell can read, for a key that is none (polyaxon/polyaxon#627).
fn shell_name(key: &str) -> Option<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = |key: &str| key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts(key) && key.chars().all(is_part) {
        return None;
    }
    let name: String = key.to_uppercase().chars().map(|c| if is_part(c) { c } else { '_' }).collect();
    Some(if starts(&name) { name } else { format!("_{name}") })
}

/// A volume's name out of an entry's: Polyaxon takes the entry's verbatim, which the API server may refuse.
fn volume_name(name: &str) -> Template {
    let clean: String =
        name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(60).collect();
    let clean = clean.trim_matches('-');
    let clean = if clean.is_empty() { "volume" } else { clean };
    Template::literal(clean, Kind::Volume)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_buckets_of_each_store() {
        for url in ["gs://b", "gs://b/", "gs://b/path/x"] {
            check_bucket(Store::Gcs, url).unwrap();
        }
        check_bucket(Store::S3, "s3://b/key").unwrap();
        check_bucket(Store::Azure, "wasbs://c@acct.blob.core.windows.net/").unwrap();
        for (store, url) in [
            (Store::Gcs, "gs:/b"),
            (Store::Gcs, "gs://"),
            (Store::S3, "b"),
            (Store::Azure, "wasb://c@a.blob.core.windows.net/"),
            (Store::Azure, "wasbs://c@a.blob.core.windows.net.evil.com/"),
            (Store::Azure, "wasbs://c@a.b.blob.core.windows.net/"),
            (Store::Azure, "wasbs://@a.blob.core.windows.net/"),
        ] {
            assert!(check_bucket(store, url).is_err(), "{url}");
        }
    }

    #[test]
    fn names_for_shells_are_made_only_where_a_key_is_none() {
        for (key, name) in [("key.json", "KEY_JSON"), ("secret-key", "SECRET_KEY"), ("1a", "_1A"), (".x", "_X")] {
            assert_eq!(shell_name(key).as_deref(), Some(name));
        }
        for key in ["KEY", "_a1", "lower_case"] {
            assert_eq!(shell_name(key), None);
        }
    }

    #[test]
    fn makes_a_volume_name_of_every_entry_name() {
        for (name, volume) in [("data1", "data1"), ("My_Data.x", "my-data-x"), ("-", "volume"), ("é", "volume")] {
            assert_eq!(volume_name(name).fixed(), Some(volume));
            names::volume_name(volume).unwrap();
        }
    }
}
