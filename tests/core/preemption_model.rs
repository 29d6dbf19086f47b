//! Preemption against an independent model of the scheduler's node filter: for every mode the nodes
//! on which the resulting pod can land are exactly those that the mode promises.

use json_patch::PatchOperation;
use serde_json::{Value, json};
use stowage::{
    json,
    patch::Patch,
    placement::{
        Placement,
        preemption::{self, Mode, Preemption, PreemptionSpec},
    },
    reason::Note,
};

use self::draw::Draw;
use self::node_filter::{Constraints, Node, Settings, Toleration, feasible};

mod cases;
mod defaults;
mod draw;
mod node_filter;

/// How many cases are drawn; `.ci/run` asks for 100,000 by the environment variable `STOWAGE_MODEL_CASES`.
const CASES: u64 = 20_000;
const TERMS: &str = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";

const REQUIRED: &str = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "/spec/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution";

/// What a failure says of its case.
type Context<'a> = &'a dyn Fn() -> String;

/// The modes, those more often that change more.
const MODES: [Mode; 7] =
    [Mode::None, Mode::Allow, Mode::Prefer, Mode::Constrain, Mode::Constrain, Mode::Prevent, Mode::Prevent];

#[test]
fn every_mode_gives_exactly_the_promised_nodes() {
    let workers = 4;
    let cases = std::env::var("STOWAGE_MODEL_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    std::thread::scope(|scope| {
        for worker in 0..workers {
            scope.spawn(move || {
                let seeds = (0..cases).filter(|seed| seed % workers == worker);
                seeds.map(Case::new).for_each(|case| case.check());
            });
        }
    });
}

struct Case {
    seed: u64,
    mode: Mode,
    settings: Value,
    pod: Value,
    nodes: Vec<Node>,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        Self {
            seed,
            mode: draw.one_of(&MODES),
            settings: draw.settings(),
            pod: json!({"metadata": {"labels": {"kept": "1"}}, "spec": draw.spec()}),
            nodes: draw.nodes(),
        }
    }

    fn check(&self) {
        let mode = self.mode;
        let context = || format!("seed {} mode {mode}: {} {}", self.seed, self.settings, self.pod);
        let model = self.model();
        let mut spec: PreemptionSpec = serde_json::from_value(self.settings.clone()).unwrap();
        spec.mode = mode;
        let compiled = Preemption::compile(&spec);
        if mode == Mode::Constrain && model.labels.is_empty() && !model.is_empty() {
            let problems = compiled.unwrap_err();
            assert_eq!(problems[0].path, "nodeSelector", "{}", context());
            return;
        }
        let compiled = compiled.unwrap_or_else(|problems| panic!("{problems:?}: {}", context()));
        let (after, notes) = inject(&compiled, mode, &self.pod, &context);

        let pod = Constraints::of(&self.pod["spec"]);
        let expected = model.promised(mode.as_str(), &pod, &self.nodes);
        let landed = feasible(&after["spec"], &self.nodes);
        assert_eq!(landed, expected, "{} gave {after}", context());
        if notes.iter().any(|note| note.text.starts_with("no node can match")) {
            assert!(landed.is_empty(), "a false warning: {}", context());
        }
        if mode == Mode::None || model.is_empty() {
            assert_eq!(after, self.pod, "{}", context());
        }
        self.check_untouched(mode, &model, &after, &context);
    }

    fn model(&self) -> Settings {
        let tolerations = self.settings["tolerations"].as_array().unwrap();
        Settings {
            labels: serde_json::from_value(self.settings["nodeSelector"].clone()).unwrap(),
            tolerations: tolerations.iter().map(Toleration::of).collect(),
        }
    }

    /// Everything but what the mode has to touch is as it was, fields of the future included.
    fn check_untouched(&self, mode: Mode, model: &Settings, after: &Value, context: Context<'_>) {
        let mut untouched = vec![
            "/metadata",
            "/spec/containers",
            "/spec/affinity/future",
            "/spec/affinity/podAffinity",
            "/spec/affinity/podAntiAffinity",
            "/spec/affinity/nodeAffinity/future",
        ];
        if mode == Mode::Prefer {
            untouched.extend(["/spec/nodeSelector", REQUIRED]);
            let (own, now) = (list(&self.pod, PREFERRED), list(after, PREFERRED));
            assert!(now.starts_with(own), "{}", context());
            for (key, value) in &model.labels {
                let term = json!({"weight": 100, "preference": {"matchExpressions": [
                    {"key": key, "operator": "In", "values": [value]}
                ]}});
                assert!(now.contains(&term), "{}", context());
            }
        } else {
            untouched.push(PREFERRED);
        }
        match mode {
            Mode::Allow => untouched.extend(["/spec/nodeSelector", "/spec/affinity"]),
            Mode::Constrain => untouched.push("/spec/nodeSelector"),
            Mode::Prevent | Mode::Prefer | Mode::None => {}
        }
        for path in untouched {
            assert_eq!(after.pointer(path), self.pod.pointer(path), "{path}: {}", context());
        }
        let own = list(&self.pod, "/spec/tolerations");
        let now = list(after, "/spec/tolerations");
        if mode == Mode::Prevent {
            let mut rest = own.iter();
            let is_kept = |one| rest.any(|own| own == one);
            assert!(now.iter().all(is_kept), "{}", context());
        } else {
            assert!(now.starts_with(own), "{}", context());
        }
        self.check_terms(mode, model, after, context);
    }

    /// A term that is still there keeps all that it required, the wish for preemptible nodes aside,
    /// and a list of terms never ends up empty.
    fn check_terms(&self, mode: Mode, model: &Settings, after: &Value, context: Context<'_>) {
        if let Some(terms) = after.pointer(TERMS) {
            assert_ne!(*terms, json!([]), "{}", context());
        }
        let originals = list(&self.pod, TERMS);
        for now in list(after, TERMS) {
            let tag = now.get("future");
            let Some(original) = originals.iter().find(|term| term.get("future") == tag) else {
                assert_eq!(tag, None, "{}", context());
                continue;
            };
            assert_eq!(now["matchFields"], original["matchFields"], "{}", context());
            let kept = list(now, "/matchExpressions");
            for expression in list(original, "/matchExpressions") {
                let label = expression["key"].as_str().and_then(|key| model.labels.get(key));
                let asks = |label: &String| {
                    let values = expression["values"].as_array().map(Vec::as_slice).unwrap_or_default();
                    let all = !values.is_empty() && values.iter().all(|value| value == label);
                    expression["operator"] == "Exists" || expression["operator"] == "In" && all
                };
                let is_wish = mode == Mode::Prevent && label.is_some_and(asks);
                assert!(is_wish != kept.contains(expression), "{}", context());
            }
        }
    }
}

