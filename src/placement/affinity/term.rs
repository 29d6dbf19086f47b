//! One node selector term and its requirements. A term is a set of requirements, each with a set of values.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt,
    hash::BuildHasher,
};

use k8s_openapi::api::core::v1 as core;

use super::own::{OwnAffinity, OwnRequirement, OwnTerm};
use crate::json::push_escaped;

pub(crate) const EXPRESSIONS: &str = "matchExpressions";
pub(super) const FIELDS: &str = "matchFields";

/// A requirement as it is compared: its values in the order given.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct NodeRequirement<'t> {
    pub(super) field: &'static str,
    pub(crate) key: &'t str,
    pub(crate) operator: Cow<'t, str>,
    pub(crate) values: Vec<Cow<'t, str>>,
}

/// A requirement that a policy adds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct WantedRequirement<'a> {
    field: &'static str,
    key: &'a str,
    operator: &'a str,
    values: &'a [String],
}

/// A requirement of a term as it stands now: the pod's own, of which only the key is read, or one that was added.
#[derive(Clone, Copy)]
pub(crate) enum TermRequirement<'t, 'a> {
    Own(&'static str, &'t OwnRequirement<'a>),
    Added(WantedRequirement<'a>),
}

/// A term as it will be: one of the pod's, edited or multiplied, or a policy's.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TermDraft<'a> {
    /// The place of the pod's term that it is, or is a product of.
    pub(super) base: Option<usize>,
    /// Places of the base's requirements on labels that are taken out, in order.
    pub(super) removed: Vec<usize>,
    pub(super) added: Vec<WantedRequirement<'a>>,
}

impl<'a> WantedRequirement<'a> {
    /// One on a label.
    pub(crate) fn label(key: &'a str, operator: &'a str, value: &'a String) -> Self {
        Self { field: EXPRESSIONS, key, operator, values: std::slice::from_ref(value) }
    }

    /// All those of a policy's term.
    pub(super) fn of_term(term: &'a core::NodeSelectorTerm) -> Vec<Self> {
        let one = |field| {
            move |wire: &'a core::NodeSelectorRequirement| Self {
                field,
                key: &wire.key,
                operator: &wire.operator,
                values: wire.values.as_deref().unwrap_or_default(),
            }
        };
        let of_labels = term.match_expressions.iter().flatten().map(one(EXPRESSIONS));
        of_labels.chain(term.match_fields.iter().flatten().map(one(FIELDS))).collect()
    }

    pub(super) const fn field(&self) -> &'static str {
        self.field
    }

    pub(super) const fn key(&self) -> &'a str {
        self.key
    }

    fn asked(&self) -> NodeRequirement<'a> {
        NodeRequirement {
            field: self.field,
            key: self.key,
            operator: self.operator.into(),
            values: self.values.iter().map(|value| value.as_str().into()).collect(),
        }
    }

    pub(crate) fn json(&self) -> String {
        let mut json = String::with_capacity(128);
        self.write(&mut json);
        json
    }

    /// As the API server writes it.
    pub(super) fn write(&self, json: &mut String) {
        for (part, text) in [("{\"key\":\"", self.key), ("\",\"operator\":\"", self.operator)] {
            json.push_str(part);
            push_escaped(json, text);
        }
        for (number, value) in self.values.iter().enumerate() {
            json.push_str(if number == 0 { "\",\"values\":[\"" } else { "\",\"" });
            push_escaped(json, value);
        }
        json.push_str(if self.values.is_empty() { "\"}" } else { "\"]}" });
    }
}

/// As one reads it: `key In [a, b]`.
impl fmt::Display for WantedRequirement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.asked().fmt(f)
    }
}

impl NodeRequirement<'_> {
    /// `matchExpressions`, on labels, or `matchFields`.
    pub(crate) const fn field(&self) -> &'static str {
        self.field
    }

    /// The one form of all that ask for the same.
    fn normal(mut self) -> Self {
        self.values.sort_unstable();
        self.values.dedup();
        self
    }
}

impl fmt::Display for NodeRequirement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, operator, values, .. } = self;
        if values.is_empty() {
            write!(f, "{key} {operator}")
        } else {
            write!(f, "{key} {operator} [{}]", values.join(", "))
        }
    }
}

