//! Trainers' own files, changed as text and as JSON: what is read has every completion, and what is not says where.

use std::fs;
use std::path::{Path, PathBuf};

use grpo_metrics::recording::{Fault, Recording, RecordingError};
use grpo_metrics::shard::Shard;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Random, Target};

/// The files that are changed, under the names by which their steps are told.
const FILES: [&str; 8] = [
    "verl/1.jsonl",
    "verl-extra-infos/1.jsonl",
    "nemo-rl/train_data_step1.jsonl",
    "nemo-rl-dynamic-sampling/train_data_step1.jsonl",
    "prime-rl/rollouts/step_1/train/effective/traces.jsonl",
    "prime-rl-agents/rollouts/step_3/train/effective/traces.jsonl",
    "prime-rl/token_exports/step_1/rank_0.jsonl",
    "skyrl-evals/global_step_10_evals/unknown.jsonl",
];

pub struct TrainerFiles {
    texts: Vec<Box<[u8]>>,
    paths: Vec<PathBuf>,
    _folder: TempDir,
}

impl TrainerFiles {
    pub fn new() -> Self {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/trainers");
        let folder = tempfile::tempdir().expect("a folder");
        let read = |name| fs::read(data.join(name)).expect("the repository's data");
        let texts = FILES.iter().map(|name| read(name).into()).collect();
        let paths: Vec<PathBuf> = FILES.iter().map(|name| folder.path().join(name)).collect();
        for path in &paths {
            let parent = path.parent().expect("a folder of a folder");
            fs::create_dir_all(parent).expect("room for a folder");
        }
        Self {
            texts,
            paths,
            _folder: folder,
        }
    }

    fn changed(&self, nth: usize, random: &mut Random) -> Vec<u8> {
        let original = &self.texts[nth];
        if random.below(2) == 0 {
            return random.change(original, &self.texts);
        }
        let text = String::from_utf8_lossy(original);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for _ in 0..=random.below(2) {
            let at = random.below(lines.len());
            match random.below(8) {
                0 => lines.insert(at, lines[at].clone()),
                1 => lines.insert(at, String::new()),
                2 => drop(lines.remove(at)),
                3 => lines[at] = with_a_member_twice(&lines[at], random),
                4 => {
                    let other = String::from_utf8_lossy(random.of_these(&self.texts)).into_owned();
                    let first = other.lines().next().unwrap_or_default();
                    first.clone_into(&mut lines[at]);
                }
                _ => lines[at] = reshaped(&lines[at], random),
            }
            if lines.is_empty() {
                break;
            }
        }
        let (mark, end) = (["", "\u{feff}"], ["\n", "\r\n"]);
        let text = mark[random.below(2)].to_owned() + &lines.join(end[random.below(2)]);
        text.into_bytes()
    }
}

/// One value of the line is another.
fn reshaped(line: &str, random: &mut Random) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(line) else {
        return line.to_owned();
    };
    reshape(&mut value, random);
    value.to_string()
}

fn reshape(value: &mut Value, random: &mut Random) {
    let is_inside = random.below(5) > 0;
    let inner = match &mut *value {
        Value::Array(cells) => {
            let nth = random.below(cells.len());
            cells.get_mut(nth)
        }
        Value::Object(members) => {
            let nth = random.below(members.len());
            members.values_mut().nth(nth)
        }
        _ => None,
    };
    if let Some(inner) = inner.filter(|_| is_inside) {
        return reshape(inner, random);
    }
    change(value, random);
}

fn change(value: &mut Value, random: &mut Random) {
    match value {
        Value::Array(cells) if random.below(2) == 0 => {
            let first = cells.first().cloned().unwrap_or_default();
            match random.below(3) {
                0 => cells.push(first),
                1 => drop(cells.pop()),
                _ => cells.clear(),
            }
        }
        Value::Object(members) if random.below(2) == 0 => {
            let nth = random.below(members.len());
            let name = members.keys().nth(nth).cloned().unwrap_or_default();
            members.remove(&name);
        }
        other => {
            let deep = (0..200).fold(Value::Null, |inner, _| json!([inner]));
            let others = [
                Value::Null,
                json!(-1),
                json!(0),
                json!(1.5),
                json!(1e308),
                json!(u64::MAX),
                json!(4_294_967_296_u64),
                json!(true),
                json!(false),
                json!(""),
                json!("NaN"),
                json!("-Infinity"),
                json!("text \u{1f600}"),
                json!([]),
                json!({}),
                json!([[0.5]]),
                deep,
            ];
            *other = others[random.below(others.len())].clone();
        }
    }
}

