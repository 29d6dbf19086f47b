//! `stowage explain`: why a pod of the cluster was or was not injected, and what would be done now.
//!
//! It reads with the account of whoever asks: the object, its namespace, the registration, the policies, the service
//! account that one would set, Stowage's own pods and Deployment, and Events. It reads no Secret and changes nothing. One
//! word of a closed set comes first, for scripts.

mod past;
mod verdict;

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow};
use clap::Args;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use serde_json::Value;

use self::{
    past::{Made, Past},
    verdict::{ExplainedPod, Facts, RegistrationView, VerdictWord, word},
};
use super::{Failure, inject, print};
use crate::{
    cluster::{
        REGISTRATION, client,
        inquiry::{Inquiry, resource},
    },
    inject::decide,
    json,
    pod::PodView,
    policy::{
        compile::Compiler,
        roster::PolicyKind,
        snapshot::Snapshot,
        world::{Change, Watched, World},
    },
};

/// Says why a pod of the cluster was or was not injected, and what would be done now.
#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// A pod's name, or KIND/NAME of a pod or of a workload with a pod template
    #[arg(value_name = "POD|KIND/NAME")]
    object: String,
    /// Its namespace; the kubeconfig's where none is given
    #[arg(short, long)]
    namespace: Option<String>,
    /// Name of the webhook's registration
    #[arg(long, value_name = "NAME", default_value = REGISTRATION)]
    registration: String,
}

pub(super) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let text = runtime.context("starting the runtime")?.block_on(explain(args))?;
    print(text.as_bytes())
}

/// Everything that was read, and what could not be.
struct Findings {
    object: Value,
    namespace: String,
    namespace_labels: Option<BTreeMap<String, String>>,
    registration: Option<MutatingWebhookConfiguration>,
    world: World,
    past: Past,
    unread: Vec<String>,
    inquiry: Inquiry,
}

async fn explain(args: &ExplainArgs) -> Result<String, Failure> {
    let mut read = read(args).await?;
    let snapshot = snapshot(&mut read).await?;
    let subject = subject(&read, &snapshot)?;
    let facts = Facts {
        registration: read.registration.as_ref().map(RegistrationView::of),
        namespace: &read.namespace,
        namespace_labels: read.namespace_labels.as_ref(),
        subject: &subject,
    };
    let word = word(&facts);
    let mut text = format!("{}\n{}\n\n", word.as_str(), word.means());
    let mut row = |name: &str, value: &str| text.push_str(&format!("{name:<14} {value}\n"));
    for (name, value) in facts.rows() {
        row(name, &value);
    }
    let created = subject.created.filter(|_| subject.is_pod);
    let made = created.map(|at| Made { at, uid: uid(&read.object), is_marked: subject.marker.is_some() });
    for (name, line) in read.past.rows(made) {
        row(name, &line);
    }
    for line in &read.unread {
        row("not known", line);
    }
    let (table, _) = inject::explained(as_created(&read.object), &read.namespace, &snapshot)?;
    text.push_str(&format!("\nwhat would be done now\n{table}"));
    Ok(text)
}

async fn read(args: &ExplainArgs) -> anyhow::Result<Findings> {
    let inquiry = Inquiry::new(client::connect().await?, args.namespace.clone());
    let (kind, name) = args.object.split_once('/').unwrap_or(("pod", &args.object));
    let resource = resource(kind).ok_or_else(|| anyhow!("{kind:?} is no kind that holds a pod"))?;
    let namespace = inquiry.namespace().to_owned();
    let object = inquiry.object(&resource, name).await.with_context(|| format!("reading {kind} {namespace}/{name}"))?;
    let mut unread = Vec::new();
    let mut may = |what: &str, error: kube::Error| unread.push(format!("{what}: {error}"));
    let namespace_object = inquiry.namespace_object().await.unwrap_or_else(|error| {
        may("the namespace's labels", error);
        None
    });
    let registration = inquiry.registration(&args.registration).await.context("reading the registration")?;
    let compiler = Compiler::new();
    let mut world = World::new(None);
    for (what, kind) in
        [("ClusterInjectionPolicies", PolicyKind::Cluster), ("InjectionPolicies", PolicyKind::Namespaced)]
    {
        match inquiry.policies(kind, &compiler).await {
            Ok(news) => {
                world.apply(Change::Policies(news.change));
            }
            Err(error) => may(what, error),
        }
    }
    let own = registration.as_ref().and_then(RegistrationView::service_namespace);
    let past = read_past(&inquiry, own.as_deref(), &object, &mut unread).await;
    let namespace_labels = namespace_object.map(|found| found.metadata.labels.unwrap_or_default());
    if let Some(labels) = &namespace_labels {
        world.apply(Change::Namespaces(Watched::Applied(namespace.as_str().into(), labels.clone())));
    }
    Ok(Findings { object, namespace, namespace_labels, registration, world, past, unread, inquiry })
}

