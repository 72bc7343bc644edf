//! What holds of every comparison: what `SciPy` says, whatever the layout, and whichever comes first.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{cases, compare, text, written};

/// What is said of them as JSON.
fn found(dir: &TempDir, args: &[&str]) -> Value {
    let out = compare(dir.path(), &[args, &["--json"]].concat());
    assert!(out.status.success(), "{}", text(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// The numbers by name.
fn numbers(found: &Value) -> BTreeMap<String, Value> {
    let numbers = found["numbers"].as_array().unwrap().iter();
    let named = numbers.map(|number| {
        (
            number["number"].as_str().unwrap().to_owned(),
            number.clone(),
        )
    });
    named.collect()
}

#[test]
fn recordings_are_compared_prompt_by_prompt_as_scipy_does() {
    let cases = cases();
    let mut compared = 0;
    for case in &cases {
        let found = numbers(&found(&case.written(), &case.args(["a", "b"])));
        let names: Vec<_> = found.keys().collect();
        assert_eq!(
            names,
            case.expected.keys().collect::<Vec<_>>(),
            "{}",
            case.name
        );
        for (name, right) in &case.expected {
            let number = &found[name];
            let at = format!("{}: {name}: {number}, expected {right}", case.name);
            let alone = json!([number["a"]["prompts_alone"], number["b"]["prompts_alone"]]);
            assert_eq!(
                (&number["prompts"], &alone),
                (&right["prompts"], &right["alone"]),
                "{at}"
            );
            let size = right["a"].as_f64().unwrap().abs() + right["b"].as_f64().unwrap().abs();
            let mut near = |found: &Value, right: &Value| {
                compared += 1;
                match (found.as_f64(), right.as_f64()) {
                    // The quantiles of Student's t are within 1e-9.
                    (Some(found), Some(right)) => assert!(
                        (found - right).abs() <= 1e-9 * size.max(right.abs()),
                        "{at}"
                    ),
                    (found, right) => assert_eq!(found, right, "{at}"),
                }
            };
            near(&number["a"]["mean"], &right["a"]);
            near(&number["b"]["mean"], &right["b"]);
            near(&number["difference"], &right["difference"]);
            for (ours, theirs) in [("interval", "interval"), ("unpaired_interval", "unpaired")] {
                near(&number[ours][0], &right[theirs][0]);
                near(&number[ours][1], &right[theirs][1]);
            }
        }
    }
    assert!(cases.len() >= 4 && compared > 300, "{compared}");
}

/// The records with their completions dealt anew to ranks and micro-batches, in another order.
fn dealt(records: &[Value], ranks: usize, micros: usize) -> Vec<Value> {
    let mut steps: BTreeMap<u64, Map<String, Value>> = BTreeMap::new();
    for record in records {
        let all = steps.entry(record["step"].as_u64().unwrap()).or_default();
        for (name, column) in record["batch"].as_object().unwrap() {
            join(all.entry(name).or_insert(Value::Null), column);
        }
    }
    let parts = ranks * micros;
    let mut dealt = Vec::new();
    for (step, batch) in &steps {
        for part in 0..parts {
            let own: Map<String, Value> = batch
                .iter()
                .map(|(name, column)| (name.clone(), every(column, part, parts)))
                .collect();
            dealt.push(json!({
                "step": step, "rank": part % ranks, "world_size": ranks, "micro": part / ranks, "batch": own,
            }));
        }
    }
    dealt.reverse();
    dealt
}

/// Appends a column to another; a number of the record stays.
fn join(all: &mut Value, column: &Value) {
    match (all, column) {
        (Value::Array(all), Value::Array(more)) => all.extend(more.iter().cloned()),
        (Value::Object(all), Value::Object(more)) => {
            for (name, column) in more {
                join(all.entry(name).or_insert(Value::Null), column);
            }
        }
        (all, column) => *all = column.clone(),
    }
}

/// Every so many cells of a column, from the last to the first.
fn every(column: &Value, from: usize, parts: usize) -> Value {
    match column {
        Value::Array(cells) => cells
            .iter()
            .skip(from)
            .step_by(parts)
            .rev()
            .cloned()
            .collect(),
        Value::Object(columns) => columns
            .iter()
            .map(|(name, column)| (name.clone(), every(column, from, parts)))
            .collect(),
        number => number.clone(),
    }
}

#[test]
fn layout_does_not_show_in_a_comparison() {
    for case in &cases() {
        let whole = found(&case.written(), &case.args(["a", "b"]));
        let [a, b] = &case.records;
        for (of_a, of_b) in [((1, 1), (3, 1)), ((4, 2), (1, 5))] {
            let dir = written([&dealt(a, of_a.0, of_a.1), &dealt(b, of_b.0, of_b.1)]);
            assert_eq!(found(&dir, &case.args(["a", "b"])), whole, "{}", case.name);
        }
    }
}

#[test]
fn the_other_way_round_every_difference_has_the_other_sign() {
    for case in &cases() {
        let dir = case.written();
        let [there, back] =
            [["a", "b"], ["b", "a"]].map(|files| numbers(&found(&dir, &case.args(files))));
        let negative = |x: &Value| x.as_f64().map(|x| -x);
        for (name, number) in &there {
            let other = &back[name];
            assert_eq!(
                number["difference"].as_f64(),
                negative(&other["difference"]),
                "{name}"
            );
            for interval in ["interval", "unpaired_interval"] {
                assert_eq!(
                    number[interval][0].as_f64(),
                    negative(&other[interval][1]),
                    "{name}"
                );
            }
            assert_eq!((&number["a"], &number["b"]), (&other["b"], &other["a"]));
        }
    }
}
