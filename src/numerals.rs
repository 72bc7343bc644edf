//! Numbers as JSON has them, and as programs write them where it has no word.

use serde_json::Value;

/// What some programs put before a text.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A number of a row: a boolean is 1 or 0, and what is not finite may be a text that says so.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::String(word) => match word.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// Python's `json` writes `NaN`, `Infinity` and `-Infinity` bare, which is no JSON: outside texts they become texts.
pub(crate) fn with_bare_words_quoted(line: &[u8]) -> Vec<u8> {
    const WORDS: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
    let mut quoted = Vec::with_capacity(line.len() + 16);
    let (mut rest, mut inside) = (line, false);
    while let Some(&byte) = rest.first() {
        let word = WORDS.iter().find(|word| !inside && rest.starts_with(word));
        let taken = match (word, byte) {
            (Some(word), _) => {
                quoted.push(b'"');
                quoted.extend_from_slice(word);
                quoted.push(b'"');
                rest = &rest[word.len()..];
                continue;
            }
            // What a backslash escapes is no end of the text.
            (None, b'\\') => 2.min(rest.len()),
            (None, b'"') => {
                inside = !inside;
                1
            }
            (None, _) => 1,
        };
        quoted.extend_from_slice(&rest[..taken]);
        rest = &rest[taken..];
    }
    quoted
}
