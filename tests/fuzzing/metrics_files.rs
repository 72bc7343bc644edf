//! Metrics files: lines that a training may have written, changed, and forwarded many at a time.

use std::fs;
use std::path::Path;

use grpo_metrics::forward::Forward;
use grpo_metrics::store::{RunSpec, Sqlite};
use tempfile::TempDir;

use super::{Random, Target};

const LINES: [&str; 8] = [
    r#"{"step": 50, "metrics": {"loss": 0.42, "train/reward": -1.5e-3}}"#,
    r#"{"ts": 1754000000.5, "step": 51, "metrics": {"a": 1}, "run": {"run/git_sha": "abc"}, "steps": 10}"#,
    r#"{"step": 7, "loss": 0.1, "optim/lr": 4e-05, "time/total": 12.5, "name": "x"}"#,
    r#"{"step": 8, "env/all/reward/total": 0.5, "test/env/all/reward/total": null, "progress/done_frac": 0.25}"#,
    r#"{"step": 9, "metrics": {"nested": {"a": [1, 2], "b": {"c": 3}}, "t": true, "nan": NaN}}"#,
    r#"{"metrics": {"loss": 1.0}, "_step": 3, "epoch": 0.5}"#,
    r#"{"step": 18446744073709551615, "metrics": {"\u0000": 1, "é": 2e308}}"#,
    "",
];
/// Lines that are forwarded at once.
const AT_ONCE: usize = 2_000;

pub struct MetricsFiles {
    folder: TempDir,
    lines: Vec<Box<[u8]>>,
    changed: Vec<u8>,
    waiting: usize,
}

impl MetricsFiles {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            lines: LINES.iter().map(|line| line.as_bytes().into()).collect(),
            changed: Vec::new(),
            waiting: 0,
        }
    }

    fn forward(&mut self) -> Result<(), String> {
        let file = std::mem::take(&mut self.changed);
        self.waiting = 0;
        let folder = tempfile::tempdir_in(&self.folder).map_err(|e| e.to_string())?;
        fs::write(folder.path().join("metrics.jsonl"), &file).map_err(|e| e.to_string())?;
        forward(folder.path(), &file)
    }
}

/// Every line that is not empty is sent, skipped or refused, once.
fn forward(folder: &Path, file: &[u8]) -> Result<(), String> {
    let mut store = Sqlite::open(folder.join("runs.db")).map_err(|e| e.to_string())?;
    store
        .open_run(&RunSpec::new("r"))
        .map_err(|e| e.to_string())?;
    let forward = Forward::new(folder, "runs.db", "r").batch(512);
    let mut failed = 0;
    let done = forward
        .once(&mut store, &mut |event| {
            failed += u64::from(matches!(event, grpo_metrics::forward::Event::Failed { .. }));
        })
        .map_err(|e| e.to_string())?;
    let lines = file.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.trim_ascii().is_empty()).count() as u64;
    let told = done.sent + done.skipped + done.failed;
    let whole = lines - u64::from(done.torn);
    if told > lines || told < whole {
        return Err(format!(
            "of {lines} lines {told} are accounted for: {done:?}"
        ));
    }
    let again = forward
        .once(&mut store, &mut |_| ())
        .map_err(|e| e.to_string())?;
    if again.sent > done.failed + u64::from(done.torn) {
        return Err(format!("lines were sent twice: {again:?}"));
    }
    Ok(())
}

impl Target for MetricsFiles {
    fn turn(&mut self, random: &mut Random) -> Result<&'static str, String> {
        let original = random.of_these(&self.lines);
        let line = random.change(original, &self.lines);
        self.changed.extend(line);
        self.changed.push(b'\n');
        self.waiting += 1;
        if self.waiting < AT_ONCE {
            return Ok("lines written");
        }
        self.forward()?;
        Ok("files forwarded, every line accounted for")
    }
}
