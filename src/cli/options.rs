//! The engine's options as arguments: made from their one table, so that a new option needs nothing here.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use toml::Spanned;

use crate::engine::{EngineOptions, Given, OPTIONS, OptionGroup, OptionInfo, OptionKind};

/// Which options a verb takes.
pub trait Takes: Clone + Send + Sync + 'static {
    const GROUPS: &'static [OptionGroup];
}

/// Every option: of a verb that counts completions.
#[derive(Clone, Debug)]
pub struct All;

impl Takes for All {
    const GROUPS: &'static [OptionGroup] = &OptionGroup::ALL;
}

/// The options of rows: of a verb whose completions were counted before.
#[derive(Clone, Debug)]
pub struct Counted;

impl Takes for Counted {
    const GROUPS: &'static [OptionGroup] = &[OptionGroup::Rows, OptionGroup::Windows];
}

/// The options of a verb, from its flags and its file.
#[derive(Clone, Debug)]
pub struct OptionArgs<V> {
    pub options: EngineOptions,
    /// Those that stand among the flags.
    flags: Vec<&'static OptionInfo>,
    verb: PhantomData<V>,
}

impl<V> OptionArgs<V> {
    /// The flags among these that nothing looks at without `needed`.
    pub fn that_need(&self, needed: &str) -> Option<String> {
        let theirs = self
            .flags
            .iter()
            .filter(|flag| flag.needs == Some(needed))
            .map(|flag| format!("--{}", flag_of(flag.name)));
        let theirs: Vec<String> = theirs.collect();
        (!theirs.is_empty()).then(|| theirs.join(" and "))
    }
}

fn taken<V: Takes>() -> impl Iterator<Item = &'static OptionInfo> {
    let is_taken = |option: &&OptionInfo| V::GROUPS.contains(&option.group);
    OPTIONS.iter().filter(is_taken)
}

fn flag_of(name: &str) -> String {
    name.replace('_', "-")
}

/// The switch that turns an option off.
fn off(name: &str) -> String {
    format!("no_{name}")
}

