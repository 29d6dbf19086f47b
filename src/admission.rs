//! The admission protocol: the bytes of an `AdmissionReview` in, the bytes of its answer out.
//!
//! The review is decoded in one pass into borrowed views; nothing of the object is built or written back. Errors tell
//! where the bytes are wrong and never quote them.

mod wire;

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use self::wire::{RefusalStatus, Request, Response, Review, encode, put_patch};
use crate::{
    inject::{
        Decision, PodContext, decide,
        report::{Refusal, StepOutcome},
    },
    json::{self, Str},
    pod::PodView,
    policy::snapshot::Snapshot,
    reason::Reason,
};

/// `apiVersion` of the reviews that are understood.
pub const API_VERSION: &str = "admission.k8s.io/v1";

/// Longest warning; the API server cuts what is longer (`AdmissionResponse.warnings`).
const WARNING_LENGTH: usize = 256;
/// Most warnings; all of them together may have 4096 characters.
const WARNINGS: usize = 10;

/// The answer to a review.
#[derive(Debug)]
pub struct Admitted {
    /// The answering `AdmissionReview`, as JSON.
    pub body: Vec<u8>,
    /// What was decided.
    pub outcome: Outcome,
    /// What a log line says of it.
    pub summary: Summary,
    /// What the pod's controller should be told; nobody in a dry run.
    pub advice: Option<Advice>,
    /// The service account that the pod is given; the API server refuses a pod whose namespace does not have it.
    pub account: Option<String>,
}

/// What whoever made the pod is told of it: a person sees the events of a Job, and seldom the answer to its controller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Advice {
    /// `apiVersion` of the controller.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Why the pod was refused, or the first thing left out.
    pub reason: Reason,
    /// What was left out and why, or why the pod was refused; no value of a variable.
    pub note: String,
}

/// What was decided on a review.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The answer has a patch.
    Patched,
    /// Policies matched, and there was nothing to do.
    Unchanged,
    /// No policy matched.
    NoMatch,
    /// The pod says that it wants none of it.
    OptedOut,
    /// A kind, operation, namespace or pod that is never touched.
    Excluded,
    /// The pod is refused.
    Refused,
}

/// What a log line says of a decision: names and counts, never a value. What the client says is cut to what a name may
/// hold, since nobody has validated it yet.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// `request.uid`.
    pub uid: String,
    /// `request.namespace`.
    pub namespace: String,
    /// The pod's name, or its `generateName`.
    pub pod: String,
    /// Whether nothing will be stored.
    pub dry_run: bool,
    /// The policies that matched.
    pub policies: Vec<String>,
    /// Operations of the patch.
    pub operations: usize,
    /// Modifiers that were left out.
    pub skipped: usize,
    /// Why modifiers were left out: the first reason of each.
    pub reasons: Vec<Reason>,
    /// Why the pod was refused, with the names that a person looks for.
    pub refusal: Option<Refusal>,
}

/// The bytes are not a review that can be answered.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unreadable {
    /// Not JSON, or not of a review's shape.
    #[error("the body is not an AdmissionReview: {0}")]
    Json(#[from] json::Error),
    /// Not text.
    #[error("the body is not an AdmissionReview: it is not UTF-8 at byte {at}")]
    Encoding {
        /// Bytes before the first that is wrong.
        at: usize,
    },
    /// Another kind or version.
    #[error("the body is not an AdmissionReview of {API_VERSION}, the only version that is understood")]
    Version,
    /// No `request`.
    #[error("the AdmissionReview has no request")]
    NoRequest,
    /// No `request.uid`; an answer could not be matched to it.
    #[error("the AdmissionReview has no request.uid")]
    NoUid,
    /// The creation of a pod without the pod.
    #[error("the AdmissionReview of a pod's creation has no request.object")]
    NoObject,
}

