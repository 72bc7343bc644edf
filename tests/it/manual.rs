//! Completions and the manual, held against bash and groff.
#![cfg(all(feature = "cli", unix))]

use std::fs;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

fn call(args: &[&str]) -> Output {
    let mut command = Command::new(crate::grpo_metrics());
    command.args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Whether a program is on this machine; else the test says that it is skipped.
fn has(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    let has = found.is_ok_and(|status| status.success());
    if !has {
        eprintln!("1 test skipped: no {program}");
    }
    has
}

#[test]
fn bash_completes_verbs_arguments_and_words() {
    if !has("bash") {
        return;
    }
    let dir = TempDir::new().unwrap();
    let script = dir.path().join("completions");
    fs::write(&script, call(&["completions", "bash"]).stdout).unwrap();
    // As readline does it: the words so far, of which the last is being typed.
    let complete = r#"
        source "$1"; shift
        function=$(complete -p grpo-metrics | grep -o -- '-F [^ ]*' | cut -c4-)
        COMP_WORDS=(grpo-metrics "$@") COMP_CWORD=$#
        $function grpo-metrics "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        echo "${COMPREPLY[@]}"
    "#;
    for (words, expected) in [
        (&["expo"][..], "export"),
        (&["export", "--par"], "--parquet"),
        (&["export", "a-run", "--f"], "--force"),
        (&["replay", "--dialect", "t"], "trl tunix"),
        (&["completions", "f"], "fish"),
        (&["runs", "ren"], "rename"),
    ] {
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", complete, "bash"]);
        let out = bash.arg(&script).args(words).output().unwrap();
        assert_eq!(text(&out.stderr), "", "{words:?}");
        assert_eq!(text(&out.stdout).trim(), expected, "{words:?}");
    }
}

#[test]
fn every_shell_has_completions_that_name_every_verb() {
    let help = text(&call(&["--help"]).stdout);
    let (_, verbs) = help.split_once("Commands:\n").unwrap();
    let verbs = verbs
        .lines()
        .map_while(|line| line.split_whitespace().next());
    let verbs: Vec<&str> = verbs.collect();
    assert!(verbs.contains(&"export"), "{verbs:?}");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let out = call(&["completions", shell]);
        assert!(out.status.success());
        let script = text(&out.stdout);
        for verb in &verbs {
            assert!(script.contains(verb), "{shell}: {verb}");
        }
    }
    assert_eq!(call(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn the_manual_has_a_page_a_verb_that_groff_reads_without_a_warning() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("man1");
    let out = call(&["man", folder.to_str().unwrap()]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let entries = fs::read_dir(&folder).unwrap();
    let pages: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    let whole = text(&call(&["man"]).stdout);
    assert!(pages.len() > 10);
    assert!(whole.starts_with(".ie") && whole.contains(r"grpo\-metrics\-export(1)"));
    assert!(folder.join("grpo-metrics-export.1").exists());
    if !has("groff") {
        return;
    }
    for page in pages {
        let out = Command::new("groff")
            .args(["-ww", "-man", "-Tutf8"])
            .arg(&page)
            .output()
            .unwrap();
        assert_eq!(text(&out.stderr), "", "{}", page.display());
        // Bold is a letter over itself, or a sequence of its own.
        let mut read = String::new();
        for c in text(&out.stdout).chars() {
            if c == '\u{8}' {
                read.pop();
            } else {
                read.push(c);
            }
        }
        assert!(
            read.contains("SYNOPSIS") && read.contains("grpo-metrics"),
            "{read}"
        );
    }
    let out = call(&["man", "/dev/null/x"]);
    assert_eq!(out.status.code(), Some(1));
}
