//! The training that `tests/attack/attack.py` kills: an engine whose every step is said on standard output, before and after.
//!
//! `victim KIND FOLDER FROM UNTIL` with KIND one of `jsonl`, `sqlite`, `journal-jsonl`, `journal-sqlite` and `journal-gateway`, the last to
//! the run `EVSYS_RUN` of the gateway that `EVSYS_API_URL` and `EVSYS_API_KEY` name. Of step `s` the rewards are s, s + 1, s + 2 and s + 3.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use grpo_metrics::Engine;
use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::{Batch, Columns};
use grpo_metrics::sink::{Durable, DurableOptions, Jsonl, Sink};
use grpo_metrics::store::{EvSys, Patience, Resume, RunSpec, StoreSink};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, folder, from, until] = arguments.as_slice() else {
        return Err(format!("expected KIND FOLDER FROM UNTIL, found {arguments:?}").into());
    };
    let mut engine = build(kind, Path::new(folder))?;
    for step in from.parse::<u32>()?..until.parse()? {
        say(format_args!("start {step}"))?;
        let rewards = [0, 1, 2, 3].map(|more| f64::from(step + more));
        engine.observe(&Batch::of(Columns::new(Grouping::Sizes(&[4]), &rewards))?)?;
        engine.step(step.into())?;
        let heard = if engine.sink_error().is_none() {
            "ack"
        } else {
            "refused"
        };
        say(format_args!("{heard} {step}"))?;
    }
    for receipt in engine.finish() {
        let (written, dropped, pending) = (receipt.written, receipt.dropped, receipt.pending);
        say(format_args!("receipt {written} {dropped} {pending}"))?;
    }
    Ok(())
}

/// One write, so that a death tears no line in two.
fn say(line: std::fmt::Arguments<'_>) -> std::io::Result<()> {
    std::io::stdout().write_all(format!("{line}\n").as_bytes())
}

fn build(kind: &str, folder: &Path) -> Result<Engine, Box<dyn Error>> {
    let (journalled, behind) = match kind.strip_prefix("journal-") {
        Some(behind) => (Some(folder.join("journal")), behind),
        None => (None, kind),
    };
    match behind {
        "jsonl" => with(Jsonl::open(folder.join("rows.jsonl"))?, journalled),
        "sqlite" => {
            let run = RunSpec::new("run").resume(Resume::Allow);
            with(StoreSink::open(folder.join("runs.db"), run)?, journalled)
        }
        "gateway" => {
            let patience = Patience {
                answer: Duration::from_secs(5),
                retries: 3,
                backoff: (Duration::from_millis(1), Duration::from_millis(10)),
                under_way: Duration::from_millis(20),
                ..Patience::default()
            };
            let gateway = EvSys::from_env(|name| std::env::var(name).ok())?
                .patience(patience)
                .dead_letters(folder.join("dead.jsonl"));
            let run = std::env::var("EVSYS_RUN")?;
            with(StoreSink::over(Box::new(gateway), run)?, journalled)
        }
        other => Err(format!("expected jsonl, sqlite or gateway, found {other}").into()),
    }
}

fn with(sink: impl Sink + 'static, journal: Option<PathBuf>) -> Result<Engine, Box<dyn Error>> {
    let builder = Engine::builder();
    let builder = match journal {
        None => builder.sink(sink),
        Some(folder) => {
            // Short pauses and small segments: more of what may break within the lifetime of a victim.
            let policy = DurableOptions {
                pace: Duration::from_millis(5),
                backoff: (Duration::from_millis(1), Duration::from_millis(20)),
                segment_bytes: 64 << 10,
                ..DurableOptions::default()
            };
            builder.sink(Durable::with(sink, folder, policy)?)
        }
    };
    Ok(builder.build()?)
}
