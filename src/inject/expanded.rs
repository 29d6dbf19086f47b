//! `subPathExpr`: mounts whose folder the kubelet names by the container's own variables.
//!
//! A container that lacks one of them never starts, and neither does one whose variables lead out of the volume, so the
//! modifier is left out of it. Which variables a container will
//! have is known only when every policy has acted, and a mount that goes then would leave its path and its volume to
//! others: so the containers are decided once more, with what is known by then.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
};

use crate::{
    inject::{Injection, report::StepId},
    names::{self, variable_references},
    policy::{
        modifier::{Injectable, MountUnit},
        template::PlaceholderValues,
    },
    reason::Reason,
};

/// What mounts refer to in vain, by container.
pub(super) type Unset = HashMap<usize, BTreeSet<Vain>>;

/// What no mount of a container can be made with.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Vain {
    /// A variable that it will not have.
    Variable(String),
    /// An expression that its variables make a path of that no kubelet takes.
    Expression(String),
}

impl<'a, 'p: 'a> Injection<'a, 'p> {
    /// The containers of `targets` that have what the mounts of `unit` refer to, as far as that is known.
    pub(super) fn with_variables(
        &mut self,
        unit: &'p Injectable,
        facts: &PlaceholderValues<'a>,
        mut targets: Vec<usize>,
        step: StepId,
    ) -> Vec<usize> {
        if self.unset.is_empty() {
            return targets;
        }
        let mounts = unit.volumes.iter().flat_map(|volume| &volume.mounts).filter(|mount| mount.expands);
        let paths: Vec<Cow<'_, str>> = mounts.filter_map(|mount| expression(mount, facts)).collect();
        let names: BTreeSet<&str> = paths.iter().flat_map(|path| variable_references(path)).collect();
        if names.is_empty() {
            return targets;
        }
        targets.retain(|container| {
            let Some(vain) = self.unset.get(container) else { return true };
            let draft = self.draft.containers.get(*container).map_or("", |draft| draft.name);
            let unfit = paths.iter().any(|path| vain.contains(&Vain::Expression(path.clone().into_owned())));
            if let Some(name) = names.iter().find(|name| vain.contains(&Vain::Variable((**name).to_owned()))) {
                self.report.tell(step, Reason::VariableNotSet, &[&draft, name]);
                return false;
            }
            if unfit {
                self.report.tell(step, Reason::FolderNotInside, &[&draft]);
            }
            !unfit
        });
        targets
    }

    /// What the mounts that were put refer to in vain.
    pub(super) fn newly_unset(&self) -> Unset {
        let mut unset = Unset::new();
        for (container, path) in &self.expanded {
            let Some(draft) = self.draft.containers.get(*container) else { continue };
            for name in variable_references(path).filter(|name| !draft.may_have_variable(name)) {
                unset.entry(*container).or_default().insert(Vain::Variable(name.to_owned()));
            }
            if draft.expanded(path).is_some_and(|path| names::sub_path(&path).is_err()) {
                unset.entry(*container).or_default().insert(Vain::Expression(path.clone().into_owned()));
            }
        }
        unset
    }
}

fn expression<'a>(mount: &'a MountUnit, facts: &PlaceholderValues<'a>) -> Option<Cow<'a, str>> {
    mount.sub_path.as_ref()?.resolve(facts).ok()
}
