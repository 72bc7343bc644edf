//! What the command is given by mistake: it is told by name, with what was expected, and nothing is stored for it.
#![cfg(feature = "cli")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use tempfile::TempDir;

fn recording() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/data/recordings/trl-2rank")
}

/// A folder, in which the command is called by mistake.
struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A scene with one file.
    fn with(name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let scene = Self::new();
        fs::write(scene.path(name), bytes).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = assert_cmd::cargo::cargo_bin_cmd!("grpo-metrics");
        command
            .current_dir(&self.0)
            .env_remove("GRPO_METRICS_STORE")
            .env_remove("MAXENT_WANDB_METRICS_MODE")
            .env_remove("MAXENT_METRICS_MODE");
        command
    }

    fn call(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    /// `replay` of a good recording.
    fn replay(&self, args: &[&str]) -> Output {
        let mut command = self.command();
        command.arg("replay").arg(recording()).args(args);
        command.output().unwrap()
    }

    /// Whether the call was refused with this in its message, and nothing was made.
    #[track_caller]
    fn refused(&self, output: &Output, message: &str) {
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(message), "{said}");
        assert!(!self.path("runs.db").exists());
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn rows_every_0_or_fewer_steps_are_refused() {
    let scene = Scene::new();
    for found in ["0", "-1"] {
        let message = format!("`logging_steps`: expected a whole number, at least 1, found {found}");
        scene.refused(&scene.replay(&["--every", found]), &message);
    }
}

#[test]
fn a_limit_below_0_is_refused_by_its_name() {
    let scene = Scene::new();
    let out = scene.replay(&["--extended", "--limit", "kl=-1"]);
    scene.refused(&out, "`limits.kl`: expected a number, at least 0, found -1");
}

#[test]
fn a_success_that_no_record_has_is_refused_with_the_components_that_there_are() {
    let scene = Scene::new();
    let out = scene.replay(&["--extended", "--success", "acuracy"]);
    scene.refused(
        &out,
        "`success`: unknown reward component `acuracy`; did you mean `accuracy`? (there are `accuracy`, `brevity`, `digits`)",
    );
    // One that a later step brings is none.
    let record = |step, components| {
        format!(
            r#"{{"step": {step}, "rank": 0, "world_size": 1, "batch": {{"rewards": [1.0, 0.0], "group_sizes": [2]{components}}}}}"#
        )
    };
    let later = record(2, r#", "reward_components": {"solved": [1.0, 0.0]}"#);
    fs::write(scene.path("r.jsonl"), record(1, "") + "\n" + &later).unwrap();
    let args = ["replay", "r.jsonl", "--jsonl", "-", "--extended", "--success"];
    let out = scene.call(&[&args[..], &["solved"]].concat());
    assert!(text(&out.stdout).contains("pass@1"), "{}", text(&out.stderr));
    let out = scene.call(&[&args[..], &["nosuch"]].concat());
    scene.refused(&out, "unknown reward component `nosuch` (there is only `solved`)");
}

#[test]
fn a_fold_of_a_key_that_has_its_own_is_refused() {
    let scene = Scene::new();
    for key in ["grad_norm", "train/kl", "train/rewards/accuracy/mean"] {
        let out = scene.replay(&["--fold", &format!("{key}=max")]);
        let message = format!("expected a metric of your own, found `{key}`, whose fold is given");
        scene.refused(&out, &message);
    }
}

#[test]
fn a_mode_that_there_is_not_names_the_variable_that_it_stands_in() {
    let scene = Scene::new();
    let mut command = scene.command();
    command.arg("replay").arg(recording());
    let out = command.env("MAXENT_METRICS_MODE", "fat").output().unwrap();
    scene.refused(&out, "the environment's `MAXENT_METRICS_MODE`: expected a mode");
}

#[test]
fn a_file_that_is_no_recording_is_called_what_it_is() {
    for (bytes, message) in [
        (&b"\x89PNG\r\n\x1a\n\0\0"[..], "found a picture (PNG)"),
        (b"SQLite format 3\0", "found an SQLite database"),
        (b"\0\0\0\0\n", "found bytes that are no text"),
        (b"{\"step\": 1, \"loss\": NaN}\n", "`grpo-metrics forward`"),
        (
            b"{\"step\": 1, \"metrics\": {\"a\": 1}}\n",
            "`grpo-metrics forward`",
        ),
    ] {
        let scene = Scene::with("it.jsonl", bytes);
        let out = scene.call(&["replay", "it.jsonl"]);
        scene.refused(&out, "it.jsonl, line 1");
        scene.refused(&out, message);
    }
}
