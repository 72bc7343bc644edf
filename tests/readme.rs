//! The README's key tables are those of the dialects. `UPDATE_README=1 cargo test --test readme` writes them.

use std::fmt::Write;

use grpo_metrics::dialect::{Dialect, Line, RUN_KEYS};
use grpo_metrics::shard::Retain;

const HEADING: &str = "## Keys\n";

fn tables() -> String {
    let mut tables = String::new();
    let sections = Dialect::ALL.iter().map(|dialect| {
        let lines: Vec<&Line> = dialect.lines().collect();
        (dialect.name(), lines)
    });
    // The same lines in every dialect; `maxent` has them under `train/`.
    let extended: Vec<&Line> = Dialect::Trl.extended_lines().collect();
    for (name, lines) in sections.chain([("extended", extended)]) {
        write!(
            tables,
            "\n### {name}\n\n| key | unit | reduction | meaning |\n| --- | --- | --- | --- |\n"
        )
        .unwrap();
        for line in lines {
            let meaning = line.meaning_in(Retain::Exact).replace('|', "\\|");
            writeln!(
                tables,
                "| `{}` | {} | {} | {meaning} |",
                line.key,
                line.unit,
                line.reduction.label()
            )
            .unwrap();
        }
    }
    let run: Vec<String> = RUN_KEYS.iter().map(|key| format!("`{key}`")).collect();
    write!(
        tables,
        "\nIn every dialect, texts of the run, with its first row: {}.\n",
        run.join(", ")
    )
    .unwrap();
    tables
}

#[test]
fn the_key_tables_of_the_readme_are_those_of_the_dialects() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let (before, after) = readme.split_once(HEADING).expect("the heading of the keys");
    let (words, found) = match after.split_once("\n### ") {
        Some((words, tables)) => (words, format!("\n### {tables}")),
        None => (after, String::new()),
    };
    let expected = tables();
    if std::env::var_os("UPDATE_README").is_some() {
        let words = words.trim_end();
        std::fs::write(path, format!("{before}{HEADING}{words}\n{expected}")).unwrap();
        return;
    }
    assert!(
        found == expected,
        "the README's key tables are old: UPDATE_README=1 cargo test --test readme"
    );
}
