//! Reviews of pods that are large in one way or two, and the largest policies; for the test and for the bench of growth.
//!
//! Half of what a pod has is called like something of the policies, so that every walk has something to find.

use std::fmt::Write as _;

/// A way to be large.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    Containers,
    Variables,
    Volumes,
    Claims,
    Mounts,
    EnvFrom,
    Tolerations,
    Terms,
    Expressions,
    Annotations,
    Labels,
    UnknownKeys,
}

impl Way {
    pub(crate) const ALL: [Self; 12] = [
        Self::Containers,
        Self::Variables,
        Self::Volumes,
        Self::Claims,
        Self::Mounts,
        Self::EnvFrom,
        Self::Tolerations,
        Self::Terms,
        Self::Expressions,
        Self::Annotations,
        Self::Labels,
        Self::UnknownKeys,
    ];

    /// How many there are at most in a pod that the API server could store, or that is not refused for its size.
    pub(crate) const fn most(self) -> usize {
        match self {
            Self::Containers => 1_000,
            Self::Terms => 900,
            // 256 KiB in all.
            Self::Annotations => 8_000,
            Self::UnknownKeys => 2_400,
            Self::Volumes | Self::Claims => 5_000,
            Self::Labels => 16_000,
            Self::Variables | Self::Mounts | Self::EnvFrom | Self::Tolerations | Self::Expressions => 9_600,
        }
    }
}

/// A review of a pod with so many of each.
pub(crate) fn review(sizes: &[(Way, usize)]) -> String {
    let size = |way: Way| sizes.iter().filter(|(other, _)| *other == way).map(|(_, count)| *count).sum::<usize>();
    let label = |n: usize| format!("\"k{n}\":\"v\"");
    let annotations = listed(size(Way::Annotations), |n| format!("\"annotation-{n}\":\"v\""));
    let unknown = listed(size(Way::UnknownKeys), |n| format!("\"stowage.dev/{}{n}\":\"\"", "z".repeat(70)));
    let annotations = [annotations, unknown].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(",");
    let labels = listed(size(Way::Labels), label);
    let labels = if labels.is_empty() { labels } else { format!(",{labels}") };
    format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"u","resource":{{"group":"","version":"v1","resource":"pods"}},"namespace":"team","operation":"CREATE","object":{{"metadata":{{"name":"p","labels":{{"big":"1"{labels}}},"annotations":{{{annotations}}}}},"spec":{{{}}}}}}}}}"#,
        spec(&size)
    )
}

