//! Policies out of texts, such as files: what is right, and what is wrong with its file and line.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde_json::Value;

use crate::{
    field_error::{FieldError, below, field, item},
    policy::{
        Policy, PolicyId,
        compile::Compiler,
        crd::{CLUSTER_KIND, NAMESPACED_KIND},
        document::{self, Document},
        index::PolicyIndex,
        replaced,
        snapshot::{Namespaces, Snapshot},
    },
};

/// What a set of policy files came to.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The policies that are right.
    pub policies: Vec<Arc<Policy>>,
    /// Labels of the namespaces that the files describe.
    pub namespaces: Namespaces,
    /// How many policies are refused; one of them may be wrong in many places.
    pub refused: usize,
    /// What is wrong, with file and line.
    pub errors: Vec<Located>,
    /// What a person should know, with file and line.
    pub notes: Vec<Located>,
    /// Documents that are neither a policy nor a namespace, by file.
    pub others: Vec<Located>,
    /// File and line of every policy.
    origins: HashMap<PolicyId, (String, u64)>,
    /// Made with the first policy, unless it was given, and dropped with the rest.
    compiler: Option<Arc<Compiler>>,
}

/// A remark with its file and line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Located {
    /// The file, as it was named.
    pub file: String,
    /// Line, from 1; 0 where it is not known.
    pub line: u64,
    /// The remark.
    pub error: FieldError,
}

impl Loaded {
    /// Nothing yet, to be compiled by a compiler that is there already.
    #[must_use]
    pub fn with_compiler(compiler: Arc<Compiler>) -> Self {
        Self { compiler: Some(compiler), ..Self::default() }
    }

    /// Adds the documents of one file, named `file` in what is said of it.
    ///
    /// Policies are compiled; Namespaces give their labels, so that selectors and pod security can be tried without a
    /// cluster; Lists are taken apart; any other kind is only counted, since example files hold pods too.
    pub fn add(&mut self, file: &str, text: &str) {
        match document::parse(text) {
            Ok(documents) => {
                for document in documents {
                    self.document(file, &document, &document.value, "");
                }
            }
            Err(error) => {
                let remark = FieldError::new("", error.reason);
                self.refused += 1;
                self.errors.push(Located { file: file.to_owned(), line: error.line, error: remark });
            }
        }
    }

    /// Refuses, of the policies that were added, those that cannot be in force beside the others. Asked once, when all are
    /// added.
    pub fn finish(&mut self) {
        let policies = std::mem::take(&mut self.policies);
        for policy in &policies {
            match replaced::refusal(policy, &policies) {
                None => self.policies.push(Arc::clone(policy)),
                Some(error) => {
                    self.refused += 1;
                    let (file, line) = self.origins.get(&policy.id).cloned().unwrap_or_default();
                    self.errors.push(Located { file, line, error });
                }
            }
        }
    }

    /// The snapshot of what is right.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            policies: Arc::new(PolicyIndex::new(self.policies.iter().cloned())),
            namespaces: Arc::new(self.namespaces.clone()),
            ..Snapshot::default()
        }
    }

    fn document(&mut self, file: &str, document: &Document, value: &Value, at: &str) {
        let located = |error: FieldError| {
            let path = below(at, &error.path);
            Located { file: file.to_owned(), line: document.line(&path), error: FieldError { path, ..error } }
        };
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
        let group = value.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        if kind.ends_with("List") && value.get("items").is_some_and(Value::is_array) {
            let items = value.get("items").and_then(Value::as_array);
            for (index, value) in items.into_iter().flatten().enumerate() {
                self.document(file, document, value, &item(&field(at, "items"), index));
            }
        } else if kind == "Namespace" && group == "v1" {
            self.namespace(value);
        } else if group.starts_with("stowage.dev/") || matches!(kind, CLUSTER_KIND | NAMESPACED_KIND) {
            let compiler = self.compiler.get_or_insert_with(|| Arc::new(Compiler::new()));
            match compiler.compile(value) {
                Ok(policy) => {
                    self.notes.extend(policy.notes.iter().cloned().map(located));
                    self.policy(policy, file, document.line(at), at);
                }
                Err(errors) => {
                    self.refused += 1;
                    self.errors.extend(errors.into_iter().map(located));
                }
            }
        } else if kind.is_empty() || group.is_empty() {
            let why = "apiVersion and kind are required: is this a policy?";
            self.refused += 1;
            self.errors.push(located(FieldError::new("", why)));
        } else {
            self.others.push(located(FieldError::new("", format!("{kind} is not a policy and is passed over"))));
        }
    }

    fn policy(&mut self, policy: Policy, file: &str, line: u64, at: &str) {
        if let Some((first, at_line)) = self.origins.get(&policy.id) {
            let why = format!("{:?} is given twice; first in {first}:{at_line}", policy.id.to_string());
            let error = FieldError::new(below(at, "metadata.name"), why);
            self.refused += 1;
            self.errors.push(Located { file: file.to_owned(), line, error });
            return;
        }
        self.origins.insert(policy.id.clone(), (file.to_owned(), line));
        self.policies.push(Arc::new(policy));
    }

    fn namespace(&mut self, value: &Value) {
        if let Some((name, labels)) = namespace_labels(value) {
            self.namespaces.insert(name, labels);
        }
    }
}

/// Name and labels of a `v1` Namespace.
#[must_use]
pub fn namespace_labels(namespace: &Value) -> Option<(String, BTreeMap<String, String>)> {
    let name = namespace.pointer("/metadata/name").and_then(Value::as_str)?;
    let labels = namespace.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
    Some((name.to_owned(), labels))
}

impl std::fmt::Display for Located {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.error),
            line => write!(f, "{}:{line}: {}", self.file, self.error),
        }
    }
}
