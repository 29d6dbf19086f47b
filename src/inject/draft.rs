//! The pod as it will be: what it brought, and what policies have put into it so far.
//!
//! Nothing is copied that is not added. Everything added or replaced remembers the step that did it, since "the first to
//! set a thing wins" between policies, while `onConflict` is about what the pod itself brought.

use std::{
    borrow::Cow,
    cell::{LazyCell, OnceCell},
    collections::HashMap,
};

use serde_json::Value;

use crate::{
    inject::equal::{same_env, same_env_from, same_source, same_source_values},
    json::{Json, Str, push_escaped},
    names::clean_path,
    patch::Patch,
    pod::{ContainerView, MountView, PodView, VolumeView},
};

/// Number of a step in the report.
pub(super) type StepId = usize;

/// Up to so many volumes a walk is cheaper than a map.
const FEW: usize = 16;

/// The pod as it will be.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    /// The pod as it arrived.
    pub pod: &'a PodView<'a>,
    /// Its containers, init containers first.
    pub containers: Vec<ContainerDraft<'a>>,
    volumes: Vec<NewVolume<'a>>,
    /// The pod's volumes by name, made for the first name that is taken: a pod may bring thousands.
    own_by_name: OnceCell<HashMap<&'a str, &'a VolumeView<'a>>>,
}

/// A container as it will be.
#[derive(Debug)]
pub(super) struct ContainerDraft<'a> {
    /// `containers` or `initContainers`.
    pub list: &'static str,
    /// Place in its list.
    pub index: usize,
    /// Its name.
    pub name: &'a str,
    /// The container as it arrived.
    pub view: &'a ContainerView<'a>,
    env: Vec<Entry<'a>>,
    env_from: Vec<Json<'a>>,
    mounts: Vec<NewMount<'a>>,
    /// Variables and mount paths that are as a step wants them; they are its as if it had put them there, or a later
    /// policy would take over at a second pass what it lost at the first.
    held_env: Vec<(&'a str, StepId)>,
    held_mounts: Vec<(Cow<'a, str>, StepId)>,
    /// Places of variables that are taken out.
    removed_env: Vec<usize>,
}

/// A volume that a policy adds.
#[derive(Debug)]
struct NewVolume<'a> {
    name: Cow<'a, str>,
    kind: &'a str,
    source: Json<'a>,
}

/// A variable that a policy adds, or puts in place of the pod's.
#[derive(Debug)]
struct Entry<'a> {
    name: &'a str,
    value: Json<'a>,
    replaces: Option<usize>,
    by: StepId,
}

/// A mount that a policy adds, or puts in place of the pod's.
#[derive(Clone, Debug)]
pub(super) struct NewMount<'a> {
    /// Volume.
    pub volume: Cow<'a, str>,
    /// Cleaned path.
    pub path: Cow<'a, str>,
    /// Path within the volume.
    pub sub_path: Option<Cow<'a, str>>,
    /// `readOnly`.
    pub read_only: bool,
    /// `mountPropagation`, where it is not `None`.
    pub propagation: Option<&'static str>,
    /// Place of the pod's mount that it replaces.
    pub replaces: Option<usize>,
    /// The step that adds it.
    pub by: StepId,
}

/// What stands where a policy wants to put something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum There {
    /// Nothing.
    Nothing,
    /// The very same.
    Same,
    /// Something else that the pod brought, at this place of its list.
    OfThePod(usize),
    /// Something else that this step put there.
    OfStep(StepId),
}

/// Where a volume of some source is, or could be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Slot<'a> {
    /// The volume's name.
    pub name: Cow<'a, str>,
    /// Whether it is there already.
    pub there: bool,
}

