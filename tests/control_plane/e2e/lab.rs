//! A whole Kubernetes on this machine: control plane and a node that runs pods, or two of them.
//!
//! It lives on a bridge of its own: address 1 of the bridge's network is the API server's and the `kubernetes` Service's,
//! so that in-cluster clients find it without kube-proxy; pods have the addresses from 100 on. A shell keeps the list of
//! what was started and ends it with the test process.

mod node;

use std::{
    fs,
    io::Write as _,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock},
    thread::sleep,
    time::{Duration, Instant},
};

use stowage::certs::issue::{Authority, DAY};

use super::image::run;
use crate::cluster::{Cluster, TOKEN, find, now, skipped};

/// Control plane and nodes.
pub(crate) struct Lab {
    pub(crate) cluster: Cluster,
    pub(crate) folder: PathBuf,
    /// The bridge's, and what the cgroups are named after.
    name: String,
    address: IpAddr,
    /// Each by its folder and name.
    programs: Mutex<Vec<(PathBuf, Child)>>,
    pub(super) kubeconfig: PathBuf,
    /// One test at a time: they kill what the others need.
    turn: tokio::sync::Mutex<()>,
    _keeper: Child,
}

/// The lab that all tests share; `None`, said once, where a part of it is not there.
pub(crate) fn shared() -> Option<&'static Lab> {
    static SHARED: OnceLock<Option<Lab>> = OnceLock::new();
    SHARED
        .get_or_init(|| {
            let missing = missing();
            if missing.is_empty() {
                return Some(Lab::start());
            }
            skipped(&format!("no node for pods: {} missing", missing.join(", ")));
            None
        })
        .as_ref()
}

const CONTROL_PLANE: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];
const NODE: [&str; 7] = ["kubelet", "containerd", "ctr", "runc", "ip", "kubectl", "ldd"];

fn missing() -> Vec<&'static str> {
    let mut missing: Vec<_> = CONTROL_PLANE.into_iter().chain(NODE).filter(|name| find(name).is_none()).collect();
    if plugins().is_none() {
        missing.push("CNI plugins");
    }
    if !rustix::process::geteuid().is_root() {
        missing.push("root");
    }
    missing
}

fn plugins() -> Option<&'static str> {
    ["/usr/lib/cni", "/opt/cni/bin"].into_iter().find(|folder| Path::new(folder).join("host-local").is_file())
}

