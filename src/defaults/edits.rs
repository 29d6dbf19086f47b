//! Operations as values, and the pointers they need.

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation};
use serde_json::Value;

use crate::reason::Note;

/// Operations on a pod and what to tell about them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edits {
    /// RFC 6902 operations, to be applied in order.
    pub ops: Vec<PatchOperation>,
    /// What was left out and why.
    pub notes: Vec<Note>,
}

/// Adds a value at `tokens` below `base`; where something is there already, RFC 6902 has it replaced.
pub(super) fn add(base: &str, tokens: &[&str], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: pointer(base, tokens), value })
}

/// The pointer `base` with `tokens` behind it, escaped.
pub(super) fn pointer(base: &str, tokens: &[&str]) -> PointerBuf {
    let unescape = |token: &str| token.replace("~1", "/").replace("~0", "~");
    let base = base.split('/').skip(1).map(unescape);
    let tokens = tokens.iter().map(|token| (*token).to_owned());
    PointerBuf::from_tokens(base.chain(tokens))
}
