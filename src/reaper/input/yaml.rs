//! YAML, one document at a time.

use std::io::BufRead;

use serde_json::Value;

use super::{InputError, Sink, Untold};

pub(super) fn read(mut input: impl BufRead, sink: &mut Sink<'_>) -> Result<(), InputError> {
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
        let which = format!("document {}", sink.documents);
        let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default();
        let (items, untold) = match &document {
            Value::Array(items) => (Some(items.as_slice()), Untold::Likely),
            _ => match document.get("items") {
                Some(Value::Array(items)) => (Some(items.as_slice()), Untold::in_list(kind)),
                Some(Value::Null) => (Some([].as_slice()), Untold::Nothing),
                _ => (None, Untold::Nothing),
            },
        };
        match items {
            Some(items) => {
                sink.lists += 1;
                for (index, item) in items.iter().enumerate() {
                    take_value(sink, item, &|| format!("item {index} of {which}"), untold)?;
                }
            }
            None => take_value(sink, &document, &|| which.clone(), untold)?,
        }
        sink.documents += 1;
    }
    Ok(())
}

/// By way of JSON, so that there is one way to read an object.
fn take_value(
    sink: &mut Sink<'_>,
    value: &Value,
    which: &dyn Fn() -> String,
    untold: Untold<'_>,
) -> Result<(), InputError> {
    let raw = serde_json::value::to_raw_value(value).map_err(InputError::Json)?;
    sink.take(&raw, which, untold);
    Ok(())
}
