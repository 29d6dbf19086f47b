//! Keeps the certificates: watches the Secret and the registration, and does what [`plan`] says.
//!
//! Any replica may act. A write says which version it changes, so that of two replicas one is refused, reads what the
//! other wrote, and plans again. What is served is handed over by a callback and stays in memory; nothing waits for a
//! kubelet to bring a mounted file.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::is_conflict;
use super::registration::{self, Registrations};
use super::watch::{WatchNews, follow};
use crate::certs::plan::{CertificateStep, Published, perform, plan, should_serve};
use crate::certs::secret::{CertificateTerms, Keyring};
use crate::certs::trust::TrustError;
use crate::certs::{Clock, Served};
use crate::metrics::{Call, Metrics, Watching};

/// Takes a pair that is to be served from now on.
pub type Serve = Box<dyn FnMut(Served) + Send>;

/// Takes what came of verifying the served chain against the published bundle; `None` where nothing is published.
pub type Verified = Box<dyn FnMut(Option<Result<(), TrustError>>) + Send>;

/// Where the certificates are kept.
#[derive(Clone, Debug)]
pub struct CertificateStore {
    /// Namespace of the Secret: Stowage's own.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// Name of the registration.
    pub registration: String,
}

/// How often time alone is looked at, at least: what is due, and whether what is served is trusted.
const LOOK: Duration = Duration::from_secs(2);

/// Something that a watch told.
enum SeenObject {
    Secret(Option<Box<Secret>>),
    Registration(Option<Box<MutatingWebhookConfiguration>>),
}

/// Keeps certificates in a Secret, for ever.
///
/// A pair is served as soon as there is one; `verified` is told every few seconds.
pub async fn keep(
    client: Client,
    place: CertificateStore,
    terms: CertificateTerms,
    clock: Clock,
    metrics: Arc<Metrics>,
    serve: Serve,
    verified: Verified,
) {
    let (sender, mut seen) = unbounded_channel();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &place.namespace);
    let registrations = Registrations::new(client, place.registration.clone());
    let fields = watcher::Config::default().fields(&format!("metadata.name={}", place.secret));
    let watches = async {
        tokio::join!(
            follow(
                secrets.clone(),
                fields,
                Watching::Certificates,
                Arc::clone(&metrics),
                Box::new,
                one(&sender, SeenObject::Secret)
            ),
            watch_registration(&registrations, &metrics, &sender),
        );
    };
    let keeper = Keeper {
        secrets: secrets.clone(),
        registrations: registrations.clone(),
        name: place.secret.clone(),
        terms,
        clock,
        metrics: Arc::clone(&metrics),
        serve,
        verified,
        secret: None,
        registration: None,
        found: None,
        known: None,
        published: Published::default(),
        served: None,
        writing: Pause::default(),
        publishing: Pause::default(),
    };
    tokio::select! {
        () = watches => {}
        () = keeper.run(&mut seen) => {}
    }
}

/// Verifies a pair that comes from elsewhere against the published bundle, every few seconds, for ever.
pub async fn verify(
    client: Client,
    registration: String,
    called: String,
    clock: Clock,
    metrics: Arc<Metrics>,
    served: impl Fn() -> Served,
    mut verified: Verified,
) {
    let (sender, mut seen) = unbounded_channel();
    let registrations = Registrations::new(client, registration);
    let look = async {
        let mut published = Published::default();
        let mut tick = ticks(LOOK);
        loop {
            tokio::select! {
                Some(event) = seen.recv() => {
                    if let SeenObject::Registration(found) = event {
                        let text = found.as_deref().and_then(registration::bundle).unwrap_or_default();
                        published = published.seen(text, clock());
                    }
                }
                _ = tick.tick() => {}
            }
            tell(&published, &served(), &called, clock(), &metrics, &mut verified);
        }
    };
    tokio::select! {
        () = watch_registration(&registrations, &metrics, &sender) => {}
        () = look => {}
    }
}