impl<'a> Draft<'a> {
    /// The pod as it arrived.
    #[must_use]
    pub(super) fn new(pod: &'a PodView<'a>) -> Self {
        let containers = pod
            .containers()
            .map(|(list, index, view)| ContainerDraft {
                list,
                index,
                name: view.name.as_ref().map_or("", Str::as_str),
                view,
                env: Vec::new(),
                env_from: Vec::new(),
                mounts: Vec::new(),
                held_env: Vec::new(),
                held_mounts: Vec::new(),
                removed_env: Vec::new(),
            })
            .collect();
        Self { pod, containers, volumes: Vec::new(), own_by_name: OnceCell::new() }
    }

    /// The volumes that the pod brought.
    #[must_use]
    pub(super) fn own_volumes(&self) -> &'a [VolumeView<'a>] {
        self.pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default()
    }

    /// Where a volume of this source is, or could be.
    ///
    /// A claim, secret or config map that is mounted already is reused under its name. Other sources are found under the
    /// wanted name or one of its suffixes; a name taken by something else gets the next suffix.
    #[must_use]
    pub(super) fn slot(&self, wanted: &Cow<'a, str>, kind: &str, source: &Json<'_>) -> Slot<'a> {
        // Most pods have nothing of the kind, and then nobody need know what the text says.
        let source = LazyCell::new(|| source.value());
        if matches!(kind, "persistentVolumeClaim" | "secret" | "configMap") {
            let own = self.own_volumes().iter().find(|volume| is_same(volume, kind, &source));
            if let Some(volume) = own {
                return Slot { name: volume.name.0.clone(), there: true };
            }
            let new = |volume: &&NewVolume<'_>| {
                volume.kind == kind && same_source_values(kind, &volume.source.value(), &source)
            };
            if let Some(volume) = self.volumes.iter().find(new) {
                return Slot { name: volume.name.clone(), there: true };
            }
        }
        for suffix in 1_u32.. {
            let name = if suffix == 1 { wanted.clone() } else { Cow::Owned(suffixed(wanted, suffix)) };
            match self.volume_named(&name) {
                None => return Slot { name, there: false },
                Some(found) if found.is(kind, &source) => return Slot { name, there: true },
                Some(_) => {}
            }
        }
        Slot { name: wanted.clone(), there: false }
    }

    /// Adds a volume under a name that is free.
    pub(super) fn add_volume(&mut self, name: Cow<'a, str>, kind: &'a str, source: Json<'a>) {
        self.volumes.push(NewVolume { name, kind, source });
    }

    /// Writes what was added and replaced.
    pub(super) fn write(&mut self, patch: &mut Patch) {
        let spec = self.pod.spec.as_ref();
        let volumes = std::mem::take(&mut self.volumes).into_iter().map(|volume| {
            let mut json = String::with_capacity(64 + volume.source.as_str().len());
            for part in ["{\"name\":\"", &*volume.name, "\",\"", volume.kind, "\":", volume.source.as_str(), "}"] {
                // Names and kinds are checked: nothing in them needs an escape.
                json.push_str(part);
            }
            Json::text(json.into())
        });
        let volumes: Vec<Json<'_>> = volumes.collect();
        patch.append("/spec/volumes", spec.is_some_and(|spec| spec.volumes.is_some()), &volumes);
        for container in std::mem::take(&mut self.containers) {
            container.write(patch);
        }
    }

    fn volume_named(&self, name: &str) -> Option<Found<'_>> {
        let own = self.own_volume_named(name).map(Found::Own);
        own.or_else(|| self.volumes.iter().find(|volume| volume.name == name).map(Found::New))
    }

    fn own_volume_named(&self, name: &str) -> Option<&'a VolumeView<'a>> {
        if self.own_volumes().len() <= FEW {
            return self.own_volumes().iter().find(|volume| volume.name.as_str() == name);
        }
        let by_name = self.own_by_name.get_or_init(|| {
            // Of two with one name the first counts; the API server refuses such a pod anyway.
            self.own_volumes().iter().rev().map(|volume| (volume.name.as_str(), volume)).collect()
        });
        by_name.get(name).copied()
    }
}

enum Found<'d> {
    Own(&'d VolumeView<'d>),
    New(&'d NewVolume<'d>),
}

