//! The walls of the house: which rooms a room may import, and that no two files import each other, whichever way round. Data
//! walks one way, so an import that points downstream fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Each room with the rooms it may name. A room may always name itself.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    // Beneath them all: arithmetic.
    ("kernel", &[]),
    ("stat", &["kernel"]),
    ("limits", &[]),
    ("numerals", &[]),
    // What a rank hands in.
    ("batch", &["kernel"]),
    // The joinable state by family and of a step, and its way between ranks.
    ("family", &["batch", "kernel", "stat"]),
    ("shard", &["batch", "family", "kernel", "stat"]),
    ("wire", &["limits", "shard"]),
    ("gather", &["shard", "wire"]),
    // Numbers, then names.
    ("summary", &["batch", "family", "kernel", "shard", "stat"]),
    ("row", &["batch", "stat", "summary"]),
    ("dialect", &["batch", "kernel", "row", "summary"]),
    // Where rows go.
    ("sink", &["limits", "row"]),
    ("store", &["limits", "row", "sink"]),
    // Beside the corridor: what comes from disk, and what trainers hook in.
    ("recording", &["batch", "kernel", "limits", "numerals"]),
    (
        "hooks",
        &["batch", "limits", "row", "sink", "stat", "store"],
    ),
    ("forward", &["limits", "numerals", "row", "sink", "store"]),
    ("export", &["sink", "store"]),
    ("reading", &["dialect", "sink", "stat", "store"]),
    (
        "audit",
        &[
            "batch",
            "dialect",
            "engine",
            "limits",
            "numerals",
            "recording",
            "row",
            "shard",
            "stat",
            "summary",
        ],
    ),
    (
        "paired",
        &["batch", "engine", "family", "recording", "shard", "stat"],
    ),
    (
        "serve",
        &[
            "batch",
            "dialect",
            "hooks",
            "limits",
            "numerals",
            "reading",
            "recording",
            "row",
            "sink",
            "store",
            "summary",
        ],
    ),
];

/// The only rooms that may name every other.
const NAME_ALL: &[&str] = &["cli", "engine", "lib", "main"];

/// A module by the names that lead to it; none lead to the crate's own.
type Module = Vec<String>;

/// A source file, without its tests and comments.
struct Source {
    /// Its place beneath `src`.
    file: String,
    /// What it says but for `uses`.
    code: String,
    uses: Vec<Use>,
}

/// A path that a file brings into scope.
struct Use {
    path: Vec<String>,
    /// By `pub use`, for others.
    passed_on: bool,
}

/// Every source file by its module.
fn sources() -> BTreeMap<Module, Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = BTreeMap::new();
    let mut folders = vec![root.clone()];
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
            let file = path.strip_prefix(&root).unwrap().display().to_string();
            let module = file.trim_end_matches(".rs").trim_end_matches("/mod");
            let module = match module {
                "lib" => Module::new(),
                _ => module.split('/').map(str::to_owned).collect(),
            };
            let text = fs::read_to_string(&path).unwrap();
            sources.insert(module, Source::of(file, &text));
        }
    }
    assert!(sources.len() > 100, "the sources were not found");
    sources
}

impl Source {
    fn of(file: String, text: &str) -> Self {
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let (mut code, mut uses) = (String::new(), Vec::new());
        let mut lines = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        while let Some(line) = lines.next() {
            let mut statement = line.trim_start();
            let public = statement.starts_with("pub");
            if let Some(rest) = statement.strip_prefix("pub") {
                let rest = rest
                    .strip_prefix("(crate)")
                    .or(rest.strip_prefix("(super)"));
                statement = rest.unwrap_or(&statement[3..]).trim_start();
            }
            let Some(first) = statement.strip_prefix("use ") else {
                code.push_str(line);
                code.push('\n');
                continue;
            };
            let mut tree = first.to_owned();
            while !tree.ends_with(';') {
                tree.push_str(lines.next().unwrap_or(";").trim());
            }
            let mut paths = Vec::new();
            paths_of(&[], tree.trim_end_matches(';'), &mut paths);
            uses.extend(paths.into_iter().map(|path| Use {
                path,
                passed_on: public,
            }));
        }
        Self { file, code, uses }
    }

    /// Whether it says `name` in its own code.
    fn says(&self, name: &str) -> bool {
        let mut words = self.code.split(|c: char| !is_of_a_name(c));
        words.any(|word| word == name)
    }

    /// Every path that it names: in its uses, those that it but passes on left out, and in its code.
    fn paths(&self) -> impl Iterator<Item = Vec<String>> {
        let uses = self.uses.iter().filter(|used| {
            let name = used.path.last();
            !used.passed_on || name.is_some_and(|name| self.says(name))
        });
        let code = self.code.split(|c: char| !is_of_a_name(c) && c != ':');
        let code = code.filter(|word| word.contains("::")).map(|path| {
            let names = path.split("::").filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        });
        uses.map(|used| used.path.clone()).chain(code)
    }
}

