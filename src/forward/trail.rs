//! The files that a metrics file has become: what rotation moved aside, copied or compressed, beside the one that is
//! written now.

use std::cmp::Reverse;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::source::{Identity, Position, Source, modified};

/// What a compressed file's name ends in.
const GZIPPED: &str = ".gz";

/// A file of the trail.
struct Segment {
    path: PathBuf,
    identity: Identity,
    age: Age,
    is_empty: bool,
}

/// The oldest first: by when it was last written, which a rename and `gzip` keep and a copy only moves behind what it is a
/// copy of. Names decide between those that were written within one tick of the clock.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Age {
    modified: u64,
    name: Name,
}

/// The oldest first.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    /// No rotation's.
    #[default]
    Other,
    /// `-20261121`, `.2026-11-21_10`.
    Date(String),
    /// `.1` is younger than `.2`.
    Number(Reverse<u32>),
    Current,
}

impl Name {
    /// What the name of a file says beside one called `current`: that with a number or a date behind it or before its
    /// extension. `None` for any other.
    fn of(name: &str, current: &str) -> Option<Self> {
        if name == current {
            return Some(Self::Current);
        }
        let plain = name.strip_suffix(GZIPPED).unwrap_or(name);
        let extension = current.rfind('.').unwrap_or(current.len());
        let (stem, extension) = current.split_at(extension);
        let mark = plain.strip_prefix(current).or_else(|| {
            let middle = plain.strip_prefix(stem)?;
            middle.strip_suffix(extension)
        })?;
        let mut letters = mark.chars();
        let Some(separator) = letters.next() else {
            // `metrics.jsonl.gz`: the last one.
            return Some(Self::Number(Reverse(0)));
        };
        let text = letters.as_str();
        let digits = text.chars().filter(char::is_ascii_digit).count();
        let is_mark = |letter: char| letter.is_ascii_digit() || "-_.:+TZ".contains(letter);
        // `metrics_3.jsonl` is rather a rank's own.
        let least = if separator == '_' { 8 } else { 1 };
        if !"-._".contains(separator) || digits < least || !text.chars().all(is_mark) {
            return None;
        }
        let number = text.parse().ok().filter(|_| digits < 8);
        Some(number.map_or_else(|| Self::Date(text.to_owned()), |n| Self::Number(Reverse(n))))
    }
}

/// The trail of the metrics file at `path`, the oldest first.
fn trail(path: &Path) -> io::Result<Vec<Segment>> {
    let current = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let mut segments = Vec::new();
    for (file, metadata) in files_beside(path)? {
        let name = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let Some(age) = Name::of(name, current) else {
            continue;
        };
        // Not whole yet, while the file that it is made from is there.
        if name
            .strip_suffix(GZIPPED)
            .is_some_and(|plain| file.with_file_name(plain).exists())
        {
            continue;
        }
        segments.push(Segment {
            identity: Identity::of(&metadata),
            age: Age {
                modified: modified(&metadata),
                name: age,
            },
            is_empty: metadata.len() == 0,
            path: file,
        });
    }
    segments.sort_by(|a, b| a.age.cmp(&b.age));
    Ok(segments)
}

/// Whether there is anything of the metrics file that was at `path`.
pub(super) fn is_left(path: &Path) -> bool {
    trail(path).is_ok_and(|segments| !segments.is_empty())
}

/// The files in the folder of `path`; one that goes away meanwhile is none.
fn files_beside(path: &Path) -> io::Result<Vec<(PathBuf, Metadata)>> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let entries = fs::read_dir(folder.unwrap_or(Path::new(".")))?;
    let files = entries.filter_map(|entry| {
        let file = entry.ok()?.path();
        let metadata = fs::metadata(&file).ok()?;
        metadata.is_file().then_some((file, metadata))
    });
    Ok(files.collect())
}

