//! Whole answers, kept as files: one folder a case. `STOWAGE_BLESS=1` writes what is given now.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::harness::{answer_to, policies};

#[test]
fn answers_are_as_they_were_agreed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut cases: Vec<_> = fs::read_dir(root.join("golden")).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 30, "{} cases", cases.len());
    let update = std::env::var_os("STOWAGE_BLESS").is_some();
    let mut wrong = Vec::new();
    for case in cases {
        let text = fs::read_to_string(case.join("policy.yaml")).unwrap();
        let given = fs::read_to_string(case.join("review.json")).unwrap();
        let review: Value = serde_json::from_str(&given).unwrap();
        let answer = answer_to(&review, &policies(&text));
        let got = json!({
            "allowed": answer.response["allowed"], "status": answer.response["status"], "patch": answer.patch,
            "warnings": answer.response["warnings"], "auditAnnotations": answer.response["auditAnnotations"],
        });
        let file = case.join("expected.json");
        if update {
            fs::write(&file, format!("{}\n", serde_json::to_string_pretty(&got).unwrap())).unwrap();
        }
        let expected: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap_or_default()).unwrap_or_default();
        if got != expected {
            wrong.push(format!("{}: {got}", case.file_name().unwrap().display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_recorded_review_has_a_case() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let names = |folder: &str| {
        let mut texts: Vec<String> = fs::read_dir(root.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| if path.is_dir() { path.join("review.json") } else { path })
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        texts.sort();
        texts
    };
    let golden = names("golden");
    let reviews = names("reviews");
    assert_eq!(reviews.len(), 8);
    for review in reviews {
        assert!(golden.contains(&review), "{}", &review[..120]);
    }
}
