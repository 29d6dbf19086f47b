//! Reads pods, and what is said of them, from a file or a pipe: a Pod, a List, an array, watch events, several YAML
//! documents or JSON values one after the other.
//!
//! JSON is read as a stream, one item at a time, so that `kubectl get pods -A -o json` of a large cluster passes through in
//! the memory of one pod. YAML is held one document at a time. What cannot be read is named and left out.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::threshold::owner::{OwnerObject, known_kinds};
use crate::threshold::pod::Spec;
use crate::threshold::{WatchedNode, WatchedPod};

mod json;
mod yaml;

/// Texts of objects that cannot be read that are kept; a dump may hold 100,000.
const NAMED: usize = 50;

/// How many Lists, arrays and watch events may hold one another: more are no dump, and each costs the stack.
const DEEPEST: usize = 8;

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
    /// The name of a node that is gone, by a watch event.
    NodeGone(String),
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
    let mut sink = Sink { on_object, contents: Contents::default(), documents: 0, lists: 0, used: 0, depth: 0 };
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
    /// How many Lists, arrays and events hold what is read now.
    depth: usize,
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

/// What an object is that carries no kind.
#[derive(Debug, Clone, Copy)]
enum Untold<'k> {
    /// A document of its own: nothing known.
    Nothing,
    /// An item of an array, or of a List that tells no kind: a pod, unless it looks like something else.
    Likely,
    /// An item of a List that tells: a pod in a PodList straight from the API.
    Told(&'k str),
}

impl<'k> Untold<'k> {
    fn in_list(kind: &'k str) -> Self {
        match kind {
            "" | "List" => Self::Likely,
            _ => Self::Told(kind.strip_suffix("List").unwrap_or(kind)),
        }
    }

    fn kind(self) -> &'k str {
        match self {
            Self::Nothing => "",
            Self::Likely => "Pod",
            Self::Told(kind) => kind,
        }
    }
}

impl Sink<'_> {
    /// Takes an object.
    fn take(&mut self, raw: &RawValue, which: &dyn Fn() -> String, untold: Untold<'_>) {
        self.take_as(raw, which, untold, false);
    }

    fn take_as(&mut self, raw: &RawValue, which: &dyn Fn() -> String, untold: Untold<'_>, gone: bool) {
        // A sequence would be read as the fields of a pod.
        if raw.get().starts_with('[')
            && let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(raw.get())
        {
            return self.each(raw, &items, which, untold);
        }
        let Ok(pod) = serde_json::from_str::<WatchedPod>(raw.get()) else {
            let identity: Identity = serde_json::from_str(raw.get()).unwrap_or_default();
            return match identity.kind.as_deref().filter(|kind| !kind.is_empty()).unwrap_or_else(|| untold.kind()) {
                "Pod" | "Namespace" => self.refuse(raw, which, &why(raw)),
                kind => self.other(raw, which, kind, gone),
            };
        };
        let is_object = !pod.metadata.uid.is_empty() || pod.metadata.creation_timestamp.is_some();
        if !is_object && pod.kind.is_empty() && self.open(raw, which, untold) {
            return;
        }
        match if pod.kind.is_empty() { untold.kind() } else { &pod.kind } {
            "Pod" if !is_object => {
                let why = "it has neither a metadata.uid nor a metadata.creationTimestamp, as every object of the API \
                           has; give the output of `kubectl get pods -o json`";
                self.refuse(raw, which, why);
            }
            "Pod" if pod.kind.is_empty() && matches!(untold, Untold::Likely) && is_another(raw, &pod) => {
                self.refuse(raw, which, "it has no kind, and fields that no pod has");
            }
            "Pod" => {
                self.contents.pods += 1;
                let pod = Box::new(pod);
                (self.on_object)(if gone { DumpObject::Gone(pod) } else { DumpObject::Pod(pod) });
            }
            "Namespace" => {
                let metadata = pod.metadata;
                self.pass(DumpObject::Namespace(metadata.name, metadata.labels), "Namespace");
            }
            kind => self.other(raw, which, kind, gone),
        }
    }

    /// Takes what a watch event or a List without a kind holds. Says whether it was one.
    fn open(&mut self, raw: &RawValue, which: &dyn Fn() -> String, untold: Untold<'_>) -> bool {
        match serde_json::from_str(raw.get()) {
            Ok(Envelope { event: Some(event), object: Some(object), .. }) => match event.as_str() {
                "BOOKMARK" => {}
                "ERROR" => self.refuse(raw, which, "the watch ended in an error"),
                event => {
                    self.within(raw, which, |sink| sink.take_as(object, which, Untold::Nothing, event == "DELETED"))
                }
            },
            Ok(Envelope { items: Some(items), .. }) => self.each(raw, &items, which, untold),
            _ => return false,
        }
        true
    }

    /// Takes the items of a List or an array that another one holds.
    fn each(&mut self, raw: &RawValue, items: &[&RawValue], which: &dyn Fn() -> String, untold: Untold<'_>) {
        self.lists += 1;
        self.within(raw, which, |sink| {
            for (index, item) in items.iter().enumerate() {
                sink.take(item, &|| format!("item {index} of {}", which()), untold);
            }
        });
    }

    fn within(&mut self, raw: &RawValue, which: &dyn Fn() -> String, take: impl FnOnce(&mut Self)) {
        if self.depth == DEEPEST {
            self.refuse(raw, which, "Lists in Lists, deeper than any dump has them");
            return;
        }
        self.depth += 1;
        take(self);
        self.depth -= 1;
    }

    fn other(&mut self, raw: &RawValue, which: &dyn Fn() -> String, kind: &str, gone: bool) {
        if kind == "Node" {
            match serde_json::from_str::<WatchedNode>(raw.get()) {
                Ok(node) if gone => self.pass(DumpObject::NodeGone(node.metadata.name), kind),
                Ok(node) => self.pass(DumpObject::Node(Box::new(node)), kind),
                Err(error) => self.refuse(raw, which, &without_place(&error.to_string())),
            }
            return;
        }
        if kind.ends_with("List")
            && let Ok(Envelope { items: Some(items), .. }) = serde_json::from_str(raw.get())
        {
            self.each(raw, &items, which, Untold::in_list(kind));
            return;
        }
        match serde_json::from_str::<OwnerObject>(raw.get()) {
            Ok(owner) if !owner.metadata.uid.is_empty() => self.pass(DumpObject::Owner(Box::new(owner)), kind),
            // What a verdict would be without it may be another one.
            Err(error) if known_kinds().any(|(_, known)| known == kind) => {
                self.refuse(raw, which, &without_place(&error.to_string()));
            }
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

/// Whether what does not say its kind is no pod: a Job, a Service or a ConfigMap out of a list of theirs.
fn is_another(raw: &RawValue, pod: &WatchedPod) -> bool {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    let of_pods = ["apiVersion", "kind", "metadata", "spec", "status"];
    let is_foreign = |spec: &&RawValue| {
        let said = serde_json::from_str::<Value>(spec.get()).unwrap_or_default();
        !said.is_null() && said != json!({})
    };
    fields.keys().any(|field| !of_pods.contains(&field.as_str()))
        || pod.spec == Spec::default() && fields.get("spec").is_some_and(is_foreign)
}
