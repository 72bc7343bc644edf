//! What the documents say of the code, held against it. `UPDATE_DOCS=1 cargo test --test docs` writes what is made from it.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use grpo_metrics::dialect::{Dialect, Line, RUN_KEYS};
use grpo_metrics::shard::Retain;

const ABOUT_KEYS: &str = "\
# Keys

What every key means, as `grpo-metrics keys` prints it: one table for each dialect, and one for the extended metrics. Their keys are the
same in every dialect; `maxent` has them under `train/`. `{name}` is a reward component's name, `{bucket}` a range of lengths in tokens,
`{k}` the k of pass@k, `{tag}` a tag and `{family}` a family of inputs. The formulas are in [METRICS.md](METRICS.md).

The column *reduction* says how many samples become one number, over ranks, micro-batches and a pooled window alike. `declared` is a
number that the trainer reports, which folds as [RECORDING.md](RECORDING.md) says; `derived` is computed from other numbers of the row.

This page is made from the tables in `src/dialect`: `UPDATE_DOCS=1 cargo test --test docs` writes it.
";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page_of_keys() -> String {
    let mut page = ABOUT_KEYS.to_owned();
    let sections = Dialect::ALL.iter().map(|dialect| {
        let lines: Vec<&Line> = dialect.lines().collect();
        (dialect.name(), lines)
    });
    // The same lines in every dialect; `maxent` has them under `train/`.
    let extended: Vec<&Line> = Dialect::Trl.extended_lines().collect();
    for (name, lines) in sections.chain([("extended", extended)]) {
        write!(
            page,
            "\n## {name}\n\n| key | unit | reduction | meaning |\n| --- | --- | --- | --- |\n"
        )
        .unwrap();
        for line in lines {
            let meaning = line.meaning_in(Retain::Exact).replace('|', "\\|");
            writeln!(
                page,
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
        page,
        "\n## Texts of the run\n\nIn every dialect, with the run's first row: {}.\n",
        run.join(", ")
    )
    .unwrap();
    page
}

#[test]
fn the_page_of_keys_is_made_from_the_dialects() {
    let path = root().join("docs/KEYS.md");
    let expected = page_of_keys();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, expected).unwrap();
        return;
    }
    assert!(
        fs::read_to_string(path).unwrap() == expected,
        "docs/KEYS.md is old: UPDATE_DOCS=1 cargo test --test docs"
    );
}
