//! The form of the table of options: what one line of it gives to the engine, the command, Python and the documents.

use super::check::Domain;
use super::value::{Given, OptionKind};
use super::{EngineOptions, OPTIONS};

/// What an option has to do with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionGroup {
    /// What the numbers of a row are read with: it can be told when all is counted.
    Rows,
    /// When a row goes out, over which steps.
    Windows,
    /// What completions are counted against: their shard remembers it, and every rank needs the same.
    Counting,
    /// Ranks, and steps that some of them have no part in.
    Ranks,
}

impl OptionGroup {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Rows, Self::Windows, Self::Counting, Self::Ranks];

    /// A heading over its options.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Rows => "What stands in a row",
            Self::Windows => "When a row goes out",
            Self::Counting => "What completions are counted against",
            Self::Ranks => "Ranks",
        }
    }
}

/// A line of the table of options.
#[derive(Clone, Copy, Debug)]
pub struct OptionInfo {
    /// The same in Rust, Python, a file and JSON; a flag has hyphens for underscores.
    pub name: &'static str,
    /// What it has to do with.
    pub group: OptionGroup,
    /// What it takes.
    pub kind: OptionKind,
    /// One line, as help and documents have it.
    pub meaning: &'static str,
    /// What holds where nothing is said, of an option that is none by default.
    pub none: Option<&'static str>,
    /// Of a number.
    pub unit: Option<&'static str>,
    /// Which numbers make sense.
    pub domain: Option<Domain>,
    /// Another name that is taken for it.
    pub also: Option<&'static str>,
    /// The option without which nothing looks at this one.
    pub needs: Option<&'static str>,
    /// Whether it decides which rows a run has, or what stands in them: a run is not gone on with by another.
    pub decides: bool,
}

impl OptionInfo {
    /// The option of this name; hyphens are taken for underscores.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        let name = name.replace('-', "_");
        OPTIONS
            .iter()
            .find(|option| option.names().any(|known| known == name))
    }

    /// What holds where it is not given, in words.
    #[must_use]
    pub fn default(&self) -> String {
        let text = |given: Option<Given>| match given {
            Some(Given::Text(word)) => word,
            Some(Given::Table(table)) => {
                let entries = table.iter().map(|(name, value)| format!("{name}={value}"));
                entries.collect::<Vec<_>>().join(", ")
            }
            given => given.map_or_else(String::new, |given| given.to_string()),
        };
        let none = self.none.map(str::to_owned);
        none.unwrap_or_else(|| text(EngineOptions::default().get(self.name)))
    }

    /// Its name, and the other one that is taken for it.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.also)
    }
}

/// `Some` of what is there.
macro_rules! given {
    () => {
        None
    };
    ($given:expr) => {
        Some($given)
    };
}

/// False of what is there.
macro_rules! unless {
    () => {
        true
    };
    (change) => {
        false
    };
}

/// Makes `EngineOptions`, the builder's methods and `OPTIONS` of one table.
macro_rules! options {
    ($($group:ident { $(
        $(#[doc = $meaning:literal])+
        $name:ident: $type:ty = $default:expr
            $(, none $none:literal)?
            $(, unit $unit:literal)?
            $(, within $domain:ident)?
            $(, also $also:literal)?
            $(, needs $needs:literal)?
            $(, may $change:ident)?;
    )+ })+) => {
        /// What an engine can be told. By name it is read from JSON, a file, flags and Python's keywords alike; an unknown name is
        /// an error that has the closest known one, and what is not given has its default.
        ///
        /// ```
        /// use grpo_metrics::engine::EngineOptions;
        ///
        /// let options: EngineOptions = serde_json::from_str(r#"{"dialect": "trl", "logging_steps": 10}"#)?;
        /// assert_eq!(options.logging_steps, 10);
        /// let error = serde_json::from_str::<EngineOptions>(r#"{"dialekt": "trl"}"#).unwrap_err();
        /// assert!(error.to_string().starts_with("unknown option `dialekt`; did you mean `dialect`?"));
        /// # Ok::<(), serde_json::Error>(())
        /// ```
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct EngineOptions {
            $($($(#[doc = $meaning])+ pub $name: $type,)+)+
        }

        impl Default for EngineOptions {
            /// Those of docs/OPTIONS.md.
            fn default() -> Self {
                Self { $($($name: $default,)+)+ }
            }
        }

        /// Every option, group by group.
        pub static OPTIONS: &[OptionInfo] = &[$($(OptionInfo {
            name: stringify!($name),
            group: OptionGroup::$group,
            kind: <$type as OptionValue>::KIND,
            meaning: concat!($($meaning),+).trim_ascii_start(),
            none: given!($($none)?),
            unit: given!($($unit)?),
            domain: given!($(check::$domain)?),
            also: given!($($also)?),
            needs: given!($($needs)?),
            decides: unless!($($change)?),
        },)+)+];

        impl EngineOptions {
            /// The option of this name, as it would be given.
            #[must_use]
            pub fn get(&self, name: &str) -> Option<Given> {
                match name {
                    $($(stringify!($name) => Some(self.$name.give()),)+)+
                    _ => None,
                }
            }

            /// Sets the option of this name.
            fn set(&mut self, name: &str, given: Given) -> Result<(), String> {
                match name {
                    $($(stringify!($name) => self.$name = OptionValue::read(given)?,)+)+
                    _ => {}
                }
                Ok(())
            }

            /// Each number that must make sense, by its option.
            fn numbers(&self) -> impl Iterator<Item = (&'static OptionInfo, f64)> {
                let numbers = [$($(self.$name.number(),)+)+];
                OPTIONS.iter().zip(numbers).filter_map(|(option, number)| Some((option, number?)))
            }
        }

        /// A method for each option; what it means is told once, at [`EngineOptions`].
        impl EngineBuilder {
            $($(
                $(#[doc = $meaning])+
                #[must_use]
                pub fn $name(mut self, $name: <$type as OptionValue>::Told) -> Self {
                    self.options.$name = OptionValue::told($name);
                    self
                }
            )+)+
        }
    };
}

pub(super) use {given, options, unless};
