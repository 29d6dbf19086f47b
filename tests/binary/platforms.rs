//! Pods as each platform labels them, under the examples: what they get, and what is left alone.
//!
//! The table in manifests/examples/README.md names these tests, row by row.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::webhook::{Admission, inject, labelled, policies};

const NOTHING: [&str; 0] = [];
const V3IO: [&str; 4] = ["V3IO_API", "V3IO_USERNAME", "V3IO_ACCESS_KEY", "V3IO_FRAMESD"];
/// What MLRun puts on everything that belongs to a run.
const RUN: &str = "mlrun/project=churn mlrun/function=train mlrun/tag=latest mlrun/scrape-metrics=True \
                   mlrun/uid=3f2a mlrun/name=train mlrun/owner=ann";

fn iguazio(pod: &Value) -> Admission {
    admitted("default-tenant", pod)
}

fn admitted(namespace: &str, pod: &Value) -> Admission {
    let run = inject(&policies("manifests/examples").snapshot(), namespace, pod);
    assert_eq!(run.warnings, Vec::<String>::new());
    run
}

/// A pod of an MLRun run, of this class.
fn mlrun(class: &str, more: &str, containers: &[&str]) -> Value {
    labelled(&format!("mlrun/class={class} {RUN} {more}"), containers)
}

/// Holds that the container has the owner's volume and credentials, and that the thresholds are for the pod.
fn has_what_its_owner_has(run: &Admission, container: &str) {
    assert!(run.policies.iter().any(|policy| policy == "mlrun-iguazio-thresholds"), "{:?}", run.policies);
    assert_eq!(run.env(container)[..4], V3IO);
    assert_eq!(run.variable(container, "V3IO_USERNAME"), "ann");
    assert_eq!(run.variable(container, "V3IO_ACCESS_KEY")["secretKeyRef"]["name"], "v3io-ann");
    for path in ["/v3io", "/User"] {
        assert!(run.mounts(container).contains(&path), "{path}");
    }
    assert_eq!(run.volume("v3io")["flexVolume"]["driver"], "v3io/fuse");
}

/// Holds that the container has the service user's credentials, no volume, and no threshold.
fn has_what_functions_have(run: &Admission, container: &str) {
    assert_eq!(run.policies, ["mlrun-iguazio-functions"]);
    assert_eq!(run.env(container), V3IO);
    assert_eq!(run.variable(container, "V3IO_USERNAME"), "functions");
    assert_eq!(run.volumes(), NOTHING);
}

#[test]
fn mlrun_job() {
    has_what_its_owner_has(&iguazio(&mlrun("job", "", &["base"])), "base");
    let run = admitted("mlrun", &mlrun("job", "", &["base"]));
    assert_eq!(run.policies, ["mlrun-ce", "mlrun-ce-thresholds"]);
    assert_eq!(run.mounts("base"), ["/mnt/shared"]);
}

#[test]
fn mlrun_spark_driver() {
    spark("driver", "spark-kubernetes-driver");
}

#[test]
fn mlrun_spark_executor() {
    spark("executor", "spark-kubernetes-executor");
}

fn spark(role: &str, container: &str) {
    let more = format!("mlrun/job=train-1 spark-role={role} sparkoperator.k8s.io/app-name=train-1");
    let run = iguazio(&mlrun("spark", &more, &[container]));
    has_what_its_owner_has(&run, container);
    assert_eq!(run.volume("v3io-config")["configMap"]["name"], "spark-operator-v3io-config");
    assert!(run.mounts(container).contains(&"/dev/shm"));
    assert_eq!(run.variable(container, "IGZ_DATA_CONFIG_FILE"), "/igz/java/conf/v3io.conf");
}

#[test]
fn mlrun_mpijob_launcher() {
    mpijob("launcher");
}

#[test]
fn mlrun_mpijob_worker() {
    mpijob("worker");
}

fn mpijob(role: &str) {
    let more = format!(
        "mlrun/job=train-1 group-name=kubeflow.org mpi-job-name=train-1 mpi-job-role={role} mpi_role_type={role}"
    );
    has_what_its_owner_has(&iguazio(&mlrun("mpijob", &more, &["base"])), "base");
}

#[test]
fn mlrun_remote_spark() {
    has_what_its_owner_has(&iguazio(&mlrun("remote-spark", "", &["base"])), "base");
}

#[test]
fn mlrun_databricks() {
    has_what_its_owner_has(&iguazio(&mlrun("databricks", "", &["base"])), "base");
}

#[test]
fn mlrun_dask() {
    for component in ["scheduler", "worker"] {
        let labels = format!(
            "mlrun/class=dask mlrun/project=churn mlrun/function=cluster mlrun/tag=latest \
             dask.org/cluster-name=c dask.org/component={component} app=dask user=root"
        );
        has_what_functions_have(&iguazio(&labelled(&labels, &["base"])), "base");
    }
}

#[test]
fn mlrun_nuclio() {
    let labels =
        "mlrun/class=remote nuclio.io/project-name=churn nuclio.io/function-name=score nuclio.io/class=function";
    has_what_functions_have(&iguazio(&labelled(labels, &["nuclio"])), "nuclio");
}

#[test]
fn mlrun_serving() {
    let labels =
        "mlrun/class=serving nuclio.io/project-name=churn nuclio.io/function-name=model nuclio.io/class=function";
    has_what_functions_have(&iguazio(&labelled(labels, &["nuclio"])), "nuclio");
}

#[test]
fn mlrun_build_is_left_alone() {
    let labels = "mlrun/class=build mlrun/task-name=t mlrun/project=churn mlrun/name=b mlrun/function=train";
    assert_eq!(iguazio(&labelled(labels, &["base"])).policies, NOTHING);
}

