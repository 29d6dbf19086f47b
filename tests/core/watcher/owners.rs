//! Who is removed: the pod, its owner, or nobody; and whom a forged reference reaches, which is nobody.

use serde_json::{Value, json};
use stowage::reaper::options::WatcherOptions;
use stowage::reaper::step::ActKind;

use super::sim::{Sim, ended, free, of, owner, policy, policy_for, running, stuck, with};

const HOUR: i64 = 3_600;

fn thresholds() -> String {
    policy("{running: 1h, imagePullBackoff: 1h, succeeded: 1h, failed: 1h}")
}

/// One pod that is due after an hour, with these owners there.
fn removed(pod: Value, owners: &[Value]) -> (Vec<String>, Vec<String>) {
    let mut sim = Sim::new(&thresholds(), free());
    sim.owners = owners.to_vec();
    sim.put(pod);
    sim.run(HOUR);
    (sim.removed(), sim.whys())
}

#[test]
fn the_topmost_known_owner_goes() {
    let job = owner("batch/v1", "Job", "train");
    let mpi = owner("kubeflow.org/v1", "MPIJob", "mpi");
    let cron = owner("batch/v1", "CronJob", "nightly");
    let workflow = owner("argoproj.io/v1alpha1", "Workflow", "flow");
    let ray = owner("ray.io/v1", "RayCluster", "cluster");
    let ray_job = owner("ray.io/v1", "RayJob", "ray");
    for (owners, goes) in [
        (vec![job.clone()], Some("Job/train")),
        (vec![job.clone(), mpi], Some("MPIJob/mpi")),
        (vec![ray, ray_job], Some("RayJob/ray")),
        (vec![job.clone(), cron], Some("Job/train")),
        (vec![job, workflow.clone()], None),
        (vec![workflow], None),
    ] {
        let mut chain: Vec<Value> = Vec::new();
        for owner in owners.iter().rev() {
            let above = chain.last().cloned();
            chain.push(above.map_or_else(|| owner.clone(), |above| of(owner.clone(), &above)));
        }
        let (acts, whys) = removed(of(running("p", 0), chain.last().unwrap()), &chain);
        assert_eq!(acts, goes.map(str::to_owned).into_iter().collect::<Vec<_>>(), "{whys:?}");
        assert_eq!(whys.len(), usize::from(goes.is_none()));
        assert!(goes.is_some() || whys[0].contains("of no known kind"), "{whys:?}");
    }
}

#[test]
fn more_kinds_are_known_by_an_option() {
    let workflow = owner("argoproj.io/v1alpha1", "Workflow", "flow");
    let options = WatcherOptions { owners: vec!["argoproj.io/Workflow".parse().unwrap()], ..free() };
    let mut sim = Sim::new(&thresholds(), options);
    sim.owners.push(workflow.clone());
    sim.put(of(running("p", 0), &workflow));
    sim.run(HOUR);
    assert_eq!(sim.removed(), ["Workflow/flow"]);
}

#[test]
fn a_forged_reference_reaches_nobody() {
    let job = owner("batch/v1", "Job", "train");
    let cluster = owner("ray.io/v1", "RayCluster", "cluster");
    let forged = |pointer: &str, value: Value| {
        let mut pod = of(running("p", 0), &job);
        pod["metadata"]["ownerReferences"][0][pointer] = value;
        pod
    };
    let unlabelled = |owner: &Value| with(owner.clone(), "metadata.labels", json!({"app": "other"}));
    let selecting = policy_for("p", "{matchLabels: {app: train}}", "{running: 1h}", "{}");
    for (pod, owners, why) in [
        (forged("uid", json!("another")), vec![job.clone()], "has another uid"),
        (forged("uid", json!("")), vec![with(job.clone(), "metadata.uid", json!(""))], "has another uid"),
        (forged("apiVersion", json!("kubeflow.org/v1")), vec![job.clone()], "of no known kind"),
        (forged("name", json!("nobody")), vec![job.clone()], "there is no Job/nobody"),
        (
            of(running("p", 0), &job),
            vec![with(job.clone(), "metadata.namespace", json!("other"))],
            "not in the pod's namespace",
        ),
        (
            of(running("p", 0), &job),
            vec![with(job.clone(), "metadata.namespace", json!(""))],
            "not in the pod's namespace",
        ),
        (of(running("p", 0), &job), vec![with(job.clone(), "forbidden", json!(true))], "may not read Job/train"),
        (of(running("p", 0), &cluster), vec![unlabelled(&cluster)], "does not match RayCluster/cluster"),
        (of(running("p", 0), &job), vec![unlabelled(&job)], "does not match Job/train"),
    ] {
        let mut sim = Sim::new(&selecting, free());
        sim.owners = owners;
        sim.put(pod);
        sim.run(HOUR + 60);
        assert!(sim.acts.is_empty(), "{why}: {:?}", sim.removed());
        assert!(sim.whys().len() == 1 && sim.whys()[0].contains(why), "{why}: {:?}", sim.whys());
        let is_confirmed = |said: &stowage::reaper::said::Said| said.reason.name() != "OwnerNotConfirmed";
        assert!(sim.said.iter().all(|(_, said)| is_confirmed(said) || said.on.kind == "Pod"), "{:?}", sim.said);
    }
    // Without `controller: true` it is no controller, and the pod goes alone.
    assert_eq!(removed(forged("controller", json!(false)), &[job]).0, ["Pod/p"]);
}

