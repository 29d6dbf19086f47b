//! How the marker names what was put: a digest of policy, kind, place, name and content.

use std::{collections::HashSet, hash::Hasher};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};

use crate::{defaults::PodField, placement::PlacementField, policy::PolicyId};

/// What a digest says in place of a content that was taken out; no content of a variable begins so.
pub(super) const REMOVED: &str = "\0removed";

/// What a thing is as a marker's digest names it; containers by their names, since others may come between.
#[derive(Clone, Copy, Debug)]
pub(in crate::inject) enum Subject<'s> {
    /// Container and name.
    Variable(&'s str, &'s str),
    /// Container and path.
    MountPath(&'s str, &'s str),
    Volume(&'s str),
    /// Container.
    PullPolicy(&'s str),
    Label(&'s str),
    Annotation(&'s str),
    NodeSelector(&'s str),
    SecurityContext(&'s str),
    PullSecrets,
    ServiceAccount,
    PriorityClass,
    PodField(PodField),
    PlacementDefault(PlacementField),
}

/// What stood where something was put. The pod's own cannot be known again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Before {
    Nothing,
    Something,
}

impl Subject<'_> {
    /// A letter for its kind, the container it is in, and its name.
    const fn parts(&self) -> (u8, &str, &str) {
        match self {
            Self::Variable(container, name) => (b'e', container, name),
            Self::MountPath(container, path) => (b'm', container, path),
            Self::Volume(name) => (b'v', "", name),
            Self::PullPolicy(container) => (b'i', container, ""),
            Self::Label(key) => (b'l', "", key),
            Self::Annotation(key) => (b'a', "", key),
            Self::NodeSelector(key) => (b'n', "", key),
            Self::SecurityContext(field) => (b's', "", field),
            Self::PullSecrets => (b'p', "", ""),
            Self::ServiceAccount => (b'u', "", ""),
            Self::PriorityClass => (b'c', "", ""),
            Self::PodField(field) => (b'f', "", field.name()),
            Self::PlacementDefault(field) => (b'd', "", field.name()),
        }
    }
}

/// The digest of a thing that a policy puts. Another release must come to the same, so this is part of the marker's form.
pub(super) fn digest(policy: &PolicyId, subject: Subject<'_>, content: &str, before: Before) -> u32 {
    let (kind, container, name) = subject.parts();
    let kind = if before == Before::Nothing { kind } else { kind.to_ascii_uppercase() };
    let mut fnv = Fnv::default();
    if let crate::policy::Scope::Namespace(namespace) = &policy.scope {
        fnv.write(namespace.as_bytes());
    }
    let parts = [policy.name.as_bytes(), &[kind], container.as_bytes(), name.as_bytes(), content.as_bytes()];
    for part in parts {
        fnv.write(&[0]);
        fnv.write(part);
    }
    let wide = fnv.finish();
    #[expect(clippy::cast_possible_truncation, reason = "both halves are folded into one")]
    {
        (wide ^ (wide >> 32)) as u32
    }
}

/// In order and each once, so that the same things give the same text.
pub(super) fn write_digests(mut digests: Vec<u32>) -> String {
    digests.sort_unstable();
    digests.dedup();
    let bytes: Vec<u8> = digests.iter().flat_map(|digest| digest.to_be_bytes()).collect();
    STANDARD_NO_PAD.encode(bytes)
}

pub(super) fn read_digests(text: &str) -> HashSet<u32> {
    let bytes = STANDARD_NO_PAD.decode(text).unwrap_or_default();
    let (whole, _) = bytes.as_chunks::<4>();
    whole.iter().map(|bytes| u32::from_be_bytes(*bytes)).collect()
}

/// FNV-1a in 64 bits. What is hashed comes from policies, so nobody can choose it to collide.
pub(super) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// A discriminant or a container's number, as one step: only the ledger's own table hashes them.
    fn write_isize(&mut self, number: isize) {
        self.write_usize(number.cast_unsigned());
    }

    fn write_usize(&mut self, number: usize) {
        self.0 = (self.0 ^ number as u64).wrapping_mul(0x0000_0100_0000_01b3);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_come_back_from_text_and_rubbish_is_none() {
        let digests = vec![u32::MAX, 1, 0xdead_beef, 1];
        assert_eq!(read_digests(&write_digests(digests.clone())), digests.into_iter().collect());
        assert!(read_digests("no base64!").is_empty() && read_digests("").is_empty());
    }

    #[test]
    fn a_digest_names_policy_kind_name_and_content_and_never_changes() {
        let id = |name: &str| PolicyId { scope: crate::policy::Scope::Cluster, name: name.into() };
        let one = digest(&id("p"), Subject::Variable("c", "A"), "1", Before::Nothing);
        assert_eq!(one, 0x07b0_a004, "markers of another release say the same");
        for other in [
            digest(&id("q"), Subject::Variable("c", "A"), "1", Before::Nothing),
            digest(&id("p"), Subject::Variable("d", "A"), "1", Before::Nothing),
            digest(&id("p"), Subject::MountPath("c", "A"), "1", Before::Nothing),
            digest(&id("p"), Subject::Variable("c", "B"), "1", Before::Nothing),
            digest(&id("p"), Subject::Variable("c", "A"), "2", Before::Nothing),
            digest(&id("p"), Subject::Variable("c", "A"), "1", Before::Something),
        ] {
            assert_ne!(one, other);
        }
    }
}
