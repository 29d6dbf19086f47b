//! Certificates in a Secret, kept by two replicas at once against a real API server.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use hyper::Method;
use serde_json::{Value, json};
use stowage::{
    certs::{
        Served,
        secret::{CertificateTerms, Keyring},
        trust::{Bundle, TrustError},
    },
    cluster::{
        ENTRY,
        certificates::{CertificateStore, keep, verify},
    },
    metrics::{Call, Metrics},
};
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, now, shared};

const SECOND: Duration = Duration::from_secs(1);

/// One replica's certificates: what it serves, and whether it thinks it is trusted.
struct Replica {
    served: Arc<Mutex<Option<Served>>>,
    trusted: Arc<Mutex<Option<Result<(), TrustError>>>>,
    metrics: Arc<Metrics>,
    task: JoinHandle<()>,
}

impl Replica {
    fn start(cluster: &Cluster, place: &CertificateStore, terms: &CertificateTerms) -> Self {
        let served = Arc::new(Mutex::new(None));
        let trusted = Arc::new(Mutex::new(None));
        let metrics = Arc::new(Metrics::new("test").unwrap());
        let (serve, verified) = (Arc::clone(&served), Arc::clone(&trusted));
        let task = tokio::spawn(keep(
            cluster.client(),
            place.clone(),
            terms.clone(),
            now,
            Arc::clone(&metrics),
            Box::new(move |pair| *serve.lock().unwrap() = Some(pair)),
            Box::new(move |result| *verified.lock().unwrap() = result),
        ));
        Self { served, trusted, metrics, task }
    }

    fn served(&self) -> Option<Served> {
        self.served.lock().unwrap().clone()
    }

    fn is_trusted(&self) -> bool {
        *self.trusted.lock().unwrap() == Some(Ok(()))
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A registration of its own, so that tests do not meet; it selects nothing that exists.
struct Registered<'a> {
    cluster: &'a Cluster,
    place: CertificateStore,
}

impl<'a> Registered<'a> {
    async fn new(cluster: &'a Cluster, name: &str) -> Self {
        cluster.namespace(name, &json!({})).await;
        let place =
            CertificateStore { namespace: name.to_owned(), secret: "kept".to_owned(), registration: name.to_owned() };
        let registered = Self { cluster, place };
        registered.register().await;
        registered
    }

    async fn register(&self) {
        let CertificateStore { registration: name, .. } = &self.place;
        let entry = |entry: &str| {
            json!({
                "name": entry,
                "clientConfig": {"service": {"name": "stowage", "namespace": name, "path": "/mutate"}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "no-such-namespace"}},
                "failurePolicy": "Ignore", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            })
        };
        let registration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [entry("other.example.com"), entry(ENTRY)],
        });
        self.cluster.post(REGISTRATIONS, &registration).await.object();
    }

    async fn registration(&self) -> Value {
        self.cluster.get(&format!("{REGISTRATIONS}/{}", self.place.registration)).await.body
    }

    /// What our entry publishes.
    async fn bundle(&self) -> Bundle {
        let registration = self.registration().await;
        let entries = registration["webhooks"].as_array().cloned().unwrap_or_default();
        let ours = entries.iter().find(|entry| entry["name"] == ENTRY);
        let text = ours.and_then(|entry| entry["clientConfig"]["caBundle"].as_str()).unwrap_or_default();
        Bundle::from_pem(&decoded(text)).unwrap_or_default()
    }

    fn secret_path(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets/{}", self.place.namespace, self.place.secret)
    }

    async fn keyring(&self) -> Option<Keyring> {
        let secret = self.cluster.get(&self.secret_path()).await.body;
        let data = secret["data"].as_object()?.iter();
        let data = data.map(|(key, value)| (key.clone(), decoded(value.as_str().unwrap()))).collect();
        Keyring::from_data(&data).ok()
    }
}

const REGISTRATIONS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

fn decoded(text: &str) -> Vec<u8> {
    let decoded: k8s_openapi::ByteString = serde_json::from_value(json!(text)).unwrap();
    decoded.0
}

/// Waits until it is so, for ten seconds; how long it took.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < SECOND * 10, "not within ten seconds: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}

