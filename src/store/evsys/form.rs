//! Records as the gateway's JSON, and back.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::super::record::{
    Checkpoint, Eval, Experiment, Group, Metric, Prediction, Run, Split, Stored,
};
use super::gateway::Entry;

/// Arguments by name; those that are null are left out, as the gateway has it.
pub(super) fn args<const N: usize>(entries: [(&str, Value); N]) -> Map<String, Value> {
    let given = entries.into_iter().filter(|(_, value)| !value.is_null());
    given
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// A record's fields as arguments.
pub(super) fn fields(record: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(record) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// As [`fields`], where JSON has no word for a number.
pub(super) fn prediction(prediction: &Prediction) -> Map<String, Value> {
    let mut fields = fields(prediction);
    let numbers = [
        ("reward", prediction.reward),
        ("advantage", prediction.advantage),
    ];
    for (name, value) in numbers {
        match value.filter(|value| !value.is_nan()) {
            Some(value) => fields.insert(name.to_owned(), number(value)),
            None => fields.remove(name),
        };
    }
    fields
}

/// A number; an infinity is a word, as in the recordings.
pub(super) fn number(value: f64) -> Value {
    match value {
        f64::INFINITY => Value::from("Infinity"),
        f64::NEG_INFINITY => Value::from("-Infinity"),
        value => Value::from(value),
    }
}

fn number_of(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        _ => value.as_f64(),
    }
}

/// A record of an answer. What the gateway says is null is absent, and an id may be a number.
pub(super) fn stored<T: DeserializeOwned>(answer: Value) -> Option<Stored<T>> {
    let Value::Object(fields) = answer else {
        return None;
    };
    let fields: Map<String, Value> = fields
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| match value {
            Value::Number(id) if name == "id" || name.ends_with("_id") => {
                (name, id.to_string().into())
            }
            value => (name, value),
        })
        .collect();
    serde_json::from_value(fields.into()).ok()
}

/// As [`stored`], where a number may be a word.
pub(super) fn stored_prediction(mut answer: Value) -> Option<Stored<Prediction>> {
    let mut take = |name| {
        let value = answer.as_object_mut()?.remove(name)?;
        number_of(&value)
    };
    let (reward, advantage) = (take("reward"), take("advantage"));
    let mut stored: Stored<Prediction> = stored(answer)?;
    (stored.record.reward, stored.record.advantage) = (reward, advantage);
    Some(stored)
}

impl<T: FromAnswer> Entry for Stored<T> {
    const LEAST: u64 = 2048;

    fn of(json: &str) -> Option<Self> {
        T::stored(serde_json::from_str(json).ok()?)
    }
}

/// A record that answers list.
pub(super) trait FromAnswer: Sized {
    fn stored(answer: Value) -> Option<Stored<Self>>;
}

macro_rules! from_answer {
    ($($record:ty: $of:ident),*) => {
        $(impl FromAnswer for $record {
            fn stored(answer: Value) -> Option<Stored<Self>> {
                $of(answer)
            }
        })*
    };
}

from_answer!(
    Experiment: stored,
    Group: stored,
    Run: stored,
    Checkpoint: stored,
    Eval: stored,
    Prediction: stored_prediction
);

/// A number of an answer, which need not repeat what was asked for.
#[derive(Deserialize)]
pub(super) struct Said {
    step: u64,
    #[serde(default)]
    name: Option<String>,
    #[serde(deserialize_with = "word_or_number")]
    value: f64,
    #[serde(default)]
    split: Option<Split>,
}

impl Entry for Said {
    const LEAST: u64 = 64;

    fn of(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

impl Said {
    /// The metric it is, to who asked for this name and split.
    pub fn metric(self, name: Option<&str>, split: Option<Split>) -> Option<Metric> {
        Some(Metric {
            step: self.step,
            name: self.name.or_else(|| name.map(str::to_owned))?,
            value: self.value,
            split: self.split.or(split).unwrap_or_default(),
        })
    }
}

fn word_or_number<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let value = Value::deserialize(from)?;
    number_of(&value).ok_or_else(|| D::Error::custom("expected a number"))
}
