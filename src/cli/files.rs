//! Policies for the offline commands, and input that may be stdin.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    cli::{Failure, say},
    files::{load, read},
    policy::loaded::Loaded,
};

/// Loads policies, and fails where one is wrong, having said why.
pub(super) fn load_all(paths: &[PathBuf]) -> Result<Loaded, Failure> {
    let loaded = load_some(paths)?;
    for error in &loaded.errors {
        say(&error.to_string());
    }
    if loaded.errors.is_empty() { Ok(loaded) } else { Err(Failure::Said) }
}

/// Loads policies; what is wrong inside is in the result.
pub(super) fn load_some(paths: &[PathBuf]) -> Result<Loaded> {
    Ok(load(&read(paths)?))
}

/// The text of a file, or of stdin for `-`.
pub(super) fn input(path: &Path) -> Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).context("reading stdin")?;
        return Ok(text);
    }
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}
