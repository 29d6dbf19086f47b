//! What a request costs the server, against a webhook that answers a constant.
//!
//! Both run as processes of their own, each on one core, and are measured in
//! turns within one run, so that the ratio holds whatever the machine does:
//!
//! ```text
//! cargo build --release
//! cargo bench --bench load -- --policies POLICIES --review REVIEW.json
//! ```
//!
//! Closed loop, HTTPS, HTTP/1.1 kept alive, as the API server calls a Service.

#[path = "load/client.rs"]
mod client;
#[path = "load/constant.rs"]
mod constant;
#[path = "load/process.rs"]
mod process;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;

use self::client::{Target, median};
use self::process::Server;

/// Measures `stowage serve` against a constant webhook.
#[derive(Parser)]
struct Options {
    /// The server to measure.
    #[arg(long, env = "STOWAGE_BIN", default_value = "target/release/stowage")]
    bin: PathBuf,
    /// Its policies.
    #[arg(long)]
    policies: Option<PathBuf>,
    /// The AdmissionReview to send.
    #[arg(long)]
    review: Option<PathBuf>,
    /// How many connections where throughput is measured.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// How long each turn takes, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How many turns each server has; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    /// Be the constant webhook: listen here and write the CA there.
    #[arg(long, hide = true, num_args = 2, value_names = ["ADDRESS", "CA"])]
    constant: Option<Vec<String>>,
}

/// One server's medians.
struct Cost {
    cpu_micros: f64,
    p50_micros: f64,
    one_p50_micros: f64,
    requests_per_second: f64,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let Some([address, ca]) = options.constant.as_deref() {
        return constant::run(address.parse()?, ca.as_ref());
    }
    let (Some(review), true) = (&options.review, options.bench) else {
        println!("skipped: cargo bench --bench load -- --policies POLICIES --review REVIEW.json");
        return Ok(());
    };
    let review = std::fs::read(review).with_context(|| format!("reading {}", review.display()))?;
    let folder = tempfile::tempdir()?;
    let constant = Server::constant(folder.path())?;
    let stowage = Server::stowage(&options.bin, options.policies.as_deref(), folder.path())?;
    process::pin_self();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let servers = [constant, stowage];
    let [constant, stowage] = runtime.block_on(measure(&options, &servers, &review))?;
    print(&options, &constant, &stowage);
    for (name, server) in ["constant", "stowage"].iter().zip(&servers) {
        let (now, most) = server.resident_kib()?;
        println!("{name:9} resident {:.1} MiB, at most {:.1} MiB", mib(now), mib(most));
    }
    Ok(())
}

async fn measure(options: &Options, servers: &[Server; 2], review: &[u8]) -> anyhow::Result<[Cost; 2]> {
    let turn = Duration::from_secs_f64(options.seconds);
    let mut targets = Vec::new();
    for server in servers {
        let target = Target::new(server, review).await?;
        println!("{}", target.describe());
        // Caches, page tables and the allocator settle.
        target.load(options.connections, turn / 4).await?;
        targets.push(target);
    }
    let mut samples = [const { (Vec::new(), Vec::new(), Vec::new(), Vec::new()) }; 2];
    for _ in 0..options.rounds {
        for ((target, server), sample) in targets.iter().zip(servers).zip(&mut samples) {
            let before = server.cpu()?;
            let many = target.load(options.connections, turn).await?;
            let spent = server.cpu()? - before;
            ensure!(!many.is_empty(), "no request was answered");
            let requests = many.len() as f64;
            sample.0.push(spent.as_secs_f64() * 1e6 / requests);
            sample.1.push(requests / turn.as_secs_f64());
            sample.2.push(median(many));
            sample.3.push(median(target.load(1, turn / 2).await?));
        }
    }
    Ok(samples.map(|(cpu, rate, p50, one)| Cost {
        cpu_micros: median(cpu),
        requests_per_second: median(rate),
        p50_micros: median(p50),
        one_p50_micros: median(one),
    }))
}

fn print(options: &Options, constant: &Cost, stowage: &Cost) {
    println!("{} connections, {} rounds of {} s, medians", options.connections, options.rounds, options.seconds);
    println!("          CPU µs/request  requests/s  p50 µs  p50 µs on one connection");
    for (name, cost) in [("constant", constant), ("stowage", stowage)] {
        println!(
            "{name:9} {:14.1} {:11.0} {:7.0} {:25.0}",
            cost.cpu_micros, cost.requests_per_second, cost.p50_micros, cost.one_p50_micros
        );
    }
    println!(
        "ratio     {:14.2} {:11.2} {:7.2} {:25.2}",
        stowage.cpu_micros / constant.cpu_micros,
        stowage.requests_per_second / constant.requests_per_second,
        stowage.p50_micros / constant.p50_micros,
        stowage.one_p50_micros / constant.one_p50_micros
    );
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
