//! The key that nobody is to see.

use std::fmt;

/// How many escapes, one within another, are looked through: JSON within JSON within a page.
const DEPTH: usize = 3;

/// A text that nothing shows: no error, no log line, no `Debug`.
#[derive(Clone)]
pub(in crate::store::evsys) struct Secret(pub(super) String);

impl Secret {
    /// `text`, if it can be sent in a header.
    pub(in crate::store::evsys) fn new(text: String) -> Option<Self> {
        let sendable = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        sendable.then_some(Self(text))
    }

    /// `text` without the secret, should somebody have put it there: as it is, or escaped as in JSON, a URL or HTML.
    pub(in crate::store::evsys) fn scrub(&self, text: &str) -> String {
        let mut found = Vec::new();
        self.find(&Plain::of(text), DEPTH, &mut found);
        found.sort_unstable();
        let (mut shown, mut end) = (String::with_capacity(text.len()), 0);
        for (from, to) in found {
            if from >= end {
                shown += text.get(end..from).unwrap_or_default();
                shown += "<key>";
            }
            end = end.max(to);
        }
        shown + text.get(end..).unwrap_or_default()
    }

    /// Where the secret stands in `text` or in what it is an escape of.
    fn find(&self, text: &Plain, depth: usize, found: &mut Vec<(usize, usize)>) {
        let key = self.0.as_bytes();
        for (bytes, spans) in text
            .bytes
            .windows(key.len())
            .zip(text.spans.windows(key.len()))
        {
            if bytes == key {
                found.push((spans[0].0, spans[key.len() - 1].1));
            }
        }
        if depth == 0 {
            return;
        }
        for escape in [json, percent, html] {
            let plain = text.without(escape);
            if plain.bytes.len() < text.bytes.len() {
                self.find(&plain, depth - 1, found);
            }
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<key>")
    }
}

/// A text that was perhaps escaped, and where each of its bytes came from: first byte, and the one after the last.
struct Plain {
    bytes: Vec<u8>,
    spans: Vec<(usize, usize)>,
}

/// The byte that an escape at the beginning of a text stands for, and the escape's length.
type Escape = fn(&[u8]) -> Option<(u8, usize)>;

impl Plain {
    fn of(text: &str) -> Self {
        Self {
            bytes: text.as_bytes().to_vec(),
            spans: (0..text.len()).map(|at| (at, at + 1)).collect(),
        }
    }

    fn without(&self, escape: Escape) -> Self {
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        let mut at = 0;
        while at < self.bytes.len() {
            let (byte, len) = escape(&self.bytes[at..]).unwrap_or((self.bytes[at], 1));
            bytes.push(byte);
            spans.push((self.spans[at].0, self.spans[at + len - 1].1));
            at += len;
        }
        Self { bytes, spans }
    }
}

/// `\/`, `\\`, `\"`, `\'`, and by number `\u002f` or, as languages write it, `\x2f`.
fn json(text: &[u8]) -> Option<(u8, usize)> {
    match text {
        [b'\\', byte @ (b'/' | b'\\' | b'"' | b'\''), ..] => Some((*byte, 2)),
        [b'\\', b'u', b'0', b'0', high, low, ..] => Some((number(&[*high, *low], 16)?, 6)),
        [b'\\', b'x', high, low, ..] => Some((number(&[*high, *low], 16)?, 4)),
        _ => None,
    }
}

/// `%2F`.
fn percent(text: &[u8]) -> Option<(u8, usize)> {
    match text {
        [b'%', high, low, ..] => Some((number(&[*high, *low], 16)?, 3)),
        _ => None,
    }
}

/// `&amp;`, `&#38;`, `&#x26;`.
fn html(text: &[u8]) -> Option<(u8, usize)> {
    let inner = text.strip_prefix(b"&")?;
    let len = inner.iter().take(8).position(|byte| *byte == b';')?;
    let byte = match &inner[..len] {
        b"amp" => b'&',
        b"lt" => b'<',
        b"gt" => b'>',
        b"quot" => b'"',
        b"apos" => b'\'',
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16)?,
        [b'#', digits @ ..] => number(digits, 10)?,
        _ => return None,
    };
    Some((byte, len + 2))
}

fn number(digits: &[u8], radix: u32) -> Option<u8> {
    let first = (!digits.is_empty()).then_some(0_u32);
    let value = digits.iter().fold(first, |value, digit| {
        value?
            .checked_mul(radix)?
            .checked_add(char::from(*digit).to_digit(radix)?)
    });
    u8::try_from(value?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_no_header_can_carry_is_none() {
        for text in ["", "a b", "a\nb", "ü"] {
            assert!(Secret::new(text.to_owned()).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_key_that_is_echoed_escaped_is_scrubbed_too() {
        let key = Secret::new(r#"sk/a+b=&<"%41\'#"#.to_owned()).unwrap();
        let escaped = [
            r#"sk/a+b=&<"%41\'#"#,
            // What PHP's `json_encode` makes of it, and what it makes of that.
            r#"sk\/a+b=&<\"%41\\'#"#,
            r#"sk\\\/a+b=&<\\\"%41\\\\'#"#,
            // Python: `json.dumps`, `urllib.parse.quote(_, safe="")`, once and twice, `html.escape`.
            r#"sk/a+b=&<\"%41\\'#"#,
            "sk%2Fa%2Bb%3D%26%3C%22%2541%5C%27%23",
            "sk%252Fa%252Bb%253D%2526%253C%2522%252541%255C%2527%2523",
            r"sk/a+b=&amp;&lt;&quot;%41\&#x27;#",
            r"sk&#47;a+b=&#38;&#60;&#34;%41\&#39;&#35;",
            // .NET writes these by number; and JSON within a page.
            r"sk/a\u002Bb=\u0026\u003c\u0022%41\\\u0027#",
            r"sk\/a+b=&amp;&lt;\&quot;%41\\&#x27;#",
        ];
        for text in escaped {
            let echo = format!("é no {text}{text} ü");
            assert_eq!(key.scrub(&echo), "é no <key><key> ü", "{text}");
        }
        for text in [
            "", "%", "&", "&;", "&#;", "&#x;", "\\", "\\u00", "%zz", "%+f", "é&é;",
        ] {
            assert_eq!(key.scrub(text), text);
        }
    }
}
