//! What the command is given may be of any size or none of its kind: it says so, and takes no memory for it.
#![cfg(all(feature = "cli", target_os = "linux"))]

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use grpo_metrics::wire;
use tempfile::TempDir;

/// Larger than any memory; on the disk it is nothing.
const SPARSE: u64 = 64 << 30;

/// The memory that the command may have, in kB: 1 GiB.
const MEMORY: u64 = 1 << 20;

/// The bytes of a tensor file's header.
const TENSOR_HEADER: u64 = 256;

/// Runs the command within [`MEMORY`].
fn run(verb: &str, path: &Path, stdin: Stdio) -> Output {
    let limited = format!("ulimit -v {MEMORY}; exec \"$0\" \"$@\"");
    let dir = TempDir::new().unwrap();
    Command::new("sh")
        .args(["-c", &limited, &crate::grpo_metrics()])
        .args(verb.split(' '))
        .arg(path)
        .current_dir(dir.path())
        .env("RAYON_NUM_THREADS", "2")
        .stdin(stdin)
        .output()
        .unwrap()
}

fn refusal(verb: &str, path: &Path) -> String {
    let output = run(verb, path, Stdio::null());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        output.status.code(),
        Some(2),
        "{verb} {}: {said}",
        path.display()
    );
    said
}

/// A file that begins so and is as long as [`SPARSE`].
fn sparse(dir: &TempDir, name: &str, beginning: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    let mut file = File::create(&path).unwrap();
    file.write_all(beginning).unwrap();
    file.set_len(SPARSE).unwrap();
    path
}

/// A limit as `src/limits.rs` writes it: bytes, shifted or times another's.
fn bytes(of: &str, known: &[(String, u64)]) -> u64 {
    let number = |text: &str| match known.iter().find(|(name, _)| name == text) {
        Some((_, bytes)) => *bytes,
        None => text.parse().unwrap_or_else(|_| panic!("no number: {text}")),
    };
    if let Some((number_of, shift)) = of.split_once(" << ") {
        return number(number_of) << number(shift);
    }
    of.split(" * ").map(number).product()
}

/// Every file of the crate's code but the limits' own, one after the other.
fn code(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all += &code(&path);
        } else if path.extension().is_some_and(|end| end == "rs")
            && !path.ends_with("src/limits.rs")
        {
            all += &fs::read_to_string(&path).unwrap();
        }
    }
    all
}

