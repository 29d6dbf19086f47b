//! Where policies come from: the edges that read them and keep an eye on them.

pub mod files;
