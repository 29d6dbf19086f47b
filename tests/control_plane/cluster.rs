//! A control plane of etcd and kube-apiserver, made for one run of the tests.
//!
//! Each program is started by a small shell that waits for its own standard input to end and then stops the program.
//! The test process holds the other end, so the control plane ends with it, however it ends.

use std::{
    fs,
    io::{self, Write as _},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, OnceLock},
    thread::sleep,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use stowage::certs::issue::{Authority, DAY};
use tokio_rustls::TlsConnector;

pub(crate) const TOKEN: &str = "administrator";

/// Runs the program, and kills it once standard input ends; then the folder goes too. An API server that is asked to
/// stop waits for an etcd that may be gone already.
const SUPERVISOR: &str = r#"folder=$1; shift
"$@" >"$folder/log" 2>&1 & program=$!; echo "$program" >"$folder/pid"
cat >/dev/null; kill -KILL "$program"; wait "$program"; rm -rf "$folder""#;

/// A running control plane.
pub(crate) struct Cluster {
    pub(crate) address: SocketAddr,
    pub(crate) token: &'static str,
    pub(crate) tls: TlsConnector,
    pub(crate) ca_pem: String,
    /// Keys and certificates of the API server; empty where somebody else has started it.
    keys: PathBuf,
    programs: Vec<Program>,
    /// The API server, where it is ours: what it is called with, and each that was started.
    api_server: Mutex<Option<(Command, Vec<Program>)>>,
}

/// A program that ends when this is dropped, or with this process.
struct Program {
    shell: Child,
    folder: PathBuf,
}

/// The control plane that all tests share; `None`, said once, where its programs are not there.
pub(crate) fn shared() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    SHARED.get_or_init(apart).as_ref()
}

/// A control plane for one test alone.
pub(crate) fn apart() -> Option<Cluster> {
    let (Some(etcd), Some(apiserver)) = (find("etcd"), find("kube-apiserver")) else {
        skipped("no etcd and kube-apiserver in KUBEBUILDER_ASSETS, /usr/local/kubebuilder/bin or PATH");
        return None;
    };
    Some(Cluster::start(&etcd, &apiserver))
}

/// Says that tests were skipped, past the harness, which shows what a passing test says only when asked. Where
/// `STOWAGE_REQUIRE_CONTROL_PLANE` is set that is a failure.
pub(crate) fn skipped(why: &str) {
    assert!(std::env::var_os("STOWAGE_REQUIRE_CONTROL_PLANE").is_none(), "{why}");
    let _ = writeln!(io::stderr(), "skipped: {why}");
}

