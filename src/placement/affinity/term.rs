//! One node selector term and its requirements. A term is a set of requirements, each with a set of values.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet, hash_map::RandomState},
    hash::{BuildHasher, Hash, Hasher},
};

use serde_json::{Value, json};

const EXPRESSIONS: &str = "matchExpressions";
const FIELDS: &str = "matchFields";

/// Where terms stand in a list, by what they require: a set of requirements, each with a set of values.
pub(super) struct TermPlaces {
    hasher: RandomState,
    places: HashMap<u64, Vec<usize>>,
}

impl TermPlaces {
    pub(super) fn of(terms: &[Value]) -> Self {
        let mut places = Self { hasher: RandomState::new(), places: HashMap::with_capacity(terms.len()) };
        for (place, term) in terms.iter().enumerate() {
            places.add(place, places.hash(term));
        }
        places
    }

    fn add(&mut self, place: usize, hash: u64) {
        self.places.entry(hash).or_default().push(place);
    }

    /// Where a term of `terms` stands that asks for the same.
    fn find(&self, terms: &[Value], wanted: &Value, hash: u64) -> Option<usize> {
        let places = self.places.get(&hash)?;
        let wanted = Requirements::of(wanted);
        let is_same = |place: &&usize| terms.get(**place).is_some_and(|term| Requirements::of(term).0 == wanted.0);
        places.iter().find(is_same).copied()
    }

    /// Where a term of `terms` stands that asks for the same, once: it is found no more.
    pub(super) fn take(&mut self, terms: &[Value], wanted: &Value) -> Option<usize> {
        let hash = self.hash(wanted);
        let found = self.find(terms, wanted, hash)?;
        if let Some(places) = self.places.get_mut(&hash) {
            places.retain(|other| *other != found);
        }
        Some(found)
    }

