//! `defaults` of a policy, checked.

pub mod priority_class;
pub mod resources;
pub mod rules;
pub mod security_context;

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{LocalObjectReference, PodSecurityContext, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    defaults::resources::Resources,
    field_error::{FieldError, Problems, field, item},
    names,
};

type Amounts = BTreeMap<String, Quantity>;

/// Values for what the pod does not say, as a policy writes them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DefaultsSpec {
    /// Requests and limits per container, resource by resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Pull secrets, where the pod has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Service account, where the pod has none or `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Security context of the pod, field by field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_context: Option<PodSecurityContext>,
}

/// Values for what the pod does not say.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// Requests and limits of every container.
    pub resources: Resources,
    /// Pull secrets.
    pub image_pull_secrets: Vec<String>,
    /// Service account.
    pub service_account_name: Option<String>,
    /// Fields of the pod's security context.
    pub security_context: Option<Map<String, Value>>,
}

impl Defaults {
    /// Checks a policy's `defaults`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its path below `defaults`.
    pub fn compile<'s>(spec: &'s DefaultsSpec) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let mut defaults = Self::default();
        if let Some(resources) = &spec.resources {
            let amounts = |list: &'s Option<Amounts>| {
                list.iter().flatten().map(|(name, amount)| (name.as_str(), amount.0.as_str()))
            };
            let compiled = Resources::compile(amounts(&resources.requests), amounts(&resources.limits));
            match compiled {
                Ok(compiled) => defaults.resources = compiled,
                Err(wrong) => problems.extend(wrong.into_iter().map(|problem| problem.below("resources"))),
            }
            if resources.claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
                let why = "a claim is not a default; give requests and limits";
                problems.push(FieldError::new("resources.claims", why));
            }
        }
        for (index, secret) in spec.image_pull_secrets.iter().enumerate() {
            if let Err(allowed) = names::secret_name(&secret.name) {
                let path = field(&item("imagePullSecrets", index), "name");
                problems.push(FieldError::new(path, format!("{:?} {allowed}", secret.name)));
            }
            defaults.image_pull_secrets.push(secret.name.clone());
        }
        if let Some(name) = spec.service_account_name.as_deref().filter(|name| !name.is_empty()) {
            if let Err(allowed) = names::service_account_name(name) {
                problems.push(FieldError::new("serviceAccountName", format!("{name:?} {allowed}")));
            }
            defaults.service_account_name = Some(name.to_owned());
        }
        if let Some(context) = &spec.security_context {
            problems.extend(rules::security_context("securityContext", context));
            defaults.security_context = json!(context).as_object().cloned();
        }
        if problems.is_empty() { Ok(defaults) } else { Err(problems) }
    }
}
