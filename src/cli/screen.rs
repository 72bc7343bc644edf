//! How much room there is for a text, and what is done for it to fit.

use std::env;
use std::io;

use terminal_size::terminal_size_of;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The columns of the terminal: as `COLUMNS` says, else as the terminal does. None where standard output is none: a pipe has no width.
pub(super) fn width() -> Option<usize> {
    let told = env::var("COLUMNS")
        .ok()
        .and_then(|told| told.trim().parse().ok());
    told.filter(|columns| *columns > 0)
        .or_else(|| Some(usize::from(terminal_size_of(io::stdout())?.0.0)))
}

/// How many columns a text takes.
pub(super) fn columns(text: &str) -> usize {
    text.width()
}

/// A text in so many columns: of one that is longer, the middle is left out.
pub(super) fn shortened(text: &str, room: usize) -> String {
    const CUT: char = '…';
    if columns(text) <= room {
        return text.to_owned();
    }
    // The end says more than the beginning, which others have too.
    let behind = room.saturating_sub(1).div_ceil(2);
    let before = room.saturating_sub(1) - behind;
    let (start, _) = taken(text.chars(), before);
    let (end, _) = taken(text.chars().rev(), behind);
    let end: String = end.chars().rev().collect();
    format!("{start}{CUT}{end}")
}

/// As many of the characters as fit, and the columns that they take.
fn taken(characters: impl Iterator<Item = char>, room: usize) -> (String, usize) {
    let (mut text, mut used) = (String::new(), 0);
    for c in characters {
        let width = c.width().unwrap_or(0);
        if used + width > room {
            break;
        }
        used += width;
        text.push(c);
    }
    (text, used)
}

/// What is named in one line, after `lead`: as many as there is room for, and how many more there are.
pub(super) fn listed(lead: &str, items: &[String], room: Option<usize>) -> String {
    let all = format!("{lead}{}", items.join(", "));
    let Some(room) = room.filter(|room| columns(&all) > *room) else {
        return all;
    };
    let with = |shown: usize| {
        let more = items.len() - shown;
        let named = items[..shown].join(", ");
        let and = if shown > 0 { ", and " } else { "" };
        format!("{lead}{named}{and}{more} more")
    };
    let mut shown = 0;
    while shown < items.len() && columns(&with(shown + 1)) <= room {
        shown += 1;
    }
    with(shown)
}

/// What is named after `lead`, all of it, over as many lines as there is need for.
pub(super) fn wrapped(lead: &str, items: &[String], room: Option<usize>) -> String {
    const INDENT: &str = "  ";
    let mut lines = vec![lead.trim_end().to_owned()];
    for (nth, item) in items.iter().enumerate() {
        let comma = if nth + 1 < items.len() { "," } else { "" };
        let item = format!("{item}{comma}");
        let last = lines.last_mut();
        match last {
            Some(line) if room.is_none_or(|room| columns(line) + 1 + columns(&item) <= room) => {
                line.push(' ');
                line.push_str(&item);
            }
            _ => lines.push(format!("{INDENT}{item}")),
        }
    }
    lines.join("\n")
}

/// Words in lines of so many columns, those after the first as far in as the first, and further.
pub(super) fn paragraph(text: &str, room: usize) -> String {
    let indent = text.len() - text.trim_start().len();
    let lead = " ".repeat(indent);
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut lines = vec![lead.clone()];
    for word in words {
        let fits = |line: &String| {
            line.trim().is_empty() || line.chars().count() + 1 + word.chars().count() <= room
        };
        match lines.last_mut() {
            Some(line) if fits(line) => {
                if !line.trim().is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
            _ => lines.push(format!("{lead}  {word}")),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_loses_its_middle_and_a_wide_one_too() {
        assert_eq!(
            shortened("completions/mean_length", 23),
            "completions/mean_length"
        );
        assert_eq!(shortened("completions/mean_length", 14), "comple…_length");
        assert_eq!(shortened("completions/mean_length", 1), "…");
        // Two columns each.
        assert_eq!(shortened("報酬の平均値", 8), "報…均値");
    }

    #[test]
    fn a_list_names_what_fits_and_counts_the_rest() {
        let items = ["beta 0.04", "tau 0", "epoch 1"].map(str::to_owned);
        let all = "3 constant: beta 0.04, tau 0, epoch 1";
        assert_eq!(listed("3 constant: ", &items, None), all);
        assert_eq!(listed("3 constant: ", &items, Some(37)), all);
        assert_eq!(
            listed("3 constant: ", &items, Some(36)),
            "3 constant: beta 0.04, and 2 more"
        );
        assert_eq!(
            listed("3 constant: ", &items, Some(10)),
            "3 constant: 3 more"
        );
    }
}
