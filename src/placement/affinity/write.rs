//! The operations that lead from the affinity that a pod brought to its draft.

use super::{
    AffinityDraft, KINDS, NODE, PREFERRED, REQUIRED, TERMS,
    own::{OwnKind, OwnList, OwnRequirement, OwnTerm, Requires, members},
    term::{EXPRESSIONS, FIELDS, TermDraft},
};
use crate::{
    json::{Json, push_escaped},
    patch::{Patch, token},
};

const AT: &str = "/spec/affinity";

/// A member of an object that is made for the pod.
type MadeMember = (&'static str, String);

impl<'a> AffinityDraft<'a> {
    /// Lists are never replaced: elements are taken out by index and appended, and a term that stays is edited inside.
    /// What is not there is made whole.
    pub(in crate::placement) fn write(&self, patch: &mut Patch) {
        let mut kinds: Vec<MadeMember> = Vec::new();
        for kind in KINDS {
            let mut lists = Vec::new();
            if kind == NODE {
                lists.extend(self.write_required(patch).map(|terms| (REQUIRED, terms)));
            }
            for list in [REQUIRED, PREFERRED] {
                lists.extend(self.write_appended(kind, list, patch).map(|elements| (list, elements)));
            }
            if matches!(self.own.kind(kind), OwnKind::There(_)) {
                for (list, value) in lists {
                    patch.set(&format!("{AT}/{kind}/{list}"), &Json::made(value));
                }
            } else if !lists.is_empty() {
                kinds.push((kind, object(lists)));
            }
        }
        if self.own.raw.is_some() {
            for (kind, value) in kinds {
                patch.set(&format!("{AT}/{kind}"), &Json::made(value));
            }
        } else if !kinds.is_empty() {
            patch.set(AT, &Json::made(object(kinds)));
        }
    }

    /// Appends to a list that is there, or gives it where it is not.
    fn write_appended(&self, kind: &str, list: &str, patch: &mut Patch) -> Option<String> {
        let new = self.appended.iter().filter(|new| (new.kind, new.list) == (kind, list)).map(|new| &new.json);
        let new: Vec<Json<'_>> = new.cloned().collect();
        if self.own.kind(kind).has(list) {
            patch.append(&format!("{AT}/{kind}/{list}"), true, &new);
            return None;
        }
        (!new.is_empty()).then(|| listed(new.iter().map(Json::as_str)))
    }

    /// Edits the required terms, or gives the requirement where none is there.
    fn write_required(&self, patch: &mut Patch) -> Option<String> {
        let at = format!("{AT}/{NODE}/{REQUIRED}");
        match (self.own.requires, self.requires) {
            (Requires::Nothing, Requires::Terms) => {
                return Some(object(vec![(TERMS, listed(self.terms.iter().map(|term| self.term_json(term))))]));
            }
            (Requires::Terms, Requires::Terms) => self.write_terms(&at, patch),
            (_, Requires::Nothing) if self.is_dropped => patch.remove(&at),
            _ => {}
        }
        None
    }

    /// Edits first, while indices are those of the pod; then removals from the end; then what is new. Terms are only ever
    /// found again in order, so all that is new stands behind them. A product stands in the place of a term that went.
    fn write_terms(&self, at: &str, patch: &mut Patch) {
        let required = self.own.kind(NODE).required().filter(|_| self.is_dropped).and_then(members);
        for (name, _) in required.iter().flat_map(|members| members.iter()).filter(|(name, _)| *name != TERMS) {
            // The requirement was taken out as a whole and is another now.
            patch.remove(&format!("{at}/{}", token(name)));
        }
        let mut rest = self.terms.as_slice();
        let mut removed = Vec::new();
        for (place, base) in self.own.terms.iter().enumerate() {
            match rest.split_first() {
                Some((term, tail)) if term.base == Some(place) => {
                    write_term(&format!("{at}/{TERMS}/{place}"), base, term, patch);
                    rest = tail;
                }
                _ => removed.push(place),
            }
        }
        for place in removed.into_iter().rev() {
            patch.remove(&format!("{at}/{TERMS}/{place}"));
        }
        for term in rest {
            patch.set(&format!("{at}/{TERMS}/-"), &Json::made(self.term_json(term)));
        }
    }

    /// The text of a whole term: that of its base, edited.
    fn term_json(&self, term: &TermDraft<'a>) -> String {
        let base = term.base(&self.own);
        let base_members = base.and_then(|base| members(base.raw));
        let mut members: Vec<(&str, String)> = Vec::new();
        for (name, raw) in base_members.iter().flat_map(|members| members.iter()) {
            let whole = [EXPRESSIONS, FIELDS].contains(&name).then(|| list_json(base, term, name)).flatten();
            members.push((name, whole.unwrap_or_else(|| raw.get().to_owned())));
        }
        for field in [EXPRESSIONS, FIELDS] {
            let is_there = base_members.as_ref().is_some_and(|members| members.get(field).is_some());
            if !is_there && term.added.iter().any(|one| one.field() == field) {
                members.extend(list_json(base, term, field).map(|list| (field, list)));
            }
        }
        object(members)
    }
}

/// Edits a term in its place.
fn write_term(at: &str, base: &OwnTerm<'_>, term: &TermDraft<'_>, patch: &mut Patch) {
    for place in term.removed.iter().rev() {
        patch.remove(&format!("{at}/{EXPRESSIONS}/{place}"));
    }
    let mut json = String::new();
    for field in [EXPRESSIONS, FIELDS] {
        let at = format!("{at}/{field}");
        let mut new = term.added.iter().filter(|one| one.field() == field).peekable();
        match base.list(field) {
            OwnList::There(_) => {
                for one in new {
                    json.clear();
                    one.write(&mut json);
                    patch.append(&at, true, &[Json::borrowed(&json)]);
                }
            }
            OwnList::Absent if new.peek().is_some() => {
                patch.set(&at, &Json::made(list_json(None, term, field).unwrap_or_default()));
            }
            OwnList::Absent | OwnList::Odd => {}
        }
    }
}

/// The requirements of a term in one field; `None` where its base has something else there.
fn list_json(base: Option<&OwnTerm<'_>>, term: &TermDraft<'_>, field: &str) -> Option<String> {
    let own: &[OwnRequirement<'_>] = match base.map(|base| base.list(field)) {
        Some(OwnList::Odd) => return None,
        Some(list) => list.requirements(),
        None => &[],
    };
    let mut removed = term.removed.iter().copied().filter(|_| field == EXPRESSIONS).peekable();
    let kept = own.iter().enumerate().filter(|(place, _)| removed.next_if_eq(place).is_none());
    let mut json = listed(kept.map(|(_, one)| one.raw.get()));
    json.pop();
    for one in term.added.iter().filter(|one| one.field() == field) {
        if json.len() > 1 {
            json.push(',');
        }
        one.write(&mut json);
    }
    json.push(']');
    Some(json)
}

fn listed(elements: impl Iterator<Item = impl AsRef<str>>) -> String {
    let mut json = String::from("[");
    for (number, element) in elements.enumerate() {
        if number > 0 {
            json.push(',');
        }
        json.push_str(element.as_ref());
    }
    json.push(']');
    json
}

fn object(members: Vec<(&str, String)>) -> String {
    let mut json = String::from("{");
    for (number, (name, value)) in members.into_iter().enumerate() {
        json.push_str(if number > 0 { ",\"" } else { "\"" });
        push_escaped(&mut json, name);
        json.push_str("\":");
        json.push_str(&value);
    }
    json.push('}');
    json
}
