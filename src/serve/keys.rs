//! The keys of programs: who may read without a browser, and write through the gateway.

mod error;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::secret::{Digest, NoRandomness, secret};
use crate::sink::{identity, why};
pub use error::KeysError;

/// What a key begins with, so that one that lies about is known for what it is.
const PREFIX: &str = "gm_";

/// The most characters of a key's name.
const NAME: usize = 100;

/// The most bytes that a file of keys has; some ten thousand keys.
const FILE: u64 = 2 << 20;

/// The keys of a store, in the file `STORE.keys` beside it: of each its name, when it was made, and a digest, from which the key cannot
/// be had back. Where no file is, there are none.
#[derive(Debug)]
pub struct Keys {
    path: PathBuf,
    /// What was read last.
    seen: Mutex<Seen>,
}

/// A key, but for what it is itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEntry {
    /// Who has it: the user of what is written with it.
    pub name: String,
    /// The SHA-256 of the key, in hexadecimal digits.
    pub sha256: String,
    /// When it was made, in milliseconds since 1970.
    pub created: u64,
}

/// What stood in the file when it was as it is.
#[derive(Debug, Default)]
struct Seen {
    file: Option<Print>,
    keys: Vec<KeyEntry>,
}

/// By what a file is told from the one that took its place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Print {
    identity: Option<(u64, u64)>,
    bytes: u64,
    written: Option<SystemTime>,
}

impl Keys {
    /// The keys of a store; nothing is read yet.
    #[must_use]
    pub fn of(store: &Path) -> Self {
        let mut path = store.as_os_str().to_owned();
        path.push(".keys");
        Self {
            path: path.into(),
            seen: Mutex::default(),
        }
    }

    /// Makes a key, and gives it: it is nowhere else.
    ///
    /// # Errors
    /// If the name says nobody or is taken, or the file cannot be written.
    pub fn make(&self, name: &str) -> Result<String, KeysError> {
        let length = name.chars().count();
        if length == 0 || length > NAME || name.trim() != name || name.contains(char::is_control) {
            let found = match length {
                0 => "none".to_owned(),
                length if length > NAME => format!("{length} characters"),
                _ => format!("`{}`", name.escape_debug()),
            };
            return Err(KeysError::Name { found });
        }
        let key = secret().map_err(|NoRandomness| KeysError::NoRandomness)?;
        let key = format!("{PREFIX}{key}");
        self.change(|keys| {
            if keys.iter().any(|key| key.name == name) {
                return Err(KeysError::Taken {
                    name: name.to_owned(),
                });
            }
            keys.push(KeyEntry {
                name: name.to_owned(),
                sha256: Digest::of(&key).hex(),
                created: now(),
            });
            Ok(())
        })?;
        Ok(key)
    }

    /// Whose key it is; none for a key that there is not, or no longer.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn owner(&self, key: &str) -> Result<Option<String>, KeysError> {
        let digest = Digest::of(key).hex();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.print()?;
        if seen.file != file || file.is_none() {
            // A file that takes its place while it is read is seen at the next time.
            *seen = Seen {
                keys: self.list()?,
                file,
            };
        }
        let found = seen.keys.iter().find(|key| key.sha256 == digest);
        Ok(found.map(|key| key.name.clone()))
    }

    /// All keys, the oldest first.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn list(&self) -> Result<Vec<KeyEntry>, KeysError> {
        match File::open(&self.path) {
            Ok(file) => self.read(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(self.unread(error)),
        }
    }

    /// Revokes a key: from now on it is nobody's.
    ///
    /// # Errors
    /// If there is none of that name, or the file cannot be written.
    pub fn remove(&self, name: &str) -> Result<(), KeysError> {
        // A file is not made to take nothing from it.
        let there = self.list()?;
        let unknown = |keys: &[KeyEntry]| KeysError::Unknown {
            name: name.to_owned(),
            names: keys.iter().map(|key| key.name.clone()).collect(),
        };
        if there.is_empty() {
            return Err(unknown(&there));
        }
        self.change(|keys| {
            let before = keys.len();
            keys.retain(|key| key.name != name);
            if keys.len() == before {
                return Err(unknown(keys));
            }
            Ok(())
        })
    }

    /// Changes the keys: the new file is written beside the old one and takes its place, so that a server reads one or the other.
    fn change(
        &self,
        change: impl FnOnce(&mut Vec<KeyEntry>) -> Result<(), KeysError>,
    ) -> Result<(), KeysError> {
        let lock = self.locked()?;
        let mut keys = self.read(&lock)?;
        change(&mut keys)?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let beside = format!(".{name}.{}.partial", process::id());
        let beside = self.path.with_file_name(beside);
        let written = write(&beside, &keys).and_then(|()| fs::rename(&beside, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written.map_err(|error| self.unwritten(error))
        // `lock` is of the file that was there: who waits for it finds that another has taken its place.
    }

    /// The file, made if need be, which nobody else changes as long as it is open.
    fn locked(&self) -> Result<File, KeysError> {
        loop {
            let mut options = owners_alone();
            options.read(true).append(true).create(true);
            let file = options
                .open(&self.path)
                .map_err(|error| self.unwritten(why(&self.path, error)))?;
            file.lock().map_err(|error| self.unwritten(error))?;
            let held = of_file(&file).map_err(|error| self.unwritten(error))?;
            // While it was waited for, another may have taken its place.
            if self.print()?.is_some_and(|print| print.identity == held) {
                return Ok(file);
            }
        }
    }

    fn print(&self) -> Result<Option<Print>, KeysError> {
        let read = || {
            let identity = identity(&self.path)?;
            let metadata = fs::metadata(&self.path)?;
            Ok(Print {
                identity,
                bytes: metadata.len(),
                written: metadata.modified().ok(),
            })
        };
        match read() {
            Ok(print) => Ok(Some(print)),
            Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.unread(error)),
        }
    }

    fn read(&self, file: impl Read) -> Result<Vec<KeyEntry>, KeysError> {
        let mut text = Vec::new();
        let read = file.take(FILE + 1).read_to_end(&mut text);
        read.map_err(|error| self.unread(error))?;
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let damaged = |found: String| KeysError::Damaged {
            path: self.path.display().to_string(),
            found,
        };
        if text.len() as u64 > FILE {
            return Err(damaged(format!("more than {FILE} bytes")));
        }
        serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))
    }

    fn unread(&self, source: io::Error) -> KeysError {
        KeysError::Read {
            path: self.path.display().to_string(),
            source,
        }
    }

    fn unwritten(&self, source: io::Error) -> KeysError {
        KeysError::Write {
            path: self.path.display().to_string(),
            source,
        }
    }
}

