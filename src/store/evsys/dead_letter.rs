//! What the gateway refuses for good: kept in a file, with the reason, for a person to decide.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

/// Appends one line `{"ts", "op", "args", "reason"}` to `path`. That it cannot is told in the log, as the refusal itself is
/// the error that counts.
pub(super) fn keep(path: &Path, op: &str, args: &Map<String, Value>, reason: &str) {
    let ts = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64());
    let mut line = json!({"ts": ts, "op": op, "args": args, "reason": reason}).to_string();
    line.push('\n');
    let written = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    match written {
        Ok(()) => tracing::warn!(
            "{op} was refused and is kept in {}: {reason}",
            path.display()
        ),
        Err(error) => tracing::error!(
            "{op} was refused, and could not be kept in {}: {error}: {reason}",
            path.display()
        ),
    }
}
