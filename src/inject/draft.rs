//! The pod as it will be: what it brought, and what policies have put into it so far.
//!
//! Nothing is copied that is not added, and what the pod brought is looked up by key. Who holds what is the ledger's
//! business ([`claims`](super::claims)); a draft does as it is told.

mod nested;
mod variables;

use std::{borrow::Cow, cell::OnceCell, collections::HashMap, rc::Rc};

use serde_json::Value;

use crate::{
    inject::{equal::env_from_key, mount_draft::NewMount, report::StepId, volume_draft::Volumes},
    json::{Json, Str},
    names::{clean_path, variable_references},
    patch::{Patch, push_number},
    pod::{
        ContainerView, EnvView, MountView, PodView,
        bounds::{ELEMENTS, TooMany},
    },
};

/// Up to so many elements a walk is cheaper than a map.
const FEW: usize = 16;

/// The pod as it will be.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    /// The pod as it arrived.
    pub pod: &'a PodView<'a>,
    /// Its containers, init containers first.
    pub containers: Vec<ContainerDraft<'a>>,
    /// Its volumes.
    pub volumes: Volumes<'a>,
    /// Bytes of what was put into it so far, without where it is put: at least so long is the patch.
    pub weight: usize,
}

/// A container as it will be.
#[derive(Debug)]
pub(super) struct ContainerDraft<'a> {
    /// `containers` or `initContainers`.
    pub list: &'static str,
    /// Index in its list.
    pub index: usize,
    /// Its name.
    pub name: &'a str,
    /// The container as it arrived.
    pub view: &'a ContainerView<'a>,
    own_env: OnceCell<HashMap<&'a str, usize>>,
    own_sources: OnceCell<HashMap<String, usize>>,
    /// Cleaned paths of the pod's mounts with their indices, in order.
    own_mounts: OnceCell<Vec<(Cow<'a, str>, usize)>>,
    env: Vec<NewVariable<'a>>,
    removed_env: Vec<usize>,
    sources: Vec<NewSource<'a>>,
    /// The pod's sources that are as a step wants them.
    held_sources: Vec<(usize, StepId)>,
    /// New mounts, with the index of the pod's that one replaces.
    mounts: Vec<(Rc<NewMount<'a>>, Option<usize>)>,
    /// The same in the order of their paths, each path once.
    mounts_by_path: Vec<Rc<NewMount<'a>>>,
}

/// A list of a container that policies add to.
#[derive(Clone, Copy, Debug)]
pub(super) enum List {
    Env,
    EnvFrom,
    VolumeMounts,
}

/// The least that stands around one more element of a list that is there.
const OPERATION: &str = r#"{"op":"add","path":"/spec/containers/0/env/0","value":},"#;

/// A variable that a policy adds, or puts in place of the pod's.
#[derive(Debug)]
struct NewVariable<'a> {
    name: &'a str,
    value: Json<'a>,
    replaces: Option<usize>,
}

/// A secret or config map as environment that a policy adds.
#[derive(Debug)]
struct NewSource<'a> {
    value: Json<'a>,
    by: StepId,
    /// Its values win over the pod's own.
    overrides: bool,
}

impl<'a> Draft<'a> {
    /// The pod as it arrived.
    #[must_use]
    pub(super) fn new(pod: &'a PodView<'a>) -> Self {
        let containers = pod.containers().map(|(list, index, view)| ContainerDraft {
            list,
            index,
            name: view.name.as_ref().map_or("", Str::as_str),
            view,
            own_env: OnceCell::new(),
            own_sources: OnceCell::new(),
            own_mounts: OnceCell::new(),
            env: Vec::new(),
            removed_env: Vec::new(),
            sources: Vec::new(),
            held_sources: Vec::new(),
            mounts: Vec::new(),
            mounts_by_path: Vec::new(),
        });
        let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
        Self { pod, containers: containers.collect(), volumes: Volumes::new(volumes), weight: 0 }
    }

    /// Holds the lists as they will be against their bound, so that no second pass refuses what the first has made.
    pub(super) fn bounded(&self) -> Result<(), TooMany> {
        if self.volumes.count() > ELEMENTS {
            return Err(TooMany::elements("spec.volumes"));
        }
        let is_over = |own: Option<usize>, new: usize| own.unwrap_or_default() + new > ELEMENTS;
        for container in &self.containers {
            let view = container.view;
            let lists = [
                ("env", is_over(view.env.as_ref().map(Vec::len), container.env.len())),
                ("envFrom", is_over(view.env_from.as_ref().map(Vec::len), container.sources.len())),
                ("volumeMounts", is_over(view.volume_mounts.as_ref().map(Vec::len), container.mounts.len())),
            ];
            if let Some((name, _)) = lists.into_iter().find(|(_, is_over)| *is_over) {
                return Err(TooMany::elements(container.field(name).trim_start_matches('/').replace('/', ".")));
            }
        }
        Ok(())
    }

