//! Arguments by name, each taken as what it should be; what nobody has taken is left.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::refusal::Refusal;
use super::request::Named;
use super::word::{nearest, said};
use crate::numerals::number;
use crate::row::Metrics;
use crate::row::run::Status;
use crate::store::Split;

/// The most bytes of a name: what is longer is no name, and would be read again with every list of names.
const NAME: usize = 1024;

/// The arguments of one operation. Those that are null are not there.
pub(super) struct Args {
    op: &'static str,
    /// Of an argument that is itself made of some, its name and a point.
    before: &'static str,
    left: Vec<(String, Box<RawValue>)>,
}

impl Args {
    pub fn new(op: &'static str, named: Named<Box<RawValue>>) -> Self {
        let mut left = named.0;
        left.retain(|(_, value)| value.get() != "null");
        Self {
            op,
            before: "",
            left,
        }
    }

    /// What is wrong with an argument.
    pub fn wrong(&self, arg: &str, expected: &'static str, found: impl Into<String>) -> Refusal {
        Refusal::Arg {
            op: self.op,
            arg: format!("{}{}", self.before, said(arg)),
            expected,
            found: found.into(),
        }
    }

    fn take(&mut self, arg: &str) -> Option<Box<RawValue>> {
        let at = self.left.iter().position(|(name, _)| name == arg)?;
        Some(self.left.swap_remove(at).1)
    }

    fn as_it_is<T: for<'de> Deserialize<'de>>(
        &mut self,
        arg: &str,
        expected: &'static str,
    ) -> Result<Option<T>, Refusal> {
        let Some(value) = self.take(arg) else {
            return Ok(None);
        };
        let read = serde_json::from_str(value.get());
        read.map_err(|_| self.wrong(arg, expected, found(&value)))
    }

    fn needed<T>(&self, arg: &str, expected: &'static str, value: Option<T>) -> Result<T, Refusal> {
        value.ok_or_else(|| self.wrong(arg, expected, "nothing"))
    }

    pub fn text(&mut self, arg: &str) -> Result<Option<String>, Refusal> {
        self.as_it_is(arg, "a text")
    }

    pub fn needed_text(&mut self, arg: &str) -> Result<String, Refusal> {
        let text = self.text(arg)?;
        self.needed(arg, "a text", text)
    }

