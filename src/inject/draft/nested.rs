//! Mounts inside mounts of one container.

use super::ContainerDraft;
use crate::json::Str;

/// A mount, as far as it matters to those around it.
#[derive(Clone, Copy, Debug)]
pub(in crate::inject) struct MountedAt<'s> {
    /// Cleaned path.
    pub path: &'s str,
    /// Volume.
    pub volume: &'s str,
    /// `readOnly`.
    pub read_only: bool,
}

impl ContainerDraft<'_> {
    /// The mount that a cleaned path has by now.
    pub(in crate::inject) fn place<'s>(&'s self, path: &'s str) -> Option<MountedAt<'s>> {
        let first = self.mounts_by_path.partition_point(|new| new.path.as_ref() < path);
        if let Some(new) = self.mounts_by_path.get(first).filter(|new| new.path == path) {
            return Some(MountedAt { path, volume: &new.volume, read_only: new.read_only });
        }
        let (_, own) = self.own_mount(path)?;
        let volume = own.name.as_ref().map_or("", Str::as_str);
        Some(MountedAt { path, volume, read_only: own.read_only.unwrap_or(false) })
    }

    /// The innermost mount around a cleaned path.
    pub(in crate::inject) fn place_around<'s>(&'s self, path: &'s str) -> Option<MountedAt<'s>> {
        let parents = std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(parent, _)| parent));
        parents.skip(1).find_map(|parent| self.place(parent))
    }

    /// A mount inside a cleaned path that has no other around it.
    pub(in crate::inject) fn path_inside(&self, path: &str) -> Option<&str> {
        let start = format!("{path}/");
        let own = self.own_paths();
        let first = own.partition_point(|(own, _)| own.as_ref() < start.as_str());
        let own = own.get(first).map(|(own, _)| own.as_ref());
        let first = self.mounts_by_path.partition_point(|new| new.path.as_ref() < start.as_str());
        let new = self.mounts_by_path.get(first).map(|new| new.path.as_ref());
        // Whatever lies around another sorts before it.
        own.into_iter().chain(new).filter(|inner| inner.starts_with(&start)).min()
    }
}
