//! The walls of the house: which rooms a room may import. Data walks one way, so an import that points downstream fails.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Each room with the rooms it may name. A room may always name itself.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    // Beneath them all: arithmetic.
    ("kernel", &[]),
    ("stat", &["kernel"]),
    ("limits", &[]),
    // What a rank hands in.
    ("group", &[]),
    ("tokens", &["kernel"]),
    ("scalars", &[]),
    ("batch", &["group", "kernel", "scalars", "tokens"]),
    // The joinable state, and its way between ranks.
    ("shard", &["batch", "group", "kernel", "scalars", "stat"]),
    ("wire", &["limits", "shard"]),
    ("gather", &["shard", "wire"]),
    // Numbers, then names.
    ("summary", &["batch", "kernel", "scalars", "shard", "stat"]),
    ("health", &["scalars", "summary"]),
    ("metrics", &[]),
    ("dialect", &["kernel", "metrics", "scalars", "summary"]),
    ("filter", &["metrics"]),
    ("rename", &["metrics"]),
    ("window", &["metrics", "scalars", "stat"]),
    ("cadence", &[]),
    ("run", &["dialect"]),
    ("event", &[]),
    // Where rows go.
    ("table", &["metrics"]),
    ("sink", &["metrics", "run", "table"]),
    ("store", &["limits", "metrics", "run", "sink"]),
    // Beside the corridor: what comes from disk, and what trainers hook in.
    (
        "recording",
        &["batch", "group", "kernel", "limits", "scalars", "tokens"],
    ),
    (
        "samples",
        &[
            "batch", "group", "metrics", "sink", "stat", "store", "table",
        ],
    ),
    (
        "callback",
        &["batch", "limits", "metrics", "run", "sink", "store"],
    ),
    ("forward", &["limits", "metrics", "store"]),
];

/// The only rooms that may name every other.
const NAME_ALL: &[&str] = &["cli", "engine", "lib", "main"];

/// The rooms that each source file names by `crate::room`, tests left out.
fn imports() -> BTreeMap<String, Vec<(String, String)>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut imports = BTreeMap::new();
    let mut folders = vec![source.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let relative = path.strip_prefix(&source).unwrap();
            let first = relative
                .components()
                .next()
                .unwrap()
                .as_os_str()
                .to_string_lossy();
            let room = first.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            let code = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                for named in line.split("crate::").skip(1) {
                    let named: String = named
                        .chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect();
                    let place = relative.display().to_string();
                    imports
                        .entry(room.clone())
                        .or_insert_with(Vec::new)
                        .push((named, place));
                }
            }
        }
    }
    imports
}

#[test]
fn no_room_imports_one_that_stands_downstream() {
    let table: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut faults = Vec::new();
    let imports = imports();
    assert!(imports.len() > 15, "the sources were not found");
    for (room, named) in &imports {
        if NAME_ALL.contains(&room.as_str()) {
            continue;
        }
        let Some(allowed) = table.get(room.as_str()) else {
            faults.push(format!("the room `{room}` has no line in the table"));
            continue;
        };
        for (other, place) in named {
            let known = table.contains_key(other.as_str()) || NAME_ALL.contains(&other.as_str());
            if known && other != room && !allowed.contains(&other.as_str()) {
                faults.push(format!("{place} imports `{other}`, which `{room}` may not"));
            }
        }
    }
    faults.dedup();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