fn terms(namespace: &str) -> CertificateTerms {
    CertificateTerms { settle: SECOND, ..CertificateTerms::of_service("stowage", namespace) }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_begin_together_and_put_back_what_is_taken() {
    let Some(cluster) = shared() else { return };
    let registered = Registered::new(cluster, "certificates-kept").await;
    let (place, terms) = (&registered.place, terms("certificates-kept"));
    let replicas = [(); 2].map(|()| Replica::start(cluster, place, &terms));
    let both = || replicas.iter().all(Replica::is_trusted);
    until("both serve what is published", async || both()).await;
    let begun = registered.keyring().await.unwrap();
    let chain = |served: Option<Served>| served.unwrap().key().cert.clone();
    for replica in &replicas {
        assert_eq!(chain(replica.served()), chain(begun.served().cloned()));
    }
    let done = |replica: &Replica| replica.metrics.cluster.certificate_writes.total(Call::Done);
    assert_eq!(replicas.iter().map(done).sum::<u64>(), 1, "one of the two wrote the Secret");
    let registration = registered.registration().await;
    assert!(registration["webhooks"][0]["clientConfig"].get("caBundle").is_none(), "another's entry is left alone");
    let managers = registration["metadata"]["managedFields"].as_array().unwrap();
    let ours = managers.iter().find(|manager| manager["manager"] == "stowage").unwrap();
    let owned = &ours["fieldsV1"]["f:webhooks"][format!("k:{{\"name\":\"{ENTRY}\"}}")];
    assert_eq!(owned.as_object().unwrap().keys().collect::<Vec<_>>(), [".", "f:clientConfig", "f:name"]);

    // Blanked, as an apply of a chart with a placeholder does; and changed to another's.
    let other = Keyring::begin(None, &terms, now()).unwrap();
    for text in [String::new(), other.bundle(now()).to_pem()] {
        let mut blanked = registered.registration().await;
        blanked["webhooks"][1]["clientConfig"]["caBundle"] = json!(k8s_openapi::ByteString(text.into_bytes()));
        let path = format!("{REGISTRATIONS}/{}", place.registration);
        cluster.call(Method::PUT, &path, Some(&blanked)).await.object();
        let took = until("put back", async || registered.bundle().await.is_same(&begun.bundle(now()))).await;
        assert!(took < SECOND, "{took:?}");
    }

    cluster.call(Method::DELETE, &registered.secret_path(), None).await.object();
    until("the Secret is back", async || registered.keyring().await.is_some()).await;
    assert_eq!(registered.keyring().await.unwrap().to_data(), begun.to_data());

    // The registration goes and comes, as an installation is made anew: nobody makes it but the installer.
    cluster.call(Method::DELETE, &format!("{REGISTRATIONS}/{}", place.registration), None).await.object();
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(registered.registration().await["code"], 404);
    registered.register().await;
    until("published again", async || registered.bundle().await.is_same(&begun.bundle(now()))).await;
    assert_eq!(registered.keyring().await.unwrap().to_data(), begun.to_data());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_authority_in_the_secret_is_taken_over_without_a_moment_of_distrust() {
    let Some(cluster) = shared() else { return };
    let registered = Registered::new(cluster, "certificates-foreign").await;
    let terms = terms("certificates-foreign");
    let replica = Replica::start(cluster, &registered.place, &terms);
    until("served and published", async || replica.is_trusted()).await;
    let own = registered.keyring().await.unwrap();
    let foreign = Keyring::begin(None, &terms, now()).unwrap();
    let mut secret = cluster.get(&registered.secret_path()).await.object();
    secret["data"] = json!({});
    for (key, value) in foreign.to_data() {
        secret["data"][key] = json!(k8s_openapi::ByteString(value));
    }
    cluster.call(Method::PUT, &registered.secret_path(), Some(&secret)).await.object();
    let wanted = foreign.served().unwrap().key().cert.clone();
    until("the foreign pair is served", async || {
        let bundle = registered.bundle().await;
        let served = replica.served().unwrap();
        assert_eq!(bundle.verify(&served, &terms.called, now()), Ok(()));
        served.key().cert == wanted
    })
    .await;
    let bundle = registered.bundle().await;
    assert!(own.bundle(now()).authorities().iter().all(|authority| bundle.contains(authority)));
}

/// An authority holds for 12 seconds here: it is due after 8, and the next one signs a second after it was published.
#[tokio::test(flavor = "multi_thread")]
async fn three_changes_of_authority_leave_no_moment_without_trust() {
    let Some(cluster) = shared() else { return };
    let registered = Registered::new(cluster, "certificates-rotated").await;
    let terms =
        CertificateTerms { authority_life: SECOND * 12, serving_life: SECOND * 9, ..terms("certificates-rotated") };
    let replicas = [(); 2].map(|()| Replica::start(cluster, &registered.place, &terms));
    until("served and published", async || replicas.iter().all(Replica::is_trusted)).await;
    let mut signers = BTreeSet::new();
    let mut looks = 0;
    let start = Instant::now();
    // What an API server trusts is what it last heard of.
    let mut heard = registered.bundle().await;
    while signers.len() < 4 {
        assert!(start.elapsed() < SECOND * 90, "{} authorities in {:?}", signers.len(), start.elapsed());
        for replica in &replicas {
            let served = replica.served().unwrap();
            assert_eq!(heard.verify(&served, &terms.called, now()), Ok(()), "after {:?}", start.elapsed());
            looks += 1;
        }
        heard = registered.bundle().await;
        signers.insert(registered.keyring().await.unwrap().authority().certificate_pem().to_owned());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(looks > 200, "{looks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_from_files_is_verified_against_what_somebody_else_publishes() {
    let Some(cluster) = shared() else { return };
    let registered = Registered::new(cluster, "certificates-files").await;
    let terms = terms("certificates-files");
    let ring = Keyring::begin(None, &terms, now()).unwrap();
    let pair = ring.served().unwrap().clone();
    let trusted = Arc::new(Mutex::new(None));
    let told = Arc::clone(&trusted);
    let name = registered.place.registration.clone();
    let task = tokio::spawn(verify(
        cluster.client(),
        name.clone(),
        terms.called.clone(),
        now,
        Arc::new(Metrics::new("test").unwrap()),
        move || pair.clone(),
        Box::new(move |result| *told.lock().unwrap() = Some(result)),
    ));
    let says = || trusted.lock().unwrap().clone();
    until("nothing is published", async || says() == Some(None)).await;
    let publish = async |ring: &Keyring| {
        let mut registration = registered.registration().await;
        let text = k8s_openapi::ByteString(ring.bundle(now()).to_pem().into_bytes());
        registration["webhooks"][1]["clientConfig"]["caBundle"] = json!(text);
        cluster.call(Method::PUT, &format!("{REGISTRATIONS}/{name}"), Some(&registration)).await.object();
    };
    publish(&ring).await;
    until("trusted", async || says() == Some(Some(Ok(())))).await;
    publish(&Keyring::begin(None, &terms, now()).unwrap()).await;
    until("not trusted", async || matches!(says(), Some(Some(Err(TrustError::Chain(_)))))).await;
    task.abort();
}