impl Found<'_> {
    fn is(&self, kind: &str, source: &LazyCell<Value, impl FnOnce() -> Value>) -> bool {
        match self {
            Self::Own(volume) => is_same(volume, kind, source),
            Self::New(volume) => volume.kind == kind && same_source_values(kind, &volume.source.value(), source),
        }
    }
}

fn is_same(volume: &VolumeView<'_>, kind: &str, source: &LazyCell<Value, impl FnOnce() -> Value>) -> bool {
    volume.source.as_ref().is_some_and(|(own, raw)| own.as_str() == kind && same_source(kind, *raw, source))
}

/// `name-2`, cut so that it stays a DNS label.
fn suffixed(name: &str, suffix: u32) -> String {
    let suffix = format!("-{suffix}");
    let room = crate::names::DNS1123_LABEL_MAX.saturating_sub(suffix.len());
    let head = name.get(..room.min(name.len())).unwrap_or(name).trim_end_matches('-');
    format!("{head}{suffix}")
}

impl<'a> ContainerDraft<'a> {
    /// What stands where the variable `name` would be; of the pod's duplicates the last counts, as for the kubelet.
    #[must_use]
    pub(super) fn env_there(&self, name: &str, ours: Option<&Json<'_>>) -> There {
        if let Some(entry) = self.env.iter().find(|entry| entry.name == name) {
            return if Some(&entry.value) == ours { There::Same } else { There::OfStep(entry.by) };
        }
        let own = self.view.env.as_deref().unwrap_or_default();
        let place = own.iter().rposition(|env| env.name.as_ref().is_some_and(|own| own.as_str() == name));
        let env = place.and_then(|place| own.get(place));
        // Without a wish of ours an empty one is as good as none.
        if env.is_some_and(|env| same_env(env, &ours.map_or(Value::Null, Json::value))) {
            return There::Same;
        }
        match (self.held_env.iter().find(|(held, _)| *held == name), place) {
            (Some((_, by)), _) => There::OfStep(*by),
            (None, Some(place)) => There::OfThePod(place),
            (None, None) => There::Nothing,
        }
    }

    /// Notes that the variable `name` is as the step `by` wants it: there, or not there.
    pub(super) fn hold_env(&mut self, name: &'a str, by: StepId) {
        self.held_env.push((name, by));
    }

    /// Takes the pod's variables called `name` out. Whether there were any.
    pub(super) fn remove_env(&mut self, name: &'a str, by: StepId) -> bool {
        let own = self.view.env.iter().flatten().enumerate();
        let named = own.filter(|(_, env)| env.name.as_ref().is_some_and(|own| own.as_str() == name));
        let before = self.removed_env.len();
        self.removed_env.extend(named.map(|(place, _)| place));
        self.hold_env(name, by);
        self.removed_env.len() > before
    }

    /// Adds a variable, or puts it in place of the pod's at `replaces`.
    pub(super) fn put_env(&mut self, name: &'a str, value: Json<'a>, replaces: Option<usize>, by: StepId) {
        self.env.push(Entry { name, value, replaces, by });
    }

    /// Adds a secret or config map as environment; false where it is there already.
    pub(super) fn put_env_from(&mut self, ours: Json<'a>) -> bool {
        let value = ours.value();
        let own = self.view.env_from.as_deref().unwrap_or_default();
        let parsed = own.iter().filter_map(|raw| serde_json::from_str::<Value>(raw.get()).ok());
        let there = self.env_from.iter().any(|other| same_env_from(&other.value(), &value));
        if there || parsed.into_iter().any(|other| same_env_from(&other, &value)) {
            return false;
        }
        self.env_from.push(ours);
        true
    }

