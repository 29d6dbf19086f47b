//! Volumes for which Kubernetes makes a claim with the pod: it is called by the names of pod and volume.

use crate::{
    inject::{
        Injection,
        volume_draft::{Slot, object},
    },
    json::{Json, Str},
    names,
    reason::{Note, Reason},
};

impl<'a, 'p: 'a> Injection<'a, 'p> {
    /// Why the API server would refuse the pod for the claim of an ephemeral volume, be it this volume or one that has the
    /// claim which this one mounts. A pod whose name is still to be made has a short one.
    pub(super) fn claim_against(&self, kind: &str, source: &Json<'_>, slot: &Slot<'_>) -> Option<Note> {
        let pod = self.draft.pod.metadata.as_ref()?.name.as_ref().map(Str::as_str).filter(|name| !name.is_empty())?;
        let why = |claim: &str, why: &str| Reason::EphemeralClaimName.note(&[&why, &claim]);
        match kind {
            "ephemeral" => {
                let claim = format!("{pod}-{}", slot.name);
                if names::claim_name(&claim).is_err() {
                    return Some(why(&claim, "can have no such name"));
                }
                self.draft.volumes.mounts_claim(&claim).then(|| why(&claim, "the pod mounts by its name"))
            }
            "persistentVolumeClaim" => {
                let (_, claim) = object(kind, source.as_str())?;
                let volume = claim.strip_prefix(pod)?.strip_prefix('-')?;
                let is_made = self.draft.volumes.kind(volume) == Some("ephemeral");
                is_made.then(|| why(&claim, "this modifier mounts by its name"))
            }
            _ => None,
        }
    }
}