fn list<'a>(json: &'a Value, path: &str) -> &'a [Value] {
    let list = json.pointer(path).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

/// Applies a mode to a pod by its operations, as the API server would, and checks that they are
/// what they claim: that no list is replaced, and that a second pass has nothing to do, neither on what was decided nor
/// on the pod that the operations make.
fn inject(preemption: &Preemption, mode: Mode, pod: &Value, context: Context<'_>) -> (Value, Vec<Note>) {
    let before = read(pod);
    let mut after = before.clone();
    let notes = preemption::apply(preemption, mode, &mut after).unwrap();
    let mut document = pod.clone();
    let ops = written(&after);
    assert_eq!(ops.is_empty(), before == after, "{}", context());
    for op in ops {
        let target = document.pointer(op.path().as_str());
        let is_removal = matches!(op, PatchOperation::Remove(_));
        let replaces_list = !is_removal && target.is_some_and(Value::is_array);
        assert!(!replaces_list, "a list is replaced by {op}: {}", context());
        json_patch::patch(&mut document, &[op]).unwrap_or_else(|error| panic!("{error}: {}", context()));
    }

    let mut again = after.clone();
    preemption::apply(preemption, mode, &mut again).unwrap();
    assert_eq!(again, after, "a second pass changes more: {}", context());
    let mut stored = read(&document);
    preemption::apply(preemption, mode, &mut stored).unwrap();
    assert_eq!(written(&stored), [], "a second pass changes more: {}", context());
    (document, notes)
}

fn written(after: &Placement<'_>) -> Vec<PatchOperation> {
    let mut patch = Patch::default();
    after.write(&mut patch);
    patch.ops()
}

fn read(pod: &Value) -> Placement<'static> {
    let raw = |field: &str| Some(&*pod["spec"].get(field)?.to_string().leak());
    let fields = ["nodeSelector", "tolerations", "affinity"].map(raw);
    let [selector, tolerations, affinity] = fields.map(|text| text.map(|text| json::read(text).unwrap()));
    Placement::read(selector, tolerations, affinity).unwrap()
}
