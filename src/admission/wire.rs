//! Reviews and answers as they go over the wire.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use super::API_VERSION;
use crate::json::{Str, read_members};

/// An answer without its patch mostly has its place in so many bytes.
const ENVELOPE: usize = 1024;

#[derive(Default)]
pub(super) struct Review<'a, T> {
    pub(super) api_version: Option<Str<'a>>,
    pub(super) kind: Option<Str<'a>>,
    pub(super) request: Option<Request<'a, T>>,
}

#[derive(Default)]
pub(super) struct Request<'a, T> {
    pub(super) uid: Option<Str<'a>>,
    pub(super) resource: Option<Resource<'a>>,
    pub(super) sub_resource: Option<Str<'a>>,
    pub(super) namespace: Option<Str<'a>>,
    pub(super) operation: Option<Str<'a>>,
    pub(super) dry_run: Option<bool>,
    pub(super) object: Option<T>,
}

#[derive(Default)]
pub(super) struct Resource<'a> {
    pub(super) group: Option<Str<'a>>,
    pub(super) version: Option<Str<'a>>,
    pub(super) resource: Option<Str<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReviewAnswer<'a> {
    kind: &'static str,
    api_version: &'static str,
    response: Response<'a>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Response<'a> {
    pub(super) uid: &'a str,
    pub(super) allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<RefusalStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) warnings: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) audit_annotations: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
pub(super) struct RefusalStatus {
    pub(super) status: &'static str,
    pub(super) message: String,
    pub(super) reason: &'static str,
    pub(super) code: u16,
}

/// Puts the patch into an answer that has all but it. Base64 needs no JSON escapes, and looking for them would cost as
/// much as the encoding.
pub(super) fn put_patch(body: &mut Vec<u8>, patch: &[u8]) {
    const END: &[u8] = b"}}";
    if !body.ends_with(END) {
        return;
    }
    body.truncate(body.len() - END.len());
    let length = patch.len().div_ceil(3) * 4;
    body.reserve(length + 16);
    body.extend_from_slice(b",\"patch\":\"");
    let start = body.len();
    body.resize(start + length, 0);
    // There is room for just what is written.
    let written = body.get_mut(start..).and_then(|room| STANDARD.encode_slice(patch, room).ok());
    body.truncate(start + written.unwrap_or_default());
    body.extend_from_slice(b"\"}}");
}

/// Writes an answer, with `room` bytes for what is put into it afterwards.
pub(super) fn encode(response: Response<'_>, room: usize) -> Vec<u8> {
    let answer = ReviewAnswer { kind: "AdmissionReview", api_version: API_VERSION, response };
    let mut body = Vec::with_capacity(ENVELOPE + room);
    // Strings and numbers only, and memory takes all that is written: there is nothing here that can fail.
    let _ = serde_json::to_writer(&mut body, &answer);
    body
}

read_members!(Review<T> { "apiVersion" => api_version, "kind" => kind, "request" => request });
read_members!(Request<T> {
    "uid" => uid,
    "resource" => resource,
    "subResource" => sub_resource,
    "namespace" => namespace,
    "operation" => operation,
    "dryRun" => dry_run,
    "object" => object,
});
read_members!(Resource { "group" => group, "version" => version, "resource" => resource });
