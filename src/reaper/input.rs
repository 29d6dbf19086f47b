//! Reads pods from a file or a pipe: a Pod, a List, several YAML documents or JSON values one after the other.
//!
//! JSON is read as a stream, one item at a time, so that `kubectl get pods -A -o json` of a large cluster passes through in
//! the memory of one pod. YAML is held one document at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::threshold::WatchedPod;

/// What an input held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The pods that were passed on.
    pub pods: usize,
    /// Everything else, by kind.
    pub skipped: BTreeMap<String, usize>,
}

/// Why an input was refused.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The input broke off.
    #[error("reading pods: {0}")]
    Read(io::Error),
    /// The receiver of the pods failed.
    #[error("writing verdicts: {0}")]
    Write(io::Error),
    /// Not JSON.
    #[error("reading pods: {0}")]
    Json(serde_json::Error),
    /// Not YAML.
    #[error("reading pods: {0}")]
    Yaml(Box<serde_saphyr::Error>),
    /// One object is no readable pod.
    #[error("reading {which}: {why}")]
    Pod {
        /// The item or document by number, from 0 as in `.items[0]`, and by name where it has one.
        which: String,
        /// The field and what is wrong with it.
        why: String,
    },
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

/// Passes every pod of the input to `on_pod`, in the order of the input. Other kinds are counted and left out.
///
/// # Errors
///
/// When the input cannot be read, a pod in it is not one, there is none (an empty List is fine), or `on_pod` fails. Pods
/// that came before have been passed on.
pub fn read_pods<R: BufRead>(
    mut input: R,
    on_pod: &mut dyn FnMut(&WatchedPod) -> io::Result<()>,
) -> Result<Contents, InputError> {
    let mut sink = Sink { on_pod, contents: Contents::default(), documents: 0, lists: 0, failure: None };
    match first_byte(&mut input).map_err(InputError::Read)? {
        None => return Err(InputError::Empty),
        Some(b'{' | b'[') => read_json(input, &mut sink)?,
        Some(_) => read_yaml(input, &mut sink)?,
    }
    let contents = sink.contents;
    if contents.pods == 0 {
        if !contents.skipped.is_empty() {
            return Err(InputError::NoPods(contents.skipped_words()));
        }
        if sink.lists == 0 {
            return Err(InputError::Empty);
        }
    }
    Ok(contents)
}

struct Sink<'a> {
    on_pod: &'a mut dyn FnMut(&WatchedPod) -> io::Result<()>,
    contents: Contents,
    documents: usize,
    lists: usize,
    /// serde carries text only: the error itself waits here.
    failure: Option<InputError>,
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

impl Sink<'_> {
    /// Takes an object. Inside a PodList the items carry no kind; a document without one is nothing known.
    fn take(
        &mut self,
        pod: Result<WatchedPod, String>,
        identity: impl FnOnce() -> Identity,
        which: impl FnOnce() -> String,
        default_kind: &str,
    ) -> Result<(), InputError> {
        let kind = match &pod {
            Ok(pod) if pod.kind.is_empty() => default_kind.to_owned(),
            Ok(pod) => pod.kind.clone(),
            Err(_) => String::new(),
        };
        match pod {
            Ok(pod) if kind == "Pod" => {
                self.contents.pods += 1;
                (self.on_pod)(&pod).map_err(InputError::Write)
            }
            Ok(_) => {
                self.skip(kind);
                Ok(())
            }
            Err(why) => {
                let identity = identity();
                let kind = identity.kind.as_deref().unwrap_or(default_kind);
                if kind != "Pod" {
                    self.skip(kind.to_owned());
                    return Ok(());
                }
                let which = match identity.metadata.unwrap_or_default() {
                    Name { name: Some(name), namespace } => {
                        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
                        format!("{} ({namespace}/{name})", which())
                    }
                    Name { name: None, .. } => which(),
                };
                Err(InputError::Pod { which, why })
            }
        }
    }

    fn skip(&mut self, kind: String) {
        let kind = if kind.is_empty() { "object without a kind".to_owned() } else { kind };
        *self.contents.skipped.entry(kind).or_default() += 1;
    }
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

/// From the reader, since a dump of a whole cluster does not fit a buffer; the items are decoded from slices.
fn read_json(input: impl BufRead, sink: &mut Sink<'_>) -> Result<(), InputError> {
    let mut json = serde_json::Deserializer::from_reader(input);
    loop {
        let read = Document(sink).deserialize(&mut json);
        if let Some(failure) = sink.failure.take() {
            return Err(failure);
        }
        read.map_err(json_error)?;
        sink.documents += 1;
        match json.end() {
            Ok(()) => return Ok(()),
            Err(error) if error.is_syntax() => {}
            Err(error) => return Err(json_error(error)),
        }
    }
}

fn json_error(error: serde_json::Error) -> InputError {
    if error.is_io() { InputError::Read(error.into()) } else { InputError::Json(error) }
}

