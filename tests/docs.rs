//! What the documents say of the code, held against it. `UPDATE_DOCS=1 cargo test --test docs` writes what is made from it.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use grpo_metrics::dialect::{Dialect, Line};
use grpo_metrics::engine::{OPTIONS, OptionGroup};
use grpo_metrics::row::run::RUN_KEYS;
use grpo_metrics::shard::Retain;
use grpo_metrics::sink::KINDS;

#[path = "docs/constants.rs"]
mod constants;
#[path = "docs/python.rs"]
mod python;
#[path = "docs/recording.rs"]
mod recording;

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

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// A text with `made` between the line that says "`name`: made from" and the one that says "end of `name`".
fn part_of(text: &str, name: &str, made: &str) -> String {
    let (begin, end) = (format!("{name}: made from"), format!("end of {name}"));
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let place = |mark: &str| lines.iter().position(|line| line.contains(mark));
    let (begin, end) = (place(&begin).unwrap(), place(&end).unwrap());
    [&lines[..=begin].concat(), made, &lines[end..].concat()].concat()
}

/// Holds a file against what it is made from, or writes it where that is asked for.
fn check(path: &str, expected: &str) {
    let full = root().join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(full, expected).unwrap();
        return;
    }
    assert!(
        fs::read_to_string(full).unwrap() == expected,
        "{path} is old: UPDATE_DOCS=1 cargo test --test docs"
    );
}

#[test]
fn the_page_of_keys_is_made_from_the_dialects() {
    check("docs/KEYS.md", &page_of_keys());
}

const ABOUT_OPTIONS: &str = r#"# Options

What an engine can be told. Every option has one name, which is

| where | what | such as |
| --- | --- | --- |
| in Rust | the builder's method, and the field of `EngineOptions` | `Engine::builder().logging_steps(10)` |
| in Python | the keyword of `Engine` and `summarize`; None counts as not given | `gm.Engine(logging_steps=10)` |
| in a file | the key, in TOML | `logging_steps = 10` |
| in JSON | the field, as serde reads `EngineOptions` | `{"logging_steps": 10}` |
| for the command | the flag, with - for _ | `--logging-steps 10` |

`replay` takes all of them, `merge` those of the first two sections: completions were counted before, and their shards remember against
what. So it is in Python: `Shard.of` takes what completions are counted against, and `Shard.row` what stands in a row.

A file is read with `replay --config run.toml`, and flags go before it; Python reads the same with `gm.Engine(**tomllib.load(file))`:

```toml
dialect = "trl"
logging_steps = 10
window = "pooled"
extended = true
success = "accuracy"
success_threshold = 0.5
clip_range = [0.2, 0.28]

[limits]
kl = 0.5

[folds]
my_metric = "sum"
```

An unknown name is an error that has the closest known one, a value that the option does not take one that says what it takes. A name in
parentheses is taken as well. Switches have a flag for either way, of which one changes something: `--extended`, `--no-emit-partial`.

This page is made from the table in `src/engine/options.rs`: `UPDATE_DOCS=1 cargo test --test docs` writes it. Where rows go is no option
of an engine: sinks are in [STORE.md](STORE.md), Python's keywords for them in [its README](../python/README.md). What the numbers mean
is in [METRICS.md](METRICS.md); the limits have their reasons [there](METRICS.md#health).
"#;

fn page_of_options() -> String {
    let mut page = ABOUT_OPTIONS.to_owned();
    for group in OptionGroup::ALL {
        write!(
            page,
            "\n## {}\n\n| option | meaning | takes | default |\n| --- | --- | --- | --- |\n",
            group.title()
        )
        .unwrap();
        for option in OPTIONS.iter().filter(|option| option.group == group) {
            let also = option.also.map(|also| format!(" (`{also}`)"));
            let needs = option.needs.map(|needs| format!("; with `{needs}`"));
            let takes = match (option.domain, option.unit) {
                (Some((domain, _)), Some(unit)) => format!("{domain}, in {unit}"),
                (Some((domain, _)), None) => domain.to_owned(),
                (None, Some(unit)) => format!("{}, in {unit}", option.kind),
                (None, None) => option.kind.to_string(),
            };
            let of = |text: Option<String>| text.unwrap_or_default();
            let (name, meaning, default) = (option.name, option.meaning, option.default());
            let (also, needs) = (of(also), of(needs));
            writeln!(
                page,
                "| `{name}`{also} | {meaning}{needs} | {takes} | {default} |"
            )
            .unwrap();
        }
    }
    page
}

#[test]
fn the_page_of_options_is_made_from_their_table() {
    check("docs/OPTIONS.md", &page_of_options());
}

/// The table of sinks that a text can name.
fn table_of_sinks() -> String {
    let head = "| text | where rows go |\n| --- | --- |\n".to_owned();
    KINDS.iter().fold(head, |table, kind| {
        let (name, place, meaning) = (kind.name, kind.place, kind.meaning);
        table + &format!("| `{name}:{place}` | {meaning} |\n")
    })
}

#[test]
fn the_table_of_sinks_is_made_from_their_kinds() {
    let path = "docs/STORE.md";
    check(path, &part_of(&read(path), "sinks", &table_of_sinks()));
}

/// The documents that are held against the repository.
fn documents() -> Vec<PathBuf> {
    let mut documents: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "python/README.md"]
        .map(|name| root().join(name))
        .into();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            documents.push(path);
        }
    }
    documents
}

/// What each link of a document leads to.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let ends = text.split("](").skip(1);
    ends.filter_map(|rest| rest.split_once(')').map(|(link, _)| link))
        .filter(|link| !link.contains("://"))
}

/// The files and folders of this repository that a document names as code, in a line or in a block.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    const FOLDERS: [&str; 7] = [
        "tests/",
        "src/",
        "docs/",
        "benches/",
        "examples/",
        "python/",
        ".ci/",
    ];
    let code = text.split('`').skip(1).step_by(2);
    let words = code.flat_map(|code| {
        code.split(|c: char| c.is_whitespace() || "()[]\"',;".contains(c))
            .map(|word| word.trim_end_matches([':', '.']))
    });
    words.filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)))
}

/// The names by which links lead to a document's headings.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = text.lines().filter_map(|line| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len()).then(|| title.strip_prefix(' '))?
    });
    headings.map(|title| {
        title
            .to_lowercase()
            .chars()
            .filter(|&c| c.is_alphanumeric() || " -_".contains(c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    })
}

#[test]
fn every_link_and_every_path_in_the_documents_leads_somewhere() {
    let (mut checked, mut faults) = (0, Vec::new());
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let name = document.strip_prefix(root()).unwrap().display();
        for link in links(&text) {
            checked += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => document.clone(),
                _ => document.with_file_name("").join(path),
            };
            let leads = match anchor {
                "" => target.exists(),
                _ => fs::read_to_string(target)
                    .is_ok_and(|there| anchors(&there).any(|found| found == anchor)),
            };
            if !leads {
                faults.push(format!("{name}: the link `{link}` leads nowhere"));
            }
        }
        for path in paths(&text) {
            checked += 1;
            if !root().join(path).exists() {
                faults.push(format!("{name}: there is no `{path}`"));
            }
        }
    }
    assert!(checked > 50, "the links were not found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
