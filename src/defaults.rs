//! `defaults` of a policy, checked.

pub mod notes;
pub mod priority_class;
pub mod resources;
pub mod rules;
pub mod security_context;

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        self as core, LocalObjectReference, PodSecurityContext, ResourceRequirements, TopologySpreadConstraint,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    defaults::resources::Resources,
    field_error::{FieldError, Problems, check, field, item},
    names,
    placement::{Affinity, Toleration, rules as placement_rules},
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
    /// Service account, where the pod has none or `default`; left out where the namespace does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Security context of the pod, field by field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_context: Option<PodSecurityContext>,
    /// Node labels the pod asks for, where neither it nor a policy's own nodeSelector asks for any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints the pod tolerates, where neither it nor a policy's own tolerations has any but those that the API server
    /// fills in: node.kubernetes.io/not-ready and unreachable with effect NoExecute.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<core::Toleration>,
    /// Affinity, where neither the pod nor a policy's own affinity says anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<core::Affinity>,
    /// Priority class, where the pod names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// Runtime class, where the pod names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,
    /// Scheduler, where the pod names none or `default-scheduler`, which the API server fills in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler_name: Option<String>,
    /// Whether variables of the namespace's services are set, where the pod says nothing or `true`, which the API server
    /// fills in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_service_links: Option<bool>,
    /// How pods are spread, where the pod has no constraint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
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
    /// Node labels.
    pub node_selector: Vec<(String, String)>,
    /// Tolerations.
    pub tolerations: Vec<Toleration>,
    /// Affinity.
    pub affinity: Option<Affinity>,
    /// Priority class.
    pub priority_class_name: Option<String>,
    /// Fields of the pod's spec that are set as a whole.
    pub pod_fields: Vec<(PodField, Value)>,
}

/// A field of a pod's spec that a default sets as a whole.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum PodField {
    /// `runtimeClassName`.
    RuntimeClassName,
    /// `schedulerName`.
    SchedulerName,
    /// `enableServiceLinks`.
    EnableServiceLinks,
    /// `topologySpreadConstraints`.
    TopologySpreadConstraints,
}

impl PodField {
    /// All of them, in the order in which they are set.
    pub const ALL: [Self; 4] =
        [Self::RuntimeClassName, Self::SchedulerName, Self::EnableServiceLinks, Self::TopologySpreadConstraints];

    /// Its name in the pod's spec and in `defaults`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RuntimeClassName => "runtimeClassName",
            Self::SchedulerName => "schedulerName",
            Self::EnableServiceLinks => "enableServiceLinks",
            Self::TopologySpreadConstraints => "topologySpreadConstraints",
        }
    }

    /// Its path within a policy's spec.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::RuntimeClassName => "defaults.runtimeClassName",
            Self::SchedulerName => "defaults.schedulerName",
            Self::EnableServiceLinks => "defaults.enableServiceLinks",
            Self::TopologySpreadConstraints => "defaults.topologySpreadConstraints",
        }
    }

    /// Whether a pod with this value says nothing: it is empty, or what the API server fills in before a webhook is called.
    #[must_use]
    pub fn says_nothing(self, own: &Value) -> bool {
        match (self, own) {
            (_, Value::Null) => true,
            (_, Value::String(text)) if text.is_empty() => true,
            (Self::SchedulerName, own) => own == "default-scheduler",
            (Self::EnableServiceLinks, own) => own == true,
            (_, Value::Array(list)) => list.is_empty(),
            _ => false,
        }
    }
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
        defaults.placement(spec, &mut problems);
        defaults.pod_fields(spec, &mut problems);
        if problems.is_empty() { Ok(defaults) } else { Err(problems) }
    }

    fn placement(&mut self, spec: &DefaultsSpec, problems: &mut Problems) {
        problems.extend(placement_rules::node_selector("nodeSelector", &spec.node_selector));
        self.node_selector = spec.node_selector.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        problems.extend(placement_rules::tolerations("tolerations", &spec.tolerations));
        self.tolerations = spec.tolerations.iter().map(Toleration::from).collect();
        if let Some(affinity) = &spec.affinity {
            problems.extend(placement_rules::affinity("affinity", affinity));
            self.affinity = Some(Affinity::from(affinity));
        }
    }

    fn pod_fields(&mut self, spec: &DefaultsSpec, problems: &mut Problems) {
        let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        self.priority_class_name = named(&spec.priority_class_name);
        if let Some(name) = self.priority_class_name.as_deref() {
            check("priorityClassName", name, names::priority_class_name(name), problems);
        }
        if let Some(name) = named(&spec.runtime_class_name) {
            check("runtimeClassName", &name, names::dns1123_subdomain(&name), problems);
            self.pod_fields.push((PodField::RuntimeClassName, name.into()));
        }
        if let Some(name) = named(&spec.scheduler_name) {
            check("schedulerName", &name, names::dns1123_subdomain(&name), problems);
            self.pod_fields.push((PodField::SchedulerName, name.into()));
        }
        if let Some(links) = spec.enable_service_links {
            self.pod_fields.push((PodField::EnableServiceLinks, links.into()));
        }
        if !spec.topology_spread_constraints.is_empty() {
            problems.extend(rules::topology_spread(&spec.topology_spread_constraints));
            self.pod_fields.push((PodField::TopologySpreadConstraints, json!(spec.topology_spread_constraints)));
        }
    }
}
