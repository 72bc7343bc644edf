//! What outsiders have called their runs, metrics, files and values must not reach a terminal as anything but text.
#![cfg(all(unix, feature = "cli"))]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use grpo_metrics::row::Row;
use grpo_metrics::sink::{Console, Sink};
use grpo_metrics::store::{RunSpec, StoreSink};
use tempfile::TempDir;

/// A title for the window, a cleared screen, an overwritten line; then letters turned around, a line of one's own.
const HOSTILE: &str = "x\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{7f}\r\u{8}\u{202e}\u{2066}\u{200f}\u{61c}\u{200b}\u{2028}\u{feff}y";

/// A folder with a run of that name in a store, a recording, a metrics file and a shard.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let spec = RunSpec {
        experiment: Some(HOSTILE.to_owned()),
        config: serde_json::json!({ HOSTILE: HOSTILE })
            .as_object()
            .unwrap()
            .clone()
            .into_iter()
            .collect(),
        ..RunSpec::new(HOSTILE)
    };
    let mut sink = Box::new(StoreSink::open(at("runs.db"), spec).unwrap());
    let row = Row {
        step: 1,
        metrics: [(HOSTILE, 1.0), ("train/reward", f64::INFINITY)]
            .into_iter()
            .collect(),
        ..Row::default()
    };
    sink.write(&row).unwrap();
    sink.close();
    let quoted = serde_json::to_string(HOSTILE).unwrap();
    let recordings = [
        (
            "good",
            format!(
                r#"{{"step":1,"rank":0,"batch":{{"group_sizes":[2],"rewards":[0.0,"NaN"],"reward_components":{{{quoted}:[1.0,"NaN"]}},"scalars":{{{quoted}:2.0}}}}}}"#
            ),
        ),
        (
            "column",
            format!(
                r#"{{"step":1,"rank":0,"batch":{{"group_sizes":[2],"rewards":[0.0,1.0],{quoted}:[1.0]}}}}"#
            ),
        ),
        (
            "component",
            format!(
                r#"{{"step":1,"rank":0,"batch":{{"group_sizes":[2],"rewards":[0.0,1.0],"reward_components":{{{quoted}:[1.0]}}}}}}"#
            ),
        ),
        (
            "cell",
            format!(
                r#"{{"step":1,"rank":0,"batch":{{"group_sizes":[2],"rewards":[0.0,{quoted}]}}}}"#
            ),
        ),
        (
            "word",
            format!(
                r#"{{"step":1,"rank":0,"batch":{{"group_sizes":[2],"rewards":[0.0,1.0]}},"weighting":{{"loss_type":{quoted}}}}}"#
            ),
        ),
        ("step", format!(r#"{{"step":{quoted},"rank":0}}"#)),
        ("text", HOSTILE.to_owned()),
    ];
    for (name, line) in recordings {
        for name in [name.to_owned(), format!("{HOSTILE}{name}")] {
            fs::create_dir(at(&name)).unwrap();
            fs::write(
                at(&name).join(format!("{HOSTILE}.jsonl")),
                format!("{line}\n"),
            )
            .unwrap();
        }
    }
    fs::create_dir(at(&format!("{HOSTILE}run"))).unwrap();
    let rows = format!(
        "{{\"step\":1,\"metrics\":{{{quoted}:1.0,\"a\":{quoted}}}}}\n{HOSTILE}\n{{\"step\":{quoted}}}\n"
    );
    fs::write(at(&format!("{HOSTILE}run")).join("metrics.jsonl"), rows).unwrap();
    fs::write(at(&format!("{HOSTILE}.shard")), HOSTILE).unwrap();
    folder
}

fn run(folder: &Path, args: &[String]) -> Output {
    Command::new(crate::grpo_metrics())
        .current_dir(folder)
        .args(args)
        .output()
        .unwrap()
}

/// What of a text would act on a terminal.
fn acting(text: &str) -> Vec<char> {
    let ours = ['\n', '\t'];
    let turns = "\u{202e}\u{2066}\u{200f}\u{61c}\u{200b}\u{2028}\u{feff}";
    text.chars()
        .filter(|c| (c.is_control() && !ours.contains(c)) || turns.contains(*c))
        .collect()
}

fn cases() -> Vec<Vec<String>> {
    let words = |line: &str| -> Vec<String> {
        line.split(' ')
            .map(|word| word.replace('~', HOSTILE))
            .collect()
    };
    [
        "show runs.db",
        "show --store runs.db",
        "show --store runs.db ~",
        "show --store runs.db missing",
        "show --store runs.db ~~",
        "show ~.db r",
        "show --store runs.db ~ --key ~",
        "show --store runs.db ~ --key [~",
        "show --store runs.db ~ --last ~",
        "show ~",
        "show --store good ~",
        "show ~ ~",
        "show ~ ~ --csv",
        "show ~ ~ --json",
        "show ~ --csv",
        "show ~ --json",
        "show ~ --all",
        "show ~ --follow",
        "show ~ --follow --key ~",
        "show --json",
        "runs",
        "runs --json",
        "runs --tag ~",
        "runs --experiment ~",
        "runs --status ~",
        "runs --since ~",
        "runs tag ~ ~",
        "runs note ~ ~",
        "runs rename ~ new",
        "runs",
        "runs rename missing ~",
        "runs untag ~ ~",
        "runs rm ~",
        "keys --key ~",
        "keys --key [~",
        "show --store ~.shard",
        "replay good --store ~.db --run ~ --jsonl ~.jsonl",
        "replay good --store ~.db --run ~ --jsonl ~.jsonl",
        "replay good --store ~/~.db",
        "replay good --jsonl ~/~/rows.jsonl",
        "replay good --shards ~.shard",
        "replay good --store ~.shard",
        "replay ~good --store new.db",
        "replay good --dialect tunix --store tunix.db --extended",
        "replay column --store new.db",
        "replay component --store new.db",
        "replay cell --store new.db",
        "replay word --store new.db",
        "replay step --store new.db",
        "replay text --store new.db",
        "replay ~column ~cell --store new.db",
        "replay ~",
        "replay good --dialect ~",
        "replay good --mode ~",
        "replay good --fold ~",
        "replay good --fold ~=~",
        "replay good --extended --limit ~=1",
        "replay good --extended --limit kl=~",
        "replay good --kl-penalty ~",
        "replay good --logging-strategy ~",
        "replay good --~",
        "replay good --deadline ~",
        "merge ~",
        "merge ~.shard",
        "merge good",
        "forward ~run --run ~ --store forward.db -v",
        "forward ~run --run ~ --store ~/forward.db",
        "forward ~ --run r --store forward.db",
        "forward ~run --run r --file ~ --store forward.db",
        "keys --dialect ~",
        "keys ~",
        "~",
        "~ ~",
    ]
    .map(words)
    .to_vec()
}

#[test]
fn nothing_that_outsiders_have_named_reaches_the_terminal_as_more_than_text() {
    let folder = folder();
    let mut named = 0;
    for args in cases() {
        let out = run(folder.path(), &args);
        let said = [out.stdout, out.stderr]
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .concat();
        assert_eq!(acting(&said), [], "{args:?}: {said:?}");
        assert!(!said.contains("panicked"), "{said}");
        named += usize::from(said.contains("\\u{202e}"));
    }
    // Or this would test commands that say nothing of what they were given.
    assert!(named >= 35, "{named} name it");
}

#[test]
fn a_mode_that_the_environment_names_is_text_as_well() {
    let folder = folder();
    let out = Command::new(crate::grpo_metrics())
        .current_dir(folder.path())
        .args(["replay", "good", "--store", "mode.db"])
        .env("MAXENT_METRICS_MODE", HOSTILE)
        .output()
        .unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert_eq!(acting(&said), [], "{said:?}");
}

#[test]
fn a_terminal_has_it_as_text_too() {
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("skipped: there is no `script`, which gives a program a terminal");
        return;
    }
    let folder = folder();
    fs::write(folder.path().join("name"), HOSTILE).unwrap();
    let program = crate::grpo_metrics();
    for verb in [
        "show --store runs.db \"$(cat name)\"",
        "show --store runs.db none",
        "replay good --run \"$(cat name)\"",
        "replay \"$(cat name)\"",
        "keys --dialect \"$(cat name)\"",
    ] {
        let out = Command::new("script")
            .current_dir(folder.path())
            .args(["-qec", &format!("{program} {verb}"), "/dev/null"])
            .output()
            .unwrap();
        let said = String::from_utf8(out.stdout).unwrap();
        // A bar and colours are our own; what the name would do is not.
        assert!(said.contains("\\u{202e}"), "{verb}: {said:?}");
        for act in [
            "\u{1b}]0;",
            "\u{1b}[2J",
            "\u{9b}",
            "\u{202e}",
            "\u{2066}",
            "\u{2028}",
        ] {
            assert!(!said.contains(act), "{verb}: {said:?}");
        }
    }
}

#[test]
fn the_console_shows_rows_as_text_and_as_the_same_json() {
    let row = Row {
        step: 1,
        metrics: [(HOSTILE, 1.0)].into_iter().collect(),
        ..Row::default()
    };
    for (console, is_json) in [(Console::line(), false), (Console::pretty(), true)] {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut sink = Box::new(console.to(file.reopen().unwrap()));
        sink.write(&row).unwrap();
        sink.close();
        let said = fs::read_to_string(file.path()).unwrap();
        assert_eq!(acting(&said), [], "{said:?}");
        if is_json {
            let read: serde_json::Value = serde_json::from_str(&said).unwrap();
            assert_eq!(read["metrics"][HOSTILE], 1.0);
        }
    }
}
