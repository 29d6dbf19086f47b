//! The binary as a person meets it: what it prints, where, and with which status.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

const POLICY: &str = "\
apiVersion: stowage.dev/v1alpha1
kind: ClusterInjectionPolicy
metadata: {name: data}
spec:
  match:
    podSelector: {matchLabels: {team: vision}}
  storage:
  - pvc: {claimName: data, volumeName: data, mountPath: /data}
  preemption:
    nodeSelector: {spot: \"true\"}
";
const POD: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: train, namespace: ml, labels: {team: vision}}
spec:
  containers:
  - {name: main, image: \"example/image:1\"}
";

/// A folder with a policy and a pod.
pub(crate) struct Case {
    folder: TempDir,
}

impl Case {
    pub(crate) fn new() -> Self {
        let case = Self { folder: tempfile::tempdir().unwrap() };
        case.write("policy.yaml", POLICY);
        case.write("pod.yaml", POD);
        case
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stowage"));
        command.args(arguments.split_whitespace()).current_dir(self.folder.path());
        command.env_remove("RUST_LOG").env_remove("POD_NAMESPACE").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a command that succeeds prints, and says.
    pub(crate) fn succeeds(&self, arguments: &str) -> (String, String) {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments}: {}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    }

    fn inject(&self, file: &str, output: &str) -> Value {
        let (out, _) = self.succeeds(&format!("inject -f {file} --policies policy.yaml -o {output}"));
        serde_json::from_str(&out).unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn claim(spec: &Value) -> &Value {
    &spec["volumes"][0]["persistentVolumeClaim"]["claimName"]
}

#[test]
fn wrong_usage_is_status_two_and_said_on_stderr() {
    let case = Case::new();
    for arguments in [
        "",
        "inject",
        "inject -f pod.yaml",
        "inject -f pod.yaml --policies policy.yaml -o table",
        "serve --policies policy.yaml",
        "serve --standalone --policies policy.yaml --tls-cert a --tls-key b",
        "certs",
        "check",
        "reap -f pods.json --policies policy.yaml --now yesterday",
        "frobnicate",
    ] {
        let output = case.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert_eq!(text(&output.stdout), "", "{arguments}");
        assert!(text(&output.stderr).contains("--help"), "{arguments}: {}", text(&output.stderr));
    }
}

#[test]
fn refused_input_is_status_one_and_said_on_stderr() {
    let case = Case::new();
    case.write("bad.yaml", &POLICY.replace("claimName", "claimNam"));
    case.write("half.yaml", "apiVersion: v1\nkind: Pod\n  metadata: {");
    for (arguments, said) in [
        ("check bad.yaml", "bad.yaml:8: spec.storage[0].pvc.claimNam: unknown field; did you mean claimName?"),
        ("check nowhere", "stowage: reading nowhere"),
        ("inject -f pod.yaml --policies bad.yaml", "bad.yaml:8: spec.storage[0].pvc.claimName: required"),
        ("inject -f half.yaml --policies policy.yaml", "reading half.yaml"),
        ("inject -f nowhere.yaml --policies policy.yaml", "reading nowhere.yaml"),
        (
            "serve --standalone --policies bad.yaml --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0",
            "2 errors in policy files",
        ),
    ] {
        let output = case.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments}");
        assert!(text(&output.stderr).contains(said), "{arguments}: {}", text(&output.stderr));
    }
}

#[test]
fn check_counts_and_names_everything_that_is_wrong_at_once() {
    let case = Case::new();
    let (out, err) = case.succeeds("check policy.yaml pod.yaml");
    assert_eq!(out, "1 policy accepted, 0 errors, 1 document of other kinds passed over\n");
    assert_eq!(err, "");
    case.write("bad.yaml", &POLICY.replace("mountPath: /data", "mountPath: data, subPth: x"));
    let output = case.run("check bad.yaml");
    assert_eq!(text(&output.stdout), "0 policies accepted, 1 error\n");
    assert_eq!(text(&output.stderr), "bad.yaml:8: spec.storage[0].pvc.subPth: unknown field; did you mean subPath?\n");
}

#[test]
fn check_prints_the_rules_that_another_kind_of_owner_needs() {
    let case = Case::new();
    let (out, err) = case.succeeds("check --owner argoproj.io/Workflow --owner example.com/Batch");
    assert_eq!(err, "");
    let rules: Vec<&str> = out.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        rules,
        [
            "- {apiGroups: [argoproj.io], resources: [workflows], verbs: [get]}",
            "- {apiGroups: [example.com], resources: [batches], verbs: [get]}",
            "- {apiGroups: [argoproj.io], resources: [workflows], verbs: [delete]}",
            "- {apiGroups: [example.com], resources: [batches], verbs: [delete]}",
        ]
    );
    let (out, _) = case.succeeds("check policy.yaml --owner argoproj.io/Workflow");
    assert!(out.ends_with("1 policy accepted, 0 errors\n"), "{out}");
    assert_eq!(case.run("check").status.code(), Some(2));
}

#[test]
fn one_pod_gives_one_pod_as_yaml_and_as_json() {
    let case = Case::new();
    let (yaml, err) = case.succeeds("inject -f pod.yaml --policies policy.yaml");
    assert_eq!(err, "");
    assert!(yaml.starts_with("apiVersion: v1\nkind: Pod\n"), "{yaml}");
    let pod = case.inject("pod.yaml", "json");
    assert_eq!(claim(&pod["spec"]), "data");
    let marker: Value =
        serde_json::from_str(pod["metadata"]["annotations"]["stowage.dev/injected"].as_str().unwrap()).unwrap();
    assert_eq!(marker["policies"][0]["name"], "data");
    // What the API server fills in is for the decision only.
    for absent in ["serviceAccountName", "imagePullPolicy"] {
        assert!(!yaml.contains(absent), "{absent}");
    }
}

#[test]
fn the_patch_applied_is_the_pod_and_is_empty_the_second_time() {
    let case = Case::new();
    let operations: json_patch::Patch = serde_json::from_value(case.inject("pod.yaml", "patch")).unwrap();
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "train", "namespace": "ml", "labels": {"team": "vision"}},
        "spec": {"containers": [{"name": "main", "image": "example/image:1"}]}
    });
    json_patch::patch(&mut pod, &operations).unwrap();
    assert_eq!(pod, case.inject("pod.yaml", "json"));
    case.write("again.json", &pod.to_string());
    assert_eq!(case.inject("again.json", "patch"), json!([]));
}