#[test]
fn kfp_step_of_a_run() {
    let labels = "mlrun/class=job mlrun/project=churn mlrun/function=train mlrun/name=train mlrun/tag=latest \
                  workflows.argoproj.io/workflow=w pipeline/runid=r";
    let mut pod = labelled(labels, &["main", "wait"]);
    pod["metadata"]["annotations"] = json!({"mlrun/pipeline-step-type": "run", "mlrun/project": "churn"});
    let run = admitted("mlrun", &pod);
    // No mlrun/uid: the step only waits for its run, and no threshold is for it.
    assert_eq!(run.policies, ["mlrun-ce"]);
    assert_eq!(run.mounts("main"), ["/mnt/shared"]);
}

#[test]
fn kfp_step_without_a_class_is_left_alone() {
    let labels = "workflows.argoproj.io/workflow=w pipeline/runid=r";
    assert_eq!(admitted("mlrun", &labelled(labels, &["main", "wait"])).policies, NOTHING);
}

/// A pod of Polyaxon 0.x: its main container, helper and sidecar.
fn polyaxon_classic(app: &str, main: &str) -> Admission {
    let labels = format!(
        "app.kubernetes.io/managed-by=polyaxon app.kubernetes.io/part-of=polyaxon role=polyaxon-workers \
         type=polyaxon-runner app={app} project_name=ann.churn"
    );
    let mut pod = labelled(&labels, &[main, "polyaxon-job-sidecar"]);
    pod["spec"]["initContainers"] = json!([{"name": "polyaxon-job-init", "image": "example/init:1"}]);
    pod["metadata"]["annotations"] = json!({"stowage.dev/data": "data2", "stowage.dev/outputs": "outputs-foo"});
    let run = admitted("polyaxon", &pod);
    assert_eq!(run.policies, ["polyaxon"]);
    assert_eq!(run.mounts(main), ["/data/2", "/outputs/foo"]);
    assert_eq!(run.env(main), ["POLYAXON_RUN_DATA_PATHS", "POLYAXON_RUN_OUTPUTS_PATH"]);
    for other in ["polyaxon-job-init", "polyaxon-job-sidecar"] {
        assert_eq!(run.mounts(other), NOTHING);
    }
    run
}

#[test]
fn polyaxon_experiment() {
    polyaxon_classic("polyaxon-experiment", "polyaxon-experiment-job");
}

#[test]
fn polyaxon_job() {
    polyaxon_classic("polyaxon-job", "polyaxon-job");
}

#[test]
fn polyaxon_notebook() {
    polyaxon_classic("polyaxon-notebook", "polyaxon-plugin-job");
}

#[test]
fn polyaxon_tensorboard() {
    polyaxon_classic("polyaxon-tensorboard", "polyaxon-plugin-job");
}

#[test]
fn polyaxon_operation() {
    let labels = "app.kubernetes.io/managed-by=polyaxon app.kubernetes.io/part-of=polyaxon-runs \
                  app.kubernetes.io/component=polyaxon-jobs stowage.dev/data=data1_data-foo";
    let run = admitted("polyaxon", &labelled(labels, &["polyaxon-main", "polyaxon-sidecar"]));
    assert_eq!(run.mounts("polyaxon-main"), ["/data/1", "/data/foo", "/outputs/2"]);
    assert_eq!(run.mounts("polyaxon-sidecar"), NOTHING);
}

#[test]
fn polyaxon_run_with_a_name_that_is_not_in_the_catalogue() {
    let mut pod = labelled("app.kubernetes.io/managed-by=polyaxon", &["polyaxon-main"]);
    pod["metadata"]["annotations"] = json!({"stowage.dev/data": "nope"});
    let run = admitted("polyaxon", &pod);
    assert!(run.message.contains("\"nope\" is not in the catalogue"), "{}", run.message);
    assert!(run.message.contains("data-foo"), "{}", run.message);
}

#[test]
fn digitalhub_mlrun() {
    let labels = "app.kubernetes.io/instance=dhcore-1 app.kubernetes.io/part-of=dhcore-churn \
                  app.kubernetes.io/managed-by=dhcore dhcore/project=churn dhcore/framework=k8sjob dhcore/runtime=mlrun";
    let run = admitted("digitalhub", &labelled(labels, &["c-mlrunjob-1"]));
    assert_eq!(run.policies, ["digitalhub"]);
    assert_eq!(run.mounts("c-mlrunjob-1").len(), 7);
    assert_eq!(run.pod["spec"]["containers"][0]["volumeMounts"][1]["subPath"], "churn");
}

#[test]
fn plain_pod_that_asks() {
    let run = admitted("team-vision", &labelled("stowage.dev/inject=true", &["main"]));
    assert_eq!(run.policies, ["team-vision/data", "platform-proxy"]);
    assert_eq!(run.mounts("main"), ["/data/imagenet", "/scratch", "/dev/shm"]);
}

#[test]
fn every_row_of_the_table_names_a_test_and_every_test_is_in_a_row() {
    let page = std::fs::read_to_string(crate::webhook::root().join("manifests/examples/README.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let named: BTreeSet<&str> =
        rows.filter_map(|row| row.split("`tests/binary/platforms.rs`: `").nth(1)?.split('`').next()).collect();
    let source = include_str!("platforms.rs");
    let mut tests: BTreeSet<&str> =
        source.split("#[test]\nfn ").skip(1).filter_map(|after| after.split('(').next()).collect();
    assert!(tests.remove("every_row_of_the_table_names_a_test_and_every_test_is_in_a_row"));
    assert_eq!(named, tests);
}
