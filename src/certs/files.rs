//! A certificate and key in two files, read again by content.
//!
//! The kubelet publishes a Secret's keys by swapping a symlink above them
//! (AtomicWriter), so the files' own inodes never change and a watch on them
//! goes stale after the first rotation. Two small reads every few seconds see
//! every change, however it was made.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use thiserror::Error;

use super::{PairError, Served};
use crate::files::read::regular;

/// Where a certificate and its key lie, and what was last seen there.
#[derive(Debug)]
pub struct PairFiles {
    certificate: PathBuf,
    key: PathBuf,
    seen: Option<SeenFiles>,
}

/// What a look at the files gave.
#[derive(Debug)]
pub enum CertificateChange {
    /// The same as at the last look, good or bad.
    None,
    /// A new pair that can be served.
    Served(Served),
    /// Something new that cannot be served: said once for each content.
    Refused(FilesError),
}

/// Why the files give no pair to serve.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FilesError {
    /// A file could not be read.
    #[error("reading {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Both could be read, and cannot be served.
    #[error("using {} with {}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        source: PairError,
    },
}

/// What lies in the two files, before anything is made of it.
#[derive(Debug, PartialEq, Eq)]
pub struct PairRead(SeenFiles);

#[derive(Debug, PartialEq, Eq)]
enum SeenFiles {
    PairContents(PairContents),
    Unreadable(UnreadableFile),
}

#[derive(Debug, PartialEq, Eq)]
struct UnreadableFile {
    path: PathBuf,
    kind: io::ErrorKind,
    /// Why, as [`io::Error`] says it.
    text: String,
}

#[derive(PartialEq, Eq)]
struct PairContents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl fmt::Debug for PairContents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairContents(..)")
    }
}

/// A swap between the reads of the two files is seen by reading the first one
/// again; rotations are hours apart, so one more try is enough and the next
/// look catches what is left.
const TRIES: usize = 3;

/// The most bytes of each file: what a Secret may hold.
const FILE_BYTES: u64 = 1 << 20;

impl PairFiles {
    /// Names the two files; reads nothing.
    #[must_use]
    pub fn new(certificate: PathBuf, key: PathBuf) -> Self {
        Self { certificate, key, seen: None }
    }

    /// Looks at the files: reads them, and takes what was read.
    pub fn look(&mut self, now: Timestamp) -> CertificateChange {
        let read = self.read();
        self.take(read, now)
    }

    /// Reads the files, which may hang where they lie on a network.
    #[must_use]
    pub fn read(&self) -> PairRead {
        PairRead(match self.contents() {
            Ok(contents) => SeenFiles::PairContents(contents),
            Err(unreadable) => SeenFiles::Unreadable(unreadable),
        })
    }

    /// The same two files, as nobody has looked at them yet.
    #[must_use]
    pub fn unseen(&self) -> Self {
        Self::new(self.certificate.clone(), self.key.clone())
    }

    /// Tells what is new in what was read.
    ///
    /// A new pair whose time is over or has not come is refused like one that
    /// does not fit together: what is served now can only be better.
    pub fn take(&mut self, PairRead(seen): PairRead, now: Timestamp) -> CertificateChange {
        if self.seen.as_ref() == Some(&seen) {
            return CertificateChange::None;
        }
        let change = match &seen {
            SeenFiles::Unreadable(UnreadableFile { path, kind, text }) => {
                CertificateChange::Refused(FilesError::Read {
                    path: path.clone(),
                    source: io::Error::new(*kind, text.clone()),
                })
            }
            SeenFiles::PairContents(contents) => match contents.parse(now) {
                Ok(served) => CertificateChange::Served(served),
                Err(source) => CertificateChange::Refused(FilesError::Pair {
                    certificate: self.certificate.clone(),
                    key: self.key.clone(),
                    source,
                }),
            },
        };
        self.seen = Some(seen);
        change
    }

    fn contents(&self) -> Result<PairContents, UnreadableFile> {
        let read = |path: &Path| {
            regular(path, FILE_BYTES).map_err(|error| UnreadableFile {
                path: path.to_owned(),
                kind: error.kind(),
                text: error.to_string(),
            })
        };
        let mut certificate = read(&self.certificate)?;
        let mut key = read(&self.key)?;
        for _ in 1..TRIES {
            let again = read(&self.certificate)?;
            if again == certificate {
                break;
            }
            certificate = again;
            key = read(&self.key)?;
        }
        Ok(PairContents { certificate, key })
    }
}

impl PairContents {
    fn parse(&self, now: Timestamp) -> Result<Served, PairError> {
        let served = Served::from_pem(&self.certificate, &self.key)?;
        served.validity().check(now)?;
        Ok(served)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::certs::issue::{Authority, DAY, Serving};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn serving(days: u32) -> Serving {
        Authority::new(NOW, DAY * 365).unwrap().sign(&["localhost".to_owned()], NOW, DAY * days).unwrap()
    }

    fn files(folder: &Path) -> PairFiles {
        PairFiles::new(folder.join("tls.crt"), folder.join("tls.key"))
    }

    fn put(folder: &Path, pair: &Serving) {
        fs::write(folder.join("tls.crt"), &pair.certificate_pem).unwrap();
        fs::write(folder.join("tls.key"), &pair.key_pem).unwrap();
    }

    #[test]
    fn serves_new_content_once_however_often_it_looks() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = files(folder.path());
        for days in [10, 20] {
            put(folder.path(), &serving(days));
            let CertificateChange::Served(served) = files.look(NOW) else {
                panic!("the pair of {days} days was not served");
            };
            assert_eq!(served.validity().not_after, NOW.checked_add(DAY * days).unwrap());
            assert!(matches!(files.look(NOW), CertificateChange::None));
        }
    }

    #[test]
    fn complains_once_for_each_content_and_takes_the_pair_once_it_fits() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = files(folder.path());
        assert!(matches!(files.look(NOW), CertificateChange::Refused(FilesError::Read { .. })));
        assert!(matches!(files.look(NOW), CertificateChange::None));
        put(folder.path(), &serving(10));
        assert!(matches!(files.look(NOW), CertificateChange::Served(_)));
        let next = serving(20);
        fs::write(folder.path().join("tls.crt"), &next.certificate_pem).unwrap();
        assert!(matches!(
            files.look(NOW),
            CertificateChange::Refused(FilesError::Pair { source: PairError::Mismatch, .. })
        ));
        assert!(matches!(files.look(NOW), CertificateChange::None));
        put(folder.path(), &next);
        assert!(matches!(files.look(NOW), CertificateChange::Served(_)));
    }

    #[test]
    fn refuses_a_pair_whose_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), &serving(10));
        let late = NOW.checked_add(DAY * 11).unwrap();
        let CertificateChange::Refused(error) = files(folder.path()).look(late) else {
            panic!("an expired pair was served");
        };
        let FilesError::Pair { source, .. } = error else {
            panic!("refused for another reason");
        };
        assert_eq!(source.to_string(), "the certificate expired at 1970-01-11T00:00:00Z");
    }
}
