//! The modifiers that set variables: credentials of stores and platforms, plain ones, and those of a secret.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `v3io: {}`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub struct V3ioModifier {}

/// Credentials and endpoint of an S3 store.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct S3Modifier {
    /// Secret with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Placeholders resolve here.
    pub secret_name: String,
    /// AWS_ENDPOINT_URL_S3 and S3_ENDPOINT_URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
    /// AWS_REGION.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Put before the name of every variable; the keys within the secret have no prefix.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// S3_NON_ANONYMOUS=true, for MLRun's data stores.
    #[serde(default)]
    pub non_anonymous: bool,
    /// The secret holds AWS_SESSION_TOKEN too.
    #[serde(default)]
    pub session_token: bool,
}

/// A service account key file for Google Cloud Storage.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GcsModifier {
    /// Secret with the key file. Placeholders resolve here.
    pub secret_name: String,
    /// Key within the secret.
    #[serde(default = "gcs_key")]
    pub key: String,
}

/// Credentials of an Azure storage account.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AzureModifier {
    /// Secret with any of AZURE_STORAGE_ACCOUNT, AZURE_STORAGE_KEY, AZURE_STORAGE_CONNECTION_STRING. Placeholders
    /// resolve here.
    pub secret_name: String,
}

/// Plain variables.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub struct EnvModifier {
    /// Name to value.
    pub variables: BTreeMap<String, String>,
}

/// Variables from a secret.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretEnvModifier {
    /// Name of the secret. Placeholders resolve here.
    pub secret_name: String,
    /// Keys that become a variable each; absent: the whole secret, as envFrom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<String>>,
}

fn gcs_key() -> String {
    "key.json".into()
}
