//! Which keys it costs that files are not all that a recording can be: found out by leaving things out.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::batch::{ColumnInfo, Columns, Shape};
use crate::cli::grid::Grid;
use crate::cli::probed::probed;
use crate::dialect::Dialect;
use crate::recording::{Record, TrainerFile};

/// How many families of keys a line names.
const NAMED: usize = 4;

/// What is no column, but given beside them.
const BESIDE: [&str; 2] = ["scalars", "weighting"];

/// What token columns cannot be without.
const LENGTHS: &str = "completion_lengths";

/// Says which keys of the dialect no row of such files can have, a line for each thing that they do not hold.
pub(in crate::cli) fn said(
    files: &[TrainerFile],
    given: &BTreeSet<&'static str>,
    dialect: Dialect,
    extended: bool,
) -> String {
    let mut text = String::new();
    let whats: Vec<&str> = files.iter().map(|of| of.what()).collect();
    let lost = lost(given, dialect, extended);
    // Writing to a text cannot fail.
    if !lost.is_empty() {
        let whats = whats.join(" and ");
        let _ = writeln!(
            text,
            "not in {whats}, and what it costs in keys of `{dialect}`:"
        );
        let mut table = Grid::new(&["what", "keys", "which"], 1..2);
        for (what, keys) in &lost {
            let families = families(keys, dialect, extended);
            let mut named: Vec<&str> = families.iter().take(NAMED).map(String::as_str).collect();
            if families.len() > NAMED {
                named.push("...");
            }
            table.line([what.clone(), keys.len().to_string(), named.join(", ")]);
        }
        for line in table.text().lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    for note in files.iter().filter_map(|of| of.note()) {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

/// The keys that are lost, by what they are lost for: all of what each takes.
fn lost(
    given: &BTreeSet<&'static str>,
    dialect: Dialect,
    extended: bool,
) -> Vec<(String, Vec<&'static str>)> {
    // Without one record there is nothing to say.
    if given.is_empty() {
        return Vec::new();
    }
    let grouping = ["group_sizes", "group_ids"];
    let names = Columns::ALL.iter().map(|info| info.name).chain(BESIDE);
    let absent: Vec<&str> = names
        .filter(|name| !given.contains(name) && !grouping.contains(name))
        .collect();
    let left = keys(&absent, dialect, extended);
    let without = absent
        .iter()
        .map(|name| (*name, keys(&[name], dialect, extended)));
    let without: Vec<(&str, Vec<&str>)> = without.collect();
    let mut lost: Vec<(String, Vec<&'static str>)> = Vec::new();
    let all = keys(&[], dialect, extended).into_iter();
    for key in all.filter(|key| !left.contains(key)) {
        let needed = without.iter().filter(|(_, kept)| !kept.contains(&key));
        let mut needed: Vec<&str> = needed.map(|(name, _)| *name).collect();
        if needed.iter().any(|name| is_of_tokens(name)) {
            needed.retain(|name| *name != LENGTHS);
        }
        let what = match needed[..] {
            [] => "several of these".to_owned(),
            _ => needed.join(", "),
        };
        match lost.iter_mut().find(|(held, _)| *held == what) {
            Some((_, keys)) => keys.push(key),
            None => lost.push((what, vec![key])),
        }
    }
    lost
}

fn is_of_tokens(name: &str) -> bool {
    ColumnInfo::of(name).is_some_and(|info| info.shape == Shape::Token)
}

/// The keys that a step has of which everything is known but this.
fn keys(without: &[&str], dialect: Dialect, extended: bool) -> Vec<&'static str> {
    let mut without = without.to_vec();
    if without.contains(&LENGTHS) {
        let columns = Columns::ALL.iter().map(|info| info.name);
        without.extend(columns.filter(|name| is_of_tokens(name)));
    }
    let mut keys = Vec::new();
    for (key, _) in probed(&Record::probe(1, &without), dialect, extended).iter() {
        if let Some(line) = dialect.line(key)
            && !keys.contains(&line.key)
        {
            keys.push(line.key);
        }
    }
    keys
}

/// The keys, and for those of which all that begin alike are among them, how they begin.
fn families(keys: &[&'static str], dialect: Dialect, extended: bool) -> Vec<String> {
    let more = dialect.extended_lines().filter(|_| extended);
    let lines: Vec<&str> = dialect.lines().chain(more).map(|line| line.key).collect();
    let mut families: Vec<String> = Vec::new();
    for key in keys {
        let room = key.rsplit_once('/').map(|(room, _)| format!("{room}/"));
        let whole = room.filter(|room| {
            let mut alike = lines.iter().filter(|line| line.starts_with(room.as_str()));
            let count = alike.clone().count();
            count > 1 && alike.all(|line| keys.contains(line))
        });
        let family = whole.map_or_else(|| (*key).to_owned(), |room| format!("{room}*"));
        if !families.contains(&family) {
            families.push(family);
        }
    }
    families
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_all_there_costs_nothing_and_what_is_not_costs_the_keys_that_need_it() {
        let all = Columns::ALL.iter().map(|info| info.name).chain(BESIDE);
        let mut given: BTreeSet<&'static str> = all.collect();
        for dialect in Dialect::ALL {
            assert_eq!(lost(&given, *dialect, true), []);
        }
        given.remove("ref_token_logps");
        let kl = |of| (String::from(of), vec!["kl"]);
        assert_eq!(lost(&given, Dialect::Trl, false), [kl("ref_token_logps")]);
        given.remove("token_logps");
        let lost = lost(&given, Dialect::Trl, false);
        assert_eq!(lost[0], kl("token_logps, ref_token_logps"));
        let clipped = families(&lost[1].1, Dialect::Trl, false);
        assert_eq!(
            (lost[1].0.as_str(), clipped),
            ("token_logps", vec!["clip_ratio/*".to_owned()])
        );
    }
}