#[test]
fn the_review_answers_the_review_it_is_given() {
    let case = Case::new();
    let answer = case.inject("pod.yaml", "review");
    assert_eq!((&answer["kind"], &answer["response"]["allowed"]), (&json!("AdmissionReview"), &json!(true)));
    assert_eq!(answer["response"]["patchType"], "JSONPatch");
    case.write("review.json", stowage::standalone::SAMPLE_REVIEW);
    let answer = case.inject("review.json", "review");
    assert_eq!(answer["response"]["uid"], "00000000-0000-0000-0000-000000000001");
    assert_eq!(answer["response"].get("patch"), None, "no policy matches it");
}

#[test]
fn explain_says_what_was_done_and_why_not() {
    let case = Case::new();
    case.write(
        "taken.yaml",
        &format!(
            "{POD}    volumeMounts: [{{name: own, mountPath: /data}}]\n  volumes: [{{name: own, emptyDir: {{}}}}]\n"
        )
        .replace("- {name: main, image: \"example/image:1\"}", "- name: main\n    image: example/image:1"),
    );
    let (out, _) = case.succeeds("inject -f taken.yaml --policies policy.yaml -o explain");
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("Pod ml/train: "), "{out}");
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["POLICY", "MODIFIER", "OUTCOME", "WHY"]);
    assert!(lines[2].contains("storage[0].pvc") && lines[2].contains("skipped") && lines[2].contains("/data"), "{out}");
    assert!(out.contains("preemption") && out.contains("NotIn"), "{out}");
}