fn is_of_a_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The paths of a use tree: `a::{self, b::C}` is `a` and `a::b::C`.
fn paths_of(before: &[String], tree: &str, paths: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let name: String = tree.chars().take_while(|c| is_of_a_name(*c)).collect();
    if let Some(rest) = tree[name.len()..].strip_prefix("::") {
        return paths_of(&[before, &[name]].concat(), rest, paths);
    }
    if let Some(inner) = tree.strip_prefix('{') {
        let inner = inner.trim_end_matches('}');
        let (mut depth, mut start) = (0, 0);
        for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 || at == inner.len() => {
                    paths_of(before, &inner[start..at], paths);
                    start = at + 1;
                }
                _ => {}
            }
        }
    } else if name == "self" || tree == "*" {
        paths.push(before.to_vec());
    } else if !name.is_empty() {
        paths.push([before, &[name]].concat());
    }
}

/// The module whose file defines what `path` leads to from `module`; none for another crate's, and for a name in scope.
fn defines(sources: &BTreeMap<Module, Source>, module: &Module, path: &[String]) -> Option<Module> {
    let (mut at, mut path) = (module.clone(), path);
    if path.first()? == "crate" {
        (at, path) = (Module::new(), &path[1..]);
    }
    while let [first, rest @ ..] = path {
        match first.as_str() {
            "super" => at.pop().map(drop)?,
            "self" => {}
            _ => break,
        }
        path = rest;
    }
    while let [first, rest @ ..] = path {
        let below = [&at[..], std::slice::from_ref(first)].concat();
        if !sources.contains_key(&below) {
            break;
        }
        (at, path) = (below, rest);
    }
    let source = sources.get(&at)?;
    if at == *module {
        return None;
    }
    // What a file but passes on is defined elsewhere.
    let name = path.first();
    let passed_on = source.uses.iter().find(|used| used.path.last() == name);
    let elsewhere = passed_on.and_then(|used| defines(sources, &at, &used.path));
    Some(elsewhere.unwrap_or(at))
}

/// Which file imports which. A file may name what stands above it, and what is passed on there: that is one place with it.
fn imports_of_files() -> BTreeSet<(Module, Module)> {
    let sources = sources();
    let mut imports = BTreeSet::new();
    for (module, source) in &sources {
        for path in source.paths() {
            if let Some(other) = defines(&sources, module, &path)
                && !module.starts_with(&other)
            {
                imports.insert((module.clone(), other));
            }
        }
    }
    imports
}

/// The rooms that each room names by `crate::room`, each with the file that does.
fn imports() -> BTreeMap<String, Vec<(String, String)>> {
    let mut imports: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (module, source) in sources() {
        let room = module.first().cloned().unwrap_or("lib".to_owned());
        for path in source
            .uses
            .iter()
            .map(|used| used.path.clone())
            .chain(source.paths())
        {
            if let [first, named, ..] = &path[..]
                && first == "crate"
            {
                let named = (named.clone(), source.file.clone());
                imports.entry(room.clone()).or_default().push(named);
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

/// Whether `from` imports `to`, or what imports it, and so on.
fn leads_to(imports: &BTreeSet<(Module, Module)>, from: &Module, to: &Module) -> bool {
    let (mut known, mut open) = (BTreeSet::from([from]), vec![from]);
    while let Some(module) = open.pop() {
        let imported = imports.iter().filter(|(importing, _)| importing == module);
        open.extend(
            imported
                .map(|(_, other)| other)
                .filter(|other| known.insert(*other)),
        );
    }
    known.contains(to)
}

#[test]
fn no_two_files_import_each_other_whichever_way_round() {
    let imports = imports_of_files();
    assert!(imports.len() > 300, "the imports were not found");
    let circle = imports
        .iter()
        .filter(|(module, other)| leads_to(&imports, other, module))
        .map(|(module, other)| format!("{} -> {}", module.join("/"), other.join("/")));
    let circle: Vec<String> = circle.collect();
    assert!(circle.is_empty(), "{}", circle.join("\n"));
}

#[test]
fn every_merge_of_a_shard_names_every_field() {
    let mut merges = 0;
    for (module, source) in sources() {
        if module
            .first()
            .is_none_or(|room| room != "family" && room != "shard")
        {
            continue;
        }
        for merge in source.code.split("fn merge(&mut self").skip(1) {
            let body = merge.split("\n    }\n").next().unwrap_or_default();
            let named = body.split("let Self").nth(1);
            let fields = named.and_then(|named| named.split('=').next());
            // A field that is new has then no place to be forgotten in.
            assert!(
                fields.is_some_and(|fields| !fields.contains("..")),
                "{} forgets in a merge what is added to it",
                source.file
            );
            merges += 1;
        }
    }
    assert!(merges > 20, "the merges were not found");
}