/// One JSON document, its keys in any order: `kubectl` writes `items` before `kind`.
struct Document<'a, 'b>(&'a mut Sink<'b>);

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Pod or a List")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let sink = self.0;
        let mut kind = String::new();
        let mut parts: Vec<(String, Box<RawValue>)> = Vec::new();
        let mut is_list = false;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "kind" => kind = map.next_value::<Option<String>>()?.unwrap_or_default(),
                "items" => {
                    is_list = true;
                    let items = Items { sink: &mut *sink, kind: item_kind(&kind).to_owned() };
                    map.next_value_seed(items)?;
                }
                "metadata" | "spec" | "status" => parts.push((key, map.next_value()?)),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if is_list {
            sink.lists += 1;
            return Ok(());
        }
        let which = format!("document {}", sink.documents);
        let pod = pod_of(&parts, &kind);
        let identity = || Identity {
            metadata: parts
                .iter()
                .find(|(key, _)| key == "metadata")
                .and_then(|(_, raw)| serde_json::from_str(raw.get()).ok()),
            kind: Some(kind.clone()),
        };
        let taken = sink.take(pod, identity, || which, "");
        taken.map_err(|failure| {
            sink.failure = Some(failure);
            A::Error::custom("refused")
        })
    }
}

fn pod_of(parts: &[(String, Box<RawValue>)], kind: &str) -> Result<WatchedPod, String> {
    let mut pod = WatchedPod { kind: kind.to_owned(), ..WatchedPod::default() };
    if kind != "Pod" {
        return Ok(pod);
    }
    for (key, raw) in parts {
        match key.as_str() {
            "metadata" => pod.metadata = or_default(key, raw)?,
            "spec" => pod.spec = or_default(key, raw)?,
            _ => pod.status = or_default(key, raw)?,
        }
    }
    Ok(pod)
}

fn or_default<'de, T: Deserialize<'de> + Default>(part: &str, raw: &'de RawValue) -> Result<T, String> {
    match serde_json::from_str::<Option<T>>(raw.get()) {
        Ok(read) => Ok(read.unwrap_or_default()),
        Err(_) => Err(format!("{part}.{}", why::<Option<T>>(raw))),
    }
}

/// The field that cannot be read, and why: read once more, since the way to it costs more than the reading.
fn why<'de, T: Deserialize<'de>>(raw: &'de RawValue) -> String {
    let mut json = serde_json::Deserializer::from_str(raw.get());
    serde_path_to_error::deserialize::<_, T>(&mut json).err().map_or_else(String::new, |error| located(&error))
}

/// Without serde_json's line and column, which are those of a part.
fn located(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let text = error.inner().to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    match error.path().to_string().as_str() {
        "." => text.to_owned(),
        path => format!("{path}: {text}"),
    }
}

/// The kind of items that carry none, as in a PodList straight from the API.
fn item_kind(list_kind: &str) -> &str {
    match list_kind {
        "" | "List" => "Pod",
        _ => list_kind.strip_suffix("List").unwrap_or(list_kind),
    }
}

/// The items of a List, one after the other.
struct Items<'a, 'b> {
    sink: &'a mut Sink<'b>,
    kind: String,
}

impl<'de> DeserializeSeed<'de> for Items<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of items")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut index = 0_usize;
        // Two passes, over the stream and over the item's own text, cost less than one over the stream byte by byte.
        while let Some(raw) = seq.next_element::<Box<RawValue>>()? {
            let taken = self.sink.take(
                serde_json::from_str(raw.get()).map_err(|_| why::<WatchedPod>(&raw)),
                || serde_json::from_str(raw.get()).unwrap_or_default(),
                || format!("item {index}"),
                &self.kind,
            );
            if let Err(failure) = taken {
                self.sink.failure = Some(failure);
                return Err(A::Error::custom("refused"));
            }
            index += 1;
        }
        Ok(())
    }
}

fn read_yaml(mut input: impl BufRead, sink: &mut Sink<'_>) -> Result<(), InputError> {
    // The bounds are for texts that strangers send; this one is the caller's own file. Alias bombs stay refused.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: None,
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_documents: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
        },
    };
    let documents = serde_saphyr::read_with_options::<_, Value>(&mut input, options);
    for document in documents {
        let document = document.map_err(|error| InputError::Yaml(Box::new(error)))?;
        let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default();
        let which = format!("document {}", sink.documents);
        match document.get("items") {
            Some(Value::Array(items)) => {
                sink.lists += 1;
                for (index, item) in items.iter().enumerate() {
                    take_value(sink, item, || format!("item {index} of {which}"), item_kind(kind))?;
                }
            }
            Some(Value::Null) => sink.lists += 1,
            _ => take_value(sink, &document, || which.clone(), "")?,
        }
        sink.documents += 1;
    }
    Ok(())
}

fn take_value(
    sink: &mut Sink<'_>,
    value: &Value,
    which: impl FnOnce() -> String,
    default_kind: &str,
) -> Result<(), InputError> {
    let identity = || Identity::deserialize(value).unwrap_or_default();
    let pod = serde_path_to_error::deserialize(value).map_err(|error| located(&error));
    sink.take(pod, identity, which, default_kind)
}
