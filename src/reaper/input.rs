//! Reads pods, and what is said of them, from a file or a pipe: a Pod, a List, an array, watch events, several YAML
//! documents or JSON values one after the other.
//!
//! JSON is read as a stream, one item at a time, so that `kubectl get pods -A -o json` of a large cluster passes through in
//! the memory of one pod. YAML is held one document at a time. What cannot be read is named and left out.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::threshold::owner::OwnerObject;
use crate::threshold::{WatchedNode, WatchedPod};

mod json;
mod yaml;

/// Texts of objects that cannot be read that are kept; a dump may hold 100,000.
const NAMED: usize = 50;

/// An object of a dump.
#[derive(Debug, Clone, PartialEq)]
pub enum DumpObject {
    /// A pod as it was.
    Pod(Box<WatchedPod>),
    /// A pod that is gone, by a watch event.
    Gone(Box<WatchedPod>),
    /// A namespace with its labels.
    Namespace(String, BTreeMap<String, String>),
    /// A node.
    Node(Box<WatchedNode>),
    /// Anything else, which may own pods.
    Owner(Box<OwnerObject>),
}

/// What an input held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The pods that were passed on, each state of one.
    pub pods: usize,
    /// What nobody wanted, by kind.
    pub skipped: BTreeMap<String, usize>,
    /// The first objects that could not be read, each with its place, its name and what is wrong with it.
    pub unreadable: Vec<String>,
    /// How many there were.
    pub unreadable_count: usize,
}

/// Why an input was refused, or left off in the middle.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The input broke off.
    #[error("reading pods: {0}")]
    Read(io::Error),
    /// Not JSON.
    #[error("reading pods: {0}")]
    Json(serde_json::Error),
    /// Not YAML.
    #[error("reading pods: {0}")]
    Yaml(Box<serde_saphyr::Error>),
    /// No object at all.
    #[error("no pods: the input is empty; give a Pod, a List or the output of `kubectl get pods -o json`")]
    Empty,
    /// Objects, but no pod.
    #[error("no pods: the input holds {0}; give a Pod, a List or the output of `kubectl get pods -o json`")]
    NoPods(String),
}

impl Contents {
    /// What was skipped, for people: `2 Service, 1 Job`. Empty when nothing was.
    pub fn skipped_words(&self) -> String {
        let kinds: Vec<String> = self.skipped.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        kinds.join(", ")
    }
}

/// Passes every object of the input to `on_object`, in the order of the input, which says whether it wants it.
///
/// What was read is in the contents also where the input ends in an error.
///
/// # Errors
///
/// When the input cannot be read any further, or holds no pod (an empty List is fine).
pub fn read_dump<R: BufRead>(
    mut input: R,
    on_object: &mut dyn FnMut(DumpObject) -> bool,
) -> (Contents, Result<(), InputError>) {
    let mut sink = Sink { on_object, contents: Contents::default(), documents: 0, lists: 0, used: 0 };
    let read = match first_byte(&mut input) {
        Err(error) => Err(InputError::Read(error)),
        Ok(None) => Err(InputError::Empty),
        Ok(Some(b'{' | b'[')) => json::read(input, &mut sink),
        Ok(Some(_)) => yaml::read(input, &mut sink),
    };
    let Sink { contents, lists, used, .. } = sink;
    let found_none = contents.pods == 0 && contents.unreadable_count == 0;
    let outcome = match read {
        Ok(()) if found_none && !contents.skipped.is_empty() => Err(InputError::NoPods(contents.skipped_words())),
        Ok(()) if found_none && lists == 0 && used == 0 => Err(InputError::Empty),
        read => read,
    };
    (contents, outcome)
}

struct Sink<'a> {
    on_object: &'a mut dyn FnMut(DumpObject) -> bool,
    contents: Contents,
    documents: usize,
    lists: usize,
    /// Objects that are no pods and were wanted.
    used: usize,
}

/// What an object is, and how it is called.
#[derive(Default, Deserialize)]
struct Identity {
    kind: Option<String>,
    metadata: Option<Name>,
}

#[derive(Default, Deserialize)]
struct Name {
    namespace: Option<String>,
    name: Option<String>,
}

/// An object that is no object of the API but holds one: a watch event, or a List inside a List.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    event: Option<String>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

