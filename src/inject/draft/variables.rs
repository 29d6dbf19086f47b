//! The variables that a container will have, as far as that can be told.

use serde_json::Value;

use super::ContainerDraft;
use crate::names::expand_variables;

impl ContainerDraft<'_> {
    /// Whether a variable `name` with a value will be there, as far as that can be told: what a secret or config map brings
    /// as a whole nobody knows here.
    #[must_use]
    pub(in crate::inject) fn may_have_variable(&self, name: &str) -> bool {
        if !self.sources.is_empty() || self.view.env_from.as_ref().is_some_and(|own| !own.is_empty()) {
            return true;
        }
        let has_value = |variable: &Value| {
            variable.get("valueFrom").is_some() || variable.get("value").is_some_and(|value| !super::is_blank(value))
        };
        if let Some(new) = self.env.iter().rfind(|new| new.name == name) {
            return has_value(&new.value.value());
        }
        let own = self.own_variable(name).filter(|(index, _)| !self.removed_env.contains(index));
        own.is_some_and(|(_, env)| env.value_from.is_some() || env.value.is_some_and(|raw| raw.get() != "\"\""))
    }

    /// What a text comes to where every variable that it refers to has a plain value; `None` where one has not.
    #[must_use]
    pub(in crate::inject) fn expanded(&self, text: &str) -> Option<String> {
        expand_variables(text, |name| self.plain_value(name))
    }

    /// The value of a variable that is given as it is, without another's in it.
    fn plain_value(&self, name: &str) -> Option<String> {
        let value = match self.env.iter().rfind(|new| new.name == name) {
            Some(new) => new.value.value().get("value")?.as_str()?.to_owned(),
            None => {
                let own = self.own_variable(name).filter(|(index, _)| !self.removed_env.contains(index));
                own?.1.value?.text()?.into_owned()
            }
        };
        (!value.contains('$')).then_some(value)
    }
}
