//! Nodes of the lab: each is a containerd and a kubelet with a folder and an address of its own. Their pods share the
//! bridge and its addresses.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{
    super::image::{self, run},
    Lab, plugins,
};
use crate::cluster::find;

/// The node that is always there.
pub(super) const FIRST: &str = "node1";
/// The one that is there once somebody has asked for it.
const SECOND: &str = "node2";
/// What it adds to the first one's address: below the pods' addresses, above those of Services.
const SECOND_ADDRESS: u8 = 64;

impl Lab {
    /// Both nodes, of which the second is shut, so that nothing comes to it that does not want to.
    pub(crate) fn two_nodes(&self) -> [&'static str; 2] {
        if !self.folder_of(SECOND).exists() {
            let IpAddr::V4(first) = self.address else { panic!("{} is no IPv4 address", self.address) };
            let [network @ .., last] = first.octets();
            let [a, b, c] = network;
            let address = IpAddr::from([a, b, c, last + SECOND_ADDRESS]);
            run(Command::new("ip").args(["addr", "add", &format!("{address}/24"), "dev", &self.name]));
            self.start_node(SECOND, address);
            run(self.kubectl().args(["cordon", SECOND]));
        }
        [FIRST, SECOND]
    }

    /// The process id of a container's program, by the id that the pod's status says.
    pub(crate) fn pid(&self, container_id: &str) -> u32 {
        let id = container_id.trim_start_matches("containerd://");
        let tasks: String = self.nodes().iter().map(|node| run(self.ctr(node).args(["tasks", "ls"]))).collect();
        let line = tasks.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{id}: {tasks}"));
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// What a container wrote, line by line.
    pub(crate) fn log(&self, pod: &Value, container: &str) -> Vec<String> {
        let text = |key: &str| pod["metadata"][key].as_str().unwrap().to_owned();
        let name = format!("{}_{}_{}", text("namespace"), text("name"), text("uid"));
        let node = pod["spec"]["nodeName"].as_str().unwrap_or(FIRST);
        let log = self.folder_of(node).join("podlogs").join(name).join(container).join("0.log");
        // TIME STREAM TAG TEXT
        let log = fs::read_to_string(log).unwrap_or_default();
        log.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned()).collect()
    }

    /// Gives every node an image of this folder.
    pub(crate) fn import(&self, image: &str, root: &Path, entrypoint: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let archive = image::archive(image, root, entrypoint, folder.path());
        for node in self.nodes() {
            run(self.ctr(node).args(["images", "import"]).arg(&archive));
        }
    }

    fn nodes(&self) -> Vec<&'static str> {
        [FIRST, SECOND].into_iter().filter(|node| self.folder_of(node).exists()).collect()
    }

    fn folder_of(&self, node: &str) -> PathBuf {
        self.folder.join(node)
    }

    fn ctr(&self, node: &str) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("-a").arg(self.folder_of(node).join("containerd.sock")).args(["-n", "k8s.io"]);
        ctr
    }

    /// The bridge, and which of its addresses are free: the same for all nodes.
    fn pod_network(&self) {
        let network = self.address.to_string();
        let network = network.trim_end_matches(".1");
        let network = json!({"cniVersion": "0.4.0", "name": "lab", "plugins": [{
            "type": "bridge", "bridge": self.name, "isGateway": true, "ipMasq": false, "hairpinMode": true,
            "ipam": {
                "type": "host-local", "dataDir": self.folder.join("ipam"), "routes": [{"dst": "0.0.0.0/0"}],
                "ranges": [[{"subnet": format!("{network}.0/24"), "rangeStart": format!("{network}.100")}]]
            }
        }]});
        fs::create_dir_all(self.folder.join("cni")).unwrap();
        self.write("cni/10-lab.conflist", &network.to_string());
    }

    /// Ready when this returns.
    pub(super) fn start_node(&self, node: &str, address: IpAddr) {
        let folder = self.folder_of(node);
        fs::create_dir_all(&folder).unwrap();
        self.pod_network();
        self.containerd(node);
        let root = tempfile::tempdir().unwrap();
        image::tools(root.path());
        self.import("localhost/pause:1", root.path(), &["/bin/sleep", "infinity"]);
        self.import("localhost/tools:1", root.path(), &["/bin/sh", "-c"]);
        self.kubelet(node, address);
        let ready = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        self.until("the node is ready", || {
            let told = self.kubectl().args(["get", "node", node, "-o", ready]).output().unwrap();
            told.stdout == b"True"
        });
    }

    fn containerd(&self, node: &str) {
        let folder = self.folder_of(node);
        let config = format!(
            "version = 2\nroot = \"{own}/containerd/root\"\nstate = \"{own}/containerd/state\"\n\
             [grpc]\naddress = \"{own}/containerd.sock\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\nrestrict_oom_score_adj = true\n\
             sandbox_image = \"localhost/pause:1\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"{}\"\nconf_dir = \"{}/cni\"\n",
            plugins().unwrap(),
            self.folder.display(),
            own = folder.display(),
        );
        fs::write(folder.join("containerd.toml"), config).unwrap();
        let mut command = Command::new(find("containerd").unwrap());
        self.start_in(&folder, command.arg("--config").arg(folder.join("containerd.toml")));
        self.until("containerd answers", || self.ctr(node).arg("version").output().unwrap().status.success());
    }

    fn kubelet(&self, node: &str, address: IpAddr) {
        let folder = self.folder_of(node);
        let group = format!("{}-{node}", self.name);
        run(Command::new("sh").args(["-c", CGROUPS, "cgroups", &group]));
        let config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            // So that `kubectl logs` works: the API server brings no certificate.
            "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{group}"), "failCgroupV1": false, "failSwapOn": false,
            "containerRuntimeEndpoint": format!("unix://{}/containerd.sock", folder.display()),
            "enforceNodeAllocatable": [], "imageGCHighThresholdPercent": 100, "resolvConf": "", "maxPods": 150,
            "address": address, "healthzPort": 0, "readOnlyPort": 0,
            "evictionHard": {"memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%", "nodefs.inodesFree": "0%"},
            "podLogsDir": folder.join("podlogs"), "volumePluginDir": folder.join("flex")
        });
        fs::write(folder.join("kubelet.yaml"), config.to_string()).unwrap();
        let flag = |name: &str, file: &str| format!("--{name}={}", folder.join(file).display());
        let mut command = Command::new(find("kubelet").unwrap());
        command.args([flag("config", "kubelet.yaml"), self.flag("kubeconfig", "kubeconfig")]);
        command.args([flag("root-dir", "kubelet"), flag("cert-dir", "kubelet-pki")]);
        command.args([format!("--hostname-override={node}"), format!("--node-ip={address}")]);
        self.start_in(&folder, &mut command);
    }
}

/// The kubelet wants its root to be there; version 1 of cgroups wants its CPUs named.
const CGROUPS: &str = r#"for tree in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ -f "$tree/cgroup.procs" ] || continue
    mkdir -p "$tree/$1" || continue
    for file in cpuset.cpus cpuset.mems; do
        [ ! -f "$tree/$file" ] || cat "$tree/$file" >"$tree/$1/$file"
    done
done 2>/dev/null; true"#;
