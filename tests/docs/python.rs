//! What the Python package says of options, columns and reported numbers, made from the tables.

use grpo_metrics::batch::scalars::{FieldInfo, FieldKind, Meta, Scalar, Weighting};
use grpo_metrics::batch::{ColumnInfo, ColumnKind, Columns};
use grpo_metrics::engine::{EngineOptions, Given, OPTIONS, OptionGroup, OptionInfo, OptionKind};

#[path = "../../python/src/outputs.rs"]
mod outputs;

use outputs::{OUTPUTS, Output};

use super::{check, read};

/// How wide the lines of a docstring are.
const WIDTH: usize = 140;

/// One parameter of a function, or one member of a typed dictionary.
struct Parameter {
    name: &'static str,
    /// The type, `None` apart.
    annotation: String,
    /// As Python writes it; `None` of one that has to be given.
    default: Option<String>,
    /// One line: what it is, in what shape and unit, and what holds without it.
    meaning: String,
}

impl Parameter {
    fn in_signature(&self, deep: usize) -> String {
        let (name, deep) = (self.name, " ".repeat(deep));
        let annotation = optional(&self.annotation);
        match &self.default {
            Some(default) => format!("{deep}{name}: {annotation} = {default},\n"),
            None => format!("{deep}{name}: {},\n", self.annotation),
        }
    }

    fn in_dictionary(&self) -> String {
        format!("    {}: {}\n", self.name, optional(&self.annotation))
    }

    /// Its line, broken where it is too wide, `deep` spaces in.
    fn in_docstring(&self, deep: usize) -> String {
        let mut lines = vec![format!("{}{}:", " ".repeat(deep), self.name)];
        for word in self.meaning.split(' ') {
            let line = lines.last_mut().unwrap();
            if line.len() + 1 + word.len() > WIDTH {
                lines.push(format!("{}{word}", " ".repeat(deep + 4)));
            } else {
                *line += " ";
                *line += word;
            }
        }
        lines.join("\n") + "\n"
    }

    fn of_column(info: &ColumnInfo) -> Self {
        let annotation = match info.kind {
            ColumnKind::Components => "Mapping[str, Column]",
            ColumnKind::Texts => "Sequence[str]",
            ColumnKind::Number => "float",
            ColumnKind::Natural => "int",
            _ => "Column",
        };
        let cells = match (info.shape.label(), info.unit) {
            ("-", unit) => [info.kind.label(), &of_unit(unit)].concat(),
            (shape, unit) => {
                let shape = if shape.starts_with('[') {
                    shape.to_owned()
                } else {
                    format!("[{shape}]")
                };
                format!("{} {shape}{}", info.kind.label(), of_unit(unit))
            }
        };
        let must = info.name == "rewards";
        let absent = if must {
            String::new()
        } else {
            format!(" Without it: {}.", info.absent)
        };
        Self {
            name: info.name,
            annotation: annotation.to_owned(),
            default: (!must).then(|| "None".to_owned()),
            meaning: format!("{cells}. {}{absent}", info.meaning.trim()),
        }
    }

    fn of_option(option: &OptionInfo) -> Self {
        // Any text, as `DIALECTS` has them.
        let annotation = match option.name {
            "dialect" => "str".to_owned(),
            _ => annotation(&option.kind),
        };
        let takes = match option.domain {
            Some((domain, _)) => domain.to_owned(),
            None => option.kind.to_string(),
        };
        let unit = option.unit.map_or_else(String::new, of_unit);
        let needs = option.needs.map(|needs| format!(" Only with `{needs}`."));
        let of = |text: Option<String>| text.unwrap_or_default();
        Self {
            name: option.name,
            annotation,
            default: Some(default(option)),
            meaning: format!(
                "{takes}{unit}. {}. Without it: {}.{}{}",
                option.meaning.trim(),
                option.default(),
                of(needs),
                also(option.also.as_slice())
            ),
        }
    }

    fn of_scalar(scalar: Scalar) -> Self {
        let also = also(scalar.also());
        Self {
            name: scalar.name(),
            annotation: "float".to_owned(),
            default: None,
            meaning: format!(
                "number{}. {}{also}",
                of_unit(scalar.unit()),
                scalar.meaning()
            ),
        }
    }

    fn of_field(field: &FieldInfo) -> Self {
        let also = also(field.also);
        let (annotation, takes) = match field.kind {
            FieldKind::Number => ("float".to_owned(), format!("number{}", of_unit(field.unit))),
            FieldKind::Flag => ("bool".to_owned(), "true or false".to_owned()),
            FieldKind::Word(words) => (
                format!("Literal[\"{}\"]", words.join("\", \"")),
                words.join(", "),
            ),
            FieldKind::Text(words) => ("str".to_owned(), format!("text, as {}", words.join(", "))),
            FieldKind::Meta => ("Meta".to_owned(), "a dictionary, see Meta".to_owned()),
        };
        Self {
            name: field.name,
            annotation,
            default: None,
            meaning: format!("{takes}. {}{also}", field.meaning),
        }
    }

    fn of_output(output: &Output) -> Self {
        Self {
            name: output.name,
            annotation: output.annotation.to_owned(),
            default: Some("None".to_owned()),
            meaning: format!("{}. Without it: {}.", output.meaning, output.none),
        }
    }
}

/// Other names that are taken for it.
fn also(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        names => format!(" Also `{}`.", names.join("`, `")),
    }
}

