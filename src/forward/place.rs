//! Where a file of a training is.

use std::fs;
use std::path::{Path, PathBuf};

/// The file called `name` at `run_dir/logs/`, else `run_dir/`.
pub(super) fn find_near(run_dir: &Path, name: impl AsRef<Path>) -> Option<PathBuf> {
    let near = [run_dir.join("logs"), run_dir.to_owned()];
    let near = near.map(|folder| folder.join(name.as_ref()));
    near.into_iter().find(|path| path.is_file())
}

/// That anywhere below: the shallowest, of equals the first by path. Links to folders are not followed.
pub(super) fn find_below(run_dir: &Path, name: impl AsRef<Path>) -> Option<PathBuf> {
    let mut level = vec![run_dir.to_owned()];
    while !level.is_empty() {
        let mut folders: Vec<PathBuf> = level.iter().flat_map(|dir| folders_in(dir)).collect();
        folders.sort();
        let found = folders.iter().map(|dir| dir.join(&name));
        if let Some(path) = found.into_iter().find(|path| path.is_file()) {
            return Some(path);
        }
        level = folders;
    }
    None
}

/// What cannot be read has no folders.
fn folders_in(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}
