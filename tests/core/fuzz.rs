//! Fuzzing for a bounded time: the reader of reviews, the decision, the parser of policies.
//!
//! Inputs come from the corpus in `tests/corpus` and from the fixtures, changed at random. What brings an answer of a kind
//! that was not seen before is changed further; where `STOWAGE_FUZZ_KEEP` is set it is kept in the corpus. What fails is
//! always kept, and since the whole corpus is run first, it is a test from then on. `STOWAGE_FUZZ_SECONDS` says how long
//! each target runs (1), `STOWAGE_FUZZ_SEED` where it begins.

mod change;

use std::{
    collections::HashSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use stowage::{admission::admit, policy::snapshot::Snapshot};

use crate::{
    growth::shapes::largest,
    harness::{load, once, policies, review},
};
use change::Random;

/// Inputs longer than this are left as they are, so that there is time for many.
const LONGEST: usize = 64 << 10;
/// Inputs longer than this are not kept.
const KEPT: usize = 8 << 10;

const REVIEWS: [&str; 8] = [
    include_str!("../fixtures/reviews/bare-minimal.json"),
    include_str!("../fixtures/reviews/digitalhub-job.json"),
    include_str!("../fixtures/reviews/dry-run.json"),
    include_str!("../fixtures/reviews/mlrun-job-large.json"),
    include_str!("../fixtures/reviews/mlrun-job.json"),
    include_str!("../fixtures/reviews/native-sidecar.json"),
    include_str!("../fixtures/reviews/nuclio-serving.json"),
    include_str!("../fixtures/reviews/polyaxon-experiment.json"),
];

const EXAMPLES: [&str; 8] = [
    include_str!("../../manifests/examples/digitalhub.yaml"),
    include_str!("../../manifests/examples/fuse-csi.yaml"),
    include_str!("../../manifests/examples/mlrun-ce.yaml"),
    include_str!("../../manifests/examples/mlrun-iguazio.yaml"),
    include_str!("../../manifests/examples/polyaxon.yaml"),
    include_str!("../../manifests/examples/shared-pool.yaml"),
    include_str!("../../manifests/examples/spot.yaml"),
    include_str!("../../manifests/examples/team-storage.yaml"),
];

/// Policies that override, reject and replace what selection reads.
const CONTENTIOUS: &str = "
apiVersion: stowage.dev/v1alpha1
kind: ClusterInjectionPolicy
metadata: {name: over}
spec:
  match: {podSelector: {matchLabels: {t: over}}}
  onConflict: Override
  v3io: {username: \"{label:owner}\", accessKeySecret: {name: s}}
  storage: [{v3io: {}}, {v3ioFuse: {}}, {pvc: {claimName: shared, volumeName: v3io}}, {s3: {secretName: s, sessionToken: true}}]
  env: [{name: HTTP_PROXY, value: ours}]
  labels: {team: ours, v: x}
  annotations: {a: b}
  nodeSelector: {spot: \"1\"}
  preemption: {mode: constrain, nodeSelector: {spot: \"1\", gke: \"2\"}}
  imagePullPolicy: Always
---
apiVersion: stowage.dev/v1alpha1
kind: ClusterInjectionPolicy
metadata: {name: account}
spec:
  match: {podSelector: {matchLabels: {t: account}}}
  priorityClassName: low
  defaults: {serviceAccountName: worker, resources: {requests: {cpu: 1}}, securityContext: {fsGroup: 1}}
  storage: [{pvc: {claimName: \"{serviceAccount}\", subPath: \"{label:team}\"}}]
  envFrom: [{configMapRef: {name: e}}]
---
apiVersion: stowage.dev/v1alpha1
kind: ClusterInjectionPolicy
metadata: {name: reject}
spec:
  match: {podSelector: {matchLabels: {t: reject}}}
  onConflict: Reject
  storage: [{gcs: {secretName: g}}, {azure: {secretName: z}}, {configMap: {name: c, mountPath: /etc/ca}}]
  autoMount: {type: auto, params: \"pvc_name=shared,volume_mount_path=/mnt/shared\"}
  stateThresholds: {running: 1h}
";

/// What is fuzzed.
struct Target {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    change: Change,
}

/// Changes an input, or makes one of all of them.
type Change = fn(&mut Random, &[u8], &[Vec<u8>]) -> Vec<u8>;

impl Target {
    fn corpus(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(self.name)
    }

    /// Runs `check` on the whole corpus, then on changes of it until the time is over. `check` panics at what must not be,
    /// and gives a word for the kind of answer.
    fn run(mut self, check: impl Fn(&[u8]) -> String) {
        let number =
            |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
        let time = Duration::from_secs(number("STOWAGE_FUZZ_SECONDS", 1));
        let seed = number("STOWAGE_FUZZ_SEED", 1);
        let keeps = std::env::var_os("STOWAGE_FUZZ_KEEP").is_some();
        let mut files: Vec<PathBuf> = fs::read_dir(self.corpus())
            .map(|folder| folder.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default();
        files.sort();
        self.seeds.extend(files.iter().map(|file| fs::read(file).unwrap()));
        let mut seen: HashSet<String> = self.seeds.iter().map(|input| self.checked(input, &check)).collect();
        let (begun, mut random, mut runs) = (Instant::now(), Random::new(seed), 0_u64);
        while begun.elapsed() < time {
            let of = random.below(self.seeds.len());
            let input = (self.change)(&mut random, &self.seeds[of], &self.seeds);
            runs += 1;
            if seen.insert(self.checked(&input, &check)) && input.len() <= LONGEST {
                if keeps && input.len() <= KEPT {
                    self.keep(&input);
                }
                self.seeds.push(input);
            }
        }
        println!("{}: {runs} runs from seed {seed}, {} kinds of answer", self.name, seen.len());
    }

    fn checked(&self, input: &[u8], check: impl Fn(&[u8]) -> String) -> String {
        catch_unwind(AssertUnwindSafe(|| check(input))).unwrap_or_else(|panic| {
            let file = self.keep(input);
            let text = panic.downcast_ref::<String>().cloned();
            panic!("{} is kept in {}: {}", self.name, file.display(), text.unwrap_or_default());
        })
    }

    /// Keeps an input under the digest of its content.
    fn keep(&self, input: &[u8]) -> PathBuf {
        let digest = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let file = self.corpus().join(format!("{digest:016x}"));
        fs::create_dir_all(self.corpus()).unwrap();
        fs::write(&file, input).unwrap();
        file
    }
}

fn snapshots() -> Vec<Snapshot> {
    vec![policies(&EXAMPLES.join("\n---\n")), policies(CONTENTIOUS), policies(&largest(1, "prevent", "Keep"))]
}

/// Words without what varies, so that the kinds of answer stay few.
fn kind_of(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| word.len() > 3 && word.len() < 14);
    words.take(6).collect::<Vec<_>>().join(" ")
}

fn kinds(response: &Value) -> String {
    let warnings = response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut kinds: Vec<String> = warnings.map(kind_of).collect();
    kinds.sort();
    kinds.dedup();
    format!(
        "{} {} {}",
        response["allowed"],
        response["status"]["message"].as_str().map_or_else(String::new, kind_of),
        kinds.join("|")
    )
}

#[test]
fn any_bytes_are_a_review_or_an_error_of_one_line() {
    let snapshots = snapshots();
    let seeds = REVIEWS.iter().map(|text| text.as_bytes().to_vec()).collect();
    Target { name: "reviews", seeds, change: change::bytes }.run(|input| {
        let mut kind = String::new();
        for snapshot in &snapshots {
            match admit(input, snapshot) {
                Ok(admitted) => {
                    let body: Value = serde_json::from_slice(&admitted.body).unwrap();
                    kind += &kinds(&body["response"]);
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.len() < 200 && !text.contains('\n'), "{text}");
                    return kind_of(&text);
                }
            }
        }
        kind
    });
}

#[test]
fn every_patch_applies_and_a_second_pass_has_nothing_to_do() {
    let snapshots = snapshots();
    let seeds = REVIEWS.iter().map(|text| {
        let review: Value = serde_json::from_str(text).unwrap();
        review["request"]["object"].to_string().into_bytes()
    });
    Target { name: "pods", seeds: seeds.collect(), change: change::pod }.run(|input| {
        let Ok(pod) = serde_json::from_slice::<Value>(input) else { return "no JSON".to_owned() };
        let mut kind = String::new();
        for snapshot in &snapshots {
            if let Err(error) = admit(review(&pod).to_string().as_bytes(), snapshot) {
                return kind_of(&error.to_string());
            }
            let first = once(&review(&pod), snapshot);
            kind += &kinds(&first.response);
            if first.is_allowed() {
                let again = once(&review(&first.pod), snapshot);
                assert!(again.is_allowed(), "a second pass refuses: {}", again.message());
                assert_eq!(again.patch, json!([]), "a second pass has something to do");
            }
        }
        kind
    });
}

#[test]
fn any_text_is_policies_or_errors_that_say_where() {
    let pod = review(
        &json!({"metadata": {"labels": {"mlrun/class": "job", "t": "over"}}, "spec": {"containers": [{"name": "c"}]}}),
    );
    let seeds = EXAMPLES.iter().chain(&[CONTENTIOUS]).map(|text| text.as_bytes().to_vec()).collect();
    Target { name: "policies", seeds, change: change::lines }.run(|input| {
        let Ok(text) = std::str::from_utf8(input) else { return "no text".to_owned() };
        let loaded = load(text);
        let mut kinds: Vec<String> = loaded
            .errors
            .iter()
            .map(|error| {
                let text = error.to_string();
                assert!(text.contains("policy.yaml"), "{text}");
                kind_of(text.rsplit(": ").next().unwrap_or_default())
            })
            .collect();
        kinds.sort();
        kinds.dedup();
        admit(pod.to_string().as_bytes(), &loaded.snapshot()).unwrap();
        kinds.join("|")
    });
}
