//! Writes what was issued: to files, or as a Secret to apply.
//!
//! Each file appears whole or not at all, keys are readable by their owner
//! alone from their first byte on, and nothing is overwritten unless asked.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::issue::{Authority, Serving};

/// A file's name, its mode and what goes into it.
type OutputFile = (&'static str, u32, String);

/// Why nothing, or not everything, was written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The file is there already and overwriting was not asked for.
    #[error("{} exists: pass --force to replace it", .0.display())]
    Exists(PathBuf),
    /// The file could not be written.
    #[error("writing {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Writes `ca.crt`, `ca.key`, `tls.crt` and `tls.key` into a folder, which is
/// made where it is missing, and returns their paths.
///
/// # Errors
/// One of them exists and `force` is false (then none was written), or the
/// system refuses.
pub fn to_folder(
    folder: &Path,
    authority: &Authority,
    serving: &Serving,
    force: bool,
) -> Result<Vec<PathBuf>, OutputError> {
    let entries: [OutputFile; 4] = [
        ("ca.crt", 0o644, authority.certificate_pem().to_owned()),
        ("ca.key", 0o600, authority.key_pem()),
        ("tls.crt", 0o644, serving.certificate_pem.clone()),
        ("tls.key", 0o600, serving.key_pem.clone()),
    ];
    fs::create_dir_all(folder).map_err(|source| OutputError::Write { path: folder.to_owned(), source })?;
    if !force {
        let mut paths = entries.iter().map(|(name, ..)| folder.join(name));
        if let Some(path) = paths.find(|path| path.symlink_metadata().is_ok()) {
            return Err(OutputError::Exists(path));
        }
    }
    let mut written = Vec::with_capacity(entries.len());
    for (name, mode, content) in &entries {
        let path = folder.join(name);
        to_file(&path, content, *mode, force)?;
        written.push(path);
    }
    Ok(written)
}

/// Writes one file with this mode, whole or not at all.
///
/// # Errors
/// It exists and `force` is false, or the system refuses.
pub fn to_file(path: &Path, content: &str, mode: u32, force: bool) -> Result<(), OutputError> {
    let failed = |source| OutputError::Write { path: path.to_owned(), source };
    let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    let draft = path.with_file_name(format!(".{}.{}.draft", name.to_string_lossy(), process::id()));
    // One that a killed process of the same number left behind.
    let _ = fs::remove_file(&draft);
    let placed = write(&draft, content, mode).and_then(|()| {
        if force {
            fs::rename(&draft, path)
        } else {
            // Unlike a rename, a link never replaces what is there.
            fs::hard_link(&draft, path)
        }
    });
    if !force || placed.is_err() {
        // The draft is one name too many, or of no use: whether it goes away
        // changes nothing for the caller.
        let _ = fs::remove_file(&draft);
    }
    placed.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => OutputError::Exists(path.to_owned()),
        _ => failed(error),
    })
}

/// The serving certificate as a `kubernetes.io/tls` Secret in YAML, with the
/// authority's certificate beside it as cert-manager writes it, and without
/// the authority's key.
#[must_use]
pub fn secret(name: &str, namespace: &str, authority: &Authority, serving: &Serving) -> String {
    let ca = STANDARD.encode(authority.certificate_pem());
    let certificate = STANDARD.encode(&serving.certificate_pem);
    let key = STANDARD.encode(&serving.key_pem);
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name:?}\n  namespace: {namespace:?}\n\
         type: kubernetes.io/tls\ndata:\n  ca.crt: {ca}\n  tls.crt: {certificate}\n  tls.key: {key}\n"
    )
}

fn write(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use jiff::Timestamp;

    use super::*;
    use crate::certs::Served;
    use crate::certs::issue::DAY;

    fn issued() -> (Authority, Serving) {
        let authority = Authority::new(Timestamp::UNIX_EPOCH, DAY).unwrap();
        let serving = authority.sign(&["localhost".to_owned()], Timestamp::UNIX_EPOCH, DAY).unwrap();
        (authority, serving)
    }

    #[test]
    fn writes_a_pair_that_can_be_served_with_keys_only_the_owner_reads() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new/folder");
        let (authority, serving) = issued();
        let written = to_folder(&folder, &authority, &serving, false).unwrap();
        let modes =
            written.iter().map(|path| fs::metadata(path).unwrap().permissions().mode() & 0o777).collect::<Vec<_>>();
        assert_eq!(modes, [0o644, 0o600, 0o644, 0o600]);
        let read = |name| fs::read(folder.join(name)).unwrap();
        Served::from_pem(&read("tls.crt"), &read("tls.key")).unwrap();
        Served::from_pem(&read("ca.crt"), &read("ca.key")).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 4, "a draft remained");
    }

    #[test]
    fn replaces_nothing_unless_asked_and_then_everything() {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join("tls.key");
        fs::write(&old, "precious").unwrap();
        let (authority, serving) = issued();
        let error = to_folder(folder.path(), &authority, &serving, false).unwrap_err();
        assert!(matches!(error, OutputError::Exists(path) if path == old));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = to_file(&old, "new", 0o600, false).unwrap_err();
        assert!(matches!(error, OutputError::Exists(_)));
        assert_eq!(fs::read_to_string(&old).unwrap(), "precious");
        to_folder(folder.path(), &authority, &serving, true).unwrap();
        assert_eq!(fs::read_to_string(&old).unwrap(), serving.key_pem);
        let mode = fs::metadata(&old).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn the_secret_holds_the_pair_and_not_the_authoritys_key() {
        let (authority, serving) = issued();
        let yaml = secret("stowage-tls", "stowage-system", &authority, &serving);
        let value = |key: &str| {
            let line = yaml.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            STANDARD.decode(line.trim_start_matches(": ")).unwrap()
        };
        assert_eq!(value("  tls.key"), serving.key_pem.as_bytes());
        assert_eq!(value("  tls.crt"), serving.certificate_pem.as_bytes());
        assert_eq!(value("  ca.crt"), authority.certificate_pem().as_bytes());
        assert!(!yaml.contains(&STANDARD.encode(authority.key_pem())));
    }
}
