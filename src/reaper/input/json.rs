//! JSON, as a stream: one item at a time.

use std::fmt;
use std::io::BufRead;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{InputError, Sink, Untold};

/// From the reader, since a dump of a whole cluster does not fit a buffer; the items are decoded from slices.
pub(super) fn read(input: impl BufRead, sink: &mut Sink<'_>) -> Result<(), InputError> {
    let mut json = serde_json::Deserializer::from_reader(input);
    loop {
        JsonDocument(sink).deserialize(&mut json).map_err(json_error)?;
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
struct JsonDocument<'a, 'b>(&'a mut Sink<'b>);

impl<'de> DeserializeSeed<'de> for JsonDocument<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for JsonDocument<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Pod or a List")
    }

    /// What `jq '[.items[]]'` leaves of a List.
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        self.0.lists += 1;
        Items { sink: self.0, of: Untold::Likely }.visit_seq(seq)
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
                    let items = Items { sink: &mut *sink, of: Untold::in_list(&kind) };
                    map.next_value_seed(items)?;
                }
                "apiVersion" | "metadata" | "spec" | "status" | "type" | "object" => {
                    parts.push((key, map.next_value()?));
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if is_list {
            sink.lists += 1;
            return Ok(());
        }
        let which = format!("document {}", sink.documents);
        let whole = whole(&kind, &parts).map_err(serde::de::Error::custom)?;
        sink.take(&whole, &|| which.clone(), Untold::Nothing);
        Ok(())
    }
}

/// A document whose parts were read apart, since its `items` might have come among them.
fn whole(kind: &str, parts: &[(String, Box<RawValue>)]) -> Result<Box<RawValue>, serde_json::Error> {
    let mut text = format!("{{\"kind\":{}", Value::from(kind));
    for (key, raw) in parts {
        text.push_str(",\"");
        text.push_str(key);
        text.push_str("\":");
        text.push_str(raw.get());
    }
    text.push('}');
    RawValue::from_string(text)
}

/// The items of a List, one after the other.
struct Items<'a, 'b> {
    sink: &'a mut Sink<'b>,
    of: Untold<'a>,
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
            self.sink.take(&raw, &|| format!("item {index}"), self.of);
            index += 1;
        }
        Ok(())
    }
}
