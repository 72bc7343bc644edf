//! `merge` of folders, and to a store.
#![cfg(feature = "cli")]

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use assert_cmd::Command;
use grpo_metrics::store::{Sqlite, Status, Store};
use tempfile::TempDir;

/// A folder with the shards of a replay, and what the replay stored as `replayed`.
struct Scene(TempDir);

impl Scene {
    fn new() -> Self {
        let scene = Self(TempDir::new().unwrap());
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let recording = root.join("tests/data/recordings/trl-4rank-split");
        let args = [
            "--quiet", "--store", "runs.db", "--run", "replayed", "--every", "5",
        ];
        let mut command = scene.command();
        command.arg("replay").arg(recording).args(args);
        command.args(["--shards", "shards"]).assert().success();
        scene
    }

    fn command(&self) -> Command {
        let mut command = assert_cmd::Command::new(crate::grpo_metrics());
        command
            .current_dir(&self.0)
            .env_remove("GRPO_METRICS_STORE");
        command
    }

    fn merge(&self, args: &[&str]) -> Output {
        self.command().arg("merge").args(args).output().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn numbers(&self, run: &str) -> Vec<(u64, String, u64)> {
        let store = Sqlite::open_read_only(self.path("runs.db")).unwrap();
        let metrics = store.get_metrics(run, None, None).unwrap();
        let bits = metrics
            .into_iter()
            .map(|m| (m.step, m.name, m.value.to_bits()));
        bits.collect()
    }

    fn status(&self, run: &str) -> Status {
        let store = Sqlite::open_read_only(self.path("runs.db")).unwrap();
        store.get_run(run).unwrap().record.status
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_folder_of_shards_goes_to_a_store_as_the_run_that_a_replay_would_have_stored() {
    let scene = Scene::new();
    // What is no shard is passed over.
    fs::write(scene.path("shards/notes.txt"), "x").unwrap();
    let out = scene.merge(&[
        "shards", "--every", "5", "--run", "merged", "--store", "runs.db",
    ]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!(text(&out.stderr), "3 rows to runs.db, run `merged`\n");
    assert_eq!(text(&out.stdout), "");
    assert_eq!(scene.numbers("merged"), scene.numbers("replayed"));
    assert_eq!(scene.status("merged"), Status::Completed);
    // And to standard output, as ever.
    let out = scene.merge(&["shards", "--every", "5"]);
    assert_eq!(text(&out.stdout).lines().count(), 3);
}

#[test]
fn a_merge_that_cannot_be_stores_nothing() {
    let scene = Scene::new();
    fs::create_dir(scene.path("empty")).unwrap();
    fs::write(scene.path("shards/zz.shard"), "no shard").unwrap();
    for (args, message) in [
        (
            &["empty", "--run", "m"][..],
            "expected files that end in .shard, found none",
        ),
        (&["shards", "--run", "m"], "zz.shard: "),
        (
            &["shards", "--store", "new.db"],
            "--store: expected --run too",
        ),
        (&["shards", "--run", ""], "expected the name of a run"),
    ] {
        let out = scene.merge(args);
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(message), "{args:?}: {said}");
    }
    let store = Sqlite::open_read_only(scene.path("runs.db")).unwrap();
    assert_eq!(store.run_names().unwrap(), ["replayed"]);
    assert!(!scene.path("new.db").exists());
}

/// A pipe in the place of a file holds the command where it is.
#[cfg(target_os = "linux")]
mod interrupted {
    use std::process::{Child, Command, Stdio};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    /// Starts the command, and sends Ctrl-C once it listens.
    fn interrupted(scene: &Scene, args: &[&str]) -> Child {
        let child = Command::new(crate::grpo_metrics())
            .args(args)
            .current_dir(&scene.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let listens = || {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
            // SIGTERM, the second that a verb listens for: a Python process catches SIGINT from its start.
            caught & (1 << 14) != 0
        };
        while !listens() {
            assert!(Instant::now() < deadline, "nobody listens for Ctrl-C");
            thread::sleep(Duration::from_millis(5));
        }
        let kill = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        child
    }

    fn pipe(scene: &Scene, name: &str) -> PathBuf {
        let path = scene.path(name);
        assert!(
            Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        path
    }

    #[test]
    fn a_merge_that_is_interrupted_says_where_it_was_and_exits_with_130() {
        let scene = Scene::new();
        let pipe = pipe(&scene, "pipe");
        let child = interrupted(
            &scene,
            &[
                "merge", "pipe", "shards", "--run", "m", "--store", "runs.db",
            ],
        );
        fs::write(
            pipe,
            fs::read(scene.path("shards/step-1.rank-0.shard")).unwrap(),
        )
        .unwrap();
        let out = child.wait_with_output().unwrap();
        assert_eq!(out.status.code(), Some(130));
        assert_eq!(text(&out.stderr), "Ctrl-C before anything was merged\n");
        let store = Sqlite::open_read_only(scene.path("runs.db")).unwrap();
        assert_eq!(store.run_names().unwrap(), ["replayed"]);
    }

    #[test]
    fn an_export_that_is_interrupted_says_so_and_exits_with_130() {
        let scene = Scene::new();
        let pipe = pipe(&scene, "pipe.csv");
        let child = interrupted(
            &scene,
            &["export", "--csv", "pipe.csv", "--store", "runs.db"],
        );
        fs::read(pipe).unwrap();
        let out = child.wait_with_output().unwrap();
        assert_eq!(out.status.code(), Some(130));
        let said = text(&out.stderr);
        assert!(
            said.starts_with("pipe.csv: Ctrl-C before its end"),
            "{said}"
        );
    }
}