#[test]
fn a_jobs_pod_template_is_as_good_as_its_own_labels() {
    let mut job = with(owner("batch/v1", "Job", "train"), "metadata.labels", json!({}));
    job["spec"] = json!({"template": {"metadata": {"labels": {"app": "train"}}}});
    let mut cluster = with(owner("ray.io/v1", "RayCluster", "cluster"), "metadata.labels", json!({}));
    cluster["spec"] = job["spec"].clone();
    let selecting = policy_for("p", "{matchLabels: {app: train}}", "{running: 1h}", "{}");
    for (owner, goes) in [(job, 1), (cluster, 0)] {
        let mut sim = Sim::new(&selecting, free());
        sim.owners.push(owner.clone());
        sim.put(of(running("p", 0), &owner));
        sim.run(HOUR);
        assert_eq!(sim.acts.len(), goes, "{:?}", sim.whys());
    }
}

#[test]
fn a_circle_of_owners_ends() {
    let (one, two) = (owner("ray.io/v1", "RayCluster", "one"), owner("ray.io/v1", "RayJob", "two"));
    let (one, two) = (of(one.clone(), &two), of(two, &one));
    let (acts, whys) = removed(of(running("p", 0), &one), &[one, two]);
    assert!(acts.is_empty() && whys[0].contains("have no end"), "{whys:?}");
}

#[test]
fn a_threshold_that_the_pod_made_shorter_does_not_reach_its_owner() {
    let job = owner("batch/v1", "Job", "train");
    let mut sim = Sim::new(&thresholds(), free());
    sim.owners.push(job.clone());
    sim.put(with(of(running("p", 0), &job), "metadata.annotations", json!({"stowage.dev/running-threshold": "1m"})));
    sim.run(HOUR - 1);
    assert!(sim.acts.is_empty());
    assert!(sim.whys()[0].contains("shorter than the policy's"), "{:?}", sim.whys());
    // The policy's own reaches it in its time.
    sim.run(HOUR);
    assert_eq!(sim.removed(), ["Job/train"]);
}

#[test]
fn one_owner_is_removed_once_however_many_pods_are_due() {
    let mpi = owner("kubeflow.org/v1", "MPIJob", "mpi");
    let launcher = of(owner("batch/v1", "Job", "mpi-launcher"), &mpi);
    let mut sim = Sim::new(&thresholds(), free());
    sim.owners = vec![mpi.clone(), launcher.clone()];
    sim.put_all((0..100).map(|n| of(running(&format!("worker{n}"), 0), &mpi)));
    sim.put(of(running("launcher", 0), &launcher));
    sim.run(2 * HOUR);
    assert_eq!(sim.removed(), ["MPIJob/mpi"]);
    assert!(sim.pods.is_empty() && sim.owners.is_empty());
}

#[test]
fn an_owner_that_is_slow_to_go_is_not_removed_again() {
    let job = owner("batch/v1", "Job", "train");
    let mut sim = Sim::new(&thresholds(), free());
    sim.owners.push(job.clone());
    sim.put_all((0..3).map(|n| of(running(&format!("p{n}"), n), &job)));
    sim.refuse = Some(stowage::reaper::step::Answer::Done);
    sim.run(HOUR + 100);
    // Its finalizers hold it now.
    sim.owners[0]["metadata"]["deletionTimestamp"] = json!("2026-01-01T01:00:00Z");
    sim.run(5 * HOUR);
    assert_eq!(sim.removed(), ["Job/train"]);
}