    /// Equal for terms that ask for the same: of all requirements together, whatever their order and each once.
    fn hash(&self, term: &Value) -> u64 {
        let of_field = |field| requirements(term, field).iter().map(move |one| self.hash_requirement(field, one));
        let mut hashes: Vec<u64> = of_field(EXPRESSIONS).chain(of_field(FIELDS)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        hashes.into_iter().fold(0, u64::wrapping_add)
    }

    fn hash_requirement(&self, field: &str, requirement: &Value) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        let (key, operator, values) = requirement_parts(requirement);
        (field, key, operator).hash(&mut hasher);
        for value in distinct(values) {
            value.hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// Appends those that are not there yet, and says how many.
pub(super) fn append_new(terms: &mut Vec<Value>, products: Vec<Value>) -> usize {
    if products.is_empty() {
        return 0;
    }
    let mut places = TermPlaces::of(terms);
    let before = terms.len();
    for product in products {
        let hash = places.hash(&product);
        if places.find(terms, &product, hash).is_none() {
            places.add(terms.len(), hash);
            terms.push(product);
        }
    }
    terms.len() - before
}

/// A term that asks for one label requirement.
pub(crate) fn label_term(key: &str, operator: &str, value: &str) -> Value {
    json!({EXPRESSIONS: [label_requirement(key, operator, value)]})
}

/// A term that asks for all of `requirements` on labels.
pub(crate) fn all_of(requirements: &[Value]) -> Value {
    json!({EXPRESSIONS: requirements})
}

/// One requirement on a label.
pub(crate) fn label_requirement(key: &str, operator: &str, value: &str) -> Value {
    json!({"key": key, "operator": operator, "values": [value]})
}

/// A term's requirements on labels.
pub(crate) fn expressions(term: &Value) -> &[Value] {
    requirements(term, EXPRESSIONS)
}

/// A term's requirements on fields.
pub(in crate::placement) fn fields(term: &Value) -> &[Value] {
    requirements(term, FIELDS)
}

/// A term's requirements on labels, to edit in place; `None` where there are none.
pub(crate) fn expressions_mut(term: &mut Value) -> Option<&mut Vec<Value>> {
    term.get_mut(EXPRESSIONS)?.as_array_mut()
}

/// Whether the term has no requirement, so that it matches no node at all.
pub(crate) fn is_blank(term: &Value) -> bool {
    expressions(term).is_empty() && fields(term).is_empty()
}

/// Adds a requirement on a label to a term.
pub(crate) fn push_expression(term: &mut Value, requirement: Value) {
    push_requirement(term, EXPRESSIONS, requirement);
}

/// The requirement's key, operator and values.
pub(crate) fn requirement_parts(requirement: &Value) -> (&str, &str, &[Value]) {
    let (mut key, mut operator, mut values) = ("", "", [].as_slice());
    // A walk over three members; to look each up would hash its name.
    for (name, member) in requirement.as_object().into_iter().flatten() {
        match (name.as_str(), member) {
            ("key", Value::String(text)) => key = text.as_str(),
            ("operator", Value::String(text)) => operator = text.as_str(),
            ("values", Value::Array(list)) => values = list.as_slice(),
            _ => {}
        }
    }
    (key, operator, values)
}

fn requirements<'a>(term: &'a Value, field: &str) -> &'a [Value] {
    let list = term.get(field).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

fn push_requirement(term: &mut Value, field: &str, requirement: Value) {
    let Some(term) = term.as_object_mut() else {
        return;
    };
    let list = term.entry(field).or_insert_with(|| Value::Array(Vec::new()));
    if list.is_null() {
        *list = Value::Array(Vec::new());
    }
    if let Some(list) = list.as_array_mut() {
        list.push(requirement);
    }
}

/// What a term requires: every requirement once, its values as a set.
pub(super) struct Requirements<'t>(HashSet<(&'static str, &'t str, &'t str, Vec<Cow<'t, str>>)>);

impl<'t> Requirements<'t> {
    pub(super) fn of(term: &'t Value) -> Self {
        let mut all = HashSet::with_capacity(count(term));
        all.extend(members(term).map(|(field, requirement)| Self::one(field, requirement)));
        Self(all)
    }

    /// The keys that are spoken of.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'t str> {
        self.0.iter().map(|(_, key, ..)| *key)
    }

    /// Those of a term on some keys: a term may have thousands, and few are asked about.
    pub(super) fn on(keys: &HashSet<&str>, term: &'t Value) -> Self {
        let is_on = |requirement: &Value| keys.contains(requirement_parts(requirement).0);
        let on = members(term).filter(|(_, requirement)| is_on(requirement));
        Self(on.map(|(field, requirement)| Self::one(field, requirement)).collect())
    }

    /// Whether every requirement of `other` is among these.
    pub(super) fn has_all_of(&self, other: &Self) -> bool {
        other.0.is_subset(&self.0)
    }

    fn one(field: &'static str, requirement: &'t Value) -> (&'static str, &'t str, &'t str, Vec<Cow<'t, str>>) {
        let (key, operator, values) = requirement_parts(requirement);
        (field, key, operator, distinct(values))
    }
}

/// The values as a set, in order.
fn distinct(values: &[Value]) -> Vec<Cow<'_, str>> {
    let texts = values.iter().map(|value| value.as_str().map_or_else(|| Cow::Owned(value.to_string()), Cow::Borrowed));
    let mut values: Vec<Cow<'_, str>> = texts.collect();
    values.sort_unstable();
    values.dedup();
    values
}

/// The requirements of a term with the field that they stand in.
fn members(term: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    let of_field = |field| requirements(term, field).iter().map(move |requirement| (field, requirement));
    of_field(EXPRESSIONS).chain(of_field(FIELDS))
}

/// How many requirements a term has.
pub(super) fn count(term: &Value) -> usize {
    expressions(term).len() + fields(term).len()
}

/// Adds those of the term `wanted` that are not there.
pub(super) fn add_requirements(term: &mut Value, wanted: &Value) {
    let own = Requirements::on(&Requirements::of(wanted).keys().collect(), term);
    let missing: Vec<_> = members(wanted)
        .filter(|(field, requirement)| !own.0.contains(&Requirements::one(field, requirement)))
        .collect();
    for (field, requirement) in missing {
        push_requirement(term, field, requirement.clone());
    }
}

pub(super) fn one_of(terms: &[Value]) -> String {
    match terms {
        [one] => {
            let shown: Vec<String> = expressions(one).iter().chain(fields(one)).map(show_requirement).collect();
            shown.join(" and ")
        }
        many => format!("one of {} alternatives", many.len()),
    }
}

/// A requirement as one reads it: `key In [a, b]`.
pub(crate) fn show_requirement(requirement: &Value) -> String {
    let (key, operator, values) = requirement_parts(requirement);
    let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
    if values.is_empty() { format!("{key} {operator}") } else { format!("{key} {operator} [{}]", values.join(", ")) }
}
