//! docs/install.md, followed word for word.

use std::{fs, path::Path, process::Command, time::Instant};

use super::{
    IMAGE, image,
    image::run,
    lab::{self, Lab},
    overlay, say,
};

/// The fences of the page that are to be run, in order.
fn fences() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/install.md");
    let page = fs::read_to_string(page).unwrap();
    let mut fences = page.split("<!--run-->\n```sh\n").skip(1);
    let fences: Vec<_> = fences.by_ref().map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect();
    assert!(fences.len() >= 4, "{fences:?}");
    fences
}

/// Types it; what it printed.
fn typed(lab: &Lab, fence: &str) -> String {
    let mut shell = Command::new("sh");
    run(shell.args(["-e", "-c", fence]).current_dir(env!("CARGO_MANIFEST_DIR")).env("KUBECONFIG", lab.kubeconfig()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_on_installing_leads_from_an_empty_cluster_to_a_running_injected_pod() {
    let Some(lab) = lab::shared() else { return };
    let _turn = lab.turn().await;
    run(lab.kubectl().args(["delete", "--ignore-not-found", "--timeout=120s", "-k"]).arg(overlay()));
    // What the page has pulled from a registry.
    let [stowage, tools] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    image::stowage(Path::new(env!("CARGO_BIN_EXE_stowage")), stowage.path());
    lab.import(IMAGE, stowage.path(), &["/usr/bin/stowage"]);
    image::tools(tools.path());
    lab.import("docker.io/library/busybox:1.37", tools.path(), &[]);
    let fences = fences();
    let (removal, steps) = fences.split_last().unwrap();
    let begun = Instant::now();
    let mut said = String::new();
    let mut times = Vec::new();
    for step in steps {
        said = typed(lab, step);
        times.push(begun.elapsed());
    }
    assert!(said.contains("\nhello\n"), "{said}");
    assert!(said.contains(r#""name":"demo""#) && said.contains("volume"), "{said}");
    say(&format!("docs/install.md: replicas ready, policy accepted, injected pod running after {times:?}"));
    typed(lab, removal);
    let left = run(lab.kubectl().args(["get", "-o", "name", "namespace,crd,mutatingwebhookconfiguration"]));
    assert!(!left.contains("stowage") && !left.contains("demo"), "{left}");
}
