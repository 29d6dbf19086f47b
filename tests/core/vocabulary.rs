//! One name means one thing: no two types of the tree share a name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use proc_macro2::{TokenStream, TokenTree};

use crate::layering::{src, walk};

/// The types that are declared in `tokens`, also those inside functions and modules; what a type is to a trait (`type
/// Error = …` in an `impl` or a `trait`) is none.
fn declared(tokens: TokenStream, is_of_trait: bool, found: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut is_impl = false;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => {
                declared(group.stream(), is_impl, found);
                if group.delimiter() == proc_macro2::Delimiter::Brace {
                    is_impl = false;
                }
            }
            TokenTree::Ident(word) => {
                let word = word.to_string();
                is_impl |= matches!(word.as_str(), "impl" | "trait");
                let declares =
                    matches!(word.as_str(), "struct" | "enum" | "union" | "trait") || word == "type" && !is_of_trait;
                if let (true, Some(TokenTree::Ident(name))) = (declares, tokens.get(at + 1)) {
                    found.push(name.to_string());
                }
            }
            _ => {}
        }
    }
}

/// For every name the files that declare a type of it.
fn places() -> BTreeMap<String, Vec<String>> {
    let mut files = Vec::new();
    walk(&src(), &mut files);
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files {
        let mut found = Vec::new();
        declared(fs::read_to_string(&file).unwrap().parse().unwrap(), false, &mut found);
        for name in found {
            places.entry(name).or_default().push(file.strip_prefix(src()).unwrap().display().to_string());
        }
    }
    places
}

#[test]
fn no_two_types_share_a_name() {
    let places = places();
    for known in ["Policy", "Snapshot", "Watcher", "LabelsVisitor", "PolicyId"] {
        assert!(places.contains_key(known), "{known} was not found");
    }
    let shared: BTreeSet<String> = places
        .iter()
        .filter(|(_, files)| files.len() > 1)
        .map(|(name, files)| format!("{name} in {}", files.join(", ")))
        .collect();
    assert!(shared.is_empty(), "{shared:#?}");
}

#[test]
fn types_are_found_where_they_hide() {
    let text = "pub struct A(u8); mod m { enum B {} fn f() { struct C; } } impl T for A { type Error = E; fn g() { type D = u8; } } \
                trait T { type Out; } fn h() -> impl Fn() { struct F; }";
    let mut found = Vec::new();
    declared(text.parse().unwrap(), false, &mut found);
    assert_eq!(found, ["A", "B", "C", "D", "T", "F"]);
}