/// The file that was left at `position`, wherever it is now, ready to go on there: the very file under any name, else one
/// that holds what was read of it. `None` where it is gone.
pub(super) fn left(path: &Path, position: &Position) -> io::Result<Option<Source>> {
    let holds_it = |file: &Path| {
        let mut source = Source::open(file).ok()?;
        // What cannot be read does not hold it.
        source.resume(position).ok()?.then_some(source)
    };
    let is_it = |metadata: &Metadata| Identity::of(metadata) == position.identity;
    if fs::metadata(path).is_ok_and(|metadata| is_it(&metadata) && position.offset > 0)
        && let Some(source) = holds_it(path)
    {
        return Ok(Some(source));
    }
    // An empty beginning is every file's: only the file itself will do, and not where it may have been copied aside since.
    let moved = files_beside(path)?;
    let mut moved = moved.iter().filter(|(file, it)| file != path && is_it(it));
    if let Some(source) = moved.find_map(|(file, _)| holds_it(file)) {
        return Ok(Some(source));
    }
    if position.offset == 0 {
        return Ok(None);
    }
    let trail = trail(path)?;
    let copies = [path].into_iter().chain(trail.iter().map(|it| &*it.path));
    Ok(copies.into_iter().find_map(holds_it))
}

/// The first file of the trail that was written since `position` was; the one at `path` counts whenever it was written.
pub(super) fn since(path: &Path, position: &Position) -> io::Result<Option<Source>> {
    oldest(path, |it| {
        it.age.name == Name::Current || (it.age.modified >= position.modified && !it.is_empty)
    })
}

/// The file that came after `source`, from its start, or on from there if it is a copy. `None` while there is none that holds
/// anything: whoever writes may not have been told yet that there is another.
pub(super) fn after(path: &Path, source: &Source) -> io::Result<Option<Source>> {
    if fs::metadata(path).is_ok_and(|metadata| Identity::of(&metadata) == source.identity) {
        return Ok(None);
    }
    let position = source.position()?;
    let this = trail(path)?
        .into_iter()
        .find(|it| it.identity == source.identity);
    let age = this.map_or(
        Age {
            modified: position.modified,
            name: Name::Other,
        },
        |it| it.age,
    );
    let next = oldest(path, |it| {
        it.age > age && it.identity != source.identity && !it.is_empty
    })?;
    let Some(mut next) = next else {
        return Ok(None);
    };
    if position.offset > 0 {
        // One that cannot be read says so when it is read.
        let _ = next.resume(&position);
    }
    Ok(Some(next))
}

/// Opens the oldest of the trail that `counts`.
fn oldest(path: &Path, counts: impl Fn(&Segment) -> bool) -> io::Result<Option<Source>> {
    loop {
        let Some(segment) = trail(path)?.into_iter().find(&counts) else {
            return Ok(None);
        };
        match Source::open(&segment.path) {
            Ok(source) if source.identity == segment.identity => return Ok(Some(source)),
            // Rotated meanwhile: it has another name now.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_name_has_a_number_or_a_date_and_nothing_else() {
        let number = |n| Some(Name::Number(Reverse(n)));
        let date = |text: &str| Some(Name::Date(text.to_owned()));
        for (name, expected) in [
            ("metrics.jsonl", Some(Name::Current)),
            ("metrics.jsonl.1", number(1)),
            ("metrics.jsonl.12.gz", number(12)),
            ("metrics.jsonl.gz", number(0)),
            ("metrics.3.jsonl", number(3)),
            ("metrics-3.jsonl.gz", number(3)),
            ("metrics.jsonl-20261121", date("20261121")),
            ("metrics_20261121.jsonl", date("20261121")),
            (
                "metrics.2026-11-21T10:00:00Z.jsonl",
                date("2026-11-21T10:00:00Z"),
            ),
            ("metrics_3.jsonl", None),
            ("metrics-rank3.jsonl", None),
            ("metrics.jsonl.bak", None),
            ("metrics.jsonl~", None),
            ("metrics.csv", None),
            ("metrics.jsonl-", None),
            ("other-3.jsonl", None),
        ] {
            assert!(Name::of(name, "metrics.jsonl") == expected, "{name}");
        }
    }
}