#[test]
fn a_waiting_pod_goes_alone_while_its_siblings_work_and_three_times_at_most() {
    let cluster = owner("ray.io/v1", "RayCluster", "cluster");
    let mut sim = Sim::new(&thresholds(), free());
    sim.owners.push(cluster.clone());
    sim.put(of(stuck("w0", 0), &cluster));
    sim.put(of(
        with(running("head", 0), "metadata.annotations", json!({"stowage.dev/running-threshold": "-1"})),
        &cluster,
    ));
    for n in 1..6 {
        let begin = sim.now;
        sim.run(begin + HOUR + 60);
        sim.put(of(stuck(&format!("w{n}"), sim.now), &cluster));
    }
    assert_eq!(sim.removed(), ["Pod/w0", "Pod/w1", "Pod/w2"]);
    assert!(sim.acts.iter().all(|(_, act)| act.kind == ActKind::DeletePod));
    assert!(sim.whys().iter().all(|why| why.contains("3 pods of RayCluster/cluster were removed")), "{:?}", sim.whys());
    assert!(sim.pods.contains_key("uid-head"));
}

#[test]
fn of_one_owner_one_pod_is_in_hand_at_a_time() {
    let cluster = owner("ray.io/v1", "RayCluster", "cluster");
    let mut sim = Sim::new(&thresholds(), free());
    sim.owners.push(cluster.clone());
    sim.put(of(
        with(running("head", 0), "metadata.annotations", json!({"stowage.dev/running-threshold": "-1"})),
        &cluster,
    ));
    sim.put_all((0..10).map(|n| of(stuck(&format!("w{n}"), 0), &cluster)));
    sim.run(HOUR);
    assert_eq!(sim.acts.len(), 1, "its owner is to notice first");
    sim.run(HOUR + 600);
    assert_eq!(sim.acts.len(), 3);
    assert_eq!(sim.pods.len(), 8);
}

#[test]
fn a_gang_goes_as_a_whole_and_an_elastic_one_does_not() {
    for (spec, goes) in [(json!({}), "PyTorchJob/torch"), (json!({"elasticPolicy": {}}), "Pod/w")] {
        let mut torch = owner("kubeflow.org/v1", "PyTorchJob", "torch");
        torch["spec"] = spec;
        let mut sim = Sim::new(&thresholds(), free());
        sim.owners.push(torch.clone());
        sim.put(of(running("master", 1_000), &torch));
        sim.put(of(stuck("w", 0), &torch));
        sim.run(HOUR);
        assert_eq!(sim.removed(), [goes]);
    }
}

#[test]
fn a_job_whose_budget_one_failure_would_end_keeps_its_pod() {
    for (limit, failed, goes) in [(6, 0, true), (6, 4, true), (6, 5, false), (0, 0, false)] {
        let mut job = owner("batch/v1", "Job", "train");
        job["spec"] = json!({"backoffLimit": limit});
        job["status"] = json!({"failed": failed});
        let mut sim = Sim::new(&thresholds(), free());
        sim.owners.push(job.clone());
        sim.put(of(running("works", 1_000), &job));
        sim.put(of(stuck("w", 0), &job));
        sim.run(HOUR);
        assert_eq!(sim.acts.len(), usize::from(goes), "{limit} {failed}: {:?}", sim.whys());
        assert!(goes || sim.whys()[0].contains("counts a deleted pod as failed"));
    }
}

#[test]
fn an_owner_that_comes_back_under_its_name_is_reported_and_not_removed_again() {
    let job = owner("batch/v1", "Job", "train");
    let mut sim = Sim::new(&thresholds(), free());
    sim.owners.push(job.clone());
    sim.put(of(running("p0", 0), &job));
    sim.run(HOUR);
    assert_eq!(sim.removed(), ["Job/train"]);
    let again = |uid: &str, created: i64| {
        let job = with(owner("batch/v1", "Job", "train"), "metadata.uid", json!(uid));
        with(job, "metadata.creationTimestamp", json!(super::sim::at(created).to_string()))
    };
    let second = again("second", HOUR + 10);
    sim.owners.push(second.clone());
    sim.put(of(running("p1", HOUR + 10), &second));
    sim.run(3 * HOUR);
    assert_eq!(sim.acts.len(), 1);
    let said: Vec<&str> = sim.said.iter().filter(|(at, _)| *at > HOUR).map(|(_, said)| said.text.as_str()).collect();
    assert!(said[0].contains("Job/train was removed before and was made again"), "{said:?}");
    // One that came long after is another run.
    sim.owners.clear();
    sim.remove("uid-p1");
    let third = again("third", 3 * HOUR);
    sim.owners.push(third.clone());
    sim.put(of(running("p2", 3 * HOUR), &third));
    sim.run(4 * HOUR);
    assert_eq!(sim.removed(), ["Job/train", "Job/train"]);
}

