//! The pod's volumes as they will be.

use std::{
    borrow::Cow,
    cell::OnceCell,
    collections::{HashMap, HashSet},
};

use serde_json::Value;

use crate::{
    inject::equal::same_source_values,
    json::{self, Json, Str, push_escaped, read_members},
    names::DNS1123_LABEL_MAX,
    patch::Patch,
    pod::VolumeView,
};

/// The pod's volumes as they will be.
#[derive(Debug)]
pub(super) struct Volumes<'a> {
    /// The volumes that the pod brought.
    own: &'a [VolumeView<'a>],
    /// Their sources, read once.
    sources: Vec<OnceCell<Value>>,
    /// The pod's volumes by name, and by kind and name of what they refer to; made for the first question.
    own_by_name: OnceCell<HashMap<&'a str, usize>>,
    own_by_object: OnceCell<HashMap<Object, Vec<usize>>>,
    new: Vec<NewVolume<'a>>,
    new_by_name: HashMap<Cow<'a, str>, usize>,
    new_by_object: HashMap<Object, Vec<usize>>,
    /// Indices of the pod's volumes that steps count on as they are.
    used: HashSet<usize>,
    /// Indices of the pod's volumes that new ones stand in for.
    replaced: HashSet<usize>,
}

/// A volume that a policy adds, or puts in place of one that an earlier pass added.
#[derive(Debug)]
struct NewVolume<'a> {
    name: Cow<'a, str>,
    kind: &'a str,
    source: Source<'a>,
    replaces: Option<usize>,
}

/// The source of a volume, which is read when it is compared: most never are.
#[derive(Debug)]
struct Source<'a> {
    json: Json<'a>,
    value: OnceCell<Value>,
}

/// What a source of the kinds that are reused refers to.
#[derive(Default)]
struct Reference<'a> {
    claim_name: Option<Str<'a>>,
    secret_name: Option<Str<'a>>,
    name: Option<Str<'a>>,
}

read_members!(Reference { "claimName" => claim_name, "secretName" => secret_name, "name" => name });

/// A kind that is reused, and the name of the object that a volume of it refers to.
type Object = (&'static str, String);

/// Where a volume of some source is, or could be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Slot<'a> {
    /// The volume's name.
    pub name: Cow<'a, str>,
    /// What is to be done there.
    pub state: SlotState,
}

/// What is to be done in a [`Slot`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SlotState {
    /// The volume is there: the pod's at this index.
    Own(usize),
    /// The volume is there: an earlier step added it.
    New,
    /// The volume is to be added.
    Free,
    /// The volume is to be put in place of the pod's at this index.
    Replace(usize),
}

