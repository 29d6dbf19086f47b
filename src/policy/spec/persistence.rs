//! Polyaxon's catalogue: the `persistence` block of its chart.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Polyaxon's `persistence` block.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PersistenceSpec {
    /// What runs read, by name.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 128))]
    pub data: BTreeMap<String, CatalogueEntrySpec>,
    /// Where runs write, by name; a pod gets one.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 128))]
    pub outputs: BTreeMap<String, CatalogueEntrySpec>,
    /// The outputs entry for pods that name none. Absent: the first by name, with a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_outputs: Option<String>,
}

/// One entry of Polyaxon's catalogue: a claim, a host path, a cloud store, or (with none of them) an emptyDir.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [crate::policy::schema::one_sub_path(), crate::policy::schema::plain_sub_path(), {
    "rule": "[has(self.existingClaim) && self.existingClaim != '', has(self.hostPath) && self.hostPath != '', has(self.store)].filter(x, x).size() <= 1",
    "message": "only one of existingClaim, hostPath and store can be used"
}]))]
pub struct CatalogueEntrySpec {
    /// Absolute path in the container; a store has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_path: Option<String>,
    /// Path on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// Name of a persistent volume claim. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing_claim: Option<String>,
    /// Whether it is read-only, on the claim and on the mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Path within the volume. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
    /// Path within the volume, in the place of subPath, in which Kubernetes expands `$(NAME)` from the container's own
    /// variables. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path_expr: Option<String>,
    /// Which cloud's store it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Store>,
    /// URL of the bucket: `gs://…`, `s3://…`, `wasbs://container@account.blob.core.windows.net/…`. Placeholders resolve
    /// here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// Secret with the store's credentials. Placeholders resolve here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Key within the secret, and name of the variable that carries it. Absent: the secret holds the SDK's plain keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<String>,
}

/// A cloud's object store, in Polyaxon's words.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// Amazon S3 and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}
