//! `stowage certs`: a CA and a serving certificate, for people who want them outside the server.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::{Failure, now, print, say};
use crate::certs::{
    issue::{AUTHORITY_LIFE, Authority, DAY, service_names},
    output,
};

/// Issues a CA and a serving certificate.
#[derive(Args, Debug)]
pub(super) struct CertsArgs {
    /// Folder for ca.crt, ca.key, tls.crt and tls.key; keys are readable by their owner only
    #[arg(long, value_name = "FOLDER", required_unless_present = "secret", conflicts_with = "secret")]
    out: Option<PathBuf>,
    /// Print a kubernetes.io/tls Secret of this name instead, for kubectl apply -f -; the CA's key is not in it
    #[arg(long, value_name = "NAME")]
    secret: Option<String>,
    /// Name of the webhook's Service
    #[arg(long, default_value = "stowage")]
    service: String,
    /// Namespace of the Service and of the Secret
    #[arg(short, long, default_value = "stowage")]
    namespace: String,
    /// Another DNS name or IP address; may be given again
    #[arg(long = "dns-name", value_name = "NAME")]
    names: Vec<String>,
    /// Days that the serving certificate lasts
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &CertsArgs) -> Result<(), Failure> {
    let now = now();
    let life = DAY * args.days;
    let authority = Authority::new(now, AUTHORITY_LIFE.max(life)).context("making the CA")?;
    let mut names = service_names(&args.service, &args.namespace);
    names.extend(args.names.iter().cloned());
    let serving = authority.sign(&names, now, life).context("making the serving certificate")?;
    if let Some(name) = &args.secret {
        return print(output::secret(name, &args.namespace, &authority, &serving).as_bytes());
    }
    if let Some(folder) = &args.out {
        for path in output::to_folder(folder, &authority, &serving, args.force).context("writing certificates")? {
            say(&format!("wrote {}", path.display()));
        }
    }
    Ok(())
}
