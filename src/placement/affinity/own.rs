//! The affinity that a pod brought, as text with what is asked about most.
//!
//! Of a requirement only the key is read: a pod may have tens of thousands, and policies speak of few keys. What has
//! another type than the API defines counts as not there where it is only read, and is left alone where it would be
//! edited.

use std::{
    borrow::Cow,
    cell::OnceCell,
    collections::{HashSet, hash_map::RandomState},
};

use serde_json::Value;

use super::{
    NODE, POD, REQUIRED,
    same::canonical,
    term::{EXPRESSIONS, FIELDS, NodeRequirement},
};
use crate::json::{self, Fields, Raw, Str, read_members};

/// What a pod brought; copies of a draft share it.
#[derive(Debug, Default)]
pub(super) struct OwnAffinity<'a> {
    /// `None` is absent or null.
    pub(super) raw: Option<Raw<'a>>,
    /// In the order of [`super::KINDS`].
    kinds: [OwnKind<'a>; 3],
    pub(super) requires: Requires,
    pub(super) terms: Box<[OwnTerm<'a>]>,
    pub(super) hasher: RandomState,
}

/// Whether nodes are required.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Requires {
    /// Nothing is, so that every node matches.
    #[default]
    Nothing,
    /// A list of terms; an empty one matches no node.
    Terms,
    /// Something is there and no list of terms in it, which matches no node either.
    NoTerms,
}

/// `nodeAffinity` and its like.
#[derive(Debug, Default)]
pub(super) enum OwnKind<'a> {
    #[default]
    Absent,
    There(KindLists<'a>),
    /// No object.
    Odd,
}

#[derive(Debug, Default)]
pub(super) struct KindLists<'a> {
    required: Option<Raw<'a>>,
    preferred: Option<Raw<'a>>,
    /// What the elements say; `None` where there is no list.
    known_required: OnceCell<Option<HashSet<String>>>,
    known_preferred: OnceCell<Option<HashSet<String>>>,
}

/// A node selector term.
#[derive(Debug)]
pub(super) struct OwnTerm<'a> {
    pub(super) raw: Raw<'a>,
    pub(super) expressions: OwnList<'a>,
    pub(super) fields: OwnList<'a>,
    hashes: OnceCell<Box<[u64]>>,
}

/// The requirements of a term on labels or on fields.
#[derive(Debug, Default)]
pub(super) enum OwnList<'a> {
    #[default]
    Absent,
    There(Box<[OwnRequirement<'a>]>),
    /// No list, or not in an object.
    Odd,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct OwnRequirement<'a> {
    pub(super) raw: Raw<'a>,
    pub(super) key: Cow<'a, str>,
}

#[derive(Default)]
struct AffinityWire<'a> {
    node: Option<Raw<'a>>,
    pod: Option<Raw<'a>>,
    anti: Option<Raw<'a>>,
}

#[derive(Default)]
struct RequiredWire<'a> {
    terms: Option<Raw<'a>>,
}

#[derive(Default)]
struct TermWire<'a> {
    expressions: Option<Raw<'a>>,
    fields: Option<Raw<'a>>,
}

#[derive(Default)]
struct KeyWire<'a> {
    key: Option<Str<'a>>,
}

#[derive(Default)]
struct AskedWire<'a> {
    operator: Option<Str<'a>>,
    values: Option<Vec<Str<'a>>>,
}

read_members!(AffinityWire { "nodeAffinity" => node, "podAffinity" => pod, "podAntiAffinity" => anti });
read_members!(KindLists {
    "requiredDuringSchedulingIgnoredDuringExecution" => required,
    "preferredDuringSchedulingIgnoredDuringExecution" => preferred,
});
read_members!(RequiredWire { "nodeSelectorTerms" => terms });
read_members!(TermWire { "matchExpressions" => expressions, "matchFields" => fields });
read_members!(KeyWire { "key" => key });
read_members!(AskedWire { "operator" => operator, "values" => values });

impl<'a> OwnAffinity<'a> {
    /// `None` where it is no object.
    pub(super) fn read(raw: Option<Raw<'a>>) -> Option<Self> {
        let Some(raw) = raw.filter(|raw| raw.get() != "null") else { return Some(Self::default()) };
        let wire: AffinityWire<'a> = json::read(raw.get()).ok()?;
        let mut own =
            Self { raw: Some(raw), kinds: [wire.node, wire.pod, wire.anti].map(OwnKind::read), ..Self::default() };
        let [OwnKind::There(node), ..] = &own.kinds else { return Some(own) };
        let Some(required) = node.required else { return Some(own) };
        let wire = json::read::<RequiredWire<'a>>(required.get()).unwrap_or_default();
        let terms = wire.terms.and_then(|raw| json::read::<Vec<Raw<'a>>>(raw.get()).ok());
        own.requires = if terms.is_some() { Requires::Terms } else { Requires::NoTerms };
        own.terms = terms.unwrap_or_default().into_iter().map(OwnTerm::read).collect();
        Some(own)
    }

    pub(super) fn kind(&self, name: &str) -> &OwnKind<'a> {
        let [node, pod, anti] = &self.kinds;
        match name {
            NODE => node,
            POD => pod,
            _ => anti,
        }
    }