impl<V: Takes> Args for OptionArgs<V> {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help_heading(None::<&str>)
            .help("Read options from this TOML file, under the names below with _ for -; flags go before it");
        taken::<V>()
            .flat_map(args)
            .fold(command.arg(file), Command::arg)
            .next_help_heading(None)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The arguments of an option: one; of a switch one for each way, of which help shows the one that changes something.
fn args(option: &'static OptionInfo) -> Vec<Arg> {
    let arg = |id: String| {
        Arg::new(id.clone())
            .long(flag_of(&id))
            .help_heading(option.group.title())
    };
    let flag = arg(option.name.to_owned())
        .help(help(option))
        .visible_aliases(option.also.map(flag_of));
    if let OptionKind::Switch = option.kind {
        let default = EngineOptions::default().get(option.name);
        let on = default == Some(Given::Switch(true));
        let [yes, no] = [option.name.to_owned(), off(option.name)];
        let flag = flag
            .action(ArgAction::SetTrue)
            .hide(on)
            .overrides_with(no.clone());
        let not = format!("Switches off: {}", option.meaning);
        let no = arg(no).help(not).hide(!on);
        return vec![flag, no.action(ArgAction::SetTrue).overrides_with(yes)];
    }
    let flag = flag
        .value_name(value_name(option))
        .allow_negative_numbers(matches!(
            option.kind,
            OptionKind::Whole | OptionKind::Number
        ));
    let flag = match option.kind {
        OptionKind::Word {
            words,
            spelt: false,
        } => {
            let words = words().into_iter().map(flag_of);
            let parser = PossibleValuesParser::new(words.collect::<Vec<_>>());
            flag.value_parser(parser.map(Given::Text))
        }
        _ => flag.value_parser(move |text: &str| read(option, text)),
    };
    match option.kind {
        OptionKind::Table(_) => vec![flag.action(ArgAction::Append)],
        _ => vec![flag],
    }
}

fn help(option: &OptionInfo) -> String {
    let many = match option.kind {
        OptionKind::Table(_) => "; may be given several times",
        _ => "",
    };
    let meaning = option.meaning;
    match option.kind {
        OptionKind::Switch => meaning.to_owned(),
        _ => format!("{meaning}{many} [default: {}]", option.default()),
    }
}

fn value_name(option: &OptionInfo) -> String {
    if let Some(unit) = option.unit {
        return unit.to_uppercase();
    }
    match option.kind {
        OptionKind::Switch => String::new(),
        OptionKind::Whole => "N".to_owned(),
        OptionKind::Number => "X".to_owned(),
        OptionKind::Wholes => "N,N".to_owned(),
        OptionKind::Range | OptionKind::Bounds => "LOW,HIGH".to_owned(),
        OptionKind::Component => "NAME".to_owned(),
        OptionKind::Text => "TEXT".to_owned(),
        OptionKind::Fold => "FOLD".to_owned(),
        OptionKind::Table(OptionKind::Fold) => "NAME=FOLD".to_owned(),
        OptionKind::Table(OptionKind::Text) => "NAME=TEXT".to_owned(),
        OptionKind::Table(OptionKind::Bounds) => "NAME=LOW,HIGH".to_owned(),
        OptionKind::Table(_) => "NAME=X".to_owned(),
        // Of `kl_penalty_kind` the kind.
        OptionKind::Word { .. } => {
            let last = option.name.rsplit('_').next();
            last.unwrap_or_default().to_uppercase()
        }
    }
}

/// A flag's text, of which the option says whether it takes it.
fn read(option: &OptionInfo, text: &str) -> Result<Given, String> {
    let given = given(&option.kind, text)?;
    let named = [(option.name.to_owned(), given.clone())];
    let taken = EngineOptions::default().with(named);
    taken.map(|_| given).map_err(|error| error.to_string())
}

/// What a text gives to a kind of option.
fn given(kind: &OptionKind, text: &str) -> Result<Given, String> {
    let refuse = |()| format!("expected {kind}, found `{text}`");
    let list = |kind: &OptionKind| {
        let parts = text.split(',').map(|part| given(kind, part.trim()));
        parts.collect::<Result<_, _>>().map(Given::List)
    };
    match kind {
        OptionKind::Switch => text.parse().map(Given::Switch).map_err(|_| refuse(())),
        OptionKind::Whole => text.parse().map(Given::Whole).map_err(|_| refuse(())),
        OptionKind::Number => text.parse().map(Given::Number).map_err(|_| refuse(())),
        OptionKind::Wholes => list(&OptionKind::Whole),
        OptionKind::Range => list(&OptionKind::Number),
        OptionKind::Bounds if text.contains(',') => list(&OptionKind::Number),
        OptionKind::Bounds => text.parse().map(Given::Number).map_err(|_| refuse(())),
        OptionKind::Fold if text.contains(',') => list(&OptionKind::Text),
        OptionKind::Component | OptionKind::Text | OptionKind::Fold | OptionKind::Word { .. } => {
            Ok(Given::Text(text.to_owned()))
        }
        // The name may have a `=` of its own.
        OptionKind::Table(of) => match text.rsplit_once('=') {
            Some((name, value)) if !name.is_empty() => {
                // A metric's name is its own; the others are ours, and a file has them with underscores.
                let name = match of {
                    OptionKind::Fold => name.to_owned(),
                    _ => name.replace('-', "_"),
                };
                Ok(Given::Table([(name, given(of, value)?)].into()))
            }
            _ => Err(format!("expected NAME=VALUE, found `{text}`")),
        },
    }
}

impl<V: Takes> FromArgMatches for OptionArgs<V> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut given = match matches.get_one::<PathBuf>("config") {
            Some(path) => from_file(path)?,
            None => BTreeMap::new(),
        };
        let mut flags = Vec::new();
        for option in taken::<V>() {
            for flag in from_flag(option, matches) {
                flags.push(option);
                join(&mut given, option.name, flag);
            }
        }
        let options = EngineOptions::default().with(given);
        let mut options =
            options.map_err(|error| Error::raw(ErrorKind::ValueValidation, error.to_string()))?;
        check_limits(&options)?;
        let metadata = options.metadata.take().unwrap_or_default();
        options.metadata = Some(metadata.resolve(|name| env::var(name).ok()));
        let untold = EngineOptions::default();
        let idle = flags.iter().find_map(|flag| {
            let needed = OptionInfo::named(flag.needs?)?;
            let is_told = options.get(needed.name) != untold.get(needed.name);
            (V::GROUPS.contains(&needed.group) && !is_told).then_some([flag.name, needed.name])
        });
        if let Some([flag, needed]) = idle.map(|names| names.map(flag_of)) {
            let text = format!("`--{flag}` needs `--{needed}`: nothing looks at it without");
            return Err(Error::raw(ErrorKind::MissingRequiredArgument, text));
        }
        Ok(Self {
            options,
            flags,
            verb: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A limit below 0 holds its flag up whatever happens, which a program may want, to try what follows; a person has the sign wrong.
fn check_limits(options: &EngineOptions) -> Result<(), Error> {
    let limits = options.limits.numbers().into_iter();
    let mut below = limits.filter(|(_, number, _)| *number < 0.0);
    below.next().map_or(Ok(()), |(name, number, _)| {
        let text = format!("`limits.{name}`: expected a number, at least 0, found {number}");
        Err(Error::raw(ErrorKind::ValueValidation, text))
    })
}

/// What an option's flags say; of names with values, each by itself.
fn from_flag(option: &OptionInfo, matches: &ArgMatches) -> Vec<Given> {
    if let OptionKind::Switch = option.kind {
        let said = |id: &str| matches.get_flag(id);
        let ways = [(option.name.to_owned(), true), (off(option.name), false)];
        let way = ways.into_iter().find(|(id, _)| said(id));
        return way.map(|(_, on)| Given::Switch(on)).into_iter().collect();
    }
    let all = matches.get_many::<Given>(option.name);
    all.into_iter().flatten().cloned().collect()
}

/// Sets an option over what a file says; names with values join those that are there.
fn join(given: &mut BTreeMap<String, Given>, name: &str, flag: Given) {
    match (given.get_mut(name), flag) {
        (Some(Given::Table(there)), Given::Table(more)) => there.extend(more),
        (_, flag) => {
            given.insert(name.to_owned(), flag);
        }
    }
}

/// The options of a TOML file by their own names. Those that the verb does not take are looked at as well.
fn from_file(path: &Path) -> Result<BTreeMap<String, Given>, Error> {
    let refuse = |text: String| {
        let text = format!("{}: {text}", path.display());
        Error::raw(ErrorKind::ValueValidation, text)
    };
    let text = fs::read_to_string(path);
    let text = text.map_err(|error| refuse(format!("cannot read it: {error}")))?;
    let line = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
    let read: BTreeMap<Spanned<String>, Spanned<Given>> =
        toml::from_str(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            refuse(format!("line {}: {}", line(at), error.message()))
        })?;
    let mut given = BTreeMap::new();
    for (name, value) in read {
        let at = line(name.span().start);
        let (name, value) = (name.into_inner(), value.into_inner());
        let told = EngineOptions::default().with([(name.clone(), value.clone())]);
        told.map_err(|error| refuse(format!("line {at}: {error}")))?;
        let own = OptionInfo::named(&name).map_or(name, |option| option.name.to_owned());
        if given.insert(own.clone(), value).is_some() {
            return Err(refuse(format!(
                "line {at}: `{own}` stands there under two names"
            )));
        }
    }
    Ok(given)
}
