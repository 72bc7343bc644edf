//! A file that is written beside its place, and takes it when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process;

use super::ExportError;
use crate::sink::why;

/// Removed unless it takes its place.
pub(crate) struct Beside {
    place: PathBuf,
    /// Whether it may replace what is there.
    over: bool,
    /// Where it is written; `None` where that is its place at once, as of a pipe or a device.
    partial: Option<PathBuf>,
    file: BufWriter<File>,
}

impl Beside {
    pub fn open(given: &Path, over: bool) -> Result<Self, ExportError> {
        let fault = |error| ExportError::Write {
            path: given.display().to_string(),
            source: why(given, error),
        };
        // A link stays one.
        let place = given.canonicalize().unwrap_or_else(|_| given.to_owned());
        let there = place.metadata();
        if there.as_ref().is_ok_and(fs::Metadata::is_dir) {
            let folder = io::Error::new(ErrorKind::IsADirectory, "a folder is there");
            return Err(fault(folder));
        }
        let mut options = OpenOptions::new();
        options.write(true);
        if there.as_ref().is_ok_and(|there| !there.is_file()) {
            return Ok(Self {
                over,
                partial: None,
                file: BufWriter::new(options.open(&place).map_err(fault)?),
                place,
            });
        }
        if there.is_ok() && !over {
            return Err(exists(given));
        }
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let beside = place.with_file_name(format!(".{name}.{}.partial", process::id()));
        options.create(true).truncate(true);
        Ok(Self {
            place,
            over,
            file: BufWriter::new(options.open(&beside).map_err(fault)?),
            partial: Some(beside),
        })
    }

    /// Gives the file its name.
    pub fn take_place(mut self) -> Result<(), ExportError> {
        let written = self.file.flush().and_then(|()| match &self.partial {
            Some(beside) => {
                self.file.get_ref().sync_all()?;
                self.rename(beside)
            }
            None => Ok(()),
        });
        written.map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => exists(&self.place),
            _ => ExportError::Write {
                path: self.place.display().to_string(),
                source,
            },
        })
    }

    fn rename(&self, beside: &Path) -> io::Result<()> {
        if !self.over {
            // Somebody may have made a file there meanwhile, which a renaming would replace. Not every file system has links.
            match fs::hard_link(beside, &self.place) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(error),
                Ok(()) => return Ok(()),
                Err(_) => {}
            }
        }
        fs::rename(beside, &self.place)
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
        // Under its name it stays; half of it is of no use to anybody.
        if let Some(beside) = &self.partial {
            let _ = fs::remove_file(beside);
        }
    }
}

fn exists(place: &Path) -> ExportError {
    ExportError::Exists {
        path: place.display().to_string(),
    }
}