#[test]
fn a_refused_pod_is_status_one_and_the_answer_says_why() {
    let case = Case::new();
    case.write("wrong.yaml", &POD.replace("labels: {", "labels: {stowage.dev/preemption-mode: never, "));
    let said =
        "stowage.dev/preemption-mode: \"never\" is not allowed; use one of allow, constrain, prevent, prefer, none";
    let output = case.run("inject -f wrong.yaml --policies policy.yaml -o review");
    assert_eq!(output.status.code(), Some(1));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["response"]["status"]["code"], 422);
    assert!(answer["response"]["status"]["message"].as_str().unwrap().contains(said), "{answer}");
    assert!(text(&output.stderr).contains(said), "{}", text(&output.stderr));
}

#[test]
fn workloads_are_injected_in_their_pod_template_without_a_marker() {
    let case = Case::new();
    let template = r#"{metadata: {labels: {team: vision}}, spec: {containers: [{name: main, image: "a:1"}]}}"#;
    let head = "metadata: {name: w, namespace: ml}";
    for (kind, spec, pointer) in [
        ("Job", format!("{{template: {template}}}"), "/spec/template"),
        ("Deployment", format!("{{selector: {{}}, template: {template}}}"), "/spec/template"),
        ("StatefulSet", format!("{{template: {template}}}"), "/spec/template"),
        ("DaemonSet", format!("{{template: {template}}}"), "/spec/template"),
        ("ReplicaSet", format!("{{template: {template}}}"), "/spec/template"),
        ("CronJob", format!("{{jobTemplate: {{spec: {{template: {template}}}}}}}"), "/spec/jobTemplate/spec/template"),
    ] {
        let group = if kind.ends_with("Job") { "batch" } else { "apps" };
        case.write("w.yaml", &format!("apiVersion: {group}/v1\nkind: {kind}\n{head}\nspec: {spec}\n"));
        let workload = case.inject("w.yaml", "json");
        let template = workload.pointer(pointer).unwrap();
        assert_eq!(claim(&template["spec"]), "data", "{kind}");
        assert_eq!(template["metadata"].get("annotations"), None, "{kind}");
        let placed = template["spec"].get("affinity").is_some();
        assert_eq!(placed, kind != "DaemonSet", "{kind}: a DaemonSet's pods belong to their nodes");
    }
}

#[test]
fn documents_and_lists_come_out_as_one_list_with_what_has_no_pod_unchanged() {
    let case = Case::new();
    let config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n";
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}", POD.trim_end().replace('\n', "\n  "));
    case.write("many.yaml", &format!("{POD}---\n{config_map}---\n{list}\n"));
    let out = case.inject("many.yaml", "json");
    let kinds: Vec<&Value> = out["items"].as_array().unwrap().iter().map(|item| &item["kind"]).collect();
    assert_eq!(kinds, ["Pod", "ConfigMap", "Pod"]);
    assert_eq!(claim(&out["items"][2]["spec"]), "data");
    let output = case.run("inject -f many.yaml --policies policy.yaml -o patch");
    assert!(text(&output.stderr).starts_with("stowage: ConfigMap c is passed over: "), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr).lines().count(), 1);
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap().as_array().unwrap().len(), 2);
}

#[test]
fn a_dash_is_stdin_and_namespace_labels_are_believed() {
    let case = Case::new();
    let selector = "podSelector: {matchLabels: {team: vision}}\n    namespaceSelector: {matchLabels: {stage: test}}";
    case.write("policy.yaml", &POLICY.replace("podSelector: {matchLabels: {team: vision}}", selector));
    for (more, injected) in
        [("", false), ("--namespace-labels stage=test", true), ("--namespace-labels stage=live", false)]
    {
        let mut command = case.command(&format!("inject -f - --policies policy.yaml -o patch {more}"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(POD.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        let patch: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(patch != json!([]), injected, "{more}");
    }
}

#[test]
fn reap_prints_verdicts_and_a_due_pod_is_a_status_where_asked() {
    let case = Case::new();
    case.write("policy.yaml", &format!("{POLICY}  stateThresholds: {{running: 1h}}\n"));
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "train", "namespace": "ml", "uid": "u", "labels": {"team": "vision"},
                     "creationTimestamp": "2026-01-05T08:00:00Z"},
        "spec": {"nodeName": "n", "containers": [{"name": "main", "image": "a:1"}]},
        "status": {"phase": "Running", "startTime": "2026-01-05T08:00:00Z", "containerStatuses": [
            {"name": "main", "restartCount": 0, "state": {"running": {"startedAt": "2026-01-05T08:00:10Z"}}}
        ]}
    });
    case.write("pods.json", &pod.to_string());
    let arguments = "reap -f pods.json --policies policy.yaml --now 2026-01-05T12:00:00Z -o json";
    let (out, _) = case.succeeds(arguments);
    let verdict = &serde_json::from_str::<Value>(&out).unwrap()[0];
    assert_eq!(
        (&verdict["state"], &verdict["due"], &verdict["action"]),
        (&json!("running"), &json!(true), &json!("delete"))
    );
    assert_eq!(verdict["deadline"], "2026-01-05T09:00:10Z");
    assert_eq!(case.run(&format!("{arguments} --exit-code")).status.code(), Some(1));
}

