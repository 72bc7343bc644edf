//! Text from outside as a terminal may have it: what would move the cursor, change what stands there, or turn the order of
//! letters around is shown as its number.

use std::fmt::Write as _;

/// Whether a character does something other than stand there. Joiners within a word (U+200C, U+200D) do not count: scripts
/// and emoji need them.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn escaped(text: &str, structure: &[char]) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) && !structure.contains(&c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A line stays one line, whatever somebody calls a metric, a run or a file: `a\u{202e}b\n`.
pub(crate) fn one_line(text: &str) -> String {
    escaped(text, &[])
}

/// A text whose lines and tabs are our own.
#[cfg(any(test, feature = "cli"))]
pub(crate) fn lines(text: &str) -> String {
    escaped(text, &['\n', '\t'])
}

/// Our own JSON for the eye, still the same JSON: within a string such a character may as well be its number.
pub(crate) fn json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a text cannot fail.
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_shown_as_its_number_and_what_stands_there_as_itself() {
        let plain = "train/Größe µ 漢字 می\u{200c}خواهم 👩\u{200d}🔬 a\u{301} ▁█↑";
        assert_eq!(one_line(plain), plain);
        assert_eq!(
            one_line(
                "a\u{1b}[2J\u{9b}\u{7f}\r\n\tb\u{202e}\u{2066}\u{200f}\u{61c}\u{2028}\u{feff}"
            ),
            "a\\u{1b}[2J\\u{9b}\\u{7f}\\r\\n\\tb\\u{202e}\\u{2066}\\u{200f}\\u{61c}\\u{2028}\\u{feff}"
        );
        assert_eq!(lines("a\n\tb\r\u{1b}"), "a\n\tb\\r\\u{1b}");
    }

    #[test]
    fn json_for_the_eye_is_the_same_json() {
        let text = "a\u{202e}\u{7f}\u{e0041}\n\"\\ü";
        let written = serde_json::to_string_pretty(&[text]).unwrap();
        let shown = json(&written);
        assert!(!shown.chars().any(|c| acts(c) && c != '\n'), "{shown}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&shown).unwrap(), [text]);
    }
}