/// How a file is made that nobody but its owner reads.
fn owners_alone() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn write(path: &Path, keys: &[KeyEntry]) -> io::Result<()> {
    let mut options = owners_alone();
    // One that was left behind may be anybody's.
    let _ = fs::remove_file(path);
    let mut file = options.write(true).create_new(true).open(path)?;
    let mut text = serde_json::to_vec_pretty(keys)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_all()
}

#[cfg(unix)]
fn of_file(file: &File) -> io::Result<Option<(u64, u64)>> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata()?;
    Ok(Some((metadata.dev(), metadata.ino())))
}

#[cfg(not(unix))]
fn of_file(_: &File) -> io::Result<Option<(u64, u64)>> {
    Ok(None)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    fn keys() -> (tempfile::TempDir, Keys) {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::of(&dir.path().join("runs.db"));
        (dir, keys)
    }

    #[test]
    fn a_key_is_its_owners_until_it_is_revoked_also_to_who_read_the_keys_before() {
        let (dir, keys) = keys();
        let server = Keys::of(&dir.path().join("runs.db"));
        assert_eq!(server.owner("gm_").unwrap(), None);
        let [a, b] = ["a", "b"].map(|name| keys.make(name).unwrap());
        assert_eq!(server.owner(&a).unwrap().as_deref(), Some("a"));
        for round in 0..20 {
            let name = format!("round {round}");
            let key = keys.make(&name).unwrap();
            assert_eq!(server.owner(&key).unwrap(), Some(name.clone()));
            keys.remove(&name).unwrap();
            assert_eq!(server.owner(&key).unwrap(), None);
        }
        assert_eq!(server.owner(&b).unwrap().as_deref(), Some("b"));
        fs::remove_file(dir.path().join("runs.db.keys")).unwrap();
        assert_eq!(server.owner(&a).unwrap(), None);
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_its_owners_alone_and_has_no_key_in_it() {
        use std::os::unix::fs::PermissionsExt;
        let (dir, keys) = keys();
        let made = [keys.make("a").unwrap(), keys.make("b").unwrap()];
        let path = dir.path().join("runs.db.keys");
        let bits = path.metadata().unwrap().permissions().mode();
        assert_eq!(bits & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(made.iter().all(|key| !text.contains(&key[PREFIX.len()..])));
        // Nothing else is left beside it.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn of_many_who_change_the_keys_at_once_none_undoes_anothers_change() {
        let (dir, keys) = keys();
        let path = Arc::new(dir.path().join("runs.db"));
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let path = Arc::clone(&path);
                thread::spawn(move || {
                    let keys = Keys::of(&path);
                    for nth in 0..10 {
                        keys.make(&format!("{thread}/{nth}")).unwrap();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(keys.list().unwrap().len(), 80);
    }

    #[test]
    fn a_name_that_says_nobody_and_a_file_that_is_none_are_refused_in_words() {
        let (dir, keys) = keys();
        let long = "x".repeat(NAME + 1);
        for name in ["", " ", " a", "a\n", "\u{1b}[31m", &long] {
            let error = keys.make(name).unwrap_err();
            assert!(matches!(error, KeysError::Name { .. }), "{error}");
        }
        let error = keys.remove("a").unwrap_err().to_string();
        assert_eq!(error, "there is no key `a`: there is none at all");
        assert!(!dir.path().join("runs.db.keys").exists());
        let path = dir.path().join("runs.db.keys");
        for text in ["no list", "[1]", r#"[{"name":"a"}]"#] {
            fs::write(&path, text).unwrap();
            let errors = [
                keys.list().map(drop),
                keys.owner("gm_").map(drop),
                keys.make("a").map(drop),
                keys.remove("a"),
            ];
            for error in errors {
                assert!(matches!(error, Err(KeysError::Damaged { .. })), "{error:?}");
            }
            assert_eq!(
                fs::read_to_string(&path).unwrap(),
                text,
                "it is left as it is"
            );
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let error = keys.make("a").unwrap_err().to_string();
        assert!(
            error.contains("runs.db.keys: the keys cannot be written: "),
            "{error}"
        );
    }
}
