//! `stowage inject`: the webhook's decision, offline.

mod explain;
pub(super) mod workload;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::{
    admission::{admit, is_review, review_of, shorten},
    cli::{Failure, files, inject::workload::PodPlace, print, say},
    inject::{Decision, decide, report::Refusal},
    json,
    pod::PodView,
    policy::{
        document,
        loaded::namespace_labels,
        near_miss::{MatchInput, near_misses},
        snapshot::Snapshot,
    },
};

/// Shows what the webhook would do, offline.
#[derive(Args, Debug)]
pub(super) struct InjectArgs {
    /// Pods, workloads, Lists or an AdmissionReview, as YAML or JSON; - is stdin
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    file: PathBuf,
    /// Policy file or folder; may be given again
    #[arg(long, value_name = "PATH", required = true)]
    policies: Vec<PathBuf>,
    /// Namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Labels of the namespace, as a namespaceSelector and pod security read them
    #[arg(long, value_name = "K=V,…", value_delimiter = ',', value_parser = pair)]
    namespace_labels: Vec<(String, String)>,
    /// What to print
    #[arg(short, long, value_enum, default_value_t = InjectOutput::Yaml)]
    output: InjectOutput,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum InjectOutput {
    /// The objects as they would be, as YAML
    Yaml,
    /// The objects as they would be, as JSON
    Json,
    /// The RFC 6902 operations
    Patch,
    /// The answering AdmissionReview
    Review,
    /// A table of which policy and modifier did what, and why not
    Explain,
}

pub(super) fn run(args: &InjectArgs) -> Result<(), Failure> {
    let loaded = files::load_all(&args.policies)?;
    let mut snapshot = loaded.snapshot();
    let documents = document_values(args)?;
    let mut objects = Vec::new();
    for value in documents {
        flatten(value, &mut objects);
    }
    if objects.is_empty() {
        return Err(anyhow!("{} holds no object", args.file.display()).into());
    }
    for object in objects.iter().filter(|object| is_namespace(object)) {
        if let Some((name, labels)) = namespace_labels(object) {
            Arc::make_mut(&mut snapshot.namespaces).insert(name, labels);
        }
    }
    let labels: BTreeMap<String, String> = args.namespace_labels.iter().cloned().collect();
    let mut printer = Printer { output: args.output, items: Vec::new(), text: String::new(), refused: false };
    for object in objects {
        if !labels.is_empty() {
            let namespace = namespace(&object, &args.namespace).to_owned();
            Arc::make_mut(&mut snapshot.namespaces).insert(namespace, labels.clone());
        }
        printer.object(object, &args.namespace, &snapshot)?;
    }
    printer.finish()
}

/// The table of `-o explain` for one object, and whether it is refused.
pub(super) fn explained(object: Value, namespace: &str, snapshot: &Snapshot) -> Result<(String, bool), Failure> {
    let mut printer = Printer { output: InjectOutput::Explain, items: Vec::new(), text: String::new(), refused: false };
    printer.object(object, namespace, snapshot)?;
    Ok((printer.text, printer.refused))
}

fn document_values(args: &InjectArgs) -> Result<Vec<Value>, Failure> {
    let text = files::input(&args.file)?;
    // Plain JSON keeps its nulls and the order of everything.
    if let Ok(value) = serde_json::from_str::<Value>(&text) {
        return Ok(vec![value]);
    }
    let documents = document::parse(&text).with_context(|| format!("reading {}", args.file.display()))?;
    Ok(documents.into_iter().map(|document| document.value).collect())
}

fn flatten(value: Value, objects: &mut Vec<Value>) {
    let is_list = value.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
    match value {
        Value::Object(mut map) if is_list && map.get("items").is_some_and(Value::is_array) => {
            if let Some(Value::Array(items)) = map.remove("items") {
                items.into_iter().for_each(|item| flatten(item, objects));
            }
        }
        Value::Null => {}
        value => objects.push(value),
    }
}

fn namespace<'v>(object: &'v Value, fallback: &'v str) -> &'v str {
    let pointer = if is_review(object) { "/request/namespace" } else { "/metadata/namespace" };
    object.pointer(pointer).and_then(Value::as_str).filter(|name| !name.is_empty()).unwrap_or(fallback)
}

fn is_namespace(object: &Value) -> bool {
    let text = |field: &str| object.get(field).and_then(Value::as_str);
    text("kind") == Some("Namespace") && text("apiVersion").is_none_or(|version| version == "v1")
}

/// A label on the command line.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

struct Printer {
    output: InjectOutput,
    items: Vec<Value>,
    text: String,
    refused: bool,
}

impl Printer {
    fn object(&mut self, object: Value, namespace_arg: &str, snapshot: &Snapshot) -> Result<(), Failure> {
        if is_review(&object) {
            return self.review(object, snapshot);
        }
        let target = match PodPlace::of(&object) {
            Ok(target) => target,
            Err(why) => {
                if !is_namespace(&object) {
                    let kind = object.get("kind").and_then(Value::as_str).unwrap_or("object");
                    say(&format!("stowage: {kind} {} is passed over: {why}", workload::name(&object)));
                }
                if matches!(self.output, InjectOutput::Yaml | InjectOutput::Json) {
                    self.items.push(object);
                }
                return Ok(());
            }
        };
        let namespace = namespace(&object, namespace_arg).to_owned();
        self.pod(object, &target, &namespace, snapshot)
    }

