//! Recordings: records as JSON and files of tensors. What is read is a batch like any other.

use std::fs;
use std::path::{Path, PathBuf};

use grpo_metrics::recording::{Record, Recording};
use grpo_metrics::shard::Shard;
use tempfile::TempDir;

use super::{Random, Target};

/// Longer lines would be mostly numbers.
const LONGEST: usize = 20_000;
/// One in so many is a file of tensors, or of lines.
const FILES: usize = 16;

pub struct Recordings {
    lines: Vec<Box<[u8]>>,
    tensors: Vec<Box<[u8]>>,
    folder: TempDir,
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the repository's data") {
        let path = entry.expect("the repository's data").path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

impl Recordings {
    pub fn new() -> Self {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let (mut lines, mut tensors) = (Vec::<Box<[u8]>>::new(), Vec::<Box<[u8]>>::new());
        for path in files(&data) {
            let bytes = fs::read(&path).expect("the repository's data");
            match path.extension().and_then(|ending| ending.to_str()) {
                Some("jsonl") => {
                    let short = bytes.split(|byte| *byte == b'\n');
                    let short = short.filter(|line| (1..LONGEST).contains(&line.len()));
                    lines.extend(short.take(12).map(Into::into));
                }
                Some("safetensors") => tensors.push(bytes.into()),
                _ => {}
            }
        }
        assert!(lines.len() > 20 && tensors.len() > 3);
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            lines,
            tensors,
            folder,
        }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> &'static str {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).expect("room for a file");
        let Ok(recording) = Recording::open(&[path]) else {
            return "a file, refused";
        };
        for step in recording.steps() {
            for found in step.records() {
                let Ok(record) = recording.load(found) else {
                    return "a file, refused at a record";
                };
                count(&record);
            }
        }
        "a file, read"
    }
}

fn count(record: &Record) {
    if let Ok(batch) = record.batch() {
        let _ = Shard::of(&batch);
    }
}

impl Target for Recordings {
    fn turn(&mut self, random: &mut Random) -> Result<&'static str, String> {
        if random.below(FILES) == 0 {
            let original = random.of_these(&self.tensors);
            let bytes = random.change(original, &self.tensors);
            return Ok(self.file("a.safetensors", &bytes));
        }
        let original = random.of_these(&self.lines);
        let bytes = random.change(original, &self.lines);
        if random.below(FILES) == 0 {
            return Ok(self.file("a.jsonl", &bytes));
        }
        let Ok(text) = str::from_utf8(&bytes) else {
            return Ok("a record that is no text");
        };
        match Record::from_json(text) {
            Ok(record) => {
                count(&record);
                Ok("a record, read and counted")
            }
            Err(_) => Ok("a record, refused"),
        }
    }
}