/// Answers a review.
///
/// # Errors
///
/// Where the body is no review that can be answered: HTTP status 400.
pub fn admit(body: &[u8], snapshot: &Snapshot) -> Result<Admitted, Unreadable> {
    // Checked once as a whole, so that no string need be checked by itself.
    let body = std::str::from_utf8(body).map_err(|error| Unreadable::Encoding { at: error.valid_up_to() })?;
    let review: Review<'_, PodView<'_>> = match json::read(body) {
        Ok(review) => review,
        Err(error) => return admit_other(body, error),
    };
    let request = check(review.api_version.as_ref(), review.kind.as_ref(), review.request)?;
    let uid = request.uid.as_ref().map(Str::as_str).filter(|uid| !uid.is_empty()).ok_or(Unreadable::NoUid)?;
    let namespace = request.namespace.as_ref().map_or("", Str::as_str);
    let mut summary = Summary {
        uid: cut(uid),
        namespace: cut(namespace),
        pod: request.object.as_ref().map(|pod| cut(pod.name())).unwrap_or_default(),
        dry_run: request.dry_run == Some(true),
        ..Summary::default()
    };
    if !is_pod_creation(&request) {
        return Ok(untouched(uid, summary));
    }
    let pod = request.object.as_ref().ok_or(Unreadable::NoObject)?;
    if pod.is_mirror() || namespace == "kube-system" || snapshot.untouched.iter().any(|own| own == namespace) {
        return Ok(untouched(uid, summary));
    }
    match decide(pod, &PodContext { namespace, template: false, daemon_set: false }, snapshot) {
        Ok(decision) => {
            summarize(&mut summary, &decision);
            let advice = advice(pod, &summary, || skipped(&decision));
            let account = decision.account.map(str::to_owned);
            Ok(Admitted { advice, account, ..answer(uid, &decision, summary) })
        }
        Err(refusal) => {
            let advice = advice(pod, &summary, || Some((refusal.reason, refusal.message.clone())));
            Ok(Admitted { advice, ..refused(uid, &refusal, summary) })
        }
    }
}

/// What the pod's controller is told, where it has one and there is something to tell.
fn advice(pod: &PodView<'_>, summary: &Summary, told: impl Fn() -> Option<(Reason, String)>) -> Option<Advice> {
    if summary.dry_run {
        return None;
    }
    let owner = pod.controllers().next()?;
    let text = |field: &Option<Str<'_>>| field.as_ref().map(|field| cut(field.as_str()));
    let (api_version, kind) = (text(&owner.api_version)?, text(&owner.kind)?);
    let (name, uid) = (text(&owner.name)?, text(&owner.uid)?);
    let (reason, note) = told()?;
    Some(Advice { api_version, kind, name, uid, reason, note })
}

/// What was left out of the pod that the client is warned of too, with the first reason.
fn skipped(decision: &Decision<'_>) -> Option<(Reason, String)> {
    let left_out = decision.report.steps().iter().filter(|step| step.outcome == StepOutcome::Skipped);
    let told =
        left_out.flat_map(|step| step.notes.iter().filter(|note| note.is_warning()).map(move |note| (step, note)));
    let told: Vec<_> = told.collect();
    let (_, first) = told.first()?;
    let texts: Vec<String> = told.iter().map(|(step, note)| format!("{step}: {}", note.text)).collect();
    Some((first.reason, texts.join("; ")))
}

/// A client's word for a log line: the longest name there is has 253 characters.
fn cut(text: &str) -> String {
    const LONGEST: usize = 253;
    let end = text.char_indices().nth(LONGEST).map_or(text.len(), |(at, _)| at);
    text.get(..end).unwrap_or(text).to_owned()
}

/// A review whose object is not a pod's may hold anything; it is admitted as it is.
fn admit_other(body: &str, error: json::Error) -> Result<Admitted, Unreadable> {
    let review: Review<'_, IgnoredAny> = json::read(body)?;
    let request = check(review.api_version.as_ref(), review.kind.as_ref(), review.request)?;
    if is_pod_creation(&request) {
        return Err(error.into());
    }
    let uid = request.uid.as_ref().map(Str::as_str).filter(|uid| !uid.is_empty()).ok_or(Unreadable::NoUid)?;
    Ok(untouched(uid, Summary { uid: cut(uid), ..Summary::default() }))
}

fn check<'a, T>(
    api_version: Option<&Str<'_>>,
    kind: Option<&Str<'_>>,
    request: Option<Request<'a, T>>,
) -> Result<Request<'a, T>, Unreadable> {
    if api_version.map(Str::as_str) != Some(API_VERSION) || kind.map(Str::as_str) != Some("AdmissionReview") {
        return Err(Unreadable::Version);
    }
    request.ok_or(Unreadable::NoRequest)
}

fn is_pod_creation<T>(request: &Request<'_, T>) -> bool {
    let is = |text: &Option<Str<'_>>, wanted: &str| text.as_ref().map_or("", Str::as_str) == wanted;
    let pods = request.resource.as_ref().is_some_and(|resource| {
        is(&resource.group, "") && is(&resource.version, "v1") && is(&resource.resource, "pods")
    });
    pods && is(&request.sub_resource, "") && is(&request.operation, "CREATE")
}

fn summarize(summary: &mut Summary, decision: &Decision<'_>) {
    summary.policies = decision.policies.iter().map(|policy| policy.id.to_string()).collect();
    summary.operations = decision.patch.len();
    let skipped = || decision.report.steps().iter().filter(|step| step.outcome == StepOutcome::Skipped);
    summary.skipped = skipped().count();
    summary.reasons = skipped().filter_map(|step| Some(step.notes.first()?.reason)).collect();
}

