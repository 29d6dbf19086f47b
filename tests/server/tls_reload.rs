//! The certificate changes under a running server, as the kubelet changes it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use stowage::certs::files::{CertificateChange, PairFiles};
use stowage::certs::issue::{Authority, DAY, Serving};
use stowage::metrics::{Metrics, Reload};
use stowage::server::readiness::Readiness;
use stowage::server::reload::{self, Audience};
use stowage::server::tls::ServingCertificate;
use tempfile::TempDir;

use crate::https::{BOTH, Client, H1, Server, limits, now, within};

/// A Secret's volume as the kubelet's AtomicWriter keeps it:
/// `tls.crt -> ..data/tls.crt`, `..data -> ..<timestamp>`, the content there.
struct Volume {
    folder: TempDir,
    generation: u32,
}

/// A server that follows a volume, and the authority whose pairs go there.
struct Following {
    server: Server,
    volume: Volume,
    authority: Authority,
    readiness: Arc<Readiness>,
}

impl Volume {
    fn new(pair: &Serving) -> Self {
        let mut volume = Self { folder: tempfile::tempdir().unwrap(), generation: 0 };
        volume.publish(&pair.certificate_pem, &pair.key_pem);
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), volume.path(name)).unwrap();
        }
        volume
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a new folder, swaps the symlink by renaming, removes the old.
    fn publish(&mut self, certificate: &str, key: &str) {
        self.generation += 1;
        let name = format!("..2026_11_22_12_00_{:02}", self.generation);
        fs::create_dir(self.path(&name)).unwrap();
        fs::write(self.path(&name).join("tls.crt"), certificate).unwrap();
        fs::write(self.path(&name).join("tls.key"), key).unwrap();
        let old = fs::read_link(self.path("..data"));
        symlink(&name, self.path("..data_tmp")).unwrap();
        fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
        if let Ok(old) = old {
            fs::remove_dir_all(self.folder.path().join(old)).unwrap();
        }
    }
}

impl Following {
    async fn start() -> Self {
        let authority = Authority::new(now(), DAY * 365).unwrap();
        let volume = Volume::new(&pair(&authority, 30));
        let mut files = PairFiles::new(volume.path("tls.crt"), volume.path("tls.key"));
        let CertificateChange::Served(served) = files.look(now()) else {
            panic!("the first pair is good");
        };
        let certificate = ServingCertificate::new(served);
        let audience = Audience {
            metrics: Arc::new(Metrics::new("test").unwrap()),
            readiness: Arc::new(Readiness::awaiting(&[reload::CHECK])),
        };
        audience.tell(certificate.validity());
        let server = Server::with(
            limits(),
            Arc::clone(&certificate),
            Arc::clone(&audience.metrics),
            authority.certificate_pem(),
        )
        .await;
        let readiness = Arc::clone(&audience.readiness);
        let every = Duration::from_millis(5);
        tokio::spawn(reload::follow(files, certificate, every, now, audience));
        Self { server, volume, authority, readiness }
    }

    /// The end of the certificate that a new handshake is given.
    async fn served_until(&self) -> Timestamp {
        let stream = self.server.tls(H1, &BOTH, "127.0.0.1").await.unwrap();
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        let validity = stowage::certs::Validity::of(chain.first().unwrap()).unwrap();
        validity.not_after
    }

    async fn reloads(&self, result: Reload, count: u64) {
        let reached = |metrics: &Metrics| metrics.certificate_reloads.total(result) == count;
        self.server.until("read again", reached).await;
    }
}

fn pair(authority: &Authority, days: u32) -> Serving {
    let names = ["localhost".to_owned()];
    authority.sign(&names, now(), DAY * days).unwrap()
}

fn end(days: u32) -> Timestamp {
    now().checked_add(DAY * days).unwrap()
}

#[tokio::test]
async fn follows_two_symlink_swaps_in_a_row_and_keeps_open_connections() {
    let mut following = Following::start().await;
    assert_eq!(following.served_until().await, end(30));
    let stream = following.server.raw().await;
    let mut old = Client::on(stream, H1).await;
    for (reload, days) in [(1, 31), (2, 32)] {
        let next = pair(&following.authority, days);
        following.volume.publish(&next.certificate_pem, &next.key_pem);
        following.reloads(Reload::Accepted, reload).await;
        assert_eq!(following.served_until().await, end(days));
        let gauge = following.server.metrics.certificate_expiry.get();
        assert_eq!(gauge, end(days).as_second());
        assert_eq!(old.post("1").await.text, "1");
    }
    assert!(following.readiness.report(end(32)).ready);
    let late = end(32).checked_add(Duration::from_secs(1)).unwrap();
    let report = following.readiness.report(late);
    assert!(!report.ready);
    let reason = format!("certificate failed: the certificate expired at {}", end(32));
    assert!(report.text.contains(&reason), "{}", report.text);
}

#[tokio::test]
async fn a_half_written_pair_keeps_the_old_one_and_is_said_once() {
    let mut following = Following::start().await;
    let next = pair(&following.authority, 31);
    let other = pair(&following.authority, 32);
    let cut = next.certificate_pem.len() / 2;
    let expired = {
        let long_ago = now().checked_sub(DAY * 10).unwrap();
        let names = ["localhost".to_owned()];
        following.authority.sign(&names, long_ago, DAY).unwrap()
    };
    for (refusals, certificate, key) in [
        (1, &next.certificate_pem[..cut], &*next.key_pem),
        (2, &*next.certificate_pem, &*other.key_pem),
        (3, &*next.certificate_pem, ""),
        (4, &*expired.certificate_pem, &*expired.key_pem),
    ] {
        following.volume.publish(certificate, key);
        following.reloads(Reload::Refused, refusals).await;
        // Many looks later it was still said once.
        tokio::time::sleep(Duration::from_millis(50)).await;
        following.reloads(Reload::Refused, refusals).await;
        assert_eq!(following.served_until().await, end(30));
    }
    following.volume.publish(&next.certificate_pem, &next.key_pem);
    following.reloads(Reload::Accepted, 1).await;
    assert_eq!(following.served_until().await, end(31));
}

#[tokio::test]
async fn a_rotation_under_load_fails_no_request() {
    let mut following = Following::start().await;
    let calls = async {
        for _ in 0..40 {
            let stream = following.server.tls(H1, &BOTH, "127.0.0.1").await.unwrap();
            let mut client = Client::on(stream, H1).await;
            assert_eq!(client.post("1").await.text, "1");
        }
    };
    let volume = &mut following.volume;
    let rotations = async {
        for days in 1..=8 {
            let next = pair(&following.authority, days);
            volume.publish(&next.certificate_pem, &next.key_pem);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(async { tokio::join!(calls, rotations) }).await;
    let metrics = &following.server.metrics;
    assert!(metrics.certificate_reloads.total(Reload::Accepted) > 1);
}