    /// An id of the caller's own, which may count.
    pub fn word(&mut self, arg: &str) -> Result<Option<String>, Refusal> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Word {
            Text(String),
            Count(i64),
        }
        let word: Option<Word> = self.as_it_is(arg, "a text or a whole number")?;
        Ok(word.map(|word| match word {
            Word::Text(text) => text,
            Word::Count(count) => count.to_string(),
        }))
    }

    /// What people call something.
    pub fn name(&mut self, arg: &str) -> Result<Option<String>, Refusal> {
        let name = self.text(arg)?;
        if let Some(name) = name.as_ref().filter(|name| name.len() > NAME) {
            let found = format!("one of {} bytes", name.len());
            return Err(self.wrong(arg, "a name of at most 1024 bytes", found));
        }
        Ok(name)
    }

    pub fn needed_name(&mut self, arg: &str) -> Result<String, Refusal> {
        let name = self.name(arg)?;
        self.needed(arg, "a text", name)
    }

    pub fn names(&mut self, arg: &str) -> Result<Option<Vec<String>>, Refusal> {
        const EXPECTED: &str = "a list of texts of at most 1024 bytes";
        let names: Option<Vec<String>> = self.as_it_is(arg, EXPECTED)?;
        let long = |names: &Vec<String>| names.iter().any(|name| name.len() > NAME);
        match names {
            Some(names) if long(&names) => Err(self.wrong(arg, EXPECTED, "a longer one")),
            names => Ok(names),
        }
    }

    pub fn flag(&mut self, arg: &str) -> Result<Option<bool>, Refusal> {
        self.as_it_is(arg, "true or false")
    }

    pub fn integer(&mut self, arg: &str) -> Result<Option<i64>, Refusal> {
        self.as_it_is(arg, "a whole number")
    }

    /// A step, or what else counts: as an integer, or as a double that is one.
    pub fn count(&mut self, arg: &str) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.take(arg) else {
            return Ok(None);
        };
        let text = value.get();
        let whole = text.parse::<u64>().ok();
        let whole = whole.or_else(|| text.parse().ok().and_then(from_double));
        let counted = whole.filter(|count| i64::try_from(*count).is_ok());
        if counted.is_none() {
            return Err(self.wrong(arg, "a whole number from 0 to 2^63 - 1", found(&value)));
        }
        Ok(counted)
    }

    pub fn needed_count(&mut self, arg: &str) -> Result<u64, Refusal> {
        let count = self.count(arg)?;
        self.needed(arg, "a whole number from 0 to 2^63 - 1", count)
    }

    /// A number, which may be infinite; one that is undefined is none.
    pub fn number(&mut self, arg: &str) -> Result<Option<f64>, Refusal> {
        let Some(value) = self.take(arg) else {
            return Ok(None);
        };
        let read = number_of(value.get());
        let read = read.ok_or_else(|| self.wrong(arg, "a number", found(&value)))?;
        Ok(Some(read).filter(|number| !number.is_nan()))
    }

    pub fn split(&mut self, arg: &str) -> Result<Option<Split>, Refusal> {
        self.one_of(arg, "one of train val")
    }

    pub fn status(&mut self, arg: &str) -> Result<Option<Status>, Refusal> {
        self.one_of(arg, "one of pending running completed failed cancelled")
    }

    fn one_of<T: std::str::FromStr>(
        &mut self,
        arg: &str,
        expected: &'static str,
    ) -> Result<Option<T>, Refusal> {
        let Some(value) = self.take(arg) else {
            return Ok(None);
        };
        let text: Option<String> = serde_json::from_str(value.get()).ok();
        let known = text.as_ref().and_then(|text| text.parse().ok());
        let found = text
            .as_ref()
            .map_or_else(|| found(&value), |text| said(text));
        match known {
            Some(known) => Ok(Some(known)),
            None => Err(self.wrong(arg, expected, found)),
        }
    }

    /// Any JSON; null where there is none.
    pub fn json(&mut self, arg: &str) -> Result<Value, Refusal> {
        Ok(self.as_it_is(arg, "JSON")?.unwrap_or_default())
    }

    /// Numbers by name. A boolean is 1 or 0, null is nothing, and what is not finite may be the text that says so.
    pub fn metrics(&mut self, arg: &str) -> Result<Metrics, Refusal> {
        const EXPECTED: &str = "an object of numbers by name";
        let value = self.take(arg);
        let value = self.needed(arg, EXPECTED, value)?;
        let read: Result<Named<&RawValue>, _> = serde_json::from_str(value.get());
        let named = match read {
            Ok(named) => named.0,
            Err(_) if kind(&value) != "an object" => {
                return Err(self.wrong(arg, EXPECTED, kind(&value)));
            }
            Err(error) => return Err(self.wrong(arg, EXPECTED, error.to_string())),
        };
        let mut metrics = Metrics::with_capacity(named.len());
        for (name, value) in named {
            if name.len() > NAME {
                let found = format!("one of {} bytes", name.len());
                return Err(self.wrong(arg, "names of at most 1024 bytes", found));
            }
            match number_of(value.get()) {
                Some(number) => metrics.push(name, number),
                None if value.get() == "null" => {}
                None => {
                    let arg = format!("{arg}.{name}");
                    return Err(self.wrong(&arg, "a number", found(value)));
                }
            }
        }
        Ok(metrics)
    }

    /// An argument that is made of some itself. Of those, null is what was said.
    pub fn object(&mut self, arg: &'static str, before: &'static str) -> Result<Self, Refusal> {
        const EXPECTED: &str = "an object";
        let value = self.take(arg);
        let value = self.needed(arg, EXPECTED, value)?;
        match serde_json::from_str(value.get()) {
            Ok(Named(left)) => Ok(Self {
                op: self.op,
                before,
                left,
            }),
            Err(_) if kind(&value) != EXPECTED => Err(self.wrong(arg, EXPECTED, kind(&value))),
            Err(error) => Err(self.wrong(arg, EXPECTED, error.to_string())),
        }
    }

    /// Takes an argument that is there and null.
    pub fn take_null(&mut self, arg: &str) -> bool {
        let is_it = |(name, value): &(String, Box<RawValue>)| name == arg && value.get() == "null";
        let at = self.left.iter().position(is_it);
        at.is_some_and(|at| {
            self.left.swap_remove(at);
            true
        })
    }

    /// What nobody has taken, to be kept with the record. `own` are the fields that are the gateway's to say.
    pub fn rest(self, own: &[&str]) -> Result<Map<String, Value>, Refusal> {
        let mut rest = Map::new();
        for (name, value) in &self.left {
            if own.contains(&name.as_str()) {
                return Err(self.wrong(name, "nothing: that is the gateway's to say", kind(value)));
            }
            let read = serde_json::from_str(value.get());
            let value = read.map_err(|_| self.wrong(name, "JSON", kind(value)))?;
            rest.insert(name.clone(), value);
        }
        Ok(rest)
    }

    /// Refuses what nobody has taken; `known` are the names that there are.
    pub fn none_left(self, known: &[&'static str]) -> Result<(), Refusal> {
        let Some((name, _)) = self.left.first() else {
            return Ok(());
        };
        let found = match nearest(name, known.iter().copied()) {
            Some(known) => format!("it; the closest one is `{known}`"),
            None => "it".to_owned(),
        };
        Err(self.wrong(name, "no argument of that name", found))
    }
}

fn from_double(x: f64) -> Option<u64> {
    // Up to 2^53 a double that is whole is the very number meant.
    let exact = (0.0..=9_007_199_254_740_992.0).contains(&x) && x.fract() == 0.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    exact.then_some(x as u64)
}

fn number_of(json: &str) -> Option<f64> {
    match json.as_bytes().first() {
        Some(b'0'..=b'9' | b'-') => serde_json::from_str(json).ok(),
        _ => number(&serde_json::from_str(json).ok()?),
    }
}

/// What was found: a number as it stands, of others what they are.
fn found(value: &RawValue) -> String {
    match kind(value) {
        "a number" => said(value.get()),
        kind => kind.to_owned(),
    }
}

fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'"') => "a text",
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}
