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

/// The oldest first; the one that is written now is the youngest.
///
/// The others are in the order of their first rows, which say when they were written, and which no rename, copy or packing
/// changes. A file whose first row does not say is put where it was last written: that was before the next one began. Between
/// a file and its copy, which begin alike, that decides too; names do between those written within one tick of the clock.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Age {
    is_current: bool,
    moment: u64,
    modified: u64,
    name: Name,
}

impl Age {
    fn of(source: &Source, name: Name) -> io::Result<Self> {
        let modified = source.modified()?;
        Ok(Self::at(source.began.unwrap_or(modified), modified, name))
    }

    fn at(moment: u64, modified: u64, name: Name) -> Self {
        Self {
            is_current: name == Name::Current,
            moment,
            modified,
            name,
        }
    }
}

/// The oldest first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    /// No rotation's.
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

impl Segment {
    fn of((path, identity, name): &(PathBuf, Identity, Name)) -> io::Result<Self> {
        let name = name.clone();
        let (age, is_empty) = if let Ok(source) = Source::open(path) {
            (Age::of(&source, name)?, source.is_empty)
        } else {
            // It says why when its turn to be read has come.
            let modified = modified(&fs::metadata(path)?);
            (Age::at(modified, modified, name), false)
        };
        Ok(Self {
            path: path.clone(),
            identity: *identity,
            age,
            is_empty,
        })
    }
}

/// The trail of the metrics file at `path`, the oldest first.
fn trail(path: &Path) -> io::Result<Vec<Segment>> {
    loop {
        let listed = list(path)?;
        let segments: io::Result<Vec<_>> = listed.iter().map(Segment::of).collect();
        // A file that is renamed meanwhile may be listed twice, or not at all, and another may be behind its name.
        if list(path)? == listed {
            let mut segments = segments?;
            segments.sort_by(|a, b| a.age.cmp(&b.age));
            return Ok(segments);
        }
    }
}

/// The files of the trail by name.
fn list(path: &Path) -> io::Result<Vec<(PathBuf, Identity, Name)>> {
    let current = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let mut listed = Vec::new();
    for (file, metadata) in files_beside(path)? {
        let text = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let Some(name) = Name::of(text, current) else {
            continue;
        };
        let plain = text.strip_suffix(GZIPPED);
        // Not whole yet, while the file that it is made from is there.
        if plain.is_some_and(|plain| file.with_file_name(plain).exists()) {
            continue;
        }
        listed.push((file, Identity::of(&metadata), name));
    }
    listed.sort();
    Ok(listed)
}

/// Whether there is anything of the metrics file that was at `path`.
pub(super) fn is_left(path: &Path) -> bool {
    list(path).is_ok_and(|listed| !listed.is_empty())
}

/// The files in the folder of `path`; what goes away meanwhile is none.
fn files_beside(path: &Path) -> io::Result<Vec<(PathBuf, Metadata)>> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let entries = match fs::read_dir(folder.unwrap_or(Path::new("."))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
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

/// The first file of the trail that began since `position`; the one at `path` counts whenever that was.
pub(super) fn since(path: &Path, position: &Position) -> io::Result<Option<Source>> {
    let Position {
        began, modified, ..
    } = *position;
    oldest(path, began, |it| {
        // Where it is not known when that began, what was written later is taken: rather a row twice than none.
        let is_younger = match began {
            Some(began) => (it.age.moment, it.age.modified) >= (began, modified),
            None => it.age.modified >= modified,
        };
        it.age.is_current || (is_younger && !it.is_empty)
    })
}

/// Whether `source` is what stands at `path`, or nobody can tell.
pub(super) fn is_current(path: &Path, source: &Source) -> bool {
    match fs::metadata(path) {
        Ok(metadata) => Identity::of(&metadata) == source.identity,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// The file that came after `source`, from its start, or on from there if it is a copy. `None` while there is none that holds
/// anything: whoever writes may not have been told yet that there is another.
pub(super) fn after(path: &Path, source: &Source) -> io::Result<Option<Source>> {
    let listed = list(path)?.into_iter();
    let mut name = listed.filter_map(|(_, it, name)| (it == source.identity).then_some(name));
    let age = Age::of(source, name.next().unwrap_or(Name::Other))?;
    let next = oldest(path, source.began, |it| {
        it.age > age && it.identity != source.identity && !it.is_empty
    })?;
    let Some(mut next) = next else {
        return Ok(None);
    };
    let position = source.position()?;
    if position.offset > 0 {
        // One that cannot be read says so when it is read.
        let _ = next.resume(&position);
    }
    Ok(Some(next))
}

/// Opens the oldest of the trail that `counts`; it came after one that `began` then.
fn oldest(
    path: &Path,
    began: Option<u64>,
    counts: impl Fn(&Segment) -> bool,
) -> io::Result<Option<Source>> {
    loop {
        let Some(segment) = trail(path)?.into_iter().find(&counts) else {
            return Ok(None);
        };
        match Source::open(&segment.path) {
            Ok(mut source) if source.identity == segment.identity => {
                // One that does not say when it began must not hide the next ones, should its packer have given it a new time.
                source.began = source.began.or(began.map(|before| before + 1));
                return Ok(Some(source));
            }
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
