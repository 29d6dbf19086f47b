//! `defaults` of a policy, checked.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Map, Value, json};

use super::placement::resources::Resources;
use crate::policy::{document::below, names, scheduling::Problems, security_context, spec::DefaultsSpec};

type Amounts = BTreeMap<String, Quantity>;

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
                Err(wrong) => problems.extend(wrong.into_iter().map(|(path, m)| (below("resources", &path), m))),
            }
            if resources.claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
                problems.push(("resources.claims".into(), "a claim is not a default; give requests and limits".into()));
            }
        }
        for (index, secret) in spec.image_pull_secrets.iter().enumerate() {
            if let Err(allowed) = names::secret_name(&secret.name) {
                problems.push((format!("imagePullSecrets[{index}].name"), format!("{:?} {allowed}", secret.name)));
            }
            defaults.image_pull_secrets.push(secret.name.clone());
        }
        if let Some(name) = spec.service_account_name.as_deref().filter(|name| !name.is_empty()) {
            if let Err(allowed) = names::service_account_name(name) {
                problems.push(("serviceAccountName".into(), format!("{name:?} {allowed}")));
            }
            defaults.service_account_name = Some(name.to_owned());
        }
        if let Some(context) = &spec.security_context {
            problems.extend(security_context::security_context("securityContext", context));
            defaults.security_context = json!(context).as_object().cloned();
        }
        if problems.is_empty() { Ok(defaults) } else { Err(problems) }
    }
}
