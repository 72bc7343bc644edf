//! A file that is written beside its place, and takes it when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process;

use super::ExportError;
use crate::sink::why;

/// Removed unless it takes its place.
pub(super) struct Beside {
    place: PathBuf,
    /// Whether it may replace what is there.
    over: bool,
    path: PathBuf,
    file: BufWriter<File>,
    took_place: bool,
}

impl Beside {
    pub fn open(place: &Path, over: bool) -> Result<Self, ExportError> {
        let fault = |error| ExportError::Write {
            path: place.display().to_string(),
            source: why(place, error),
        };
        let there = place.symlink_metadata();
        if there.as_ref().is_ok_and(fs::Metadata::is_dir) {
            return Err(fault(io::Error::new(
                ErrorKind::IsADirectory,
                "a folder is there",
            )));
        }
        if there.is_ok() && !over {
            return Err(exists(place));
        }
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let path = place.with_file_name(format!(".{name}.{}.partial", process::id()));
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(fault)?;
        Ok(Self {
            place: place.to_owned(),
            over,
            path,
            file: BufWriter::new(file),
            took_place: false,
        })
    }

    /// Gives the file its name.
    pub fn take_place(mut self) -> Result<(), ExportError> {
        let written = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all());
        let placed = written.and_then(|()| self.rename());
        self.took_place = placed.is_ok();
        placed.map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => exists(&self.place),
            _ => ExportError::Write {
                path: self.place.display().to_string(),
                source,
            },
        })
    }

    fn rename(&self) -> io::Result<()> {
        if !self.over {
            // Somebody may have made a file there meanwhile, which a renaming would replace. Not every file system has links.
            match fs::hard_link(&self.path, &self.place) {
                Ok(()) => return fs::remove_file(&self.path),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(error),
                Err(_) => {}
            }
        }
        fs::rename(&self.path, &self.place)
    }
}

impl Write for Beside {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.took_place {
            // It is of no use to anybody.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn exists(place: &Path) -> ExportError {
    ExportError::Exists {
        path: place.display().to_string(),
    }
}