fn with_a_member_twice(line: &str, random: &mut Random) -> String {
    let Ok(Value::Object(members)) = serde_json::from_str(line) else {
        return line.to_owned();
    };
    let nth = random.below(members.len());
    let Some((name, value)) = members.iter().nth(nth) else {
        return line.to_owned();
    };
    let again = format!("{{{}: {value}, ", Value::from(name.as_str()));
    line.replacen('{', &again, 1)
}

/// How many completions the text of a file that was read has.
fn completions(file: &str, text: &[u8]) -> Result<usize, String> {
    let text = std::str::from_utf8(text).map_err(|_| "what is no text was read")?;
    // As Python writes what is not finite.
    let finite = text.trim_start_matches('\u{feff}');
    let finite = finite.replace("NaN", "0").replace("Infinity", "0");
    let mut all = 0;
    for line in finite.split('\n').filter(|line| !line.trim().is_empty()) {
        let row: Value = serde_json::from_str(line)
            .map_err(|why| format!("a line was read that is no JSON: {why}"))?;
        all += match file.split('/').next() {
            Some("nemo-rl" | "nemo-rl-dynamic-sampling") => {
                let kept = Some(&row["filtered_rewards"]).filter(|kept| !kept.is_null());
                let rewards = kept.unwrap_or(&row["rewards"]).as_array();
                rewards.map_or(usize::MAX / 2, Vec::len)
            }
            Some("prime-rl" | "prime-rl-agents") if file.ends_with("traces.jsonl") => {
                let traces = row["traces"].as_array().ok_or("no traces were read")?;
                let is_left = |trace: &&Value| {
                    let trained = &trace["agent"]["trainable"];
                    *trained == false || trained.as_f64() == Some(0.0)
                };
                traces.len() - traces.iter().filter(is_left).count()
            }
            _ => 1,
        };
    }
    Ok(all)
}

/// An error names the file, and the line where one line is at fault.
fn is_clear(error: &RecordingError, path: &Path) -> Result<(), String> {
    let is_whole = matches!(
        error.fault,
        Fault::Batch(_) | Fault::NoRecords | Fault::NoStepInName { .. } | Fault::Foreign { .. }
    );
    if error.at.path != path || (error.at.line.is_none() && !is_whole) {
        return Err(format!("it does not say where: {error}"));
    }
    Ok(())
}

impl Target for TrainerFiles {
    fn turn(&mut self, random: &mut Random) -> Result<&'static str, String> {
        let nth = random.below(FILES.len());
        let (file, path) = (FILES[nth], &self.paths[nth]);
        let bytes = self.changed(nth, random);
        fs::write(path, &bytes).map_err(|e| e.to_string())?;
        let in_file = |why: String| format!("{file}: {why}\n{}", String::from_utf8_lossy(&bytes));
        let recording = match Recording::open(&[path]) {
            Ok(recording) => recording,
            Err(error) => {
                is_clear(&error, path).map_err(in_file)?;
                return Ok("a file, refused");
            }
        };
        if let Some(error) = recording.pending_error() {
            is_clear(error, path).map_err(in_file)?;
            return Ok("a file, refused in part");
        }
        let mut read = 0;
        for found in recording.steps().flat_map(|step| step.records()) {
            let record = match recording.load(found) {
                Ok(record) => record,
                Err(error) => {
                    is_clear(&error, path).map_err(in_file)?;
                    return Ok("a file, refused when it was read");
                }
            };
            let batch = record.batch().map_err(|e| in_file(e.to_string()))?;
            let _ = Shard::of(&batch);
            read += batch.completions();
        }
        // A file may be a recording of ours by now.
        let there = completions(file, &bytes).map_err(in_file)?;
        if read != there {
            return Err(in_file(format!("of {there} completions {read} were read")));
        }
        Ok("a file, read")
    }
}
