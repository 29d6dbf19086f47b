//! The `curl` command that a standalone server prints works as printed.

use std::process::Stdio;
use std::sync::Arc;

use jiff::Timestamp;
use stowage::certs::output;
use stowage::metrics::Metrics;
use stowage::server::tls::ServingCertificate;
use stowage::standalone::{SAMPLE_REVIEW, Standalone};
use tokio::process::Command;

use crate::https::{Server, limits, within};

#[expect(clippy::disallowed_methods, reason = "curl verifies by the real clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

#[tokio::test]
async fn the_printed_command_works_in_sh_with_and_without_a_file() {
    let curl = Command::new("curl").arg("--version").output().await;
    if !curl.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: there is no curl here");
        return;
    }
    let standalone = Standalone::new("0.0.0.0:0".parse().unwrap(), now()).unwrap();
    let server = Server::with(
        limits(),
        ServingCertificate::new(standalone.served().clone()),
        Arc::new(Metrics::new("test").unwrap()),
        standalone.ca_pem(),
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("it's a ca.crt");
    output::to_file(&ca, standalone.ca_pem(), 0o644, true).unwrap();
    let review = r#"{"it's":"$HOME `a` \"quoted\""}"#;
    for (file, review) in [(None, SAMPLE_REVIEW), (Some(ca.as_path()), SAMPLE_REVIEW), (None, review)] {
        let line = standalone.curl(server.address, file, review);
        let run = Command::new("sh")
            .args(["-c", &line])
            .env_remove("https_proxy")
            .env_remove("HTTPS_PROXY")
            .env_remove("ALL_PROXY")
            .stdin(Stdio::null())
            .output();
        let output = within(run).await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}\n{error}");
        let length = review.len().to_string();
        assert_eq!(String::from_utf8_lossy(&output.stdout), length);
    }
}

#[tokio::test]
async fn the_certificate_names_a_concrete_address_and_no_other() {
    let concrete = Standalone::new("127.0.0.9:0".parse().unwrap(), now()).unwrap();
    let der = concrete.served().key().cert.first().unwrap();
    assert!(der.windows(4).any(|part| part == [127, 0, 0, 1]));
    let own = Standalone::new("192.0.2.7:0".parse().unwrap(), now()).unwrap();
    let der = own.served().key().cert.first().unwrap();
    assert!(der.windows(4).any(|part| part == [192, 0, 2, 7]));
    assert!(der.windows(16).any(|part| part == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
}