struct Keeper {
    secrets: Api<Secret>,
    registrations: Registrations,
    name: String,
    terms: CertificateTerms,
    clock: Clock,
    metrics: Arc<Metrics>,
    serve: Serve,
    verified: Verified,
    /// The Secret as it was last seen; `None` until the watch has told, then whether it is there.
    secret: Option<Option<Box<Secret>>>,
    /// Likewise the registration.
    registration: Option<Option<Box<MutatingWebhookConfiguration>>>,
    found: Option<Keyring>,
    known: Option<Keyring>,
    published: Published,
    served: Option<Served>,
    writing: Pause,
    publishing: Pause,
}

impl Keeper {
    async fn run(mut self, seen: &mut UnboundedReceiver<SeenObject>) {
        let mut tick = ticks(self.terms.settle / 2);
        loop {
            tokio::select! {
                event = seen.recv() => match event {
                    Some(event) => self.see(event),
                    None => return,
                },
                _ = tick.tick() => {}
            }
            // All that has come is seen before anything is planned on it.
            while let Ok(event) = seen.try_recv() {
                self.see(event);
            }
            self.act().await;
        }
    }

    fn see(&mut self, seen: SeenObject) {
        match seen {
            SeenObject::Secret(secret) => self.see_secret(secret),
            SeenObject::Registration(registration) => self.see_registration(registration),
        }
    }

    fn see_secret(&mut self, secret: Option<Box<Secret>>) {
        self.found = secret.as_ref().and_then(|secret| {
            let data = secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect();
            match Keyring::from_data(&data) {
                Ok(ring) => Some(ring),
                Err(error) => {
                    warn!(secret = self.name, error = &error as &dyn StdError, "the Secret holds no certificates");
                    None
                }
            }
        });
        self.secret = Some(secret);
    }

    fn see_registration(&mut self, registration: Option<Box<MutatingWebhookConfiguration>>) {
        let text = registration.as_deref().and_then(registration::bundle).unwrap_or_default();
        self.published = self.published.seen(text, (self.clock)());
        self.registration = Some(registration);
    }

    async fn act(&mut self) {
        let (Some(_), Some(registration)) = (&self.secret, &self.registration) else { return };
        let now = (self.clock)();
        let entry = registration.as_deref().and_then(registration::bundle).is_some();
        let published = entry.then_some(&self.published);
        let steps = plan(self.found.as_ref(), self.known.as_ref(), published, &self.terms, now);
        if steps.iter().any(|step| *step != CertificateStep::Publish) && self.writing.is_over() {
            self.write(&steps, now).await;
        }
        if steps.contains(&CertificateStep::Publish) && self.publishing.is_over() {
            self.publish(now).await;
        }
        self.hand_over(now);
    }

