//! Changes at random: of bytes, of lines, of the values of a pod.

use serde_json::{Value, json};

/// What a review or a policy is made of, to be put anywhere.
const WORDS: &[&str] = &[
    "{}",
    "[]",
    "null",
    "\"\"",
    "0",
    "-1",
    "1e999",
    "true",
    "\\u0000",
    "\\ud800",
    "\"a\":",
    "{\"a\":",
    "[[",
    "}}",
    ",",
    ":",
    "\u{0}",
    "é",
    "\"containers\":",
    "\"env\":[",
    "\"name\":\"",
    "\"metadata\":",
    "\"uid\":",
    "- ",
    "  ",
    "{{",
    "&a ",
    "*a",
    "!!str ",
    "|",
    "---\n",
    "# ",
    "~",
];
const KEYS: &[&str] = &[
    "stowage.dev/inject",
    "stowage.dev/auto-mount",
    "stowage.dev/preemption-mode",
    "stowage.dev/data",
    "stowage.dev/outputs",
    "stowage.dev/exclude-containers",
    "stowage.dev/state-thresholds",
    "stowage.dev/injected",
    "stowage.dev/running-threshold",
    "stowage.dev/injekt",
    "mlrun/owner",
    "mlrun/class",
    "team",
    "t",
    "owner",
    "big",
    "app.kubernetes.io/managed-by",
    "a/b~c",
    "",
];
const ODD: &[&str] = &[
    "",
    "true",
    "false",
    "none",
    "all",
    "allow",
    "constrain",
    "prevent",
    "pvc",
    "base",
    "data1",
    "d000",
    "a/b",
    "..",
    "../x",
    "{label:x}",
    "~1",
    "-",
    "0",
    "1",
    "v3io",
    "shared",
    "over",
    "account",
    "reject",
    "job",
    "polyaxon",
    "/mnt/shared",
    "/User",
    "/etc/ca/",
    "etc/ca",
    "AWS_ACCESS_KEY_ID",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "V3IO_API",
    "V3IO_ACCESS_KEY",
    "HTTP_PROXY",
    "E0_0",
    "$(E0_0)",
    "spot",
    "Exists",
    "In",
    "NotIn",
    "default",
    "worker",
    "90m",
    "forever",
    "\u{0}",
    "\u{d7ff}",
    "{\"policies\":[],\"labels\":{\"team\":\"x\",\"mlrun/owner\":null},\"serviceAccount\":\"default\"}",
    "{\"policies\":[{\"name\":\"mlrun-ce\",\"applied\":[\"autoMount\"]}]}",
    "{\"policies\":[{\"name\":\"over\",\"applied\":[\"labels\"]}],\"labels\":{\"team\":null,\"v\":null}}",
];

