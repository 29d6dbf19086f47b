use serde_json::json;

use super::*;

fn list(tolerations: Value) -> Tolerations<'static> {
    Tolerations::read(Some(json::read(tolerations.to_string().leak()).unwrap())).unwrap()
}

fn ask(one: Value, other: Value, question: impl for<'v> Fn(&TolerationView<'v>, &TolerationView<'v>) -> bool) -> bool {
    let (one, other) = (list(json!([one])), list(json!([other])));
    question(&one.views().next().unwrap(), &other.views().next().unwrap())
}

fn covers(broad: Value, narrow: Value) -> bool {
    ask(broad, narrow, |one, other| {
        let mut list = Covering::default();
        list.add(*one);
        list.find(other).is_some()
    })
}

fn overlaps(one: Value, other: Value) -> bool {
    let answer = ask(one.clone(), other.clone(), |one, other| one.overlaps(other));
    assert_eq!(answer, ask(other, one, |one, other| one.overlaps(other)));
    answer
}

#[test]
fn operator_defaults_to_equal_and_seconds_do_not_count() {
    let bare = json!({"key": "spot", "value": "true", "effect": "NoExecute"});
    let full =
        json!({"key": "spot", "operator": "Equal", "value": "true", "effect": "NoExecute", "tolerationSeconds": 5});
    assert!(ask(bare, full, |one, other| one.is_same(other)));
}

#[test]
fn exists_without_key_covers_everything_of_its_effect() {
    let spot = json!({"key": "spot", "operator": "Exists", "effect": "NoSchedule"});
    assert!(covers(json!({"operator": "Exists"}), spot.clone()));
    assert!(covers(json!({"operator": "Exists", "effect": "NoSchedule"}), spot.clone()));
    assert!(!covers(json!({"operator": "Exists", "effect": "NoExecute"}), spot));
}

#[test]
fn exists_covers_equal_but_not_the_other_way_round() {
    let exists = json!({"key": "spot", "operator": "Exists"});
    let equal = json!({"key": "spot", "value": "true"});
    assert!(covers(exists.clone(), equal.clone()));
    assert!(!covers(equal.clone(), exists));
    assert!(!covers(equal, json!({"key": "spot", "value": "false"})));
}

#[test]
fn one_effect_does_not_cover_all_effects() {
    let all = json!({"key": "spot", "operator": "Exists"});
    let one = json!({"key": "spot", "operator": "Exists", "effect": "NoSchedule"});
    assert!(covers(all.clone(), one.clone()));
    assert!(!covers(one, all));
}

#[test]
fn numeric_operators_cover_only_themselves() {
    let above = json!({"key": "sla", "operator": "Gt", "value": "5"});
    assert!(covers(above.clone(), above.clone()));
    assert!(!covers(above.clone(), json!({"key": "sla", "operator": "Gt", "value": "9"})));
    assert!(!covers(above.clone(), json!({"key": "sla", "value": "9"})));
    assert!(covers(json!({"key": "sla", "operator": "Exists"}), above));
}

#[test]
fn tolerations_overlap_where_a_taint_fits_both() {
    let spot = json!({"key": "spot", "operator": "Exists"});
    assert!(overlaps(spot.clone(), json!({"key": "spot", "value": "x", "effect": "NoSchedule"})));
    assert!(overlaps(spot.clone(), json!({"operator": "Exists", "effect": "NoExecute"})));
    assert!(!overlaps(spot, json!({"key": "gpu", "operator": "Exists"})));
    assert!(!overlaps(json!({"key": "a", "value": "1"}), json!({"key": "a", "value": "2"})));
}

#[test]
fn json_leaves_out_what_is_empty() {
    let wire = core::Toleration {
        key: Some("spot".into()),
        operator: Some("Exists".into()),
        value: Some(String::new()),
        ..core::Toleration::default()
    };
    assert_eq!(Toleration::from(&wire).json, r#"{"key":"spot","operator":"Exists"}"#);
}

#[test]
fn what_is_no_toleration_stays_in_its_place() {
    let mut after = list(json!([7, {"key": "a", "operator": "Exists"}, {"key": ["b"]}, {"key": "c"}]));
    let removed = after.remove(|view| view.key == "c");
    assert_eq!(removed.len(), 1);
    assert_eq!(after.views().map(|view| view.key.to_owned()).collect::<Vec<_>>(), ["a"]);
    let mut patch = Patch::default();
    after.write(&mut patch);
    assert_eq!(str::from_utf8(patch.json()).unwrap(), r#"[{"op":"remove","path":"/spec/tolerations/3"}]"#);
}

#[test]
fn the_list_is_made_once_where_there_is_none() {
    let spot = Toleration::from(&core::Toleration { key: Some("spot".into()), ..core::Toleration::default() });
    let mut after = Tolerations::read(None).unwrap();
    after.merge(std::slice::from_ref(&spot), |_, held| assert!(held.is_none()));
    let mut patch = Patch::default();
    after.write(&mut patch);
    assert_eq!(
        str::from_utf8(patch.json()).unwrap(),
        r#"[{"op":"add","path":"/spec/tolerations","value":[{"key":"spot"}]}]"#
    );
    assert!(Tolerations::read(Some(json::read("{}").unwrap())).is_none());
}