/// The real time: certificates are verified by programs that know no other.
#[expect(clippy::disallowed_methods, reason = "the API server verifies by the real clock")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// A TLS client that trusts this authority alone.
pub(crate) fn trusting(ca_pem: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// A loopback address with a port that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Cluster {
    fn start(etcd: &Path, apiserver: &Path) -> Self {
        let [folder, own] = [(); 2].map(|()| tempfile::tempdir().unwrap().keep());
        let [client, peer, address] = [free_address(), free_address(), free_address()];
        let mut etcd = Command::new(etcd);
        let (client, peer) = (format!("http://{client}"), format!("http://{peer}"));
        etcd.args(["--name", "default", "--unsafe-no-fsync", "--log-level", "warn", "--data-dir"])
            .arg(folder.join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")]);
        let etcd = Program::start(&etcd, folder);
        let authority = Authority::new(now(), DAY).unwrap();
        let serving = authority.sign(&["127.0.0.1".to_owned(), "localhost".to_owned()], now(), DAY).unwrap();
        fs::write(own.join("tls.crt"), serving.certificate_pem).unwrap();
        fs::write(own.join("tls.key"), serving.key_pem).unwrap();
        // The API server takes the public half out of a certificate.
        let accounts = Authority::new(now(), DAY).unwrap();
        fs::write(own.join("accounts.crt"), accounts.certificate_pem()).unwrap();
        fs::write(own.join("accounts.key"), accounts.key_pem()).unwrap();
        fs::write(own.join("tokens.csv"), format!("{TOKEN},admin,admin,\"system:masters\"\n")).unwrap();
        let flag = |name: &str, file: &str| format!("--{name}={}", own.join(file).display());
        let mut command = Command::new(apiserver);
        command
            .arg(format!("--etcd-servers={client}"))
            .arg(format!("--secure-port={}", address.port()))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"])
            .args(["--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC", "--allow-privileged=true"])
            .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
            .arg(flag("cert-dir", "certs"))
            .arg(flag("tls-cert-file", "tls.crt"))
            .arg(flag("tls-private-key-file", "tls.key"))
            .arg(flag("token-auth-file", "tokens.csv"))
            .arg(flag("service-account-key-file", "accounts.crt"))
            .arg(flag("service-account-signing-key-file", "accounts.key"));
        let apiserver = Program::start(&command, own);
        let ca_pem = authority.certificate_pem();
        let keys = apiserver.folder.clone();
        let api_server = Mutex::new(Some((command, vec![apiserver])));
        let cluster = Self { programs: vec![etcd], keys, api_server, ..Self::at(address, ca_pem) };
        cluster.await_ready();
        cluster
    }

    /// An API server that somebody else starts.
    pub(crate) fn at(address: SocketAddr, ca_pem: &str) -> Self {
        Self {
            address,
            token: TOKEN,
            tls: trusting(ca_pem),
            ca_pem: ca_pem.to_owned(),
            keys: PathBuf::new(),
            programs: Vec::new(),
            api_server: Mutex::default(),
        }
    }

    /// Kills the API server, which answers again some time after this pause; returns once it does.
    pub(crate) fn restart_api_server(&self, pause: Duration) {
        {
            let mut api_server = self.api_server.lock().unwrap();
            let (command, programs) = api_server.as_mut().unwrap();
            let last = programs.last().unwrap();
            let pid = fs::read_to_string(last.folder.join("pid")).unwrap();
            assert!(Command::new("kill").args(["-KILL", pid.trim()]).status().unwrap().success());
            sleep(pause);
            // The folder of the first holds the keys, so it stays.
            programs.push(Program::start(command, tempfile::tempdir().unwrap().keep()));
        }
        self.await_ready();
    }

    /// Runs these controllers of kube-controller-manager from now on; `false`, said once, where it is not there.
    pub(crate) fn run_controllers(&mut self, controllers: &str) -> bool {
        let Some(program) = find("kube-controller-manager") else {
            skipped("no kube-controller-manager: no controller makes pods");
            return false;
        };
        let folder = tempfile::tempdir().unwrap().keep();
        let kubeconfig = folder.join("kubeconfig");
        fs::write(&kubeconfig, self.kubeconfig(self.token)).unwrap();
        fs::write(folder.join("ca.crt"), &self.ca_pem).unwrap();
        let mut command = Command::new(program);
        for flag in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
            command.arg(format!("--{flag}={}", kubeconfig.display()));
        }
        command
            .arg(format!("--controllers={controllers}"))
            .args(["--leader-elect=false", "--bind-address=127.0.0.1"])
            .arg(format!("--secure-port={}", free_address().port()))
            .arg(format!("--cert-dir={}", folder.join("certs").display()))
            .arg(format!("--root-ca-file={}", folder.join("ca.crt").display()))
            .arg(format!("--service-account-private-key-file={}", self.keys.join("accounts.key").display()));
        self.programs.push(Program::start(&command, folder));
        true
    }

    /// A kubeconfig for whoever has this token.
    pub(crate) fn kubeconfig(&self, token: &str) -> String {
        let authority = STANDARD.encode(&self.ca_pem);
        let server = format!("https://{}", self.address);
        serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority-data": authority}}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        })
        .to_string()
    }

    /// A client as Stowage uses it, of the administrator.
    pub(crate) fn client(&self) -> kube::Client {
        let _ = ring::default_provider().install_default();
        let mut config = kube::Config::new(format!("https://{}", self.address).parse().unwrap());
        let authority = CertificateDer::from_pem_slice(self.ca_pem.as_bytes()).unwrap();
        config.root_cert = Some(vec![authority.to_vec()]);
        config.auth_info.token = Some(self.token.to_owned().into());
        kube::Client::try_from(config).unwrap()
    }

    pub(crate) fn await_ready(&self) {
        let patience = Instant::now() + Duration::from_secs(60);
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // A runtime of its own: the test that comes first is already inside one.
        let ask = || std::thread::scope(|scope| scope.spawn(|| runtime().block_on(self.ready())).join().unwrap());
        while !ask() {
            assert!(Instant::now() < patience, "not ready\n{}", self.logs());
            sleep(Duration::from_millis(200));
        }
    }

    fn logs(&self) -> String {
        let api_server = self.api_server.lock().unwrap();
        let started = api_server.iter().flat_map(|(_, programs)| programs);
        self.programs.iter().chain(started).map(Program::log).collect::<Vec<_>>().join("\n")
    }
}

impl Program {
    fn start(command: &Command, folder: PathBuf) -> Self {
        let shell = Command::new("sh")
            .args(["-c", SUPERVISOR, "sh"])
            .arg(&folder)
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { shell, folder }
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let from = log.len().saturating_sub(2000);
        log.get(from..).unwrap_or(&log).to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Where a program is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = assets.into_iter().chain([PathBuf::from("/usr/local/kubebuilder/bin")]);
    folders.chain(std::env::split_paths(&path)).map(|folder| folder.join(program)).find(|program| program.is_file())
}
