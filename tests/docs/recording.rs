//! RECORDING.md's tables of columns, scalars and the snapshot.

use grpo_metrics::batch::scalars::{FieldInfo, FieldKind, Fold, Meta, Scalar, Weighting};
use grpo_metrics::batch::{ColumnInfo, Columns};

use super::{check, part_of, read};

/// A line of RECORDING.md's table.
fn row_of_column(info: &ColumnInfo) -> String {
    let (name, kind, shape, unit) = (info.name, info.kind.label(), info.shape.label(), info.unit);
    let (meaning, absent) = (info.meaning.trim(), info.absent);
    format!("| `{name}` | {kind} | {shape} | {unit} | {meaning} | {absent} |\n")
}

fn table_of_columns() -> String {
    let head = "| field | type | shape | unit | meaning | where it is not given |\n| --- | --- | --- | --- | --- | --- |\n";
    let rows = Columns::ALL.iter().map(row_of_column);
    [head.to_owned()].into_iter().chain(rows).collect()
}

/// Names in code, between parentheses; nothing for none.
fn in_parentheses(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        names => format!(" (`{}`)", names.join("`, `")),
    }
}

fn table_of_scalars() -> String {
    let head = "| scalar | unit | meaning | over ranks and micro-batches | over a pooled window |\n| --- | --- | --- | --- | --- |\n";
    let rows = Scalar::ALL.iter().map(|scalar| {
        let (fold, window) = scalar.folds();
        let fold = match fold {
            Fold::MeanByTokens => "by tokens",
            Fold::MeanByCompletions => "mean weighted by n",
            Fold::Mean => "mean of reporters",
            Fold::Max => "max",
            Fold::Min => "min",
            Fold::Sum => "sum",
            Fold::SumOfLasts => "sum over ranks (last micro-batch of each)",
            Fold::LowestRank => "the lowest rank's last",
        };
        let (name, also) = (scalar.name(), in_parentheses(scalar.also()));
        let (unit, meaning, window) = (scalar.unit(), scalar.meaning(), window.label());
        format!("| `{name}`{also} | {unit} | {meaning} | {fold} | {window} |\n")
    });
    [head.to_owned()].into_iter().chain(rows).collect()
}

fn table_of_the_snapshot() -> String {
    let words = |words: &[&str]| format!("`{}`", words.join("`, `"));
    let row = |before: &str, field: &FieldInfo| {
        let takes = match field.kind {
            FieldKind::Number => "number".to_owned(),
            FieldKind::Flag => "true or false".to_owned(),
            FieldKind::Word(known) => words(known),
            FieldKind::Text(known) => format!("any text; known: {}", words(known)),
            FieldKind::Meta => "the fields of `meta.` below".to_owned(),
        };
        let (name, also) = (field.name, in_parentheses(field.also));
        let (unit, meaning) = (field.unit, field.meaning);
        format!("| `{before}{name}`{also} | {takes} | {unit} | {meaning} |\n")
    };
    let head = "| field | takes | unit | meaning |\n| --- | --- | --- | --- |\n";
    let fields = Weighting::FIELDS.iter().map(|field| row("", field));
    let of_meta = Meta::FIELDS.iter().map(|field| row("meta.", field));
    let rows = fields.chain(of_meta);
    [head.to_owned()].into_iter().chain(rows).collect()
}

#[test]
fn the_fields_of_a_recording_are_made_from_their_tables() {
    let path = "docs/RECORDING.md";
    let text = part_of(&read(path), "columns", &table_of_columns());
    let text = part_of(&text, "scalars", &table_of_scalars());
    check(path, &part_of(&text, "weighting", &table_of_the_snapshot()));
}