    /// Writes what was added and replaced.
    pub(super) fn write(&mut self, patch: &mut Patch) {
        let has_list = self.pod.spec.as_ref().is_some_and(|spec| spec.volumes.is_some());
        self.volumes.write(has_list, patch);
        for container in std::mem::take(&mut self.containers) {
            container.write(patch);
        }
    }
}

impl<'a> ContainerDraft<'a> {
    /// The pod's variable `name`; of duplicates the last counts, as for the kubelet.
    #[must_use]
    pub(super) fn own_variable(&self, name: &str) -> Option<(usize, &'a EnvView<'a>)> {
        let own = self.view.env.as_deref().unwrap_or_default();
        let is_named = |env: &EnvView<'_>| env.name.as_ref().is_some_and(|own| own.as_str() == name);
        let index = if own.len() <= FEW {
            own.iter().rposition(is_named)
        } else {
            let by_name = self.own_env.get_or_init(|| {
                let named = own.iter().enumerate();
                named.filter_map(|(index, env)| Some((env.name.as_ref()?.as_str(), index))).collect()
            });
            by_name.get(name).copied()
        }?;
        Some((index, own.get(index)?))
    }

    /// The pod's mount at a cleaned path; the API server refuses a second one.
    #[must_use]
    pub(super) fn own_mount(&self, path: &str) -> Option<(usize, &'a MountView<'a>)> {
        let by_path = self.own_paths();
        let first = by_path.partition_point(|(own, _)| own.as_ref() < path);
        let (_, index) = by_path.get(first).filter(|(own, _)| own == path)?;
        Some((*index, self.view.volume_mounts.as_deref()?.get(*index)?))
    }

