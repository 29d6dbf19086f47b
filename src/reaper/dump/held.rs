//! What is held of each pod of a dump.

use std::sync::Arc;

use jiff::Timestamp;

use crate::labels::Labels;
use crate::threshold::words::PodWords;
use crate::threshold::{Caveat, RemovalSubject, State};

/// How many pods are held in a block.
const BLOCK: usize = 256;

#[derive(Debug)]
pub(super) struct HeldPod {
    pub(super) namespace: Arc<str>,
    pub(super) name: Box<str>,
    pub(super) uid: Arc<str>,
    pub(super) labels: HeldLabels,
    /// Of the resources that a policy selects by, those that it requests, each ended by NUL.
    pub(super) requested: Arc<str>,
    pub(super) node: Option<Arc<str>>,
    pub(super) state: State,
    pub(super) since: Option<Timestamp>,
    /// When Ready was taken from it, for a node that does not say when it was lost.
    pub(super) lost: Option<Timestamp>,
    pub(super) caveat: Option<Caveat>,
    pub(super) subject: RemovalSubject,
    pub(super) words: Option<Box<PodWords>>,
}

/// Labels as one text, keys and values each ended by NUL, which no label holds.
#[derive(Debug, Clone)]
pub(super) struct HeldLabels(Arc<str>);

impl HeldLabels {
    pub(super) const fn new(text: Arc<str>) -> Self {
        Self(text)
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut parts = self.0.split('\0');
        std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
    }
}

impl Labels for HeldLabels {
    fn label(&self, key: &str) -> Option<&str> {
        self.pairs().find(|(own, _)| *own == key).map(|(_, value)| value)
    }

    fn each<'s>(&'s self, visit: &mut dyn FnMut(&'s str, &'s str)) {
        self.pairs().for_each(|(key, value)| visit(key, value));
    }
}

/// The pods, in the order in which they first came. In blocks: nothing is moved to make room for more, and each block goes
/// once it is judged.
#[derive(Debug, Default)]
pub(super) struct HeldPods(Vec<Vec<Option<HeldPod>>>);

impl HeldPods {
    /// Holds one more. Says at which place.
    pub(super) fn push(&mut self, pod: HeldPod) -> usize {
        let full = self.0.len().saturating_sub(1) * BLOCK;
        match self.0.last_mut().filter(|block| block.len() < BLOCK) {
            Some(block) => {
                block.push(Some(pod));
                full + block.len() - 1
            }
            None => {
                let place = self.0.len() * BLOCK;
                let mut block = Vec::with_capacity(BLOCK);
                block.push(Some(pod));
                self.0.push(block);
                place
            }
        }
    }

    /// A later state of the pod at that place.
    pub(super) fn renew(&mut self, place: usize, pod: HeldPod) {
        if let Some(held) = self.at(place) {
            *held = Some(pod);
        }
    }

    /// The pod at that place is gone.
    pub(super) fn forget(&mut self, place: usize) {
        if let Some(held) = self.at(place) {
            *held = None;
        }
    }

    /// Each.
    pub(super) fn iter(&self) -> impl Iterator<Item = &HeldPod> {
        self.0.iter().flatten().flatten()
    }

    fn at(&mut self, place: usize) -> Option<&mut Option<HeldPod>> {
        self.0.get_mut(place / BLOCK)?.get_mut(place % BLOCK)
    }
}

impl IntoIterator for HeldPods {
    type Item = HeldPod;
    type IntoIter = std::iter::Flatten<std::iter::Flatten<std::vec::IntoIter<Vec<Option<HeldPod>>>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten().flatten()
    }
}
