//! Polyaxon's catalogue: what a run reads, where it writes, and the variables that say so.

use serde_json::{Map, Value, json};

use crate::{
    inject::{
        Injection,
        claims::Thing,
        controls::{ControlWord, DATA, OUTPUTS},
        env::resolve_vars,
        report::{Refusal, StepId, StepOutcome},
    },
    json::Json,
    policy::{
        Catalogue, CatalogueEntry, Policy,
        compile::catalogue::{check_bucket, word},
        modifier::EnvUnit,
        spec::Store,
    },
    reason::Reason,
};

/// What the entries came to.
#[derive(Default)]
struct Paths {
    data: Map<String, Value>,
    outputs: Option<String>,
    keys: Map<String, Value>,
}

impl<'a, 'p: 'a> Injection<'a, 'p> {
    /// Applies the policy's catalogue, unless an earlier policy's was the one.
    pub(super) fn persistence(&mut self, policy: &'p Policy, catalogue: &'p Catalogue) -> Result<(), Refusal> {
        let step = self.report.begin(policy, "persistence");
        if let Err(first) = self.claims.take(Thing::Catalogue, step) {
            let first = self.report.name(first);
            self.report.tell(step, Reason::AnotherCatalogue, &[&first]);
            return Ok(());
        }
        let data = self.chosen_data(policy, catalogue)?;
        let outputs = self.chosen_outputs(policy, catalogue, step)?;
        let mut paths = Paths::default();
        let mut owners: Vec<(Store, &'p CatalogueEntry)> = Vec::new();
        for entry in data {
            if let Some(location) = self.entry(policy, entry, &mut paths, &mut owners)? {
                paths.data.insert(entry.name.clone(), Value::String(location));
            }
        }
        if let Some(entry) = outputs {
            paths.outputs = self.entry(policy, entry, &mut paths, &mut owners)?;
            if entry.read_only {
                self.report.tell(step, Reason::ReadOnlyOutputs, &[&entry.name]);
            }
        }
        self.path_variables(policy, paths, step)
    }

    fn chosen_data(&self, policy: &Policy, catalogue: &'p Catalogue) -> Result<Vec<&'p CatalogueEntry>, Refusal> {
        let Some(word) = &self.controls.data else { return Ok(catalogue.data.iter().collect()) };
        match word.text.trim() {
            "all" | "" => return Ok(catalogue.data.iter().collect()),
            "none" => return Ok(Vec::new()),
            _ => {}
        }
        let mut chosen: Vec<&CatalogueEntry> = Vec::new();
        for name in names(word, &catalogue.data) {
            let entry = catalogue.data.iter().find(|entry| entry.name == name);
            let entry = entry.ok_or_else(|| unknown(policy, DATA, &name, &catalogue.data, "all, none"))?;
            if chosen.iter().all(|other| other.name != entry.name) {
                chosen.push(entry);
            }
        }
        Ok(chosen)
    }

    fn chosen_outputs(
        &mut self,
        policy: &Policy,
        catalogue: &'p Catalogue,
        step: StepId,
    ) -> Result<Option<&'p CatalogueEntry>, Refusal> {
        let named = |name: &str| catalogue.outputs.iter().find(|entry| entry.name == name);
        if let Some(word) = &self.controls.outputs {
            let name = word.text.trim();
            if name == "none" {
                return Ok(None);
            }
            if !name.is_empty() {
                let entry = named(name).ok_or_else(|| unknown(policy, OUTPUTS, name, &catalogue.outputs, "none"))?;
                return Ok(Some(entry));
            }
        }
        if let Some(default) = &catalogue.default_outputs {
            return Ok(named(default));
        }
        let first = catalogue.outputs.first();
        if let (Some(first), true) = (first, catalogue.outputs.len() > 1) {
            self.report.tell(step, Reason::FirstOutputs, &[&first.name, &OUTPUTS]);
        }
        Ok(first)
    }

    /// Puts one entry into the pod; its mount path or bucket where that worked.
    fn entry(
        &mut self,
        policy: &'p Policy,
        entry: &'p CatalogueEntry,
        paths: &mut Paths,
        owners: &mut Vec<(Store, &'p CatalogueEntry)>,
    ) -> Result<Option<String>, Refusal> {
        let step = self.report.begin(policy, entry.path.as_str());
        let facts = self.facts(policy);
        let location = match entry.location.resolve(&facts) {
            Ok(location) => location.value().as_str().unwrap_or_default().to_owned(),
            Err(why) => {
                self.say_unresolved(step, "the entry", &why);
                return Ok(None);
            }
        };
        let Some(store) = &entry.store else {
            self.merge(policy, &entry.unit, step)?;
            return Ok(self.is_in(step).then_some(location));
        };
        if let Err(wanted) = check_bucket(store.store, &location) {
            self.report.tell(step, Reason::BucketInvalid, &[&wanted]);
            return Ok(None);
        }
        let targets = self.targets(policy);
        if self.say_no_container(&targets, step) {
            return Ok(None);
        }
        let vars = match resolve_vars(&entry.unit.env, &facts) {
            Ok(vars) => vars,
            Err(why) => {
                self.say_unresolved(step, "the entry", &why);
                return Ok(None);
            }
        };
        let carries_secret = self.store_secret(policy, &vars, &targets, step)?;
        // Another store's credentials under the same name would be tried in vain, or worse.
        if let Some(key) = store.key.as_ref().filter(|_| carries_secret) {
            let value = json!({"store": word(store.store), "secret_key": key});
            paths.keys.insert(location.clone(), value);
        }
        let has_sdk = !store.sdk.env.is_empty();
        let owner = owners.iter().find(|(cloud, _)| *cloud == store.store).map(|(_, owner)| *owner);
        match owner {
            Some(owner) if has_sdk && !same_secret(owner, entry) => {
                self.report.tell(step, Reason::AnotherStore, &[&owner.path, &word(store.store)]);
            }
            Some(_) => {}
            None if has_sdk => {
                owners.push((store.store, entry));
                self.merge(policy, &store.sdk, step)?;
            }
            None => {}
        }
        self.report.came_of(step, StepOutcome::Present);
        Ok(Some(location))
    }

    /// The variable that carries a store's secret, named by `secretKey` as Polyaxon names it, and once more under a name
    /// that a shell can read, where that one is none and nothing else has the name. Whether a container has the variable.
    fn store_secret(
        &mut self,
        policy: &'p Policy,
        vars: &[(&'a EnvUnit, Json<'a>)],
        targets: &[usize],
        step: StepId,
    ) -> Result<bool, Refusal> {
        let Some((own, alias)) = vars.split_first() else { return Ok(false) };
        let mut carried = false;
        for container in targets {
            self.merge_env(policy, std::slice::from_ref(own), *container, step)?;
            let is_there = self.has_variable(policy, own.0, &own.1, *container, step);
            carried |= is_there;
            let is_free = alias.iter().all(|(unit, value)| self.is_free_for(policy, unit, value, *container, step));
            if is_there && is_free {
                self.merge_env(policy, alias, *container, step)?;
            }
        }
        Ok(carried)
    }

    fn path_variables(&mut self, policy: &'p Policy, paths: Paths, step: StepId) -> Result<(), Refusal> {
        let mut vars = vec![("POLYAXON_RUN_DATA_PATHS", python_json(&Value::Object(paths.data)))];
        if let Some(outputs) = paths.outputs {
            vars.push(("POLYAXON_RUN_OUTPUTS_PATH", outputs));
        }
        if !paths.keys.is_empty() {
            vars.push(("POLYSTORES_RUN_STORES_ACCESS_KEYS", python_json(&Value::Object(paths.keys))));
        }
        let targets = self.targets(policy);
        self.say_no_container(&targets, step);
        for (name, text) in vars {
            let unit = path_variable(name);
            let value = Json::of(&json!({"name": name, "value": text}));
            for container in &targets {
                self.merge_env(policy, &[(unit, value.clone())], *container, step)?;
            }
        }
        Ok(())
    }
}

/// The three variables of the catalogue have values that depend on the pod; only their names are fixed.
fn path_variable(name: &str) -> &'static EnvUnit {
    use std::sync::OnceLock;
    static UNITS: OnceLock<[EnvUnit; 3]> = OnceLock::new();
    let [data, outputs, keys] = UNITS.get_or_init(|| {
        ["POLYAXON_RUN_DATA_PATHS", "POLYAXON_RUN_OUTPUTS_PATH", "POLYSTORES_RUN_STORES_ACCESS_KEYS"]
            .map(|name| EnvUnit::literal(name, ""))
    });
    match name {
        "POLYAXON_RUN_DATA_PATHS" => data,
        "POLYAXON_RUN_OUTPUTS_PATH" => outputs,
        _ => keys,
    }
}

