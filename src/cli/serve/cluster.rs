//! `stowage serve` in a cluster: what is watched, and where certificates come from.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Args;
use kube::Client;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::{Audience, ServeArgs, certificate_files, decider::Decider, seconds};
use crate::{
    certs::{
        Served,
        secret::{CertificateTerms, SECRET_NAME},
    },
    cli::{
        now,
        world::{self, WorldNews, Writer},
    },
    cluster::{
        REGISTRATION,
        accounts::Accounts,
        certificates::{self, CertificateStore},
        classes, client, events, namespaces, policies, status,
    },
    metrics::Watching,
    policy::{compile::Compiler, roster::PolicyKind},
    server::{readiness::ReadinessCheck, tls::ServingCertificate},
    tasks::Tasks,
};

/// The name of the check that the published bundle answers to.
const CHECK: &str = "caBundle";
/// How long API servers may distrust what is served before the replica is no longer ready.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Args, Debug)]
#[command(next_help_heading = "In a cluster")]
pub(super) struct ClusterArgs {
    /// Watch the policies of the cluster beside those of --policies
    #[arg(long)]
    pub(super) cluster: bool,
    /// Name of the webhook's Service in Stowage's own namespace; certificates are made for it
    #[arg(long, value_name = "NAME", default_value = "stowage")]
    service: String,
    /// Name of the MutatingWebhookConfiguration whose caBundle is kept
    #[arg(long, value_name = "NAME", default_value = REGISTRATION)]
    registration: String,
    /// Name of the Secret with the certificates, where --tls-cert gives none
    #[arg(long, value_name = "NAME", default_value = SECRET_NAME)]
    certificate_secret: String,
    /// How long a CA lasts; the next is made when two thirds are over
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = seconds)]
    ca_life: Duration,
    /// How long a serving certificate lasts; the next is made when two thirds are over
    #[arg(long, value_name = "DURATION", default_value = "2160h", value_parser = seconds)]
    certificate_life: Duration,
    /// How long a new CA is published before it signs
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = seconds)]
    ca_settle: Duration,
    /// Name of the pod that this runs in, for events
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub(super) pod_name: Option<String>,
}

/// A connection to the cluster that the program runs in.
pub(super) struct InCluster<'a> {
    client: Client,
    namespace: String,
    audience: &'a Audience,
}

impl<'a> InCluster<'a> {
    pub(super) async fn connect(args: &ServeArgs, audience: &'a Audience) -> anyhow::Result<Self> {
        let client = client::connect().await?;
        let namespace = args.own_namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        info!(namespace, "watching the cluster");
        Ok(Self { client, namespace, audience })
    }

    /// Starts everything that is watched and written beside certificates; the receiver hears once all of it is known.
    pub(super) fn watch(
        &self,
        writer: &mut Writer,
        decider: &mut Decider,
        pod_name: Option<String>,
        tasks: &mut Tasks,
    ) -> oneshot::Receiver<()> {
        let metrics = || Arc::clone(&self.audience.metrics);
        let client = || self.client.clone();
        let (statuses, to_write) = status::queue();
        tasks.spawn("policy statuses", status::write(client(), to_write, now, metrics()));
        let watches = [
            Watching::ClusterPolicies,
            Watching::Policies,
            Watching::Namespaces,
            Watching::PriorityClasses,
            Watching::RuntimeClasses,
        ];
        let synced = writer.await_cluster(watches, Some(statuses));
        let compiler = Arc::new(Compiler::new());
        for (name, kind) in [("cluster policies", PolicyKind::Cluster), ("policies", PolicyKind::Namespaced)] {
            let news = writer.sender();
            let tell = move |told| news.send(WorldNews::Policies(told));
            tasks.spawn(name, policies::follow(client(), kind, Arc::clone(&compiler), metrics(), tell));
        }
        let tell = |news: world::Sender| move |change| news.send(WorldNews::Cluster(change));
        tasks.spawn("namespaces", namespaces::follow(client(), metrics(), tell(writer.sender())));
        tasks.spawn("priority classes", classes::follow_priorities(client(), metrics(), tell(writer.sender())));
        tasks.spawn("runtime classes", classes::follow_runtimes(client(), metrics(), tell(writer.sender())));
        let (notices, to_deliver) = events::queue(metrics(), events::ADVICE);
        tasks.spawn("events", events::deliver(client(), pod_name, to_deliver, metrics()));
        decider.ask(namespaces::Lookup::new(client(), metrics()), Accounts::new(client(), metrics()));
        decider.tell(notices);
        synced
    }

