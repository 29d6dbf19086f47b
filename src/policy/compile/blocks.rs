//! The blocks of a policy beside storage, autoMount, persistence and the environment.

use crate::{
    defaults::{Defaults, notes},
    duration::{Threshold, words},
    field_error::{field, item},
    labels::Selector,
    names,
    placement::{Affinity, Toleration, preemption::Preemption, rules},
    policy::{
        ContainerNames, Containers, Policy, PolicyId,
        compile::{annotations, checker::Checker},
        spec::ContainersSpec,
        template::{Kind, Template},
    },
    threshold::{
        State,
        spec::{ActionSpec, OnExceeded, StateThresholds},
    },
};

impl Checker<'_> {
    /// The whole policy. It is right where nothing is wrong afterwards.
    pub(super) fn policy(&mut self, id: PolicyId, generation: Option<i64>) -> Policy {
        let spec = self.spec;
        let mut errors = Vec::new();
        let pods = Selector::parse(&spec.matches.pod_selector, "match.podSelector", &mut errors);
        let namespaces = spec.matches.namespace_selector.as_ref();
        let namespaces = namespaces.map(|s| Selector::parse(s, "match.namespaceSelector", &mut errors));
        self.extend("", errors);
        self.trusted_labels();
        let compiled = Policy {
            id,
            generation,
            priority: spec.priority,
            pods,
            namespaces,
            requests: self.requests().into(),
            containers: self.containers(),
            on_conflict: spec.on_conflict,
            username: self.username(),
            storage: self.storage(&spec.storage).into(),
            auto_mount: spec.auto_mount.as_ref().and_then(|block| self.auto_mount(block)).map(Box::new),
            persistence: spec.persistence.as_ref().map(|block| Box::new(self.catalogue(block))),
            env: self.env().into(),
            env_from: self.env_from().into(),
            labels: self.labels(),
            annotations: self.annotations(),
            image_pull_policy: spec.image_pull_policy,
            image_pull_secrets: self.image_pull_secrets().into(),
            preemption: self.preemption().map(Box::new),
            node_selector: spec.node_selector.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            tolerations: spec.tolerations.iter().map(Toleration::from).collect(),
            affinity: spec.affinity.as_ref().map(Affinity::from).map(Box::new),
            priority_class_name: spec.priority_class_name.clone().filter(|name| !name.is_empty()),
            defaults: self.defaults().map(Box::new),
            thresholds: self.thresholds().map(Box::new),
            on_exceeded: self.on_exceeded(),
            placeholder_labels: Box::default(),
            notes: Box::default(),
        };
        self.extend("", rules::node_selector("nodeSelector", &spec.node_selector));
        self.extend("", rules::tolerations("tolerations", &spec.tolerations));
        if let Some(affinity) = &spec.affinity {
            self.extend("", rules::affinity("affinity", affinity));
        }
        if let Some(name) = compiled.priority_class_name.as_deref() {
            self.extend("", rules::priority_class_name("priorityClassName", name));
        }
        self.nested_mounts(&compiled);
        self.waiting_for_capacity(&compiled);
        compiled
    }

    fn requests(&mut self) -> Vec<String> {
        let spec = self.spec;
        let requests = &spec.matches.requests;
        for (index, resource) in requests.iter().enumerate() {
            self.name(resource, names::container_resource, &item("match.requests", index));
        }
        requests.clone()
    }

    fn image_pull_secrets(&mut self) -> Vec<String> {
        let spec = self.spec;
        for (index, secret) in spec.image_pull_secrets.iter().enumerate() {
            let at = field(&item("imagePullSecrets", index), "name");
            self.name(&secret.name, names::secret_name, &at);
        }
        let has_account = spec.defaults.as_ref().is_some_and(|defaults| defaults.service_account_name.is_some());
        if has_account && !spec.image_pull_secrets.is_empty() {
            let why = "with defaults.serviceAccountName, the pull secrets of the new account itself are not added";
            self.note("imagePullSecrets", why);
        }
        spec.image_pull_secrets.iter().map(|secret| secret.name.clone()).collect()
    }

    fn trusted_labels(&mut self) {
        for (index, key) in self.spec.trusted_labels.iter().enumerate() {
            self.name(key, names::label_key, &item("trustedLabels", index));
        }
    }

    fn username(&mut self) -> Option<Template> {
        let v3io = self.v3io?;
        self.name(&v3io.access_key_secret.key, names::data_key, "v3io.accessKeySecret.key");
        let username = self.template(&v3io.username, Kind::Username, "v3io.username");
        if username.as_ref().is_some_and(Template::has_username) {
            self.error("v3io.username", "{username} cannot stand for itself");
        }
        self.template(&v3io.access_key_secret.name, Kind::Secret, "v3io.accessKeySecret.name");
        username
    }

    fn containers(&mut self) -> Containers {
        let Some(ContainersSpec { include, exclude, init_containers }) = &self.spec.containers else {
            return Containers { names: ContainerNames::Exclude(Vec::new()), init: true };
        };
        if include.is_some() && exclude.is_some() {
            self.error("containers", "include and exclude cannot both be given");
        }
        if include.as_ref().is_some_and(Vec::is_empty) {
            self.error("containers.include", "must not be empty");
        }
        for (name, list) in [("containers.include", include), ("containers.exclude", exclude)] {
            for (index, container) in list.iter().flatten().enumerate() {
                self.name(container, names::container_pattern, &item(name, index));
            }
        }
        let names = match (include, exclude) {
            (Some(include), _) => ContainerNames::Include(include.clone()),
            (None, exclude) => ContainerNames::Exclude(exclude.clone().unwrap_or_default()),
        };
        Containers { names, init: *init_containers }
    }

    fn labels(&mut self) -> Box<[(String, String)]> {
        for (key, value) in &self.spec.labels {
            let at = field("labels", key);
            self.metadata_key(key, names::label_key, &at);
            self.name(value, names::label_value, &at);
        }
        self.spec.labels.clone().into_iter().collect()
    }

    fn annotations(&mut self) -> Box<[(String, String)]> {
        let spec = self.spec;
        for (key, value) in &spec.annotations {
            let at = field("annotations", key);
            self.metadata_key(key, names::annotation_key, &at);
            if let Some(why) = annotations::refusal(key, value) {
                self.error(&at, why);
            }
        }
        let weight: usize = spec.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
        if weight > names::ANNOTATIONS_MAX {
            self.error("annotations", "weigh more than the 256 KiB that the API server allows a pod");
        }
        self.spec.annotations.clone().into_iter().collect()
    }

    fn metadata_key(&mut self, key: &str, check: fn(&str) -> names::Check, at: &str) {
        self.name(key, check, at);
        if key.starts_with("stowage.dev/") {
            // At reinvocation such a key would read as the pod's own wish.
            self.error(at, "stowage.dev/ keys are the pod's own word; use the policy's block instead");
        }
    }

    fn preemption(&mut self) -> Option<Preemption> {
        match Preemption::compile(self.spec.preemption.as_ref()?) {
            Ok(preemption) => Some(preemption),
            Err(problems) => {
                self.extend("preemption", problems);
                None
            }
        }
    }

    fn defaults(&mut self) -> Option<Defaults> {
        match Defaults::compile(self.spec.defaults.as_ref()?) {
            Ok(defaults) => {
                let notes = self.spec.defaults.iter().flat_map(notes::defaults);
                self.notes.extend(notes.map(|note| note.below("defaults")));
                Some(defaults)
            }
            Err(problems) => {
                self.extend("defaults", problems);
                None
            }
        }
    }

    fn on_exceeded(&mut self) -> Option<OnExceeded> {
        match self.spec.on_exceeded.as_ref()?.compile() {
            Ok(on_exceeded) => Some(on_exceeded),
            Err(problems) => {
                self.extend("onExceeded", problems);
                None
            }
        }
    }

    fn thresholds(&mut self) -> Option<StateThresholds> {
        match self.spec.state_thresholds.as_ref()?.compile() {
            Ok(thresholds) => Some(thresholds),
            Err(problems) => {
                self.extend("stateThresholds", problems);
                None
            }
        }
    }

    /// Waiting for a node is no more than waiting for capacity, and who waits is not stuck. Bare pods may be meant; of a
    /// Job the whole goes.
    fn waiting_for_capacity(&mut self, compiled: &Policy) {
        let limit = compiled.thresholds.as_ref().and_then(|set| set.thresholds.own(State::PendingNotScheduled));
        let action = compiled.on_exceeded.unwrap_or_default().actions.of(State::PendingNotScheduled);
        let Some(Threshold::After(length)) = limit.filter(|_| action != ActionSpec::Report) else { return };
        let length = words(*length);
        let what = match action {
            ActionSpec::Auto | ActionSpec::Owner => "with the whole of it",
            ActionSpec::Delete | ActionSpec::Evict | ActionSpec::Report => "and made again at the end of the queue",
        };
        self.note(
            "stateThresholds.pendingNotScheduled",
            format!(
                "a pod of a Job that waits {length} for a node is removed, {what}: waiting for capacity is not being stuck. \
                 -1 lets it wait, and `onExceeded.action: {{pendingNotScheduled: Report}}` only says so"
            ),
        );
    }
}