fn optional(annotation: &str) -> String {
    match annotation {
        "Any" | "object" => annotation.to_owned(),
        annotation => format!("{annotation} | None"),
    }
}

fn of_unit(unit: &str) -> String {
    match unit {
        "-" | "1" => String::new(),
        unit => format!(", in {unit}"),
    }
}

/// What holds where an option is not given, as Python writes it; `None` where the docstring says it in words.
fn default(option: &OptionInfo) -> String {
    match EngineOptions::default().get(option.name) {
        Some(Given::Switch(true)) => "True".to_owned(),
        Some(Given::Switch(false)) => "False".to_owned(),
        Some(Given::Whole(number)) => number.to_string(),
        Some(Given::Number(number)) => format!("{number:?}"),
        Some(Given::Text(word)) => format!("\"{word}\""),
        _ => "None".to_owned(),
    }
}

/// The Python type of an option.
fn annotation(kind: &OptionKind) -> String {
    match kind {
        OptionKind::Switch => "bool".to_owned(),
        OptionKind::Whole => "int".to_owned(),
        OptionKind::Number => "float".to_owned(),
        OptionKind::Wholes => "list[int] | tuple[int, ...]".to_owned(),
        OptionKind::Range => "tuple[float, float]".to_owned(),
        OptionKind::Component => "str | tuple[str | None, float]".to_owned(),
        OptionKind::Fold => "str | tuple[str, str]".to_owned(),
        OptionKind::Bounds => "float | tuple[float, float]".to_owned(),
        OptionKind::Text | OptionKind::Word { spelt: true, .. } => "str".to_owned(),
        OptionKind::Word { words, .. } => format!("Literal[\"{}\"]", words().join("\", \"")),
        OptionKind::Table(of) => format!("Mapping[str, {}]", annotation(of)),
    }
}

fn columns() -> Vec<Parameter> {
    Columns::ALL.iter().map(Parameter::of_column).collect()
}

fn options(groups: &[OptionGroup]) -> Vec<Parameter> {
    let options = OPTIONS
        .iter()
        .filter(|option| groups.contains(&option.group));
    options.map(Parameter::of_option).collect()
}

fn outputs() -> Vec<Parameter> {
    OUTPUTS.iter().map(Parameter::of_output).collect()
}

/// A text in which what stands between each line with `begin` and the next with `end` is made anew; `make` is told how deep the first stands.
fn between(text: &str, begin: &str, end: &str, make: impl Fn(usize) -> String) -> String {
    let (mut new, mut inside) = (String::new(), false);
    for line in text.split_inclusive('\n') {
        inside &= !line.contains(end);
        if !inside {
            new += line;
        }
        if line.contains(begin) {
            new += &make(line.len() - line.trim_start().len());
            inside = true;
        }
    }
    assert!(!inside, "`{begin}`: `{end}` is not there");
    new
}

/// What stands in signatures, typed dictionaries and docstrings: its name there, the words over its list in a docstring, and the list.
fn parts() -> [(&'static str, &'static str, Vec<Parameter>); 7] {
    let all = |parts: [Vec<Parameter>; 2]| parts.into_iter().flatten().collect();
    let mut counting = options(&[OptionGroup::Counting]);
    counting.extend(options(&[OptionGroup::Rows]).into_iter().take(1));
    [
        (
            "options",
            "Options, each with",
            all([outputs(), options(&OptionGroup::ALL)]),
        ),
        ("columns", "Columns, each with", columns()),
        (
            "counted",
            "Columns and options, each with",
            all([columns(), counting]),
        ),
        (
            "reading",
            "Options of a row, each with",
            options(&[OptionGroup::Rows]),
        ),
        (
            "scalars",
            "Scalars, each with",
            Scalar::ALL
                .iter()
                .copied()
                .map(Parameter::of_scalar)
                .collect(),
        ),
        (
            "the snapshot",
            "Fields, each with",
            Weighting::FIELDS.iter().map(Parameter::of_field).collect(),
        ),
        (
            "the meta-controller",
            "Fields of the meta-controller, each with",
            Meta::FIELDS.iter().map(Parameter::of_field).collect(),
        ),
    ]
}

#[test]
fn the_signatures_and_docstrings_of_the_python_package_are_made_from_the_tables() {
    for (path, made) in [
        ("python/grpo_metrics/engine.py", 4),
        ("python/grpo_metrics/shard.py", 4),
        ("python/grpo_metrics/_summarize.py", 2),
        ("python/grpo_metrics/given.py", 8),
    ] {
        let mut text = read(path);
        let mut found = 0;
        for (name, heading, parameters) in &parts() {
            let end = format!("# end of {name}");
            let list = |line: &dyn Fn(&Parameter) -> String| parameters.iter().map(line).collect();
            for (begin, end, make) in [
                (
                    &*format!(" # {name}: made from"),
                    &*end,
                    &(|deep| list(&|p| p.in_signature(deep))) as &dyn Fn(usize) -> String,
                ),
                (&*format!(" # fields of {name}: made from"), &*end, &|_| {
                    list(&Parameter::in_dictionary)
                }),
                (heading, "\"\"\"", &|deep| list(&|p| p.in_docstring(deep))),
            ] {
                found += text.matches(begin).count();
                text = between(&text, begin, end, make);
            }
        }
        assert_eq!(found, made, "{path}: what is made of the tables");
        check(path, &text);
    }
}