    /// Whether it holds nothing but what stands for nothing, the required node terms aside where `without_required`.
    pub(super) fn is_blank(&self, without_required: bool) -> bool {
        let Some(fields) = self.raw.and_then(|raw| members(raw)) else { return true };
        fields.iter().all(|(name, value)| match members(*value).filter(|_| without_required && name == NODE) {
            Some(node) => node.iter().all(|(name, value)| name == REQUIRED || is_blank(*value, 0)),
            None => is_blank(*value, 0),
        })
    }
}

impl<'a> OwnKind<'a> {
    fn read(raw: Option<Raw<'a>>) -> Self {
        let Some(raw) = raw else { return Self::Absent };
        json::read(raw.get()).map_or(Self::Odd, Self::There)
    }

    /// What the elements of a list say; `None` where a list cannot be made.
    pub(super) fn known(&self, list: &str) -> Option<Known<'_>> {
        let lists = match self {
            Self::Absent => return Some(Known(None)),
            Self::There(lists) => lists,
            Self::Odd => return None,
        };
        let (raw, known) = match list {
            REQUIRED => (lists.required, &lists.known_required),
            _ => (lists.preferred, &lists.known_preferred),
        };
        let Some(raw) = raw else { return Some(Known(None)) };
        let known = known.get_or_init(|| {
            let elements: Vec<Raw<'_>> = json::read(raw.get()).ok()?;
            let value = |raw: &Raw<'_>| serde_json::from_str::<Value>(raw.get()).ok();
            Some(elements.iter().filter_map(value).map(canonical).collect())
        });
        known.as_ref().map(|known| Known(Some(known)))
    }

    /// Whether a list is there to be appended to.
    pub(super) fn has(&self, list: &str) -> bool {
        let Self::There(lists) = self else { return false };
        let raw = if list == REQUIRED { lists.required } else { lists.preferred };
        raw.is_some_and(|raw| raw.get().starts_with('['))
    }

    /// `requiredDuringSchedulingIgnoredDuringExecution`, as it came.
    pub(super) fn required(&self) -> Option<Raw<'a>> {
        match self {
            Self::There(lists) => lists.required,
            Self::Absent | Self::Odd => None,
        }
    }
}

/// What the elements of a list say; nothing where it is still to be made.
pub(super) struct Known<'o>(Option<&'o HashSet<String>>);

impl Known<'_> {
    pub(super) fn has(&self, json: &str) -> bool {
        self.0.is_some_and(|known| known.contains(json))
    }
}

impl<'a> OwnTerm<'a> {
    fn read(raw: Raw<'a>) -> Self {
        let (expressions, fields) = match json::read::<TermWire<'a>>(raw.get()) {
            Ok(wire) => (OwnList::read(wire.expressions), OwnList::read(wire.fields)),
            Err(_) => (OwnList::Odd, OwnList::Odd),
        };
        Self { raw, expressions, fields, hashes: OnceCell::new() }
    }

    pub(super) fn list(&self, field: &str) -> &OwnList<'a> {
        if field == EXPRESSIONS { &self.expressions } else { &self.fields }
    }

    /// What stands for each of its requirements where terms are compared, those on labels first.
    pub(super) fn hashes(&self, hash: impl Fn(&'static str, &OwnRequirement<'a>) -> u64) -> &[u64] {
        self.hashes.get_or_init(|| {
            let of_labels = self.expressions.requirements().iter().map(|one| hash(EXPRESSIONS, one));
            let of_fields = self.fields.requirements().iter().map(|one| hash(FIELDS, one));
            of_labels.chain(of_fields).collect()
        })
    }
}

impl<'a> OwnList<'a> {
    fn read(raw: Option<Raw<'a>>) -> Self {
        let Some(raw) = raw else { return Self::Absent };
        match json::read::<Vec<Raw<'a>>>(raw.get()) {
            Ok(list) => Self::There(list.into_iter().map(OwnRequirement::read).collect()),
            Err(_) => Self::Odd,
        }
    }

    pub(super) fn requirements(&self) -> &[OwnRequirement<'a>] {
        match self {
            Self::There(list) => list,
            Self::Absent | Self::Odd => &[],
        }
    }
}

impl<'a> OwnRequirement<'a> {
    fn read(raw: Raw<'a>) -> Self {
        let key = json::read::<KeyWire<'a>>(raw.get()).ok().and_then(|wire| wire.key);
        Self { raw, key: key.unwrap_or_default().0 }
    }

    /// The whole of it; one that is none asks for nothing.
    pub(super) fn asked(&self, field: &'static str) -> NodeRequirement<'_> {
        let wire = json::read::<AskedWire<'_>>(self.raw.get()).unwrap_or_default();
        NodeRequirement {
            field,
            key: &self.key,
            operator: wire.operator.unwrap_or_default().0,
            values: wire.values.unwrap_or_default().into_iter().map(|value| value.0).collect(),
        }
    }
}

/// The members of an object; `None` where it is none.
pub(super) fn members(raw: Raw<'_>) -> Option<Fields<'_, Raw<'_>>> {
    json::read(raw.get()).ok()
}

/// Whether a value holds nothing, however deep; nothing is nested as deep as this looks.
fn is_blank(raw: Raw<'_>, depth: usize) -> bool {
    const DEEPEST: usize = 16;
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'n') => true,
        Some(b'[') => text.trim_start_matches('[').trim_start().starts_with(']'),
        Some(b'{') if depth < DEEPEST => {
            members(raw).is_some_and(|members| members.iter().all(|(_, value)| is_blank(*value, depth + 1)))
        }
        _ => false,
    }
}
