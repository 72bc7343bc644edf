//! What tells a file from others, however it is called now.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

/// The device and number of the file at `path`; `None` where there is none, and where a file that is open cannot be deleted.
pub(crate) fn identity(path: &Path) -> io::Result<Option<(u64, u64)>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(of(&metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Why a file could not be opened or made, with the folder that is not there where that is why.
pub(crate) fn why(path: &Path, error: io::Error) -> io::Error {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if error.kind() == io::ErrorKind::NotFound && !folder.exists() => {
            let message = format!("there is no folder {}", folder.display());
            io::Error::new(io::ErrorKind::NotFound, message)
        }
        _ => error,
    }
}

/// What tells a file that is open, and whether it has no name any more.
#[cfg(unix)]
pub(super) fn opened(metadata: &Metadata) -> (Option<(u64, u64)>, bool) {
    use std::os::unix::fs::MetadataExt;
    (of(metadata), metadata.nlink() == 0)
}

#[cfg(not(unix))]
pub(super) fn opened(metadata: &Metadata) -> (Option<(u64, u64)>, bool) {
    (of(metadata), false)
}

#[cfg(unix)]
#[allow(clippy::unnecessary_wraps, reason = "as elsewhere")]
fn of(metadata: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn of(_: &Metadata) -> Option<(u64, u64)> {
    None
}