#[test]
fn a_standby_knows_what_the_leader_removed_and_came_back() {
    let job = owner("batch/v1", "Job", "train");
    let mut sim = Sim::new(&thresholds(), free());
    sim.replica(free());
    sim.owners.push(job.clone());
    sim.put(of(running("p0", 0), &job));
    sim.now = HOUR;
    // The standby sees that it is due before the leader acts.
    assert!(sim.replicas[1].due(super::sim::at(HOUR), false).attempts.is_empty());
    sim.put(with(sim.pods["uid-p0"].clone(), "metadata.deletionTimestamp", json!(super::sim::at(HOUR).to_string())));
    sim.remove("uid-p0");
    sim.leader = Some(1);
    let second = with(job, "metadata.uid", json!("second"));
    let second = with(second, "metadata.creationTimestamp", json!(super::sim::at(HOUR + 10).to_string()));
    sim.owners = vec![second.clone()];
    sim.put(of(running("p1", HOUR + 10), &second));
    sim.run(3 * HOUR);
    assert!(sim.acts.is_empty());
    assert!(sim.whys()[0].contains("made again"), "{:?}", sim.whys());
}

#[test]
fn what_ended_goes_alone_and_what_others_would_make_again_stays() {
    let job = owner("batch/v1", "Job", "train");
    let mpi = owner("kubeflow.org/v1", "MPIJob", "mpi");
    assert_eq!(removed(ended("p", 0), &[]).0, ["Pod/p"]);
    assert_eq!(removed(of(ended("p", 0), &job), std::slice::from_ref(&job)).0, ["Pod/p"]);
    let (acts, whys) = removed(of(ended("p", 0), &mpi), std::slice::from_ref(&mpi));
    assert!(acts.is_empty() && whys[0].contains("it has ended"), "{whys:?}");
}

#[test]
fn a_pod_may_ask_to_be_left_alone() {
    let spared = with(running("p", 0), "metadata.labels", json!({"stowage.dev/reap": "false"}));
    let (acts, whys) = removed(spared.clone(), &[]);
    assert!(acts.is_empty() && whys[0].contains("asks to be left alone"), "{whys:?}");
    let mut sim = Sim::new(&policy("{running: 1h, overrides: {allow: false}}"), free());
    sim.put(spared);
    sim.run(HOUR);
    assert_eq!(sim.removed(), ["Pod/p"]);
}

#[test]
fn a_spark_executor_reaches_its_application_through_a_driver_only() {
    let application = owner("sparkoperator.k8s.io/v1beta2", "SparkApplication", "app");
    for (role, goes) in [("driver", "SparkApplication/app"), ("worker", "")] {
        let driver = of(running("driver", 10), &application);
        let driver = with(driver, "metadata.labels", json!({"app": "train", "spark-role": role}));
        let mut sim = Sim::new(&policy("{running: 1h}"), free());
        sim.owners = vec![application.clone(), driver.clone()];
        let executor = with(of(running("e", 0), &driver), "metadata.labels", json!({"spark-role": "executor"}));
        sim.put(executor);
        sim.run(HOUR);
        assert_eq!(sim.removed().concat(), goes, "{:?}", sim.whys());
    }
}

#[test]
fn pods_of_an_owner_that_is_just_gone_are_left_to_the_garbage_collector() {
    let job = owner("batch/v1", "Job", "train");
    let mut sim = Sim::new(&thresholds(), free());
    sim.put_all([of(running("p0", 0), &job), of(running("p1", 0), &job)]);
    sim.run(HOUR + 20);
    assert!(sim.acts.is_empty() && sim.reports.is_empty() && sim.said.is_empty());
    ["uid-p0", "uid-p1"].into_iter().for_each(|uid| sim.remove(uid));
    sim.run(HOUR + 100);
    assert!(sim.acts.is_empty() && sim.said.is_empty(), "{:?}", sim.said);
}