    fn own_paths(&self) -> &[(Cow<'a, str>, usize)] {
        self.own_mounts.get_or_init(|| {
            let paths = self.view.volume_mounts.iter().flatten().map(|mount| mount.mount_path.as_ref());
            let mut by_path: Vec<(Cow<'a, str>, usize)> =
                paths.enumerate().filter_map(|(index, path)| Some((clean_path(path?.as_str()), index))).collect();
            by_path.sort_unstable();
            by_path
        })
    }

    /// Whether the pod has a block device at a cleaned path.
    #[must_use]
    pub(super) fn has_device_at(&self, path: &str) -> bool {
        let mut devices = self.view.volume_devices.iter().flatten().filter_map(|device| device.device_path.as_ref());
        devices.any(|device| clean_path(device.as_str()) == path)
    }

    /// Whether the container uses the volume as a block device.
    #[must_use]
    pub(super) fn has_device(&self, volume: &str) -> bool {
        let mut devices = self.view.volume_devices.iter().flatten().filter_map(|device| device.name.as_ref());
        devices.any(|device| device.as_str() == volume)
    }

    /// Whether the container is privileged.
    #[must_use]
    pub(super) fn is_privileged(&self) -> bool {
        let context = self.view.security_context.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
        context.is_some_and(|context| context.get("privileged") == Some(&Value::Bool(true)))
    }

    /// Index of the pod's secret or config map as environment under this key.
    #[must_use]
    pub(super) fn own_source(&self, key: &str) -> Option<usize> {
        let own = self.view.env_from.as_deref().unwrap_or_default();
        if own.is_empty() {
            return None;
        }
        let by_key = self.own_sources.get_or_init(|| {
            let parsed = own.iter().enumerate().rev();
            parsed
                .filter_map(|(index, raw)| {
                    let entry: Value = serde_json::from_str(raw.get()).ok()?;
                    Some((env_from_key(&entry), index))
                })
                .collect()
        });
        by_key.get(key).copied()
    }

    /// Adds a variable, or puts it in place of the pod's at `replaces`.
    pub(super) fn put_variable(&mut self, name: &'a str, value: Json<'a>, replaces: Option<usize>) {
        self.env.push(NewVariable { name, value, replaces });
    }

    /// Takes every variable of the pod's called `name` out. Whether there was any.
    pub(super) fn remove_variable(&mut self, name: &str) -> bool {
        if self.own_variable(name).is_none() {
            return false;
        }
        let own = self.view.env.iter().flatten().enumerate();
        let named = own.filter(|(_, env)| env.name.as_ref().is_some_and(|own| own.as_str() == name));
        self.removed_env.extend(named.map(|(index, _)| index));
        true
    }

    /// Adds a secret or config map as environment.
    pub(super) fn put_source(&mut self, value: Json<'a>, by: StepId, overrides: bool) {
        self.sources.push(NewSource { value, by, overrides });
    }

    /// Notes that the pod's source at `index` is as the step `by` wants it.
    pub(super) fn hold_source(&mut self, index: usize, by: StepId) {
        self.held_sources.push((index, by));
    }

    /// Adds a mount, or puts it in place of the pod's.
    pub(super) fn put_mount(&mut self, mount: Rc<NewMount<'a>>, replaces: Option<usize>) {
        let place = self.mounts_by_path.partition_point(|other| other.path < mount.path);
        self.mounts_by_path.insert(place, Rc::clone(&mount));
        self.mounts.push((mount, replaces));
    }

    /// At least so many bytes one more element costs in a patch beside itself: in a list that is there it is an operation.
    pub(super) fn least_around(&self, list: List) -> usize {
        let is_there = match list {
            List::Env => self.view.env.as_ref().is_some_and(|own| !own.is_empty()),
            List::EnvFrom => self.view.env_from.is_some(),
            List::VolumeMounts => self.view.volume_mounts.is_some(),
        };
        if is_there { OPERATION.len() } else { 1 }
    }

    fn write(mut self, patch: &mut Patch) {
        self.write_env(patch);
        self.write_sources(patch);
        let mut added = Vec::new();
        for (mount, replaces) in std::mem::take(&mut self.mounts) {
            let value = mount.json().clone();
            match replaces {
                Some(index) => patch.replace(&self.element("volumeMounts", index), &value),
                None => added.push(value),
            }
        }
        patch.append(&self.field("volumeMounts"), self.view.volume_mounts.is_some(), &added);
    }

    fn write_env(&mut self, patch: &mut Patch) {
        let (mut first, mut last) = (Vec::new(), Vec::new());
        let mut stands_last: Vec<&str> = Vec::new();
        for variable in std::mem::take(&mut self.env) {
            if let Some(index) = variable.replaces {
                patch.replace(&self.element("env", index), &variable.value);
                continue;
            }
            // The kubelet expands `$(NAME)` from what stands above, so ours stand above the pod's own, except those that
            // refer to one of the pod's.
            let refers = |name: &str| stands_last.contains(&name) || self.own_variable(name).is_some();
            if variable_references(variable.value.as_str()).any(refers) {
                stands_last.push(variable.name);
                last.push(variable.value);
            } else {
                first.push(variable.value);
            }
        }
        // From the end, so that the indices stay right; duplicates are taken out once.
        self.removed_env.sort_unstable();
        self.removed_env.dedup();
        for index in self.removed_env.iter().rev() {
            patch.remove(&self.element("env", *index));
        }
        let own = self.view.env.as_deref();
        if own.is_none_or(<[_]>::is_empty) {
            first.append(&mut last);
            patch.append(&self.field("env"), own.is_some(), &first);
            return;
        }
        for (index, value) in first.iter().enumerate() {
            patch.set(&self.element("env", index), value);
        }
        patch.append(&self.field("env"), true, &last);
    }

    /// Of two sources with one key the last wins, so a later policy's stands before an earlier one's and before the pod's
    /// own; those that override stand behind the pod's own.
    fn write_sources(&mut self, patch: &mut Patch) {
        let mut new = std::mem::take(&mut self.sources);
        if new.is_empty() {
            return;
        }
        let count = self.view.env_from.as_ref().map_or(0, Vec::len);
        let mut held: Vec<Option<StepId>> = vec![None; count];
        for (index, by) in &self.held_sources {
            if let Some(held) = held.get_mut(*index) {
                *held = Some(*by);
            }
        }
        let last_own = held.iter().rposition(Option::is_none);
        // Later steps first, and of one step in its own order.
        new.sort_by_key(|source| std::cmp::Reverse(source.by));
        let place = |source: &NewSource<'_>| {
            let start = last_own.filter(|_| source.overrides).map_or(0, |own| own + 1);
            let wins = |held: &Option<StepId>| held.is_none_or(|by| by < source.by);
            let behind = held.get(start..).unwrap_or_default().iter().position(wins);
            behind.map_or(count, |offset| start + offset)
        };
        let mut placed: Vec<(usize, Json<'a>)> = new.into_iter().map(|source| (place(&source), source.value)).collect();
        placed.sort_by_key(|(place, _)| *place);
        if count == 0 {
            let values: Vec<Json<'_>> = placed.into_iter().map(|(_, value)| value).collect();
            patch.append(&self.field("envFrom"), self.view.env_from.is_some(), &values);
            return;
        }
        for (before, (place, value)) in placed.iter().enumerate() {
            if *place == count {
                patch.append(&self.field("envFrom"), true, std::slice::from_ref(value));
            } else {
                patch.set(&self.element("envFrom", place + before), value);
            }
        }
    }

    fn field(&self, name: &str) -> String {
        let mut pointer = String::with_capacity(64);
        for part in ["/spec/", self.list, "/"] {
            pointer.push_str(part);
        }
        push_number(&mut pointer, self.index);
        pointer.push('/');
        pointer.push_str(name);
        pointer
    }

    fn element(&self, name: &str, index: usize) -> String {
        let mut pointer = self.field(name);
        pointer.push('/');
        push_number(&mut pointer, index);
        pointer
    }
}

fn is_blank(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}