impl<'a> Volumes<'a> {
    pub(super) fn new(own: &'a [VolumeView<'a>]) -> Self {
        Self {
            own,
            sources: own.iter().map(|_| OnceCell::new()).collect(),
            own_by_name: OnceCell::new(),
            own_by_object: OnceCell::new(),
            new: Vec::new(),
            new_by_name: HashMap::new(),
            new_by_object: HashMap::new(),
            used: HashSet::new(),
            replaced: HashSet::new(),
        }
    }

    /// The volumes that the pod brought.
    pub(super) const fn own(&self) -> &'a [VolumeView<'a>] {
        self.own
    }

    /// The kind of the volume `name` by now.
    pub(super) fn kind(&self, name: &str) -> Option<&str> {
        if let Some(new) = self.new_by_name.get(name).and_then(|index| self.new.get(*index)) {
            return Some(new.kind);
        }
        let own = self.own_named(name).and_then(|index| self.own.get(index))?;
        own.source.as_ref().map(|(kind, _)| kind.as_str())
    }

    /// Whether a volume shows this claim by now.
    pub(super) fn mounts_claim(&self, claim: &str) -> bool {
        let object = ("persistentVolumeClaim", claim.to_owned());
        self.new_by_object.contains_key(&object) || self.own_by_object().contains_key(&object)
    }

    /// How many there will be at most.
    pub(super) fn count(&self) -> usize {
        self.own.len() + self.new.len()
    }

    /// Where a volume of this source is, or could be. `is_ours` tells of a name whether an earlier pass added the pod's
    /// volume of that name for the policy that asks.
    ///
    /// A claim, secret or config map that is there as a volume already is reused under its name. Other sources are found
    /// under the wanted name or one of its suffixes; a name taken by something else gets the next suffix.
    pub(super) fn slot(
        &self,
        wanted: &Cow<'a, str>,
        kind: &str,
        source: &Json<'a>,
        is_ours: impl Fn(&str) -> bool,
    ) -> Slot<'a> {
        if self.own.is_empty() && self.new.is_empty() {
            return Slot { name: wanted.clone(), state: SlotState::Free };
        }
        let source = Source::new(source.clone());
        if let Some(object) = object(kind, source.json.as_str())
            && let Some(slot) = self.slot_of_object(&object, kind, &source)
        {
            return slot;
        }
        for suffix in 1_u32.. {
            let name = if suffix == 1 { wanted.clone() } else { Cow::Owned(suffixed(wanted, suffix)) };
            if let Some(index) = self.new_by_name.get(&name) {
                let is_same = self.new.get(*index).is_some_and(|new| new.is(kind, &source));
                if is_same {
                    return Slot { name, state: SlotState::New };
                }
                continue;
            }
            let Some(index) = self.own_named(&name) else { return Slot { name, state: SlotState::Free } };
            if self.own_is(index, kind, &source) {
                return Slot { name, state: SlotState::Own(index) };
            }
            if !self.used.contains(&index) && is_ours(&name) {
                return Slot { name, state: SlotState::Replace(index) };
            }
        }
        Slot { name: wanted.clone(), state: SlotState::Free }
    }

    fn slot_of_object(&self, object: &Object, kind: &str, source: &Source<'a>) -> Option<Slot<'a>> {
        let own = self.own_by_object().get(object).into_iter().flatten();
        let mut own = own.filter(|index| !self.replaced.contains(index));
        if let Some(index) = own.find(|index| self.own_is(**index, kind, source)) {
            let name = self.own.get(*index)?.name.0.clone();
            return Some(Slot { name, state: SlotState::Own(*index) });
        }
        let new = self.new_by_object.get(object).into_iter().flatten();
        let mut new = new.filter_map(|index| self.new.get(*index));
        let new = new.find(|new| new.is(kind, source))?;
        Some(Slot { name: new.name.clone(), state: SlotState::New })
    }

    /// Notes that a step counts on what is in the slot.
    pub(super) fn count_on(&mut self, slot: &Slot<'a>) {
        if let SlotState::Own(index) = slot.state {
            self.used.insert(index);
        }
    }

    /// Puts a volume into a slot that has none.
    pub(super) fn put(&mut self, slot: Slot<'a>, kind: &'a str, source: Json<'a>) {
        let replaces = match slot.state {
            SlotState::Free => None,
            SlotState::Replace(index) => Some(index),
            SlotState::Own(_) | SlotState::New => return,
        };
        let index = self.new.len();
        self.new_by_name.insert(slot.name.clone(), index);
        if let Some(object) = object(kind, source.as_str()) {
            self.new_by_object.entry(object).or_default().push(index);
        }
        self.replaced.extend(replaces);
        self.new.push(NewVolume { name: slot.name, kind, source: Source::new(source), replaces });
    }

    pub(super) fn write(&mut self, has_list: bool, patch: &mut Patch) {
        let mut added = Vec::new();
        for volume in std::mem::take(&mut self.new) {
            let json = volume.to_json();
            match volume.replaces {
                Some(index) => patch.replace(&format!("/spec/volumes/{index}"), &json),
                None => added.push(json),
            }
        }
        patch.append("/spec/volumes", has_list, &added);
    }

    fn own_named(&self, name: &str) -> Option<usize> {
        let by_name = self.own_by_name.get_or_init(|| {
            // Of two with one name the first counts; the API server refuses such a pod anyway.
            let volumes = self.own.iter().enumerate().rev();
            volumes.map(|(index, volume)| (volume.name.as_str(), index)).collect()
        });
        by_name.get(name).copied()
    }

    fn own_by_object(&self) -> &HashMap<Object, Vec<usize>> {
        self.own_by_object.get_or_init(|| {
            let mut by_object: HashMap<_, Vec<usize>> = HashMap::new();
            for (index, volume) in self.own.iter().enumerate() {
                let source = volume.source.as_ref();
                if let Some(object) = source.and_then(|(kind, raw)| object(kind.as_str(), raw.get())) {
                    by_object.entry(object).or_default().push(index);
                }
            }
            by_object
        })
    }

    fn own_is(&self, index: usize, kind: &str, source: &Source<'_>) -> bool {
        let own = self.own.get(index).and_then(|volume| volume.source.as_ref());
        own.is_some_and(|(own, _)| own.as_str() == kind)
            && self.own_source(index).is_some_and(|own| same_source_values(kind, own, source.value()))
    }

    fn own_source(&self, index: usize) -> Option<&Value> {
        let read = || {
            let source = self.own.get(index).and_then(|volume| volume.source.as_ref());
            source.and_then(|(_, raw)| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
        };
        self.sources.get(index).map(|source| source.get_or_init(read))
    }
}

impl<'a> Source<'a> {
    const fn new(json: Json<'a>) -> Self {
        Self { json, value: OnceCell::new() }
    }

    fn value(&self) -> &Value {
        self.value.get_or_init(|| self.json.value())
    }
}

impl NewVolume<'_> {
    fn is(&self, kind: &str, source: &Source<'_>) -> bool {
        self.kind == kind && same_source_values(kind, self.source.value(), source.value())
    }

    fn to_json(&self) -> Json<'static> {
        let source = self.source.json.as_str();
        let mut json = String::with_capacity(64 + source.len());
        json.push_str("{\"name\":\"");
        push_escaped(&mut json, &self.name);
        json.push_str("\",\"");
        push_escaped(&mut json, self.kind);
        json.push_str("\":");
        json.push_str(source);
        json.push('}');
        Json::made(json)
    }
}

/// What a volume refers to by name, where it is of a kind that is reused.
pub(super) fn object(kind: &str, source: &str) -> Option<Object> {
    let kind = ["persistentVolumeClaim", "secret", "configMap"].into_iter().find(|known| *known == kind)?;
    let reference: Reference<'_> = json::read(source).unwrap_or_default();
    let name = match kind {
        "persistentVolumeClaim" => reference.claim_name,
        "secret" => reference.secret_name,
        _ => reference.name,
    };
    Some((kind, name.map(|name| name.0.into_owned()).unwrap_or_default()))
}

/// `name-2`, cut so that it stays a DNS label.
fn suffixed(name: &str, suffix: u32) -> String {
    let suffix = format!("-{suffix}");
    let room = DNS1123_LABEL_MAX.saturating_sub(suffix.len());
    let head = name.get(..room.min(name.len())).unwrap_or(name).trim_end_matches('-');
    format!("{head}{suffix}")
}