    /// Changes the Secret, against the version that was seen.
    async fn write(&mut self, steps: &[CertificateStep], now: Timestamp) {
        let ring = match perform(steps, self.found.as_ref(), self.known.as_ref(), &self.terms, now) {
            Ok(Some(ring)) => ring,
            Ok(None) => return,
            Err(error) => {
                self.metrics.cluster.certificate_writes.count(Call::Failed);
                self.writing.begin();
                warn!(error = &error as &dyn StdError, "making certificates");
                return;
            }
        };
        let data = ring.to_data().into_iter().map(|(key, value)| (key, ByteString(value))).collect();
        let seen = self.secret.clone().flatten();
        let written = match seen {
            Some(seen) => {
                let secret = Secret { data: Some(data), ..*seen };
                self.secrets.replace(&self.name, &PostParams::default(), &secret).await
            }
            None => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
                let type_ = Some("kubernetes.io/tls".to_owned());
                let secret = Secret { metadata, data: Some(data), type_, ..Secret::default() };
                self.secrets.create(&PostParams::default(), &secret).await
            }
        };
        match written {
            Ok(secret) => {
                info!(steps = ?steps, "wrote the certificates");
                self.metrics.cluster.certificate_writes.count(Call::Done);
                self.writing.end();
                self.see_secret(Some(Box::new(secret)));
            }
            Err(error) if is_conflict(&error) => {
                debug!("another replica wrote the certificates first");
                self.metrics.cluster.certificate_writes.count(Call::Conflict);
                self.writing.begin();
            }
            Err(error) => {
                self.metrics.cluster.certificate_writes.count(Call::Failed);
                self.writing.begin();
                warn!(error = &error as &dyn StdError, "writing the certificates");
            }
        }
    }

    async fn publish(&mut self, now: Timestamp) {
        let Some(Some(registration)) = &self.registration else { return };
        let Some(ring) = &self.found else { return };
        let bundle = ring.bundle(now);
        match self.registrations.publish(registration, &bundle.to_pem()).await {
            Ok(registration) => {
                info!(authorities = bundle.authorities().len(), "wrote caBundle");
                self.metrics.cluster.bundle_writes.count(Call::Done);
                self.publishing.end();
                self.see_registration(Some(Box::new(registration)));
            }
            Err(error) if is_conflict(&error) => {
                self.metrics.cluster.bundle_writes.count(Call::Conflict);
                self.publishing.begin();
            }
            Err(error) => {
                self.metrics.cluster.bundle_writes.count(Call::Failed);
                self.publishing.begin();
                warn!(error = &error as &dyn StdError, "writing caBundle");
            }
        }
    }

    /// Serves what the Secret holds once API servers trust it, and says whether they trust what is served.
    fn hand_over(&mut self, now: Timestamp) {
        if self.found.is_some() {
            self.known.clone_from(&self.found);
        }
        let published = (!self.published.bundle().is_empty()).then_some(&self.published);
        if let Some(offered) = self.found.as_ref().and_then(Keyring::served)
            && should_serve(offered, self.served.as_ref(), published, &self.terms, now)
        {
            self.served = Some(offered.clone());
            (self.serve)(offered.clone());
        }
        if let Some(served) = &self.served {
            tell(&self.published, served, &self.terms.called, now, &self.metrics, &mut self.verified);
        }
    }
}

fn tell(
    published: &Published,
    served: &Served,
    called: &str,
    now: Timestamp,
    metrics: &Metrics,
    verified: &mut Verified,
) {
    let bundle = published.bundle();
    let result = (!bundle.is_empty()).then(|| bundle.verify(served, called, now));
    metrics.cluster.bundle_trusts.set(i64::from(matches!(result, Some(Ok(())))));
    verified(result);
}

async fn watch_registration(
    registrations: &Registrations,
    metrics: &Arc<Metrics>,
    sender: &UnboundedSender<SeenObject>,
) {
    let (api, config) = registrations.watch();
    follow(api, config, Watching::Registration, Arc::clone(metrics), Box::new, one(sender, SeenObject::Registration))
        .await;
}

/// Passes on what a watch tells of one object: the object, or that there is none.
fn one<K>(
    sender: &UnboundedSender<SeenObject>,
    seen: fn(Option<Box<K>>) -> SeenObject,
) -> impl FnMut(WatchNews<Box<K>>) {
    let sender = sender.clone();
    move |told| {
        let object = match told {
            WatchNews::Applied(object) => Some(object),
            WatchNews::Deleted { .. } => None,
            WatchNews::Relisted(objects) => objects.into_iter().next(),
        };
        // Whoever listens has ended with the process.
        let _ = sender.send(seen(object));
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut tick = interval(every.clamp(Duration::from_millis(100), LOOK));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

/// A pause after a failure, twice as long each time, up to half a minute.
#[derive(Default)]
struct Pause {
    failures: u32,
    until: Option<Instant>,
}

impl Pause {
    fn is_over(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() >= until)
    }

    fn begin(&mut self) {
        let pause = Duration::from_millis(500 << self.failures.min(6)).min(Duration::from_secs(30));
        self.until = Some(Instant::now() + pause);
        self.failures = self.failures.saturating_add(1);
    }

    fn end(&mut self) {
        *self = Self::default();
    }
}
