//! One node selector term and its requirements. A term is a set of requirements, each with a set of values.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet, hash_map::RandomState},
    hash::BuildHasher,
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
        let mut places = Self { hasher: RandomState::new(), places: HashMap::new() };
        for (place, term) in terms.iter().enumerate() {
            places.add(place, term);
        }
        places
    }

    fn add(&mut self, place: usize, term: &Value) {
        let hash = self.hash(term);
        self.places.entry(hash).or_default().push(place);
    }

    /// Where a term of `terms` stands that asks for the same.
    pub(super) fn find(&self, terms: &[Value], wanted: &Value) -> Option<usize> {
        let places = self.places.get(&self.hash(wanted))?;
        let wanted = Requirements::of(wanted);
        let is_same = |place: &&usize| terms.get(**place).is_some_and(|term| Requirements::of(term).0 == wanted.0);
        places.iter().find(is_same).copied()
    }

    /// Finds the place no more.
    pub(super) fn take(&mut self, place: usize, term: &Value) {
        let hash = self.hash(term);
        if let Some(places) = self.places.get_mut(&hash) {
            places.retain(|other| *other != place);
        }
    }

    fn hash(&self, term: &Value) -> u64 {
        let requirements = Requirements::of(term);
        requirements.0.iter().fold(0, |sum, one| sum.wrapping_add(self.hasher.hash_one(one)))
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
        if places.find(terms, &product).is_none() {
            places.add(terms.len(), &product);
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
    let text = |name| requirement.get(name).and_then(Value::as_str).unwrap_or_default();
    let values = requirement.get("values").and_then(Value::as_array);
    (text("key"), text("operator"), values.map(Vec::as_slice).unwrap_or_default())
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
pub(super) struct Requirements<'t>(pub(super) HashSet<(&'static str, &'t str, &'t str, Vec<Cow<'t, str>>)>);

impl<'t> Requirements<'t> {
    pub(super) fn of(term: &'t Value) -> Self {
        let all = [EXPRESSIONS, FIELDS]
            .into_iter()
            .flat_map(|field| requirements(term, field).iter().map(move |requirement| Self::one(field, requirement)));
        Self(all.collect())
    }

    fn one(field: &'static str, requirement: &'t Value) -> (&'static str, &'t str, &'t str, Vec<Cow<'t, str>>) {
        let (key, operator, values) = requirement_parts(requirement);
        let text = |value: &'t Value| value.as_str().map_or_else(|| value.to_string().into(), Cow::Borrowed);
        let mut values: Vec<Cow<'_, str>> = values.iter().map(text).collect();
        values.sort_unstable();
        values.dedup();
        (field, key, operator, values)
    }
}

/// How many requirements a term has.
pub(super) fn count(term: &Value) -> usize {
    expressions(term).len() + fields(term).len()
}

pub(super) fn add_requirements(term: &mut Value, wanted: &Value) {
    let own = Requirements::of(term);
    let wanted = [EXPRESSIONS, FIELDS]
        .into_iter()
        .flat_map(|field| requirements(wanted, field).iter().map(move |requirement| (field, requirement)));
    let missing: Vec<_> =
        wanted.filter(|(field, requirement)| !own.0.contains(&Requirements::one(field, requirement))).collect();
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
