//! Reasons: what can become of a step of a decision, as a closed set.
//!
//! `explain`, the marker, warnings, audit annotations, log lines, metrics and Events take their words from here. A reason
//! has a stable name for programs, and a text for people that is made from it; docs/reasons.md lists both.

use std::fmt::{self, Display};

/// Something told of a decision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Note {
    /// The stable reason.
    pub reason: Reason,
    /// One short line, made from the reason: keys and values of labels and taints, names and paths; never a variable's
    /// value, and nothing of a secret.
    pub text: String,
}

/// How a reason is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// `explain` shows it.
    Info,
    /// The client is told: it is something a person would not expect.
    Warning,
    /// The pod is refused.
    Refusal,
}

macro_rules! reasons {
    ($($(#[doc = $meaning:literal])+ $name:ident, $severity:ident, $text:literal;)+) => {
        /// Why something was done, left out or refused. Names are stable: other programs count them.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Reason {
            $($(#[doc = $meaning])+ $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the page that lists them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its stable name, in CamelCase.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// Its place in [`Reason::ALL`].
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }

            /// Whom it is shown.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)+ }
            }

            /// Its text, with a name in braces for every word that the decision puts in.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// What it means, for people.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($meaning),+),)+ }
            }
        }
    };
}

reasons! {
    /// A container has the variable, or another one of the same credentials, from its own spec.
    VariableOfPod, Warning, "skipped {names} in container {container}: the pod sets {own}";
    /// An earlier policy set the variable, or another one of the same credentials.
    VariableOfPolicy, Warning, "skipped {names} in container {container}: {first} set {name} first";
    /// The pod sets a variable that a policy with `onConflict: Reject` sets otherwise.
    VariableRejected, Refusal, "the pod sets {own} in {container}, and the policy says onConflict: Reject";
    /// A variable wins over what the container loads from a secret or config map, and nobody can see here whether that has
    /// the same name.
    MayHideSource, Warning, "{names} may hide what the pod's {source} brings in container {container}";
    /// The pod mounts something else at the path, so the whole modifier is left out.
    PathOfPod, Warning, "skipped: the pod mounts something else at {path} in container {container}";
    /// An earlier policy mounts something else at the path, so the whole modifier is left out.
    PathOfPolicy, Warning, "skipped: at {path} in container {container} {first} mounts something else";
    /// The pod mounts something else where a policy with `onConflict: Reject` mounts.
    PathRejected, Refusal, "the pod mounts something else at {path} in {container}, and the policy says onConflict: Reject";
    /// A block device of the pod's is at the path, so the whole modifier is left out.
    PathOfDevice, Warning, "skipped: at {path} in container {container} the pod has a block device";
    /// The pod uses the claim as a block device, so it cannot be mounted.
    BlockDevice, Warning, "skipped: the pod uses volume {volume} as a block device";
    /// Only a privileged container may have such a mount, and the API server would refuse the pod.
    NotPrivileged, Warning, "skipped {path} in container {container}: mountPropagation Bidirectional needs a privileged container";
    /// A mount lies in a read-only mount, where its folder cannot be made.
    InsideReadOnly, Warning, "{inner} in container {container} lies in the read-only mount {outer}: the container starts only where that volume has the folder";
    /// A `subPathExpr` refers to a variable that the container will not have, and the container would never start.
    VariableNotSet, Warning, "skipped in container {container}: subPathExpr refers to {name}, which is not set there";
    /// A `subPathExpr` refers to a variable whose value leads out of the volume, and the container would never start.
    FolderNotInside, Warning, "skipped in container {container}: with its variables subPathExpr is no relative path without '..'";
    /// A controller may select by the label, and would let go of the pod.
    LabelOfController, Warning, "skipped label {key}: the pod's controller may select by the value that the pod has";
    /// The policy's `containers`, or the pod, leaves every container out.
    NoContainer, Info, "skipped: the policy's containers selects no container of this pod";
    /// The policy's `containers.include` names nothing that the pod has: a name is misspelt, or the policy is for other
    /// pods. Of several modifiers of the policy the first says it.
    NoContainerIncluded, Warning, "skipped: the pod has no container that the policy's containers.include names ({names})";
    /// The claim that Kubernetes would make for the pod's ephemeral volume cannot have its name, or is one that the pod mounts
    /// by name, and the API server would refuse the pod.
    EphemeralClaimName, Warning, "skipped: for an ephemeral volume Kubernetes makes a claim that {why}: {claim}";
    /// The pod has not the container whose resources a variable or a file shows, and would never start.
    ContainerMissing, Warning, "skipped: the pod has no container {container}, whose resources it shows";
    /// A placeholder of the modifier stands for something that the pod does not have.
    PlaceholderAbsent, Warning, "skipped {what}: {word} is absent or empty";
    /// A placeholder stands for something that the API server would refuse; a webhook is called before it looks.
    PlaceholderNotAccepted, Warning, "skipped {what}: {word} has a value that the API server refuses";
    /// A placeholder gives a text that is not valid where it stands.
    PlaceholderInvalid, Warning, "skipped {what}: its placeholders give a name that is not valid: it {allowed}";
    /// The namespace's pod security level would refuse the pod for the volume.
    VolumeAgainstPodSecurity, Warning, "skipped: the namespace's pod security level {level} refuses {kind} volumes";
    /// The namespace's pod security level would refuse the pod for the field.
    FieldAgainstPodSecurity, Warning, "skipped {field}: the namespace's pod security level {level}";
    /// An earlier policy has an autoMount, and only one acts.
    AnotherAutoMount, Warning, "skipped: {first} is the one autoMount that acts";
    /// The pod asks for no autoMount.
    AutoMountDeclined, Info, "skipped: the pod asks for none";
    /// The policy's autoMount comes to nothing.
    AutoMountIsNone, Info, "skipped: the policy's type is none";
    /// `auto` finds neither a v3io block nor a claim.
    AutoMountFindsNothing, Info, "skipped: type auto finds neither a v3io block nor a claim";
    /// The pod carries storage or credentials of its own, so autoMount stands back, as MLRun's does after a manual modifier.
    StorageByHand, Info, "skipped: the pod carries {what}, as after a manual modifier";
    /// Which type of autoMount acted.
    AutoMountType, Info, "type {type}";
    /// The pod asks for a type that the policy's params cannot serve.
    AutoMountNotOffered, Refusal, "{key}: {value} is not on offer: the params of policy {policy} serve none, {offers}";
    /// An earlier policy has a catalogue, and only one acts.
    AnotherCatalogue, Warning, "skipped: {first} is the one catalogue that acts";
    /// The pod asks for an entry that the catalogue does not have.
    NotInCatalogue, Refusal, "{key}: {name} is not in the catalogue; use {words} or any of {known}";
    /// The pod names no outputs, the policy has no default, and there are several.
    FirstOutputs, Warning, "outputs {name} are the first by name; name one with {key} or defaultOutputs";
    /// The outputs that the run is to write are read-only.
    ReadOnlyOutputs, Warning, "outputs {name} are read-only: the run cannot write there";
    /// A bucket with placeholders is none.
    BucketInvalid, Warning, "skipped: its placeholders give a bucket that is not valid: it {wanted}";
    /// Another store of the same cloud has the variables that SDKs read.
    AnotherStore, Warning, "{first} has the variables of {cloud} SDKs; this store's are not set";
    /// The pod has another value under the key.
    KeyOfPod, Warning, "skipped {kind} {key}: the pod has another value";
    /// An earlier policy gave another value to the key.
    KeyOfPolicy, Warning, "skipped {kind} {key}: {first} set it first";
    /// The pod has another value under a key that a policy with `onConflict: Reject` sets.
    KeyRejected, Refusal, "the pod sets the {kind} {key}, and the policy says onConflict: Reject";
    /// The annotations of the pod would weigh more than the API server allows, with one that a policy sets.
    AnnotationTooHeavy, Warning, "skipped annotation {key}: the pod's annotations would pass 256 KiB";
    /// The annotations of the pod would weigh more than the API server allows.
    MarkerTooHeavy, Warning, "{key} is left out: the pod's annotations would pass 256 KiB";
    /// An earlier policy sets another image pull policy.
    PullPolicyOfPolicy, Warning, "skipped container {container}: {first} set its pull policy first";
    /// Somebody set the pull policy back after an earlier pass, as the admission plugin AlwaysPullImages does, which would
    /// refuse the pod otherwise.
    PullPolicySetBack, Warning, "skipped container {container}: its pull policy was set back to {own} after an earlier pass";
    /// The pod has the field from its own spec, and a default changes nothing that is there.
    SaidByPod, Info, "skipped {field}: the pod says it itself";
    /// A policy's own block says it, and a default is for where nobody does.
    SaidByPolicy, Info, "skipped {field}: {first} says it outright";
    /// An earlier policy gave another default.
    DefaultOfPolicy, Warning, "skipped {field}: {first} set it first";
    /// A default limit is lower than the container's own request.
    LimitUnderRequest, Warning, "skipped {resource} limit {amount} in container {container}: its request is higher";
    /// A default request is higher than the container's own limit.
    RequestOverLimit, Warning, "skipped {resource} request {amount} in container {container}: its limit is lower, and becomes its request";
    /// A default of the security context contradicts what the pod or one of its containers says.
    DefaultContradicted, Warning, "skipped securityContext.{field}: {why}";
    /// The pod names another priority class.
    PriorityClassOfPod, Warning, "skipped: the pod names another priority class";
    /// An earlier policy set another priority class.
    PriorityClassOfPolicy, Warning, "skipped: {first} set a priority class first";
    /// The cluster has no such class, and the API server would refuse the pod.
    ClassMissing, Warning, "skipped: the cluster has no {class}";
    /// The namespace has no such service account, and the API server would refuse the pod.
    ServiceAccountMissing, Warning, "skipped: namespace {namespace} has no service account {name}";
    /// The runtime class selects nodes that the pod or a policy does not, and the API server would refuse the pod.
    RuntimeClassContradicted, Warning, "skipped: runtime class {why}";
    /// The pod names another priority class than a policy with `onConflict: Reject`.
    PriorityClassRejected, Refusal, "the pod names another priority class, and the policy says onConflict: Reject";
    /// The pod brings a node name, and a policy whose preemption may not be overridden says where it may land.
    NodeNameWhereBound, Refusal, "spec.nodeName is not allowed: the preemption of policy {policy} may not be overridden, and a pod with a node name passes the scheduler by";
    /// The pod opts out, but not of a preemption that may not be overridden.
    OptOutWhereBound, Warning, "{key} does not opt out of preemption: policy {policy} forbids overriding it";
    /// Placement is not for this pod.
    PlacementLeftOff, Warning, "placement is not applied to this pod: {why}";
    /// A toleration was added.
    TolerationAdded, Info, "added toleration {toleration}{mode}";
    /// A toleration of the pod's tolerates at least as much.
    TolerationCovered, Info, "toleration {toleration} is not added: the pod's {own} covers it{mode}";
    /// A toleration of the pod's was taken out, since the mode keeps the pod off preemptible nodes.
    TolerationRemoved, Info, "removed toleration {toleration}{mode}";
    /// A pair of the pod's node selector was taken out, since the mode keeps the pod off preemptible nodes.
    NodeSelectorRemoved, Info, "removed {key}={value} from nodeSelector{mode}";
    /// Terms of the required node affinity were made or changed.
    NodeAffinityRequired, Info, "required node affinity: {terms} term(s) ask for {requirement}{mode}";
    /// A wish for preemptible nodes was taken out of the required node affinity.
    NodeAffinityRemoved, Info, "removed {requirement} from the required node affinity{mode}";
    /// Something was appended to the affinity.
    AffinityAppended, Info, "added an element to affinity.{list}";
    /// An earlier policy has preemption, or one that may not be overridden, and only one acts.
    AnotherPreemption, Warning, "skipped: policy {first} is the one whose preemption acts";
    /// The preemption mode that acted.
    PreemptionMode, Info, "mode {mode}";
    /// The pod asks for a mode that the policy does not let it choose.
    PreemptionModeIgnored, Warning, "preemption mode {asked} is ignored: the policy sets {mode} and does not allow another";
    /// The pod asks for a mode that the policy cannot keep.
    PreemptionModeNotOffered, Refusal, "{key}: {why} (policy {policy})";
    /// The mode `constrain` knows no labels of preemptible nodes.
    ConstrainWithoutLabels, Warning, "placement is left as it is: {why}";
    /// The pod's own constraints leave no node that the mode allows.
    NoNodeLeft, Warning, "no node can match: the pod's own node selector and required node affinity leave none for preemption mode {mode}";
    /// A toleration that stays lets the pod onto preemptible nodes.
    StillTolerates, Warning, "the pod still tolerates preemptible nodes by {tolerations}, and the policy has no preemption.nodeSelector to keep it off them{mode}";
    /// Required node terms of pod and policy multiply beyond what is allowed.
    TooManyTerms, Refusal, "{why}";
    /// The pod has more of something than a decision works on.
    TooLarge, Refusal, "{why}";
    /// The labels of the namespace could not be read in time.
    NamespaceUnknown, Warning, "the labels of namespace {namespace} could not be read in time and count as absent";
    /// A field of the pod is not what the API defines.
    Malformed, Refusal, "{why}";
    /// The pod says something under a `stowage.dev/` key that is not allowed, and a policy acts on that key.
    ControlNotAllowed, Refusal, "{key}: {value} is not allowed; use one of {allowed}";
    /// The same where no policy acts on the key.
    ControlIgnored, Warning, "{key}: {value} is not allowed; use one of {allowed}";
    /// The pod says something that no policy acts on.
    ControlWithoutPolicy, Warning, "{key}: no policy that matches this pod acts on it";
    /// The pod excludes a container that it does not have.
    UnknownContainer, Warning, "{key}: the pod has no container {name}";
    /// A `stowage.dev/` key is not known.
    UnknownControl, Warning, "{key} is not known{hint}";
    /// The pod says something to the watcher that cannot be read, and what the policy says stands.
    ThresholdIgnored, Warning, "{why}";
    /// Something is wrong with the thresholds of the run, and the rest stands.
    RunThresholdIgnored, Warning, "{why}";
    /// The pod says its thresholds itself, so the run's are not copied.
    ThresholdsOfPod, Info, "skipped: the pod says its thresholds itself";
    /// The run says nothing but MLRun's defaults.
    ThresholdsAreDefaults, Info, "skipped: the run says nothing but MLRun's defaults";
    /// The watcher removed a pod that was past its state threshold. MLRun says it in these words.
    StateThresholdExceeded, Warning, "Run aborted due to exceeded state threshold: {state}. {what}; it was {age} in the state, of {threshold} that {whose} allows";
    /// A pod is past its state threshold, and the watcher removes nothing.
    StateThresholdReported, Warning, "Exceeded state threshold: {state}. Nothing is removed: {why}. The pod is {age} in the state, of {threshold} that {whose} allows";
    /// The watcher would remove a pod that is past its state threshold, but for `--dry-run`.
    RemovalDryRun, Warning, "Exceeded state threshold: {state}. Without --dry-run {what}. The pod is {age} in the state, of {threshold} that {whose} allows";
    /// The owner that would have to be removed was removed before, and came back within the threshold.
    OwnerMadeAgain, Warning, "Exceeded state threshold: {state}. Nothing is removed: {owner} was removed before and was made again. The pod is {age} in the state, of {threshold} that {whose} allows";
    /// The owner is not what the pod's reference says, or the policy does not mean it.
    OwnerNotConfirmed, Warning, "Exceeded state threshold: {state}. Nothing is removed: {why}. The pod is {age} in the state, of {threshold} that {whose} allows";
    /// The API server forbids the removal.
    RemovalForbidden, Warning, "Exceeded state threshold: {state}. Nothing is removed: the API server forbids the watcher to {what}. The pod is {age} in the state, of {threshold} that {whose} allows";
    /// A pod was past its state threshold already when the watcher first saw it.
    FoundOverdue, Warning, "Found past its state threshold: {state}. It is acted on at {time}, unless it leaves the state";
    /// The policy has removals announced before.
    RemovalAnnounced, Warning, "Will be past its state threshold: {state}, at {time}, and be acted on then, unless it leaves the state";
    /// Too many pods come due together, and none of them is removed.
    BreakerOpened, Warning, "{due} of {of} pods{under} came due together in {state}: none of them is removed while that many are due. This is no matter of single pods: look for a registry, a driver or a policy; {shared}";
    /// The breaker holds a state no longer.
    BreakerClosed, Info, "{state}{under} is held no longer: {due} of {of} pods are due in it";
    /// A pod was created while no replica of the webhook answered.
    InjectionMissed, Warning, "No replica of Stowage answered when this pod was created: policy {policy} matches it, and nothing was injected";
}