#[test]
fn certificates_are_written_with_keys_that_only_their_owner_reads() {
    let case = Case::new();
    let (out, err) = case.succeeds("certs --out tls --service hook --namespace ops");
    assert_eq!(out, "");
    assert_eq!(err.lines().count(), 4);
    for (name, mode) in [("ca.crt", 0o644), ("ca.key", 0o600), ("tls.crt", 0o644), ("tls.key", 0o600)] {
        let path = case.path("tls").join(name);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{name}");
    }
    let again = case.run("certs --out tls");
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("--force"), "{}", text(&again.stderr));
    case.succeeds("certs --out tls --force");
    let (secret, _) = case.succeeds("certs --secret hook-tls --namespace ops");
    assert!(secret.contains("type: kubernetes.io/tls\n") && secret.contains("name: \"hook-tls\"\n"), "name and type");
    assert!(!secret.contains("ca.key"), "the CA's key stays out");
}

#[test]
fn completion_is_printed_for_the_shells_that_are_offered() {
    let case = Case::new();
    for shell in ["bash", "zsh", "fish"] {
        let (out, _) = case.succeeds(&format!("completion {shell}"));
        assert!(out.contains("stowage") && out.contains("inject"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let case = Case::new();
    let mut child = case.command("crd").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 4];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut first).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

/// A server that is killed with the test.
struct Server {
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts it, and waits for the line that says where it listens.
    fn start(case: &Case, ca: &Path) -> (Self, BufReader<std::process::ChildStderr>, String) {
        let arguments = "serve --standalone --policies policy.yaml --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
                         --shutdown-delay 0 --ca-out";
        let mut command = case.command(arguments);
        let child = command.arg(ca).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut server = Self { child };
        let mut log = BufReader::new(server.child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("serving") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended without serving");
        }
        (server, log, line)
    }

    fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

#[test]
fn the_server_says_where_it_listens_answers_the_printed_command_and_ends_well_when_told() {
    let case = Case::new();
    case.write("policy.yaml", &POLICY.replace("team: vision", "mlrun/class: job"));
    let (mut server, mut log, line) = Server::start(&case, &case.path("ca.crt"));
    assert!(line.contains("listen=127.0.0.1:"), "{line}");
    assert!(!line.contains(":0 ") && !line.trim_end().ends_with(":0"), "{line}");
    assert!(case.path("ca.crt").exists());
    let mut printed = String::new();
    let mut out = BufReader::new(server.child.stdout.take().unwrap());
    while !printed.contains("--cacert") {
        assert_ne!(out.read_line(&mut printed).unwrap(), 0, "{printed}");
    }
    if Command::new("curl").arg("--version").output().is_ok_and(|output| output.status.success()) {
        let mut shell = Command::new("sh");
        shell.args(["-c", &printed]).env_remove("https_proxy").env_remove("HTTPS_PROXY").env_remove("ALL_PROXY");
        let answer = shell.output().unwrap();
        let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
        assert_eq!(answer["response"]["patchType"], "JSONPatch");
    } else {
        eprintln!("skipped: there is no curl here");
    }
    assert_eq!(server.terminate(), Some(0));
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("told to stop") && rest.contains("stopped"), "{rest}");
}