/// What a decision reads, without the service accounts that policies would set and the namespace does not have.
async fn snapshot(read: &mut Findings) -> Result<Snapshot, Failure> {
    let mut snapshot = read.world.snapshot();
    while let Some(name) = subject(read, &snapshot)?.account {
        match read.inquiry.has_account(&name).await {
            Ok(false) => snapshot = snapshot.without_account(&name),
            Ok(true) => break,
            Err(error) => {
                read.unread.push(format!("service account {name}: {error}"));
                break;
            }
        }
    }
    Ok(snapshot)
}

/// What the cluster still knows of Stowage's replicas, in the namespace of its own.
async fn read_past(inquiry: &Inquiry, own: Option<&str>, object: &Value, unread: &mut Vec<String>) -> Past {
    let mut past = Past::default();
    let mut take = |what: &str, error: kube::Error| unread.push(format!("{what}: {error}"));
    if let Some(own) = own {
        past.replicas = inquiry.replicas(own).await.map_err(|error| take("Stowage's own pods", error)).ok();
        past.deployments = inquiry.deployments(own).await.map_err(|error| take("Stowage's Deployment", error)).ok();
        past.events = inquiry.events(own, None).await.map_err(|error| take("Events on Stowage's pods", error)).ok();
    }
    if object.get("kind").and_then(Value::as_str) == Some("Pod") {
        let said = inquiry.events(inquiry.namespace(), Some(uid(object))).await;
        past.said = said.map_err(|error| take("Events on the pod", error)).ok();
        past.neighbours = inquiry.pods().await.map_err(|error| take("the pods beside it", error)).ok();
    }
    past
}

fn uid(object: &Value) -> &str {
    object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default()
}

/// What there is to know of the object itself.
fn subject(read: &Findings, snapshot: &Snapshot) -> Result<ExplainedPod, Failure> {
    let object = as_created(&read.object);
    let target = inject::workload::PodPlace::of(&object).map_err(|why| anyhow!("{why}"))?;
    let filled = serde_json::to_string(&target.filled(&object)).context("encoding the pod")?;
    let pod: PodView<'_> = json::read(&filled).map_err(|error| anyhow!("not a pod: {error}"))?;
    let decision = decide(&pod, &target.place(&read.namespace), snapshot);
    let text = |pointer: &str| read.object.pointer(pointer).and_then(Value::as_str);
    let labels = serde_json::from_str::<Value>(&filled).ok();
    let labels = labels.as_ref().and_then(|pod| pod.pointer("/metadata/labels")).cloned().unwrap_or_default();
    Ok(ExplainedPod {
        is_pod: target.kind == "Pod",
        is_mirror: pod.is_mirror(),
        created: text("/metadata/creationTimestamp").and_then(|time| time.parse().ok()),
        marker: text("/metadata/annotations/stowage.dev~1injected").and_then(|text| serde_json::from_str(text).ok()),
        labels: serde_json::from_value(labels).unwrap_or_default(),
        account: decision.as_ref().ok().and_then(|decision| decision.account).map(str::to_owned),
        decision: decision.map_err(|refusal| refusal.message).map(|decision| {
            let policies = decision.policies.iter().map(|policy| policy.id.to_string()).collect();
            (policies, decision.left_alone)
        }),
    })
}

/// The pod as its creator sent it, as far as that can be told: nobody had placed it yet.
fn as_created(object: &Value) -> Value {
    let mut object = object.clone();
    if object.get("kind").and_then(Value::as_str) == Some("Pod") {
        if let Some(pod) = object.as_object_mut() {
            pod.remove("status");
        }
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            spec.remove("nodeName");
        }
    }
    object
}

impl VerdictWord {
    /// One line for a person.
    fn means(self) -> &'static str {
        match self {
            Self::Injected => "Stowage saw the pod when it was made, and policies matched it.",
            Self::NoPolicyMatches => "No policy matches the pod; the nearest ones are below.",
            Self::Refused => "The pod would be refused if it were made now.",
            Self::WouldBeInjected => "Pods of this template are injected when they are made.",
            Self::NoRegistration => "The webhook is not registered: pods pass without Stowage.",
            Self::NotInScope => "The registration's selectors leave the pod out, so Stowage never saw it.",
            Self::OptedOut => "The pod says stowage.dev/inject: \"false\".",
            Self::NeverTouched => "Pods of this namespace, and mirrors of static pods, are never touched.",
            Self::RegistrationIsNewer => "The webhook was registered after the pod was made.",
            Self::NobodyAnswered => {
                "A policy matches, and no replica saw the pod when it was made, or the policy is newer."
            }
        }
    }
}