fn spec(size: &impl Fn(Way) -> usize) -> String {
    let claims = listed(size(Way::Claims), |n| {
        let claim = if n % 2 == 0 { "claim0-" } else { "own-" };
        format!(r#"{{"name":"c{n}","persistentVolumeClaim":{{"claimName":"{claim}{n}","readOnly":true}}}}"#)
    });
    let volumes = listed(size(Way::Volumes), |n| {
        let name = if n % 2 == 0 { format!("vol0-{n}") } else { format!("vol0-1-{n}") };
        format!(r#"{{"name":"{name}","emptyDir":{{}}}}"#)
    });
    let volumes = [claims, volumes].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(",");
    let tolerations = listed(size(Way::Tolerations), |n| {
        let key = if n % 2 == 0 { "spot0-" } else { "t0-" };
        format!(r#"{{"key":"{key}{}","operator":"Equal","value":"{n}"}}"#, n % 97)
    });
    let mut spec =
        format!(r#""volumes":[{volumes}],"tolerations":[{tolerations}],"containers":[{}]"#, containers(size));
    let (terms, expressions) = (size(Way::Terms), size(Way::Expressions));
    if terms + expressions > 0 {
        let terms = terms.max(1);
        let terms = listed(terms, |term| {
            let each = (expressions / terms).max(1);
            let expressions = listed(each, |n| {
                let key = if n % 2 == 0 { "spot0-" } else { "zone-" };
                format!(r#"{{"key":"{key}{n}","operator":"In","values":["{term}"]}}"#)
            });
            format!(r#"{{"matchExpressions":[{expressions}]}}"#)
        });
        let required = format!(r#"{{"nodeSelectorTerms":[{terms}]}}"#);
        let _ = write!(
            spec,
            r#","affinity":{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":{required}}}}}"#
        );
    }
    spec
}

/// What containers have is spread over all of them.
fn containers(size: &impl Fn(Way) -> usize) -> String {
    let count = size(Way::Containers).max(1);
    listed(count, |container| {
        let share = |way: Way| size(way) / count + usize::from(container < size(way) % count);
        let env = listed(share(Way::Variables), |n| {
            let name = if n % 2 == 0 { "E0_" } else { "OWN_" };
            format!(r#"{{"name":"{name}{n}","value":"of the pod"}}"#)
        });
        let from = listed(share(Way::EnvFrom), |n| {
            let name = if n % 2 == 0 { "s0-" } else { "own-" };
            format!(r#"{{"secretRef":{{"name":"{name}{n}"}}}}"#)
        });
        let mounts = listed(share(Way::Mounts), |n| {
            let path = if n % 2 == 0 { "/mnt/0/x/.." } else { "/own" };
            format!(r#"{{"name":"c{n}","mountPath":"{path}/{n}/"}}"#)
        });
        format!(r#"{{"name":"c{container}","env":[{env}],"envFrom":[{from}],"volumeMounts":[{mounts}]}}"#)
    })
}

fn listed(count: usize, element: impl Fn(usize) -> String) -> String {
    (0..count).map(element).collect::<Vec<_>>().join(",")
}

/// Policies with as much of everything as the schema allows, `count` of them.
pub(crate) fn largest(count: usize, mode: &str, on_conflict: &str) -> String {
    let mut text = String::new();
    for policy in 0..count {
        let each = |count: usize, of: &dyn Fn(usize) -> String| listed(count, of);
        let claims = each(64, &|n| {
            format!(
                "{{pvc: {{claimName: claim{policy}-{n}, volumeName: vol{policy}-{n}, mountPath: /mnt/{policy}/{n}}}}}"
            )
        });
        let data =
            each(128, &|n| format!("d{n:03}: {{mountPath: /data/{policy}/{n}, existingClaim: data{policy}-{n}}}"));
        let outputs =
            each(128, &|n| format!("o{n:03}: {{mountPath: /out/{policy}/{n}, existingClaim: out{policy}-{n}}}"));
        let env = each(64, &|n| format!("{{name: E{policy}_{n}, value: v{n}}}"));
        let from = each(64, &|n| format!("{{secretRef: {{name: s{policy}-{n}}}}}"));
        let pairs = |key: &str| each(64, &|n| format!("{key}{policy}-{n}: v"));
        let tolerations = |key: &str| each(64, &|n| format!("{{key: {key}{policy}-{n}, operator: Exists}}"));
        // Two labels double the terms of the pod.
        let labels = if mode == "constrain" { 2 } else { 64 };
        let spots = each(labels, &|n| format!("spot{policy}-{n}: \"true\""));
        let _ = write!(
            text,
            "---
apiVersion: stowage.dev/v1alpha1
kind: ClusterInjectionPolicy
metadata: {{name: big{policy}}}
spec:
  match: {{podSelector: {{matchLabels: {{big: \"1\"}}}}}}
  onConflict: {on_conflict}
  storage: [{claims}]
  persistence: {{data: {{{data}}}, outputs: {{{outputs}}}, defaultOutputs: o000}}
  env: [{env}]
  envFrom: [{from}]
  labels: {{{}}}
  annotations: {{{}}}
  nodeSelector: {{{}}}
  tolerations: [{}]
  preemption: {{mode: {mode}, nodeSelector: {{{spots}}}, tolerations: [{}]}}
",
            pairs("l"),
            pairs("a"),
            pairs("n"),
            tolerations("t"),
            tolerations("spot"),
        );
    }
    text
}