fn untouched(uid: &str, summary: Summary) -> Admitted {
    let response = Response { uid, allowed: true, ..Response::default() };
    Admitted { body: encode(response, 0), outcome: Outcome::Excluded, summary, advice: None, account: None }
}

fn refused(uid: &str, refusal: &Refusal, mut summary: Summary) -> Admitted {
    let Refusal { policy, field, reason, message } = refusal;
    let (field, message) = (cut(field), cut(message));
    summary.refusal = Some(Refusal { policy: policy.clone(), field, reason: *reason, message });
    let message = format!("stowage: {}", refusal.message);
    let status = Some(RefusalStatus { status: "Failure", message, reason: "Invalid", code: 422 });
    let response = Response { uid, allowed: false, status, ..Response::default() };
    Admitted { body: encode(response, 0), outcome: Outcome::Refused, summary, advice: None, account: None }
}

fn answer(uid: &str, decision: &Decision<'_>, summary: Summary) -> Admitted {
    let mut response = Response { uid, allowed: true, warnings: shorten(&decision.warnings), ..Response::default() };
    let outcome = if decision.patch.is_empty() {
        match (decision.opted_out, decision.policies.is_empty()) {
            (true, _) => Outcome::OptedOut,
            (false, true) => Outcome::NoMatch,
            (false, false) => Outcome::Unchanged,
        }
    } else {
        response.patch_type = Some("JSONPatch");
        Outcome::Patched
    };
    if !decision.policies.is_empty() {
        response.audit_annotations = audit(decision, &summary);
    }
    let room = if decision.patch.is_empty() { 0 } else { decision.patch.json().len().div_ceil(3) * 4 };
    let mut body = encode(response, room);
    if !decision.patch.is_empty() {
        put_patch(&mut body, decision.patch.json());
    }
    Admitted { body, outcome, summary, advice: None, account: None }
}

fn audit(decision: &Decision<'_>, summary: &Summary) -> BTreeMap<&'static str, String> {
    let mut audit = BTreeMap::from([("policies", summary.policies.join(","))]);
    for (name, skipped) in [("injected", false), ("skipped", true)] {
        let mut list = String::new();
        for step in decision.report.steps().iter().filter(|step| (step.outcome == StepOutcome::Skipped) == skipped) {
            if !list.is_empty() {
                list.push(',');
            }
            list.push_str(&step.policy.id.name);
            list.push('/');
            list.push_str(&step.modifier);
            if let (true, Some(why)) = (skipped, step.notes.first()) {
                list.push(':');
                list.push_str(why.reason.name());
            }
        }
        if !list.is_empty() {
            audit.insert(name, list);
        }
    }
    audit
}

/// Warnings as the API server passes them on: at most ten, of at most 256 characters.
#[must_use]
pub fn shorten(warnings: &[String]) -> Vec<String> {
    let mut short: Vec<String> = warnings
        .iter()
        .take(WARNINGS)
        .map(|warning| match warning.char_indices().nth(WARNING_LENGTH) {
            None => warning.clone(),
            Some(_) => {
                let end = warning.char_indices().nth(WARNING_LENGTH - 1).map_or(warning.len(), |(at, _)| at);
                format!("{}…", warning.get(..end).unwrap_or(warning))
            }
        })
        .collect();
    if let (Some(more), Some(last)) = (warnings.len().checked_sub(WARNINGS).filter(|more| *more > 0), short.last_mut())
    {
        *last = format!("stowage: and {} more warnings; see stowage inject -o explain", more + 1);
    }
    short
}

/// The answer to a review as `inject -o review` shows it, without a review that asked.
#[must_use]
pub fn review_of(uid: &str, decision: &Result<Decision<'_>, Refusal>) -> Vec<u8> {
    match decision {
        Ok(decision) => {
            let mut summary = Summary::default();
            summarize(&mut summary, decision);
            answer(uid, decision, summary).body
        }
        Err(refusal) => refused(uid, refusal, Summary::default()).body,
    }
}

impl Outcome {
    /// The word that metrics and logs use.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Patched => "patched",
            Self::Unchanged => "unchanged",
            Self::NoMatch => "no_match",
            Self::OptedOut => "opted_out",
            Self::Excluded => "excluded",
            Self::Refused => "refused",
        }
    }
}

/// Whether a document is an AdmissionReview.
#[must_use]
pub fn is_review(value: &serde_json::Value) -> bool {
    value.get("kind").and_then(serde_json::Value::as_str) == Some("AdmissionReview")
}
