//! `stowage crd`.

use anyhow::Context as _;

use super::{Failure, print};
use crate::policy::crd::Definitions;

pub(super) fn run() -> Result<(), Failure> {
    print(manifest().context("writing the CustomResourceDefinitions")?.as_bytes())
}

/// Both definitions, as YAML.
fn manifest() -> Result<String, serde_saphyr::SerializeError> {
    let mut text = String::new();
    let definitions = Definitions::generate();
    for definition in [&definitions.cluster, &definitions.namespaced] {
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(definition)?);
    }
    Ok(text)
}