impl Reason {
    /// A note of it; every word takes the place of a name in braces, in order.
    #[must_use]
    pub fn note(self, words: &[&dyn Display]) -> Note {
        Note { reason: self, text: self.with(words) }
    }

    /// Its text with the words put in.
    #[must_use]
    pub fn with(self, words: &[&dyn Display]) -> String {
        use fmt::Write as _;
        let mut text = String::with_capacity(96);
        let mut rest = self.text();
        let mut words = words.iter();
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            text.push_str(before);
            let word = words.next();
            debug_assert!(word.is_some(), "{} needs {name}", self.name());
            if let Some(word) = word {
                // Writing to a string does not fail.
                let _ = write!(text, "{word}");
            }
            rest = after;
        }
        debug_assert!(words.next().is_none(), "{} has no room for so many words", self.name());
        text.push_str(rest);
        text
    }
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Refusal => "refusal",
        }
    }
}

impl Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Note {
    /// Whether the client is told.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        self.reason.severity() == Severity::Warning
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_take_the_place_of_names_in_order() {
        let note = Reason::PathOfPod.note(&[&"/data", &"main"]);
        assert_eq!(note.text, "skipped: the pod mounts something else at /data in container main");
        assert!(note.is_warning());
        // Braces in a word are no names.
        assert_eq!(Reason::AutoMountType.with(&[&"{type}"]), "type {type}");
    }

    #[test]
    fn every_reason_has_a_name_of_its_own_and_says_what_it_means() {
        let mut names: Vec<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index, "{reason}");
            assert!(reason.meaning().trim().ends_with('.'), "{reason}: {}", reason.meaning());
            assert_eq!(reason.text().matches('{').count(), reason.text().matches('}').count(), "{reason}");
        }
    }
}
