//! What becomes of a pod's affinity.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    rc::Rc,
};

use super::{
    Affinity, MAX_REQUIREMENTS, MAX_TERMS, NODE, PREFERRED, TooManyTerms,
    own::{OwnAffinity, OwnKind, Requires},
    term::{NodeRequirement, TermDraft, TermPlaces, TermRequirement, WantedRequirement, append_new, missing},
};
use crate::{
    json::{Json, Raw},
    reason::{Note, Reason},
};

/// A pod's affinity, as it came or as it will be.
///
/// What the pod brought is shared by all copies; a draft says what is taken out of it and added.
#[derive(Clone, Debug, Default)]
pub(crate) struct AffinityDraft<'a> {
    pub(super) own: Rc<OwnAffinity<'a>>,
    pub(super) requires: Requires,
    /// Whether what the pod required was taken out as a whole.
    pub(super) is_dropped: bool,
    pub(super) terms: Vec<TermDraft<'a>>,
    pub(super) appended: Vec<NewElement<'a>>,
}

/// An element for one of the lists that are only ever appended to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NewElement<'a> {
    pub(super) kind: &'static str,
    pub(super) list: &'static str,
    pub(super) json: Json<'a>,
}

/// Drafts of one affinity, with the same changes.
impl PartialEq for AffinityDraft<'_> {
    fn eq(&self, other: &Self) -> bool {
        (Rc::ptr_eq(&self.own, &other.own) || self.own.raw == other.own.raw)
            && (self.requires, self.is_dropped) == (other.requires, other.is_dropped)
            && self.terms == other.terms
            && self.appended == other.appended
    }
}

impl<'a> AffinityDraft<'a> {
    /// What a pod brought; `None` where it is no object.
    pub(in crate::placement) fn read(raw: Option<Raw<'a>>) -> Option<Self> {
        let own = OwnAffinity::read(raw)?;
        let terms = (0..own.terms.len()).map(TermDraft::own).collect();
        Some(Self { requires: own.requires, terms, own: Rc::new(own), is_dropped: false, appended: Vec::new() })
    }

    /// Whether it says nothing.
    pub(in crate::placement) fn says_nothing(&self) -> bool {
        let has_own = self.requires == self.own.requires && !self.is_dropped;
        self.appended.is_empty() && (has_own || self.terms.is_empty()) && self.own.is_blank(!has_own)
    }

    /// Merges a policy's affinity. On an error nothing was changed.
    pub(in crate::placement) fn merge(&mut self, wanted: &'a Affinity) -> Result<Vec<Note>, TooManyTerms> {
        let mut notes = Vec::new();
        let alternatives: Vec<_> = wanted.required_terms.iter().map(WantedRequirement::of_term).collect();
        let conjoined = self.conjoin(&alternatives)?;
        if conjoined > 0 {
            notes.push(Reason::NodeAffinityRequired.note(&[&conjoined, &one_of(&alternatives), &""]));
        }
        let elements = wanted.appended.iter();
        notes.extend(self.append(elements.map(|new| NewElement {
            kind: new.kind,
            list: new.list,
            json: Json::borrowed(&new.json),
        })));
        Ok(notes)
    }

    /// Appends preferred node terms, as [`super::same`] writes elements.
    pub(in crate::placement) fn prefer(&mut self, terms: impl Iterator<Item = Json<'a>>) -> Vec<Note> {
        self.append(terms.map(|json| NewElement { kind: NODE, list: PREFERRED, json }))
    }

    /// Appends what is not there yet.
    fn append(&mut self, elements: impl Iterator<Item = NewElement<'a>>) -> Vec<Note> {
        let mut notes = Vec::new();
        let place = |new: &NewElement<'a>| (new.kind, new.list, new.json.clone());
        let mut there: HashSet<_> = self.appended.iter().map(place).collect();
        for new in elements {
            let Some(known) = self.own.kind(new.kind).known(new.list) else { continue };
            if !known.has(new.json.as_str()) && there.insert(place(&new)) {
                let list = format!("{}.{}", new.kind, new.list);
                notes.push(Reason::AffinityAppended.note(&[&list]));
                self.appended.push(new);
            }
        }
        notes
    }

    /// Requires one of `alternatives` on top of what is required; the number of terms that were made or
    /// changed. On an error nothing was changed.
    pub(crate) fn conjoin(&mut self, alternatives: &[Vec<WantedRequirement<'a>>]) -> Result<usize, TooManyTerms> {
        let Some((first, others)) = alternatives.split_first() else {
            return Ok(0);
        };
        if self.is_unconstrained() {
            if matches!(self.own.kind(NODE), OwnKind::Odd) {
                return Ok(0);
            }
            self.requires = Requires::Terms;
            self.terms.extend(alternatives.iter().map(|one| TermDraft::made(one)));
            return Ok(alternatives.len());
        }
        let own = Rc::clone(&self.own);
        let keys: HashSet<&str> = alternatives.iter().flatten().map(WantedRequirement::key).collect();
        let is_pending = |term: &TermDraft<'a>| {
            let asked = term.on(&keys, &own);
            !term.is_blank(&own) && !alternatives.iter().any(|one| missing(&asked, one).is_empty())
        };
        let pending: Vec<usize> =
            (0..).zip(&self.terms).filter(|(_, term)| is_pending(term)).map(|(at, _)| at).collect();
        // The size of the product is known before any of it is made.
        let total = self.terms.len() + pending.len() * others.len();
        let requirements: usize =
            pending.iter().filter_map(|at| self.terms.get(*at)).map(|term| term.count(&own)).sum();
        let requirements = requirements * others.len();
        if (total > MAX_TERMS || requirements > MAX_REQUIREMENTS) && !others.is_empty() && !pending.is_empty() {
            return Err(TooManyTerms { terms: total, requirements });
        }
        let mut products = Vec::new();
        for alternative in others {
            for term in pending.iter().filter_map(|at| self.terms.get(*at)) {
                let missing = missing(&term.on(&keys, &own), alternative);
                let mut product = term.clone();
                product.added.extend(missing);
                products.push(product);
            }
        }
        // The first alternative edits the pod's terms in their places and the others are appended, so
        // that the patch inserts nothing in the middle of the list.
        for at in &pending {
            if let Some(term) = self.terms.get_mut(*at) {
                let missing = missing(&term.on(&keys, &own), first);
                term.added.extend(missing);
            }
        }
        Ok(pending.len() + append_new(&mut self.terms, products, &own))
    }