#[test]
fn every_limit_of_what_is_read_is_in_the_documents_and_looked_at_somewhere() {
    let code = code(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let docs = include_str!("../../docs/RELIABILITY.md");
    let mut known = Vec::new();
    for line in include_str!("../../src/limits.rs").lines() {
        let Some(line) = line.strip_prefix("pub(crate) const ") else {
            continue;
        };
        let (name, rest) = line.split_once(": ").unwrap();
        let (_, value) = rest.trim_end_matches(';').split_once(" = ").unwrap();
        let bytes = bytes(value, &known);
        let size = match bytes >> 20 {
            mib if mib >= 1 << 10 => format!("{} GiB", mib >> 10),
            mib => format!("{mib} MiB"),
        };
        let said = format!("| `{name}` | {size} |");
        assert!(
            docs.contains(&said),
            "docs/RELIABILITY.md does not say `{said}`"
        );
        assert!(
            code.contains(&format!("limits::{name}")),
            "nothing looks at {name}"
        );
        known.push((name.to_owned(), bytes));
    }
    let rows = docs
        .lines()
        .filter(|line| line.starts_with("| `") && line.contains("iB | "));
    assert_eq!((known.len(), rows.count()), (12, 12));
}

#[test]
fn a_sparse_recording_of_64_gib_is_refused_with_its_line_and_in_no_memory() {
    let dir = TempDir::new().unwrap();
    for beginning in ["", "{\"step\": 1, \"batch\": {\"rewards\": ["] {
        let path = sparse(&dir, "a.jsonl", beginning.as_bytes());
        let said = refusal("replay", &path);
        assert!(
            said.contains("a.jsonl, line 1: cannot read it: expected a line of text, found the byte 0x00 in it"),
            "{said}"
        );
    }
}

#[test]
fn a_sparse_tensor_file_of_64_gib_is_refused_whatever_its_header_claims() {
    let dir = TempDir::new().unwrap();
    let record = r#"{\"step\":1,\"rank\":0,\"world_size\":1,\"batch\":{\"group_sizes\":[1]}}"#;
    let end = SPARSE - 8 - TENSOR_HEADER;
    let cells = end / 8;
    let header = format!(
        r#"{{"__metadata__":{{"record":"{record}"}},"rewards":{{"dtype":"F64","shape":[{cells}],"data_offsets":[0,{end}]}}}}"#
    );
    // Blanks may fill a header up.
    let honest = format!("{header:256}");
    let claims = [
        Vec::new(),
        (1_u64 << 40).to_le_bytes().to_vec(),
        99_000_000_u64.to_le_bytes().to_vec(),
        [&TENSOR_HEADER.to_le_bytes()[..], honest.as_bytes()].concat(),
    ];
    for beginning in claims {
        let path = sparse(&dir, "a.safetensors", &beginning);
        let said = refusal("replay", &path);
        assert!(said.contains("a.safetensors: not a whole safetensors file: expected at most 4294967296 bytes, found 68719476736"), "{said}");
    }
}

#[test]
fn a_sparse_shard_of_64_gib_is_refused_by_its_header() {
    let dir = TempDir::new().unwrap();
    let said = refusal("merge", &sparse(&dir, "a.shard", b""));
    assert!(
        said.contains("a.shard: expected a message that begins with `grpo-shd`"),
        "{said}"
    );
    let beginning = |length: u64| {
        let numbers = [
            &wire::VERSION.to_le_bytes()[..],
            &length.to_le_bytes(),
            &[0; 8],
        ];
        [b"grpo-shd", numbers.concat().as_slice()].concat()
    };
    let said = refusal("merge", &sparse(&dir, "a.shard", &beginning(SPARSE - 28)));
    assert!(
        said.contains("expected a body of at most 1073741824 bytes, found one of 68719476708"),
        "{said}"
    );
    let said = refusal("merge", &sparse(&dir, "a.shard", &beginning(100)));
    assert!(
        said.contains("expected a body of 100 bytes, found 101"),
        "{said}"
    );
}

#[test]
fn a_device_a_pipe_and_a_folder_are_no_files_to_read() {
    let dir = TempDir::new().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    for (verb, path, expected) in [
        (
            "replay",
            Path::new("/dev/zero"),
            "/dev/zero: cannot open it: expected a file, found a pipe or a device",
        ),
        (
            "replay",
            &*pipe,
            "pipe: cannot open it: expected a file, found a pipe or a device",
        ),
        (
            "merge",
            Path::new("/dev/zero"),
            "/dev/zero: expected a message that begins with `grpo-shd`, found `\\x00",
        ),
        (
            "merge",
            dir.path(),
            "expected files that end in .shard, found none",
        ),
        ("show --store", Path::new("/dev/zero"), "/dev/zero"),
        (
            "show",
            &*pipe,
            "runs.db: expected a store of runs, found no such file",
        ),
    ] {
        let said = refusal(verb, path);
        assert!(said.contains(expected), "{verb}: {said}");
    }
}

#[test]
fn a_recording_and_a_shard_still_come_from_standard_input() {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/recordings/trl-2rank");
    let dir = TempDir::new().unwrap();
    let joined = dir.path().join("all");
    let mut all = File::create_new(&joined).unwrap();
    for entry in fs::read_dir(recording).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "jsonl")
        {
            all.write_all(&fs::read(path).unwrap()).unwrap();
        }
    }
    all.seek(SeekFrom::Start(0)).unwrap();
    let output = run(
        "replay",
        Path::new("/dev/stdin"),
        File::open(&joined).unwrap().into(),
    );
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let mut replay = assert_cmd::Command::new(crate::grpo_metrics());
    let shards = dir.path().join("shards");
    replay
        .current_dir(dir.path())
        .arg("replay")
        .arg(&joined)
        .arg("--shards")
        .arg(&shards);
    replay.assert().success();
    let shard = fs::read_dir(&shards).unwrap().next().unwrap().unwrap();
    let mut cat = Command::new("cat")
        .arg(shard.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = run(
        "merge",
        Path::new("/dev/stdin"),
        cat.stdout.take().unwrap().into(),
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    cat.wait().unwrap();
}
