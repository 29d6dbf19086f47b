//! `env` and `envFrom` of a policy.

use serde_json::{Map, json};

use crate::{
    field_error::{field, item},
    names,
    policy::{
        compile::{checker::Checker, reference},
        fragment::{Fragment, Hole},
        modifier::EnvUnit,
        template::Kind,
    },
};

impl Checker<'_> {
    pub(super) fn env(&mut self) -> Vec<EnvUnit> {
        let mut units: Vec<EnvUnit> = Vec::new();
        for (index, var) in self.spec.env.iter().enumerate() {
            let at = item("env", index);
            self.name(&var.name, names::env_var_name, &field(&at, "name"));
            if units.iter().any(|unit| *unit.name == *var.name) {
                self.error(&field(&at, "name"), format!("{:?} is given twice", var.name));
            }
            let mut holes = Vec::new();
            if let Some(from) = &var.value_from {
                let at = field(&at, "valueFrom");
                let sources = json!(from).as_object().map_or(0, Map::len);
                if sources != 1 {
                    self.error(&at, format!("must have exactly one source; it has {sources}"));
                }
                if var.value.as_deref().is_some_and(|value| !value.is_empty()) {
                    self.error(&at, "value and valueFrom cannot both be given");
                }
                let mut problems = Vec::new();
                reference::variable_source(from, &at, &mut problems);
                self.extend("", problems);
                if let Some(reference) = &from.secret_key_ref {
                    let at = field(&field(&at, "secretKeyRef"), "name");
                    if let Some(name) = self.template(&reference.name, Kind::Secret, &at) {
                        holes.push(Hole::whole("/valueFrom/secretKeyRef/name", name));
                    }
                }
            }
            self.variable_value(var.value.as_deref().unwrap_or_default(), &field(&at, "value"));
            let entry = Fragment::with_holes(&json!(var), &holes);
            units.push(EnvUnit::of(&var.name, entry));
        }
        units
    }

    /// What no process can be started with.
    pub(super) fn variable_value(&mut self, value: &str, at: &str) {
        if value.contains('\0') {
            self.error(at, "has a NUL in it, and no process is started with such a variable");
        }
    }

    pub(super) fn env_from(&mut self) -> Vec<Fragment> {
        let mut fragments = Vec::new();
        for (index, source) in self.spec.env_from.iter().enumerate() {
            let at = item("envFrom", index);
            if let Some(prefix) = source.prefix.as_deref() {
                self.prefix(prefix, &field(&at, "prefix"));
            }
            let mut holes = Vec::new();
            match (&source.secret_ref, &source.config_map_ref) {
                (Some(secret), None) => {
                    let at = field(&field(&at, "secretRef"), "name");
                    if let Some(name) = self.template(&secret.name, Kind::Secret, &at) {
                        holes.push(Hole::whole("/secretRef/name", name));
                    }
                }
                (None, Some(map)) => {
                    self.name(&map.name, names::config_map_name, &field(&field(&at, "configMapRef"), "name"));
                }
                _ => self.error(&at, "must have exactly one of secretRef and configMapRef"),
            }
            fragments.push(Fragment::with_holes(&json!(source), &holes));
        }
        fragments
    }
}