    /// What stands at the path of the mount `ours`.
    #[must_use]
    pub(super) fn mount_there(&self, ours: &NewMount<'_>) -> There {
        if let Some(mount) = self.mounts.iter().find(|mount| mount.path == ours.path) {
            return if mount.says_the_same(ours) { There::Same } else { There::OfStep(mount.by) };
        }
        let own = self.view.volume_mounts.as_deref().unwrap_or_default();
        let at = |mount: &MountView<'_>| {
            mount.mount_path.as_ref().is_some_and(|path| clean_path(path.as_str()) == ours.path)
        };
        let place = own.iter().position(at);
        if place.and_then(|place| own.get(place)).is_some_and(|mount| ours.is(mount)) {
            return There::Same;
        }
        match (self.held_mounts.iter().find(|(held, _)| *held == ours.path), place) {
            (Some((_, by)), _) => There::OfStep(*by),
            (None, Some(place)) => There::OfThePod(place),
            (None, None) => There::Nothing,
        }
    }

    /// Notes that what is mounted at `path` is as the step `by` wants it.
    pub(super) fn hold_mount(&mut self, path: Cow<'a, str>, by: StepId) {
        self.held_mounts.push((path, by));
    }

    /// Adds a mount, or puts it in place of the pod's.
    pub(super) fn put_mount(&mut self, mount: NewMount<'a>) {
        self.mounts.push(mount);
    }

    fn write(self, patch: &mut Patch) {
        let list = |name: &str| format!("/spec/{}/{}/{name}", self.list, self.index);
        let element = |name: &str, place: usize| format!("{}/{place}", list(name));
        let mut added = Vec::new();
        for entry in self.env {
            match entry.replaces {
                Some(place) => patch.replace(&element("env", place), &entry.value),
                None => added.push(entry.value),
            }
        }
        // From the end, so that the places stay right; duplicates are taken out once.
        let mut removed = self.removed_env;
        removed.sort_unstable();
        removed.dedup();
        for place in removed.into_iter().rev() {
            patch.remove(&element("env", place));
        }
        patch.append(&list("env"), self.view.env.is_some(), &added);
        patch.append(&list("envFrom"), self.view.env_from.is_some(), &self.env_from);
        let mut added = Vec::new();
        for mount in self.mounts {
            let value = mount.to_json();
            match mount.replaces {
                Some(place) => patch.replace(&element("volumeMounts", place), &value),
                None => added.push(value),
            }
        }
        patch.append(&list("volumeMounts"), self.view.volume_mounts.is_some(), &added);
    }
}

impl NewMount<'_> {
    fn says_the_same(&self, other: &NewMount<'_>) -> bool {
        (&self.volume, &self.sub_path, self.read_only, self.propagation)
            == (&other.volume, &other.sub_path, other.read_only, other.propagation)
    }

    fn is(&self, own: &MountView<'_>) -> bool {
        let text = |text: &Option<Str<'_>>| text.as_ref().map(|text| text.as_str().to_owned()).unwrap_or_default();
        let propagation = text(&own.mount_propagation);
        text(&own.name) == self.volume
            && text(&own.sub_path) == self.sub_path.as_deref().unwrap_or_default()
            && text(&own.sub_path_expr).is_empty()
            && own.read_only.unwrap_or(false) == self.read_only
            && (if propagation == "None" { "" } else { &propagation }) == self.propagation.unwrap_or_default()
    }

    fn to_json(&self) -> Json<'static> {
        let mut json = String::with_capacity(96);
        let mut member = |name: &str, value: &str| {
            json.push_str(if json.is_empty() { "{\"" } else { ",\"" });
            json.push_str(name);
            json.push_str("\":\"");
            push_escaped(&mut json, value);
            json.push('"');
        };
        member("name", &self.volume);
        member("mountPath", &self.path);
        if let Some(sub_path) = self.sub_path.as_ref().filter(|path| !path.is_empty()) {
            member("subPath", sub_path);
        }
        if let Some(propagation) = self.propagation {
            member("mountPropagation", propagation);
        }
        json.push_str(if self.read_only { ",\"readOnly\":true}" } else { "}" });
        Json::text(json.into())
    }
}