impl<'t, 'a: 't> TermRequirement<'t, 'a> {
    pub(crate) fn key(self) -> &'t str {
        match self {
            Self::Own(_, own) => &own.key,
            Self::Added(wanted) => wanted.key,
        }
    }

    /// The whole of it.
    pub(crate) fn requirement(self) -> NodeRequirement<'t> {
        match self {
            Self::Own(field, own) => own.asked(field),
            Self::Added(wanted) => wanted.asked(),
        }
    }
}

impl<'a> TermDraft<'a> {
    /// A term of the pod's, as it came.
    pub(super) fn own(place: usize) -> Self {
        Self { base: Some(place), ..Self::default() }
    }

    /// A term of a policy.
    pub(super) fn made(requirements: &[WantedRequirement<'a>]) -> Self {
        Self { added: requirements.to_vec(), ..Self::default() }
    }

    pub(super) const fn is_untouched(&self) -> bool {
        self.base.is_some() && self.removed.is_empty() && self.added.is_empty()
    }

    pub(super) fn base<'t>(&self, own: &'t OwnAffinity<'a>) -> Option<&'t OwnTerm<'a>> {
        own.terms.get(self.base?)
    }

    /// Its requirements on labels.
    pub(crate) fn expressions<'t>(&'t self, own: &'t OwnAffinity<'a>) -> impl Iterator<Item = TermRequirement<'t, 'a>> {
        self.all(own).filter(|asked| asked.field() == EXPRESSIONS)
    }

    /// All of its requirements.
    pub(super) fn all<'t>(&'t self, own: &'t OwnAffinity<'a>) -> impl Iterator<Item = TermRequirement<'t, 'a>> {
        let base = self.base(own);
        let of_labels = base.map(|term| term.expressions.requirements()).unwrap_or_default();
        let of_fields = base.map(|term| term.fields.requirements()).unwrap_or_default();
        let mut removed = self.removed.iter().copied().peekable();
        let kept = of_labels.iter().enumerate().filter(move |(place, _)| removed.next_if_eq(place).is_none());
        let kept = kept.map(|(_, one)| TermRequirement::Own(EXPRESSIONS, one));
        let kept = kept.chain(of_fields.iter().map(|one| TermRequirement::Own(FIELDS, one)));
        kept.chain(self.added.iter().copied().map(TermRequirement::Added))
    }

    /// How many requirements it has.
    pub(super) fn count(&self, own: &OwnAffinity<'a>) -> usize {
        let lists = self.base(own).map(|term| [&term.expressions, &term.fields]);
        let base: usize = lists.iter().flatten().map(|list| list.requirements().len()).sum();
        base - self.removed.len() + self.added.len()
    }

    /// Whether it has no requirement, so that it matches no node at all.
    pub(crate) fn is_blank(&self, own: &OwnAffinity<'a>) -> bool {
        self.count(own) == 0
    }

    /// Takes out the requirements on labels for which `is_unwanted`; whether there were any.
    pub(super) fn strip(
        &mut self,
        own: &OwnAffinity<'a>,
        mut is_unwanted: impl FnMut(TermRequirement<'_, 'a>) -> bool,
    ) -> bool {
        let before = self.count(own);
        let base = self.base(own).map(|term| term.expressions.requirements()).unwrap_or_default();
        let mut removed = Vec::new();
        let mut gone = self.removed.iter().copied().peekable();
        for (place, one) in base.iter().enumerate() {
            if gone.next_if_eq(&place).is_some() || is_unwanted(TermRequirement::Own(EXPRESSIONS, one)) {
                removed.push(place);
            }
        }
        self.removed = removed;
        self.added.retain(|one| one.field != EXPRESSIONS || !is_unwanted(TermRequirement::Added(*one)));
        self.count(own) != before
    }

    /// What it asks of some keys: a term may have thousands of requirements, and few keys are asked about.
    pub(super) fn on<'t>(&'t self, keys: &HashSet<&str>, own: &'t OwnAffinity<'a>) -> HashSet<NodeRequirement<'t>> {
        let on = self.all(own).filter(|asked| keys.contains(asked.key()));
        on.map(|asked| asked.requirement().normal()).collect()
    }

    /// The same for terms that ask for the same: of all requirements together, whatever their order and each once.
    fn hash(&self, own: &OwnAffinity<'a>) -> u64 {
        let hash = |requirement: NodeRequirement<'_>| own.hasher.hash_one(requirement.normal());
        let of_base = self.base(own).map(|term| term.hashes(|field, one| hash(one.asked(field)))).unwrap_or_default();
        let mut removed = self.removed.iter().copied().peekable();
        let kept = of_base.iter().enumerate().filter(|(place, _)| removed.next_if_eq(place).is_none());
        let added = self.added.iter().map(|one| hash(one.asked()));
        let mut hashes: Vec<u64> = kept.map(|(_, hash)| *hash).chain(added).collect();
        hashes.sort_unstable();
        hashes.dedup();
        own.hasher.hash_one(&hashes)
    }

    fn asks_for_the_same(&self, other: &Self, own: &OwnAffinity<'a>) -> bool {
        fn all<'t>(term: &'t TermDraft<'_>, own: &'t OwnAffinity<'_>) -> HashSet<NodeRequirement<'t>> {
            term.all(own).map(|asked| asked.requirement().normal()).collect()
        }
        all(self, own) == all(other, own)
    }

    /// What it does not exclude yet of `not_in`, which stand at `places` by their keys, where it matches a node at all.
    pub(super) fn not_excluded(
        &self,
        own: &OwnAffinity<'a>,
        not_in: &[WantedRequirement<'a>],
        places: &HashMap<&str, usize>,
    ) -> Vec<WantedRequirement<'a>> {
        if self.is_blank(own) {
            return Vec::new();
        }
        let mut is_excluded = vec![false; not_in.len()];
        for asked in self.expressions(own) {
            let Some(place) = places.get(asked.key()).copied() else { continue };
            let (Some(wanted), Some(is_excluded)) = (not_in.get(place), is_excluded.get_mut(place)) else { continue };
            let requirement = asked.requirement();
            let has = |value: &String| requirement.values.iter().any(|own| own == value);
            *is_excluded |= requirement.operator == "NotIn" && wanted.values.iter().all(has);
        }
        not_in.iter().zip(is_excluded).filter(|(_, is_excluded)| !is_excluded).map(|(wanted, _)| *wanted).collect()
    }
}

