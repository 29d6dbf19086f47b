//! A uid in 16 bytes instead of a text of 36.

use std::hash::{DefaultHasher, Hash, Hasher};

/// The bits of a UUID, or a hash of another text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid([u64; 2]);

impl Uid {
    /// The bits of a UUID written as the API server writes it, in lower case.
    pub(super) fn of_uuid(text: &str) -> Option<Self> {
        let mut halves = [0_u64; 2];
        let mut digits = 0_usize;
        for (at, byte) in text.bytes().enumerate() {
            if matches!(at, 8 | 13 | 18 | 23) {
                if byte != b'-' {
                    return None;
                }
                continue;
            }
            if byte.is_ascii_uppercase() {
                return None;
            }
            let digit = char::from(byte).to_digit(16)?;
            let half = halves.get_mut(digits / 16)?;
            *half = *half << 4 | u64::from(digit);
            digits += 1;
        }
        (text.len() == 36).then_some(Self(halves))
    }

    /// A hash, for a text that is no UUID.
    fn of_text(text: &str) -> Self {
        let half = |seed: u64| {
            let mut hasher = DefaultHasher::new();
            (seed, text).hash(&mut hasher);
            hasher.finish()
        };
        Self([half(0), half(1)])
    }

    /// What tells it apart in half the room; never 0.
    #[must_use]
    pub fn half(self) -> u64 {
        let Self([high, low]) = self;
        (high ^ low.rotate_left(1)).max(1)
    }

    /// The uid of that text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self::of_uuid(text).unwrap_or_else(|| Self::of_text(text))
    }
}

/// As the API server writes it.
impl std::fmt::Display for Uid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self([high, low]) = self;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }
}

/// Of an owner's uid what tells owners apart; never 0.
#[must_use]
pub fn owner_hash(uid: &str) -> u64 {
    Uid::of(uid).half()
}
