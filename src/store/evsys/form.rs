//! Records as the gateway's JSON, and back.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::super::record::{Metric, Prediction, Split, Stored};

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

/// Every entry of an answer that is a list; `None` if it is none, or one entry is not what it should be.
pub(super) fn list<T>(answer: Value, of: impl Fn(Value) -> Option<T>) -> Option<Vec<T>> {
    match answer {
        Value::Array(entries) => entries.into_iter().map(of).collect(),
        _ => None,
    }
}

/// A metric of an answer, which need not repeat what was asked for.
pub(super) fn metric(entry: &Value, name: Option<&str>, split: Option<Split>) -> Option<Metric> {
    let said = |field| entry.get(field).and_then(Value::as_str);
    Some(Metric {
        step: entry.get("step")?.as_u64()?,
        name: said("name").or(name)?.to_owned(),
        value: number_of(entry.get("value")?)?,
        split: match said("split") {
            Some(split) => split.parse().ok()?,
            None => split.unwrap_or_default(),
        },
    })
}