    /// Whether nothing is required, which matches every node; an empty list of terms matches none.
    pub(crate) fn is_unconstrained(&self) -> bool {
        self.requires == Requires::Nothing
    }

    /// The requirements of every required node term; `None` where nothing is required.
    pub(in crate::placement) fn required(&self) -> Option<impl Iterator<Item = Vec<NodeRequirement<'_>>>> {
        (!self.is_unconstrained())
            .then(|| self.terms.iter().map(|term| term.all(&self.own).map(TermRequirement::requirement).collect()))
    }

    /// Takes the requirements on labels for which `is_unwanted` out of every required term. A term that this empties goes,
    /// and with the last one the whole requirement. Gives what was taken, each once.
    pub(crate) fn strip(&mut self, is_unwanted: impl Fn(TermRequirement<'_, 'a>) -> bool) -> BTreeSet<String> {
        let mut stripped = BTreeSet::new();
        if self.terms.is_empty() {
            return stripped;
        }
        let own = Rc::clone(&self.own);
        self.terms.retain_mut(|term| {
            let has_stripped = term.strip(&own, |asked| {
                let is_unwanted = is_unwanted(asked);
                if is_unwanted {
                    stripped.insert(asked.requirement().to_string());
                }
                is_unwanted
            });
            !has_stripped || !term.is_blank(&own)
        });
        if self.terms.is_empty() {
            self.requires = Requires::Nothing;
            self.is_dropped = true;
        }
        stripped
    }

    /// Drops the required terms one of whose requirements on labels `is_unwanted`, where one remains that matches a node;
    /// whether one does.
    pub(crate) fn drop_terms(&mut self, is_unwanted: impl Fn(TermRequirement<'_, 'a>) -> bool) -> bool {
        let own = &self.own;
        let is_dropped: Vec<bool> = self.terms.iter().map(|term| term.expressions(own).any(&is_unwanted)).collect();
        let mut kept = self.terms.iter().zip(&is_dropped).filter(|(_, is_dropped)| !**is_dropped);
        if !kept.any(|(term, _)| !term.is_blank(own)) {
            return false;
        }
        let mut is_dropped = is_dropped.into_iter();
        self.terms.retain(|_| is_dropped.next() == Some(false));
        true
    }

    /// Makes every required term exclude what `not_in` names, one value of a label each; how many terms were changed.
    pub(crate) fn exclude(&mut self, not_in: &[WantedRequirement<'a>]) -> Result<usize, TooManyTerms> {
        if self.is_unconstrained() {
            // One alternative multiplies nothing, and only a product can be too large.
            return self.conjoin(&[not_in.to_vec()]);
        }
        let own = Rc::clone(&self.own);
        let places: HashMap<&str, usize> = not_in.iter().map(WantedRequirement::key).zip(0..).collect();
        if self.terms.len() * not_in.len() > MAX_REQUIREMENTS {
            let requirements = self.terms.iter().map(|term| term.not_excluded(&own, not_in, &places).len()).sum();
            if requirements > MAX_REQUIREMENTS {
                return Err(TooManyTerms { terms: self.terms.len(), requirements });
            }
        }
        let mut changed = 0;
        for term in &mut self.terms {
            let missing = term.not_excluded(&own, not_in, &places);
            changed += usize::from(!missing.is_empty());
            term.added.extend(missing);
        }
        Ok(changed)
    }

    /// Writes the required terms as the pod brought them wherever they say the same: requirements are a set, and so are
    /// terms.
    pub(in crate::placement) fn settle(&mut self) {
        let own = &self.own;
        let mut old: Vec<TermDraft<'a>> = (0..own.terms.len()).map(TermDraft::own).collect();
        let changed = || self.terms.iter().filter(|term| !term.is_untouched());
        // What was added to a term speaks of a key; only a term of the pod's that speaks of it too can say the same.
        let keys: HashSet<&str> = changed().flat_map(|term| &term.added).map(WantedRequirement::key).collect();
        let is_stripped = changed().any(|term| term.added.is_empty());
        let speaks = |term: &TermDraft<'a>| is_stripped || term.all(own).any(|asked| keys.contains(asked.key()));
        if changed().next().is_none() || !old.iter().any(speaks) {
            return;
        }
        let mut places = TermPlaces::of(old.iter(), own);
        let mut found = 0;
        for term in &mut self.terms {
            if let Some(same) = places.take(&old, term, own) {
                found += 1;
                *term = TermDraft::own(same);
            }
        }
        if found == old.len() && self.terms.len() == old.len() {
            std::mem::swap(&mut self.terms, &mut old);
        }
    }
}

/// What is told of the terms that a policy requires.
fn one_of(alternatives: &[Vec<WantedRequirement<'_>>]) -> String {
    match alternatives {
        [one] => one.iter().map(WantedRequirement::to_string).collect::<Vec<_>>().join(" and "),
        many => format!("one of {} alternatives", many.len()),
    }
}
