//! Servers as child processes, and what the kernel says about them.

use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// A running server; dropping it ends it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) ca: PathBuf,
    child: Child,
}

/// `USER_HZ`, in which Linux counts CPU time towards user space on every
/// architecture it runs on today.
const TICK: Duration = Duration::from_millis(10);

impl Server {
    /// This program again, as the constant webhook.
    pub(crate) fn constant(folder: &Path) -> anyhow::Result<Self> {
        let (address, ca) = (free_port()?, folder.join("constant.crt"));
        let arguments = ["--constant".into(), address.to_string().into(), ca.clone().into_os_string()];
        Self::start(&std::env::current_exe()?, &arguments, address, ca)
    }

    /// The server that is measured.
    pub(crate) fn stowage(bin: &Path, policies: Option<&Path>, folder: &Path) -> anyhow::Result<Self> {
        let (address, ca) = (free_port()?, folder.join("stowage.crt"));
        let mut arguments: Vec<OsString> = vec![
            "serve".into(),
            "--standalone".into(),
            "--listen".into(),
            address.to_string().into(),
            "--admin-listen".into(),
            free_port()?.to_string().into(),
            "--ca-out".into(),
            ca.clone().into_os_string(),
        ];
        if let Some(policies) = policies {
            arguments.extend(["--policies".into(), policies.as_os_str().to_owned()]);
        }
        Self::start(bin, &arguments, address, ca)
    }

    /// The CPU time that it has used, in user space and in the kernel.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        // The name, in parentheses, may hold anything.
        let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
        let ticks: u32 = fields.split(' ').skip(11).take(2).map(str::parse::<u32>).sum::<Result<_, _>>()?;
        Ok(TICK * ticks)
    }

    /// Resident memory now, and the most it was.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<(u64, u64)> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        };
        field("VmRSS:").zip(field("VmHWM:")).context("no memory in status")
    }

    fn start(bin: &Path, arguments: &[OsString], address: SocketAddr, ca: PathBuf) -> anyhow::Result<Self> {
        let mut command = if has_taskset() {
            let mut command = Command::new("taskset");
            command.args(["-c", "0"]).arg(bin);
            command
        } else {
            Command::new(bin)
        };
        let child = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", bin.display()))?;
        let mut server = Self { address, ca, child };
        let patience = Instant::now() + Duration::from_secs(10);
        while !server.ca.exists() || TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("{} ended with {status}", bin.display());
            }
            if Instant::now() > patience {
                bail!("{} did not listen on {address} in 10 s", bin.display());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps this program off the servers' core where there is another.
pub(crate) fn pin_self() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores > 1 && has_taskset() {
        let _ = Command::new("taskset")
            .args(["-p", "-c", "1", &std::process::id().to_string()])
            .stdout(Stdio::null())
            .status();
    }
}

fn has_taskset() -> bool {
    Command::new("taskset")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
