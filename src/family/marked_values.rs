//! Values that must wait for the rest of their group, in the order of their completions.

use std::borrow::Cow;

use crate::batch::Values;
use crate::kernel::column::survey;

/// What stands in one cell of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Finite,
    Absent,
    NonFinite,
}

/// A column of cells: the finite values in order, and runs of marks that say where they stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MarkedValues {
    runs: Vec<(Mark, u64)>,
    finite: Vec<f64>,
}

impl MarkedValues {
    pub fn of(column: Option<&Values<'_>>, completions: usize) -> Self {
        let mut cells = Self::default();
        match column {
            None => cells.mark(Mark::Absent, completions as u64),
            Some(values) => match values.whole().filter(|values| all_finite(values)) {
                Some(values) => {
                    cells.mark(Mark::Finite, completions as u64);
                    cells.finite.extend_from_slice(values);
                }
                None => return values.iter().collect(),
            },
        }
        cells
    }

    pub fn into_column(self) -> GroupColumn<'static> {
        self.expanded()
    }

    fn push(&mut self, value: Option<f64>) {
        match value {
            None => self.mark(Mark::Absent, 1),
            Some(x) if x.is_finite() => {
                self.mark(Mark::Finite, 1);
                self.finite.push(x);
            }
            Some(_) => self.mark(Mark::NonFinite, 1),
        }
    }

    fn mark(&mut self, mark: Mark, times: u64) {
        if times == 0 {
            return;
        }
        match self.runs.last_mut() {
            Some((last, run)) if *last == mark => *run += times,
            _ => self.runs.push((mark, times)),
        }
    }

    /// The finite values as `of` makes them.
    pub fn map(mut self, of: impl Fn(f64) -> f64) -> Self {
        for x in &mut self.finite {
            *x = of(*x);
        }
        self
    }

    pub fn append(&mut self, other: &Self) {
        for &(mark, times) in &other.runs {
            self.mark(mark, times);
        }
        self.finite.extend_from_slice(&other.finite);
    }

    /// The finite values in order.
    pub fn finite(&self) -> &[f64] {
        &self.finite
    }

    /// The mark of each cell in order.
    pub fn marks(&self) -> impl Iterator<Item = Mark> + '_ {
        self.runs
            .iter()
            .flat_map(|&(mark, times)| (0..times).map(move |_| mark))
    }

    /// From what the wire brought; none where the values are not finite, or not as many as the marks call finite.
    pub fn of_parts(marks: impl Iterator<Item = Mark>, finite: Vec<f64>) -> Option<Self> {
        let mut cells = Self {
            runs: Vec::new(),
            finite,
        };
        let mut expected = 0;
        for mark in marks {
            cells.mark(mark, 1);
            expected += usize::from(mark == Mark::Finite);
        }
        (expected == cells.finite.len() && all_finite(&cells.finite)).then_some(cells)
    }

    /// The column with its cells in the order of `permutation`.
    pub fn arranged(&self, permutation: Option<&[usize]>) -> GroupColumn<'_> {
        let whole = self.runs.iter().all(|(mark, _)| *mark == Mark::Finite);
        let Some(permutation) = permutation else {
            if whole {
                return GroupColumn {
                    values: Cow::Borrowed(&self.finite),
                    marks: Vec::new(),
                };
            }
            return self.expanded();
        };
        if whole {
            return GroupColumn {
                values: permutation.iter().map(|&i| self.finite[i]).collect(),
                marks: Vec::new(),
            };
        }
        let expanded = self.expanded();
        GroupColumn {
            values: permutation.iter().map(|&i| expanded.values[i]).collect(),
            marks: permutation.iter().map(|&i| expanded.marks[i]).collect(),
        }
    }

    fn expanded(&self) -> GroupColumn<'static> {
        let (mut values, mut marks) = (Vec::new(), Vec::new());
        let mut finite = self.finite.iter();
        for &(mark, times) in &self.runs {
            for _ in 0..times {
                marks.push(mark);
                values.push(match mark {
                    Mark::Finite => finite.next().copied().unwrap_or(0.0),
                    Mark::Absent | Mark::NonFinite => 0.0,
                });
            }
        }
        GroupColumn {
            values: Cow::Owned(values),
            marks,
        }
    }
}

impl FromIterator<Option<f64>> for MarkedValues {
    fn from_iter<I: IntoIterator<Item = Option<f64>>>(values: I) -> Self {
        let mut cells = Self::default();
        values.into_iter().for_each(|value| cells.push(value));
        cells
    }
}

/// A column of completions laid out group by group: its values (0 where there is none) and, where not all are finite, their marks.
#[derive(Clone, Debug)]
pub struct GroupColumn<'a> {
    pub values: Cow<'a, [f64]>,
    marks: Vec<Mark>,
}

impl<'a> GroupColumn<'a> {
    pub fn of(values: &Values<'a>) -> Self {
        if let Some(values) = values.whole().filter(|values| all_finite(values)) {
            return Self {
                values: Cow::Borrowed(values),
                marks: Vec::new(),
            };
        }
        values.iter().collect::<MarkedValues>().into_column()
    }

    /// What stands in each cell, if it is finite.
    pub fn cells(&self) -> impl Iterator<Item = Option<f64>> + '_ {
        let values = self.values.iter().enumerate();
        values.map(|(at, &x)| {
            let mark = self.marks.get(at);
            mark.is_none_or(|mark| *mark == Mark::Finite).then_some(x)
        })
    }

    /// The finite values of a range, in order.
    pub fn finite(&self, range: std::ops::Range<usize>) -> impl Iterator<Item = f64> + '_ {
        let marks = self.marks.get(range.clone()).unwrap_or_default();
        let finite = move |at: usize| marks.get(at).is_none_or(|mark| *mark == Mark::Finite);
        let values = self.values[range].iter().enumerate();
        values.filter(move |(at, _)| finite(*at)).map(|(_, &x)| x)
    }

    /// The finite values of a range as one piece, in order.
    #[inline]
    pub fn present(&self, range: std::ops::Range<usize>) -> Cow<'_, [f64]> {
        if self.marks.is_empty() {
            return Cow::Borrowed(&self.values[range]);
        }
        self.present_among_others(range)
    }

    /// Apart, so that where all are finite, as mostly, no group costs a call.
    #[inline(never)]
    fn present_among_others(&self, range: std::ops::Range<usize>) -> Cow<'_, [f64]> {
        match self.mark(range.clone()) {
            Mark::Finite => Cow::Borrowed(&self.values[range]),
            Mark::Absent | Mark::NonFinite => self.finite(range).collect(),
        }
    }

    /// What a group's range of the column is as a whole: usable only if every member's cell is finite.
    pub fn mark(&self, group: std::ops::Range<usize>) -> Mark {
        if self.marks.is_empty() {
            return Mark::Finite;
        }
        let marks = &self.marks[group];
        if marks.contains(&Mark::NonFinite) {
            Mark::NonFinite
        } else if marks.contains(&Mark::Absent) {
            Mark::Absent
        } else {
            Mark::Finite
        }
    }
}

fn all_finite(values: &[f64]) -> bool {
    survey(values).finite
}