fn same_secret(a: &CatalogueEntry, b: &CatalogueEntry) -> bool {
    let secret = |entry: &CatalogueEntry| entry.store.as_ref().map(|store| (store.secret.clone(), store.key.clone()));
    secret(a) == secret(b)
}

fn names(word: &ControlWord<'_>, entries: &[CatalogueEntry]) -> Vec<String> {
    let known: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    word.names(&known)
}

fn unknown(policy: &Policy, key: &str, name: &str, entries: &[CatalogueEntry], words: &str) -> Refusal {
    let known = entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(", ");
    let name: String = name.chars().take(64).collect();
    let name = format!("{name:?}");
    Refusal::of_control(Some(policy), key, Reason::NotInCatalogue, &[&key, &name, &words, &known])
}

/// JSON as Python's `json.dumps` writes it, which is what Polyaxon's variables hold.
fn python_json(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let members =
                map.iter().map(|(name, value)| format!("{}: {}", Value::from(name.as_str()), python_json(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_json_as_polyaxon_does() {
        let value = json!({"data1": "/data/1", "k": {"store": "gcs", "secret_key": "k.json"}});
        assert_eq!(python_json(&value), r#"{"data1": "/data/1", "k": {"store": "gcs", "secret_key": "k.json"}}"#);
        assert_eq!(python_json(&json!({})), "{}");
    }
}
