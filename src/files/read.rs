//! Reading what others put there: regular files only, and no more than a bound of everything.
//!
//! A folder is mounted from a ConfigMap or lies on a network; whoever writes to it can put a pipe there that never ends, a
//! link that leads back, or a gigabyte.

use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use thiserror::Error;

/// The most bytes of one file: sixteen times what a ConfigMap may hold.
pub const FILE_BYTES: u64 = 16 << 20;
/// The most bytes of all files together, since all are kept to tell what is new.
const ALL_BYTES: usize = 32 << 20;
/// The most policy files, and the most that a folder may hold of anything.
const FILES: usize = 10_000;
/// The most folders inside each other.
const DEPTH: usize = 16;

/// A file or folder cannot be read.
#[derive(Debug, Error)]
#[error("reading {}", path.display())]
pub struct ReadError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// What may stand where a file is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A regular file, which cannot hang by itself: for what is read while serving.
    Regular,
    /// A pipe too, as a shell makes it of `<(…)`: for commands that somebody waits for.
    Pipe,
}

/// The content of a regular file of at most `most` bytes.
///
/// # Errors
///
/// Where it is no regular file, is larger, or cannot be read.
pub fn regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // Opening a pipe to which nobody writes would wait for somebody who does.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    all(file, most)
}

fn all(file: fs::File, most: u64) -> io::Result<Vec<u8>> {
    let too_large = || io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {most} bytes"));
    let length = file.metadata()?.len();
    if length > most {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large()) } else { Ok(bytes) }
}

/// The texts of all files, with their names. Of a folder, and the folders in it, the YAML and JSON files in the order of
/// their names; hidden ones are left out, since kubelet keeps other versions of a mounted ConfigMap there. A folder that
/// links lead to more than once is read once.
///
/// # Errors
///
/// Where a path cannot be read, or there is more than the bounds allow.
pub fn texts(paths: &[PathBuf], named: Named) -> Result<Vec<(String, String)>, ReadError> {
    let mut walk = Walk::default();
    let mut texts = Vec::new();
    let mut left = ALL_BYTES;
    for path in paths {
        if !fs::metadata(path).map_err(failed(path))?.is_dir() {
            texts.push(text(path, named, &mut left)?);
            continue;
        }
        walk.folder(path, 0)?;
        for file in walk.found.drain(..) {
            texts.push(text(&file, Named::Regular, &mut left)?);
        }
    }
    Ok(texts)
}

fn text(path: &Path, named: Named, left: &mut usize) -> Result<(String, String), ReadError> {
    let bytes = match named {
        Named::Regular => regular(path, FILE_BYTES),
        Named::Pipe => fs::File::open(path).and_then(|file| all(file, FILE_BYTES)),
    };
    let bytes = bytes.map_err(failed(path))?;
    *left = left.checked_sub(bytes.len()).ok_or_else(|| {
        let why = format!("all files together are larger than {ALL_BYTES} bytes");
        failed(path)(io::Error::new(io::ErrorKind::FileTooLarge, why))
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let why = format!("it is not UTF-8 at byte {}", error.utf8_error().valid_up_to());
        failed(path)(io::Error::new(io::ErrorKind::InvalidData, why))
    })?;
    Ok((path.display().to_string(), text))
}

#[derive(Default)]
struct Walk {
    /// Folders by device and inode.
    seen: HashSet<(u64, u64)>,
    found: Vec<PathBuf>,
    files: usize,
}

impl Walk {
    fn folder(&mut self, path: &Path, depth: usize) -> Result<(), ReadError> {
        let metadata = fs::metadata(path).map_err(failed(path))?;
        if !self.seen.insert((metadata.dev(), metadata.ino())) {
            return Ok(());
        }
        if depth > DEPTH {
            return Err(over(path, &format!("it is more than {DEPTH} folders deep")));
        }
        let entries = fs::read_dir(path).map_err(failed(path))?;
        let mut entries = entries.take(FILES + 1).collect::<io::Result<Vec<_>>>().map_err(failed(path))?;
        if entries.len() > FILES {
            return Err(over(path, &format!("it holds more than {FILES} files")));
        }
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if path.is_dir() {
                self.folder(&path, depth + 1)?;
            } else if path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json") {
                self.files += 1;
                if self.files > FILES {
                    return Err(over(&path, &format!("there are more than {FILES} files")));
                }
                self.found.push(path);
            }
        }
        Ok(())
    }
}

fn over(path: &Path, why: &str) -> ReadError {
    failed(path)(io::Error::other(why.to_owned()))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ReadError {
    let path = path.to_owned();
    move |source| ReadError { path, source }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, process::Command};

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let texts = texts(&[folder.to_owned()], Named::Regular).unwrap();
        texts.into_iter().map(|(name, _)| name.rsplit('/').next().unwrap().to_owned()).collect()
    }

    fn refusal(paths: &[PathBuf]) -> String {
        let error = texts(paths, Named::Regular).unwrap_err();
        error.source.to_string()
    }

    #[test]
    fn links_that_lead_back_are_followed_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("p.yaml"), "a: 1").unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/q.yaml"), "a: 1").unwrap();
        for name in ["a", "b", "inner/c", "inner/d"] {
            symlink(folder.path(), folder.path().join(name)).unwrap();
        }
        assert_eq!(names(folder.path()), ["q.yaml", "p.yaml"]);
    }

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("f.yaml");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(refusal(&[folder.path().to_owned()]), "it is no regular file");
        assert_eq!(refusal(&[pipe]), "it is no regular file");
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let sized = |name: &str, length: u64| {
            let path = folder.path().join(name);
            fs::File::create(&path).unwrap().set_len(length).unwrap();
            path
        };
        let (fits, over) = (sized("fits", FILE_BYTES), sized("over", FILE_BYTES + 1));
        assert_eq!(regular(&fits, FILE_BYTES).unwrap().len() as u64, FILE_BYTES);
        assert_eq!(refusal(&[over]), format!("it is larger than {FILE_BYTES} bytes"));
        let all = refusal(&[fits.clone(), fits.clone(), fits]);
        assert_eq!(all, format!("all files together are larger than {ALL_BYTES} bytes"));
    }

    #[test]
    fn folders_in_folders_end_somewhere() {
        let folder = tempfile::tempdir().unwrap();
        let mut path = folder.path().to_owned();
        for _ in 0..=DEPTH {
            path.push("d");
            fs::create_dir(&path).unwrap();
        }
        assert!(refusal(&[folder.path().to_owned()]).ends_with("folders deep"));
    }
}