/// SplitMix64: the same from the same seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// One to four changes of bytes.
pub(super) fn bytes(random: &mut Random, input: &[u8], all: &[Vec<u8>]) -> Vec<u8> {
    let mut text = input.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(text.len() + 1);
        let end = (at + random.below(16)).min(text.len());
        match random.below(6) {
            0 => drop(text.splice(at..end, [])),
            1 => drop(text.splice(at..at, random.of(WORDS).bytes())),
            2 => drop(text.splice(at..end, random.of(WORDS).bytes())),
            3 => {
                let copy = text[at..end].repeat(random.below(8));
                text.splice(at..at, copy);
            }
            4 => {
                let other = random.of(all).clone();
                let from = random.below(other.len() + 1);
                let to = (from + random.below(64)).min(other.len());
                text.splice(at..end, other[from..to].iter().copied());
            }
            _ => {
                if let Some(byte) = text.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    text
}

/// One to four changes of lines, or of bytes.
pub(super) fn lines(random: &mut Random, input: &[u8], all: &[Vec<u8>]) -> Vec<u8> {
    if random.below(3) == 0 {
        return bytes(random, input, all);
    }
    let mut lines: Vec<Vec<u8>> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let other: Vec<Vec<u8>> = random.of(all).split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    for _ in 0..=random.below(4) {
        let at = random.below(lines.len());
        match random.below(5) {
            0 if lines.len() > 1 => drop(lines.remove(at)),
            1 => lines.insert(at, random.of(&other).clone()),
            2 => {
                let copy = lines[at].clone();
                lines.insert(at, copy);
            }
            3 => {
                let word = *random.of(ODD);
                if let Some(colon) = lines[at].iter().position(|byte| *byte == b':') {
                    lines[at].truncate(colon + 1);
                    lines[at].extend(format!(" {}", Value::from(word)).bytes());
                }
            }
            _ => {
                let swapped = random.below(lines.len());
                lines.swap(at, swapped);
            }
        }
    }
    lines.join(&b'\n')
}

/// One to six changes of a pod's values.
pub(super) fn pod(random: &mut Random, input: &[u8], all: &[Vec<u8>]) -> Vec<u8> {
    let Ok(mut pod) = serde_json::from_slice::<Value>(input) else { return random.of(all).clone() };
    if !pod.is_object() {
        return random.of(all).clone();
    }
    for _ in 0..=random.below(6) {
        change_pod(random, &mut pod);
    }
    pod.to_string().into_bytes()
}

fn change_pod(random: &mut Random, pod: &mut Value) {
    let what = random.below(20);
    if what < 5 {
        let (key, word) = (*random.of(KEYS), *random.of(ODD));
        let field = *random.of(&["labels", "annotations"]);
        if pod["metadata"].is_object() && (pod["metadata"][field].is_object() || pod["metadata"][field].is_null()) {
            pod["metadata"][field][key] = word.into();
        }
        return;
    }
    if what < 8 {
        let mut fields = fields();
        let (field, value) = fields.swap_remove(random.below(fields.len()));
        if pod["spec"].is_object() {
            pod["spec"][field] = value;
        }
        return;
    }
    let mut pointers = Vec::new();
    collect(pod, String::new(), &mut pointers);
    let Some((parent, key)) = pointers.get(random.below(pointers.len())).and_then(|at| at.rsplit_once('/')) else {
        return;
    };
    let (parent, key) = (parent.to_owned(), key.replace("~1", "/").replace("~0", "~"));
    match pod.pointer_mut(&parent) {
        Some(Value::Object(object)) => match what {
            8..12 => drop(object.shift_remove(&key)),
            12 => drop(object.insert(key, random.of(&values()).clone())),
            _ => drop(object.insert(key, (*random.of(ODD)).into())),
        },
        Some(Value::Array(list)) => {
            let Ok(index) = key.parse::<usize>() else { return };
            match what {
                8..12 => drop(list.remove(index)),
                12 => list[index] = random.of(&values()).clone(),
                _ => list.push(list[index].clone()),
            }
        }
        _ => {}
    }
}

fn collect(value: &Value, at: String, pointers: &mut Vec<String>) {
    let mut below = |key: &str, value: &Value| {
        let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        pointers.push(at.clone());
        collect(value, at, pointers);
    };
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| below(key, value)),
        Value::Array(list) => list.iter().enumerate().for_each(|(index, value)| below(&index.to_string(), value)),
        _ => {}
    }
}

fn values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(1.5),
        json!(u64::MAX),
        json!([]),
        json!({}),
        json!([{}]),
        json!({"name": "x"}),
    ]
}

fn fields() -> Vec<(&'static str, Value)> {
    let term = json!({"matchExpressions": [{"key": "spot0-1", "operator": "In", "values": ["true"]}, {"key": "spot", "operator": "Exists"}]});
    vec![
        (
            "volumes",
            json!([
                {"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}, {"name": "v3io", "emptyDir": {}},
                {"name": "vol0-0", "persistentVolumeClaim": {"claimName": "claim0-0"}}, {"name": "data"}
            ]),
        ),
        (
            "tolerations",
            json!([{"operator": "Exists"}, {"key": "spot0-1", "operator": "Exists"}, {"key": "a", "tolerationSeconds": 3}]),
        ),
        ("nodeSelector", json!({"spot0-1": "true", "spot": "1", "cloud.google.com/gke-spot": "true"})),
        (
            "affinity",
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term, {}]}}}),
        ),
        (
            "initContainers",
            json!([{"name": "init", "restartPolicy": "Always", "env": [{"name": "V3IO_API", "value": "x"}]}]),
        ),
        ("serviceAccountName", json!("worker")),
        ("imagePullSecrets", json!([{"name": "x"}, {}])),
        ("securityContext", json!({"fsGroup": 5, "runAsNonRoot": true})),
        ("nodeName", json!("n")),
        ("priority", json!(2_000_001_000)),
    ]
}