    fn pod(&mut self, object: Value, target: &PodPlace, namespace: &str, snapshot: &Snapshot) -> Result<(), Failure> {
        let name = format!("{} {}", target.kind, workload::name(&object));
        let filled = target.filled(&object);
        let text = serde_json::to_string(&filled).context("encoding the pod")?;
        let pod: PodView<'_> = json::read(&text).map_err(|error| anyhow!("{name}: not a pod: {error}"))?;
        let decision = if pod.is_mirror() || namespace == "kube-system" {
            Ok(Decision::left_alone("mirror pods and kube-system are never touched"))
        } else {
            decide(&pod, &target.place(namespace), snapshot)
        };
        let tell = matches!(self.output, InjectOutput::Yaml | InjectOutput::Json | InjectOutput::Patch);
        match &decision {
            Ok(decision) if tell => {
                shorten(&decision.warnings).iter().for_each(|warning| say(&format!("{name}: {warning}")));
            }
            Err(refusal) => {
                self.refused = true;
                say(&format!("{name}: refused: {refusal}"));
            }
            Ok(_) => {}
        }
        if self.output == InjectOutput::Explain {
            let labels = snapshot.namespace(namespace);
            let policies = snapshot.policies.policies().into_iter().map(Arc::as_ref);
            let requests_any = |resources: &[String]| pod.requests_any(resources);
            let candidate =
                MatchInput { namespace, namespace_labels: &labels, labels: &pod, requests_any: &requests_any };
            let mut misses = near_misses(policies, &candidate);
            // Beside policies that act, those further off are of no interest.
            let acts = decision.as_ref().is_ok_and(|decision| !decision.policies.is_empty());
            misses.retain(|miss| !acts || miss.failed == 1);
            self.text.push_str(&explain::table(&name, &decision, &misses));
            return Ok(());
        }
        self.print(object, target, &name, &decision)
    }

    fn print(
        &mut self,
        mut object: Value,
        target: &PodPlace,
        name: &str,
        decision: &Result<Decision<'_>, Refusal>,
    ) -> Result<(), Failure> {
        match (self.output, decision) {
            (InjectOutput::Review, decision) => {
                let body = review_of(workload::uid(&object), decision);
                self.items.push(serde_json::from_slice(&body).context("decoding the answer")?);
            }
            (InjectOutput::Explain, _) | (_, Err(_)) => {}
            (InjectOutput::Patch, Ok(decision)) => {
                let ops = json!(target.prefixed(&object, decision.patch.ops()));
                self.items.push(ops);
            }
            (InjectOutput::Yaml | InjectOutput::Json, Ok(decision)) => {
                let ops = target.prefixed(&object, decision.patch.ops());
                json_patch::patch(&mut object, &ops).with_context(|| format!("{name}: applying the patch"))?;
                self.items.push(object);
            }
        }
        Ok(())
    }

    /// A review is answered as the webhook answers it, byte by byte.
    fn review(&mut self, review: Value, snapshot: &Snapshot) -> Result<(), Failure> {
        let Some(object) = review.pointer("/request/object").cloned() else {
            return Err(anyhow!("the AdmissionReview has no request.object").into());
        };
        let namespace = namespace(&review, "default").to_owned();
        let target = PodPlace::of(&object);
        match (self.output, target) {
            (InjectOutput::Review, _) | (_, Err(_)) => {
                let bytes = serde_json::to_vec(&review).context("encoding the review")?;
                let admitted = admit(&bytes, snapshot).context("reading the review")?;
                self.refused |= admitted.outcome == crate::admission::Outcome::Refused;
                self.items.push(serde_json::from_slice(&admitted.body).context("decoding the answer")?);
                Ok(())
            }
            (_, Ok(target)) => self.pod(object, &target, &namespace, snapshot),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        let mut text = self.text;
        let mut items = self.items;
        let value = match items.len() {
            0 if self.output == InjectOutput::Patch && !self.refused => Some(json!([])),
            0 => None,
            1 => items.pop(),
            _ if self.output == InjectOutput::Patch => Some(Value::Array(items)),
            _ => Some(json!({"apiVersion": "v1", "kind": "List", "items": items})),
        };
        if let Some(value) = value {
            if self.output == InjectOutput::Yaml {
                text.push_str(&serde_saphyr::to_string(&value).context("writing YAML")?);
            } else {
                text.push_str(&serde_json::to_string_pretty(&value).context("writing JSON")?);
                text.push('\n');
            }
        }
        print(text.as_bytes())?;
        if self.refused { Err(Failure::Said) } else { Ok(()) }
    }
}