impl Sink<'_> {
    /// Takes an object. Inside a PodList the items carry no kind; a document without one is nothing known.
    fn take(&mut self, raw: &RawValue, which: &dyn Fn() -> String, default_kind: &str) {
        self.take_as(raw, which, default_kind, false);
    }

    fn take_as(&mut self, raw: &RawValue, which: &dyn Fn() -> String, default_kind: &str, gone: bool) {
        match serde_json::from_str::<WatchedPod>(raw.get()) {
            Ok(pod) => {
                let kind = if pod.kind.is_empty() { default_kind } else { &pod.kind };
                if kind == "Pod" && (!pod.metadata.uid.is_empty() || pod.metadata.creation_timestamp.is_some()) {
                    self.contents.pods += 1;
                    let pod = Box::new(pod);
                    (self.on_object)(if gone { DumpObject::Gone(pod) } else { DumpObject::Pod(pod) });
                    return;
                }
                if pod.kind.is_empty() && self.open(raw, which) {
                    return;
                }
                match kind {
                    "Pod" => {
                        let why = "it has neither a metadata.uid nor a metadata.creationTimestamp, as every object of the \
                                   API has; give the output of `kubectl get pods -o json`";
                        self.refuse(raw, which, why);
                    }
                    "Namespace" => {
                        let metadata = pod.metadata;
                        self.pass(DumpObject::Namespace(metadata.name, metadata.labels), "Namespace");
                    }
                    kind => self.other(raw, which, kind),
                }
            }
            Err(_) => {
                let identity: Identity = serde_json::from_str(raw.get()).unwrap_or_default();
                match identity.kind.as_deref().filter(|kind| !kind.is_empty()).unwrap_or(default_kind) {
                    "Pod" => self.refuse(raw, which, &why(raw)),
                    kind => self.other(raw, which, kind),
                }
            }
        }
    }

    /// Takes what a watch event holds. Says whether it was one.
    fn open(&mut self, raw: &RawValue, which: &dyn Fn() -> String) -> bool {
        let Ok(Envelope { event: Some(event), object: Some(object), .. }) = serde_json::from_str(raw.get()) else {
            return false;
        };
        match event.as_str() {
            "BOOKMARK" => {}
            "ERROR" => self.refuse(raw, which, "the watch ended in an error"),
            event => self.take_as(object, which, "", event == "DELETED"),
        }
        true
    }

    fn other(&mut self, raw: &RawValue, which: &dyn Fn() -> String, kind: &str) {
        if kind == "Node" {
            match serde_json::from_str(raw.get()) {
                Ok(node) => self.pass(DumpObject::Node(Box::new(node)), kind),
                Err(error) => self.refuse(raw, which, &without_place(&error.to_string())),
            }
            return;
        }
        if kind.ends_with("List")
            && let Ok(Envelope { items: Some(items), .. }) = serde_json::from_str(raw.get())
        {
            self.lists += 1;
            for (index, item) in items.into_iter().enumerate() {
                self.take(item, &|| format!("item {index} of {}", which()), item_kind(kind));
            }
            return;
        }
        match serde_json::from_str::<OwnerObject>(raw.get()) {
            Ok(owner) if !owner.metadata.uid.is_empty() => self.pass(DumpObject::Owner(Box::new(owner)), kind),
            _ => self.skip(kind),
        }
    }

    fn pass(&mut self, object: DumpObject, kind: &str) {
        if (self.on_object)(object) {
            self.used += 1;
        } else {
            self.skip(kind);
        }
    }

    fn skip(&mut self, kind: &str) {
        let kind = if kind.is_empty() { "object without a kind" } else { kind };
        *self.contents.skipped.entry(kind.to_owned()).or_default() += 1;
    }

    fn refuse(&mut self, raw: &RawValue, which: &dyn Fn() -> String, why: &str) {
        self.contents.unreadable_count += 1;
        if self.contents.unreadable.len() >= NAMED {
            return;
        }
        let identity: Identity = serde_json::from_str(raw.get()).unwrap_or_default();
        let called = match identity.metadata.unwrap_or_default() {
            Name { name: Some(name), namespace } => {
                let namespace = namespace.unwrap_or_else(|| "default".to_owned());
                format!(" ({namespace}/{name})")
            }
            Name { name: None, .. } => String::new(),
        };
        self.contents.unreadable.push(format!("reading {}{called}: {why}", which()));
    }
}

/// The field of a pod that cannot be read, and why: read once more, since the way to it costs more than the reading.
fn why(raw: &RawValue) -> String {
    let mut json = serde_json::Deserializer::from_str(raw.get());
    let Err(error) = serde_path_to_error::deserialize::<_, WatchedPod>(&mut json) else {
        return String::new();
    };
    let text = without_place(&error.inner().to_string());
    match error.path().to_string().as_str() {
        "." => text,
        path => format!("{path}: {text}"),
    }
}

/// serde_json's line and column are those of a part.
fn without_place(text: &str) -> String {
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn first_byte(input: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(None);
        }
        if let Some(byte) = buffer.iter().find(|byte| !byte.is_ascii_whitespace()) {
            return Ok(Some(*byte));
        }
        let blank = buffer.len();
        input.consume(blank);
    }
}

/// The kind of items that carry none, as in a PodList straight from the API.
fn item_kind(list_kind: &str) -> &str {
    match list_kind {
        "" | "List" => "Pod",
        _ => list_kind.strip_suffix("List").unwrap_or(list_kind),
    }
}
