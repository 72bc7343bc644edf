//! Tables without lines: columns by spaces, numbers to the right.

use std::ops::Range;

use super::screen::columns;

/// How many columns stand between two cells.
pub(super) const GAP: usize = 2;

/// Lines of cells beneath a header, as wide as they need.
#[derive(Debug)]
pub(super) struct Grid {
    lines: Vec<Vec<String>>,
    /// The columns of numbers.
    numbers: Range<usize>,
}

impl Grid {
    /// A table of these columns, of which some hold numbers.
    pub fn new(header: &[&str], numbers: Range<usize>) -> Self {
        let header = header.iter().map(ToString::to_string).collect();
        Self {
            lines: vec![header],
            numbers,
        }
    }

    pub fn line(&mut self, cells: impl IntoIterator<Item = String>) {
        self.lines.push(cells.into_iter().collect());
    }

    /// An empty line, between groups.
    pub fn gap(&mut self) {
        self.lines.push(Vec::new());
    }

    pub fn text(&self) -> String {
        let width = |column: usize| {
            let cells = self.lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| columns(cell)).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.lines[0].len()).map(width).collect();
        let mut text = String::new();
        for line in &self.lines {
            let mut shown = String::new();
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                let space = " ".repeat(width - columns(cell));
                if column > 0 {
                    shown.push_str(&" ".repeat(GAP));
                }
                if self.numbers.contains(&column) {
                    shown.push_str(&space);
                    shown.push_str(cell);
                } else {
                    shown.push_str(cell);
                    shown.push_str(&space);
                }
            }
            text.push_str(shown.trim_end());
            text.push('\n');
        }
        text
    }
}
