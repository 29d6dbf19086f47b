//! Pods that are large in one way or two.

pub(crate) mod shapes;