impl Lab {
    fn start() -> Self {
        let number = (0..200).find(|number| {
            let mut claim = Command::new("ip");
            claim.args(["link", "add", &format!("stowage{number}"), "type", "bridge"]);
            claim.output().unwrap().status.success()
        });
        let name = format!("stowage{}", number.expect("a bridge can be made"));
        let network = format!("10.213.{}", number.unwrap());
        let folder = std::env::temp_dir().join(format!("{name}-lab"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let keeper = Command::new("sh")
            .args(["-c", include_str!("keeper.sh"), "keeper"])
            .args([folder.as_os_str(), name.as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        run(Command::new("ip").args(["addr", "add", &format!("{network}.1/24"), "dev", &name]));
        run(Command::new("ip").args(["link", "set", &name, "up"]));
        let address: IpAddr = format!("{network}.1").parse().unwrap();
        let authority = Authority::new(now(), DAY).unwrap();
        let ca_pem = authority.certificate_pem().to_owned();
        let lab = Self {
            cluster: Cluster::at(SocketAddr::new(address, 443), &ca_pem),
            kubeconfig: folder.join("kubeconfig"),
            folder,
            name,
            address,
            programs: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            _keeper: keeper,
        };
        lab.control_plane(&authority, &network);
        lab.start_node(node::FIRST, lab.address);
        lab
    }

    /// Waits for the others; until the answer is dropped the lab is the caller's.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub(crate) fn kubectl(&self) -> Command {
        let mut kubectl = Command::new("kubectl");
        kubectl.env("KUBECONFIG", &self.kubeconfig);
        kubectl
    }

    /// Sends one of our programs a signal, by its pid.
    pub(crate) fn signal(&self, program: &str, signal: &str) {
        let programs = self.programs.lock().unwrap();
        let (_, child) = programs.iter().find(|(name, _)| *name == self.folder.join(program)).unwrap();
        run(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]));
    }

    /// Kills the API server and starts it again; back when it is ready.
    pub(crate) fn restart_apiserver(&self) {
        self.restart_apiserver_with(&[]);
    }

    /// The same, with these flags beside those that it always has.
    pub(crate) fn restart_apiserver_with(&self, flags: &[&str]) {
        self.signal("kube-apiserver", "KILL");
        let mut programs = self.programs.lock().unwrap();
        let at = programs.iter().position(|(name, _)| *name == self.folder.join("kube-apiserver")).unwrap();
        let (_, mut child) = programs.remove(at);
        child.wait().unwrap();
        drop(programs);
        self.apiserver(flags);
        self.cluster.await_ready();
    }

    fn start_program(&self, command: &mut Command) {
        self.start_in(&self.folder, command);
    }

    /// Its log and its pid are in this folder, where the keeper finds them.
    fn start_in(&self, folder: &Path, command: &mut Command) {
        let name = folder.join(Path::new(command.get_program()).file_name().unwrap());
        let log = fs::File::options().create(true).append(true).open(name.with_extension("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        fs::write(name.with_extension("pid"), child.id().to_string()).unwrap();
        self.programs.lock().unwrap().push((name, child));
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.join(file), text).unwrap();
    }

    fn flag(&self, name: &str, file: &str) -> String {
        format!("--{name}={}", self.folder.join(file).display())
    }

    fn control_plane(&self, authority: &Authority, network: &str) {
        let names = ["localhost", "kubernetes", "kubernetes.default.svc", &format!("{network}.1")];
        let serving = authority.sign(&names.map(str::to_owned), now(), DAY).unwrap();
        let accounts = Authority::new(now(), DAY).unwrap();
        self.write("ca.crt", authority.certificate_pem());
        self.write("tls.crt", &serving.certificate_pem);
        self.write("tls.key", &serving.key_pem);
        // The API server takes the public half out of a certificate.
        self.write("accounts.crt", accounts.certificate_pem());
        self.write("accounts.key", &accounts.key_pem());
        self.write("tokens.csv", &format!("{TOKEN},admin,admin,\"system:masters\"\n"));
        // Each call of the accounts of Stowage's namespace, without bodies.
        let audit = serde_json::json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts:stowage"]}, {"level": "None"}]
        });
        self.write("audit.json", &audit.to_string());
        let server = format!("https://{}", self.address);
        let ca = self.folder.join("ca.crt");
        let kubeconfig = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": {"server": server, "certificate-authority": ca}}],
            "users": [{"name": "admin", "user": {"token": TOKEN}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}]
        });
        self.write("kubeconfig", &kubeconfig.to_string());
        let [client, peer] = [2379, 2380].map(|port| format!("http://{}:{port}", self.address));
        let mut etcd = Command::new(find("etcd").unwrap());
        etcd.args(["--name", "default", "--unsafe-no-fsync", "--log-level", "warn"]).arg(self.flag("data-dir", "etcd"));
        etcd.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        etcd.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        self.start_program(etcd.args(["--initial-cluster", &format!("default={peer}")]));
        self.apiserver(&[]);
        self.cluster.await_ready();
        let kubeconfigs = ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"];
        for name in ["kube-controller-manager", "kube-scheduler"] {
            let mut command = Command::new(find(name).unwrap());
            command.args(kubeconfigs.map(|flag| self.flag(flag, "kubeconfig"))).arg("--leader-elect=false");
            command.arg(format!("--bind-address={}", self.address)).arg(self.flag("cert-dir", name));
            if name == "kube-controller-manager" {
                command.arg(self.flag("root-ca-file", "ca.crt"));
                command.arg(self.flag("service-account-private-key-file", "accounts.key"));
            }
            self.start_program(&mut command);
        }
    }

    fn apiserver(&self, flags: &[&str]) {
        let mut command = Command::new(find("kube-apiserver").unwrap());
        command
            .args(flags)
            .arg(format!("--etcd-servers=http://{}:2379", self.address))
            .arg(format!("--bind-address={}", self.address))
            .arg(format!("--advertise-address={}", self.address))
            .arg(format!(
                "--service-cluster-ip-range={}/26",
                self.address.to_string().trim_end_matches('1').to_owned() + "0"
            ))
            .args(["--secure-port=443", "--authorization-mode=RBAC", "--allow-privileged=true"])
            .arg(self.flag("audit-log-path", "audit.log"))
            .arg(self.flag("audit-policy-file", "audit.json"))
            // Services are called at their endpoints: there is no kube-proxy.
            .args(["--enable-aggregator-routing=true", "--kubelet-preferred-address-types=InternalIP"])
            .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
            .arg(self.flag("cert-dir", "certs"))
            .arg(self.flag("tls-cert-file", "tls.crt"))
            .arg(self.flag("tls-private-key-file", "tls.key"))
            .arg(self.flag("token-auth-file", "tokens.csv"))
            .arg(self.flag("service-account-key-file", "accounts.crt"))
            .arg(self.flag("service-account-signing-key-file", "accounts.key"));
        self.start_program(&mut command);
    }

    fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            if begun.elapsed() > Duration::from_secs(90) {
                let _ = writeln!(std::io::stderr(), "{}", self.logs());
                panic!("never: {what}");
            }
            sleep(Duration::from_millis(200));
        }
    }

    /// The end of each program's log.
    fn logs(&self) -> String {
        let mut all = String::new();
        for (name, _) in self.programs.lock().unwrap().iter() {
            let log = fs::read_to_string(name.with_extension("log")).unwrap_or_default();
            let end: Vec<_> = log.lines().rev().take(8).collect();
            all += &format!("--- {}\n{}\n", name.display(), end.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        all
    }
}
