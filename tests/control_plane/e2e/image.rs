//! Images for the node, made of files of this machine: nothing is pulled.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::cluster::find;

/// What `/bin/sh` scripts of the tests use.
const TOOLS: [&str; 6] = ["sh", "cat", "env", "ls", "sleep", "stat"];

/// A folder with a shell, a few programs, and the libraries that they are linked with.
pub(super) fn tools(root: &Path) {
    for tool in TOOLS {
        install(&find(tool).unwrap_or_else(|| panic!("no {tool} in PATH")), root);
    }
}

/// A folder with what the image of this Stowage holds, as the Dockerfile makes it.
pub(super) fn stowage(binary: &Path, root: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/image-root");
    run(Command::new(script).arg(binary).arg(root));
}

/// An archive, as containerd imports it, of an image with this name, content and program.
pub(super) fn archive(name: &str, root: &Path, entrypoint: &[&str], folder: &Path) -> PathBuf {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |file: &Path, kind: &str| -> Value {
        let digest = run(Command::new("sha256sum").arg(file));
        let digest = digest.split(' ').next().unwrap();
        let size = fs::metadata(file).unwrap().len();
        fs::rename(file, blobs.join(digest)).unwrap();
        let kind = format!("application/vnd.oci.image.{kind}");
        json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": size})
    };
    let part = folder.join("part");
    let text = |value: &Value| fs::write(&part, value.to_string()).unwrap();
    run(Command::new("tar").args(["--owner=0", "--group=0", "-C"]).arg(root).arg("-cf").arg(&part).arg("."));
    let layer = blob(&part, "layer.v1.tar");
    text(&json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Entrypoint": entrypoint},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}
    }));
    let config = blob(&part, "config.v1+json");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    text(&json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]}));
    let mut manifest = blob(&part, "manifest.v1+json");
    manifest["annotations"] = json!({"io.containerd.image.name": name});
    fs::write(folder.join("index.json"), json!({"schemaVersion": 2, "manifests": [manifest]}).to_string()).unwrap();
    fs::write(folder.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string()).unwrap();
    let archive = folder.join("image.tar");
    run(Command::new("tar").arg("-C").arg(folder).arg("-cf").arg(&archive).args(["oci-layout", "index.json", "blobs"]));
    archive
}

/// Runs it to its end; what it printed.
pub(super) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn install(program: &Path, root: &Path) {
    let to = root.join("bin").join(program.file_name().unwrap());
    let mut files = vec![(program.to_owned(), to)];
    // Of linux-vdso there is no file; the loader's line has no arrow.
    for word in run(Command::new("ldd").arg(program)).split_whitespace().filter(|word| word.starts_with('/')) {
        files.push((PathBuf::from(word), root.join(word.trim_start_matches('/'))));
    }
    for (from, to) in files {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
}
