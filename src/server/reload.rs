//! Follows the certificate on disk while the server runs.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::readiness::{Readiness, ReadinessCheck};
use super::tls::ServingCertificate;
use crate::certs::files::{CertificateChange, PairFiles};
use crate::certs::{Clock, PairError, Validity};
use crate::files::follow::{Look, Looks, PATIENCE};
use crate::metrics::{Metrics, Reload};

/// The name of the check that the served certificate answers to.
pub const CHECK: &str = "certificate";

/// Who must know of the certificate that is served.
#[derive(Clone)]
pub struct Audience {
    /// Its end becomes a gauge.
    pub metrics: Arc<Metrics>,
    /// Its end takes readiness away.
    pub readiness: Arc<Readiness>,
}

impl Audience {
    /// Tells of the certificate that is served from now on.
    pub fn tell(&self, validity: Validity) {
        self.metrics.certificate_ends(validity.not_after);
        let reason = PairError::Expired(validity.not_after).to_string();
        self.readiness.set(CHECK, ReadinessCheck::PassingUntil(validity.not_after, reason));
    }
}

/// Looks at the files every so often, for ever, and serves what is new there.
///
/// What cannot be served is said once and changes nothing. That the served
/// certificate has expired is said once too.
pub async fn follow(
    mut files: PairFiles,
    certificate: Arc<ServingCertificate>,
    every: Duration,
    clock: Clock,
    audience: Audience,
) {
    let unseen = files.unseen();
    let mut looks = Looks::new(every, PATIENCE, move || unseen.read());
    let mut said_expired = None;
    loop {
        match looks.next().await {
            Look::Hangs => {
                audience.metrics.certificate_reloads.count(Reload::TimedOut);
                let not_after = certificate.not_after();
                warn!(patience = ?PATIENCE, %not_after, "reading the certificate hangs: keeping the one that is served");
            }
            Look::Read(read) => take(files.take(read, clock()), &certificate, &audience),
        }
        let end = certificate.not_after();
        if clock() > end && said_expired != Some(end) {
            said_expired = Some(end);
            error!(not_after = %end, "the served certificate has expired");
        }
    }
}

fn take(change: CertificateChange, certificate: &ServingCertificate, audience: &Audience) {
    match change {
        CertificateChange::None => {}
        CertificateChange::Served(served) => {
            let validity = served.validity();
            certificate.replace(served);
            audience.tell(validity);
            audience.metrics.certificate_reloads.count(Reload::Accepted);
            info!(not_after = %validity.not_after, "serving a new certificate");
        }
        CertificateChange::Refused(error) => {
            audience.metrics.certificate_reloads.count(Reload::Refused);
            warn!(
                error = &error as &dyn StdError,
                not_after = %certificate.not_after(),
                "keeping the certificate that is served"
            );
        }
    }
}
