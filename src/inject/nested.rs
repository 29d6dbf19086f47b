//! Mounts inside read-only mounts.
//!
//! The runtime makes the folder for a mount where there is none, and in a read-only mount it cannot: the container never
//! starts. Whether the volume has the folder nobody knows here, so it is only said. In the volumes that the kubelet writes
//! itself it makes the folder beforehand.

use crate::{
    inject::{Injection, report::StepId},
    policy::modifier::makes_folders,
    reason::Reason,
};

impl<'a, 'p: 'a> Injection<'a, 'p> {
    /// Says where the mount that a step has put at `path` lies in a read-only one, or has another in it.
    pub(super) fn warn_of_nested(&mut self, container: usize, path: &str, step: StepId) {
        let Some(draft) = self.draft.containers.get(container) else { return };
        let cannot_hold = |volume: &str, read_only: bool| {
            let kind = self.draft.volumes.kind(volume).unwrap_or_default();
            (read_only || kind == "image") && !makes_folders(kind)
        };
        let outer = draft.place_around(path).filter(|outer| cannot_hold(outer.volume, outer.read_only));
        let own = draft.place(path).filter(|own| cannot_hold(own.volume, own.read_only));
        let inner = own.and_then(|_| draft.path_inside(path));
        for (inner, outer) in outer.map(|outer| (path, outer.path)).into_iter().chain(inner.map(|inner| (inner, path)))
        {
            self.report.tell(step, Reason::InsideReadOnly, &[&inner, &draft.name, &outer]);
        }
    }
}