    /// The certificate to serve, from files or from the Secret; waits until there is one.
    pub(super) async fn certificate(
        &self,
        args: &ServeArgs,
        tasks: &mut Tasks,
    ) -> anyhow::Result<Arc<ServingCertificate>> {
        let ClusterArgs { service, registration, certificate_secret, .. } = &args.cluster;
        let terms = CertificateTerms {
            authority_life: args.cluster.ca_life,
            serving_life: args.cluster.certificate_life,
            settle: args.cluster.ca_settle,
            ..CertificateTerms::of_service(service, &self.namespace)
        };
        let metrics = Arc::clone(&self.audience.metrics);
        let verified = self.verified();
        if args.tls_cert.is_some() {
            let certificate = certificate_files(args, self.audience, tasks).await?;
            let served = Arc::clone(&certificate);
            let verify = certificates::verify(
                self.client.clone(),
                registration.clone(),
                terms.called,
                now,
                metrics,
                move || served.served(),
                verified,
            );
            tasks.spawn("registration", verify);
            return Ok(certificate);
        }
        let place = CertificateStore {
            namespace: self.namespace.clone(),
            secret: certificate_secret.clone(),
            registration: registration.clone(),
        };
        let (serve, first) = self.serve();
        let keep = certificates::keep(self.client.clone(), place, terms, now, metrics, serve, verified);
        tasks.spawn("certificates", keep);
        first.await.context("waiting for a certificate")
    }

    /// Serves the pairs that come; the receiver hears of the first.
    fn serve(&self) -> (certificates::Serve, oneshot::Receiver<Arc<ServingCertificate>>) {
        let (first, receiver) = oneshot::channel();
        let mut first = Some(first);
        let mut certificate: Option<Arc<ServingCertificate>> = None;
        let audience = self.audience.clone();
        let serve = move |served: Served| {
            let validity = served.validity();
            info!(not_after = %validity.not_after, "serving a new certificate");
            match &certificate {
                Some(certificate) => certificate.replace(served),
                None => {
                    let made = ServingCertificate::new(served);
                    certificate = Some(Arc::clone(&made));
                    if let Some(first) = first.take() {
                        // Whoever waits has ended with the process.
                        let _ = first.send(made);
                    }
                }
            }
            audience.tell(validity);
        };
        (Box::new(serve), receiver)
    }

    /// Takes readiness away where API servers have distrusted what is served for a minute. A bundle that somebody blanked
    /// takes nothing away: all replicas would go at once, and nobody would be left to put it back.
    fn verified(&self) -> certificates::Verified {
        let readiness = Arc::clone(&self.audience.readiness);
        readiness.set(CHECK, ReadinessCheck::Passing);
        let mut failing = false;
        Box::new(move |verified| match verified {
            Some(Err(error)) if !failing => {
                failing = true;
                warn!(error = %error, "the published caBundle does not trust the certificate that is served");
                let reason = format!("the published caBundle does not trust the served certificate: {error}");
                readiness.set(CHECK, ReadinessCheck::PassingUntil(now() + PATIENCE, reason));
            }
            Some(Err(_)) => {}
            Some(Ok(())) | None if failing => {
                failing = false;
                readiness.set(CHECK, ReadinessCheck::Passing);
            }
            Some(Ok(())) | None => {}
        })
    }
}