impl TermRequirement<'_, '_> {
    const fn field(&self) -> &'static str {
        match self {
            Self::Own(field, _) => field,
            Self::Added(wanted) => wanted.field,
        }
    }
}

/// Those of `alternative` that are not in the set `own`.
pub(super) fn missing<'a>(
    own: &HashSet<NodeRequirement<'_>>,
    alternative: &[WantedRequirement<'a>],
) -> Vec<WantedRequirement<'a>> {
    alternative.iter().filter(|one| !own.contains(&one.asked().normal())).copied().collect()
}

/// Where terms stand in a list, by what they require.
pub(super) struct TermPlaces(HashMap<u64, Vec<usize>>);

impl TermPlaces {
    pub(super) fn of<'t, 'a: 't>(terms: impl Iterator<Item = &'t TermDraft<'a>>, own: &OwnAffinity<'a>) -> Self {
        let mut places: HashMap<u64, Vec<usize>> = HashMap::new();
        for (place, term) in terms.enumerate() {
            places.entry(term.hash(own)).or_default().push(place);
        }
        Self(places)
    }

    /// Where a term of `terms` stands that asks for the same.
    fn find<'a>(
        &self,
        terms: &[TermDraft<'a>],
        wanted: &TermDraft<'a>,
        hash: u64,
        own: &OwnAffinity<'a>,
    ) -> Option<usize> {
        let is_same = |place: &&usize| terms.get(**place).is_some_and(|term| term.asks_for_the_same(wanted, own));
        self.0.get(&hash)?.iter().find(is_same).copied()
    }

    /// Where a term of `terms` stands that asks for the same, once: it is found no more.
    pub(super) fn take<'a>(
        &mut self,
        terms: &[TermDraft<'a>],
        wanted: &TermDraft<'a>,
        own: &OwnAffinity<'a>,
    ) -> Option<usize> {
        let hash = wanted.hash(own);
        let found = self.find(terms, wanted, hash, own)?;
        if let Some(places) = self.0.get_mut(&hash) {
            places.retain(|other| *other != found);
        }
        Some(found)
    }
}

/// Appends those that are not there yet, and says how many.
pub(super) fn append_new<'a>(
    terms: &mut Vec<TermDraft<'a>>,
    products: Vec<TermDraft<'a>>,
    own: &OwnAffinity<'a>,
) -> usize {
    if products.is_empty() {
        return 0;
    }
    let mut places = TermPlaces::of(terms.iter(), own);
    let before = terms.len();
    for product in products {
        let hash = product.hash(own);
        if places.find(terms, &product, hash, own).is_none() {
            places.0.entry(hash).or_default().push(terms.len());
            terms.push(product);
        }
    }
    terms.len() - before
}
