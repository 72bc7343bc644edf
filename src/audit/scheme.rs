//! The known ways by which a trainer makes one number of many, right and wrong.

use std::fmt;

use super::other::{By, OTHERS, Other, Setting};
use crate::dialect::Line;

/// What parts have in common: records are parted by step, micro-batch and rank, as far as each is set. Of no cut all records are one part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cut {
    pub steps: bool,
    pub micros: bool,
    pub ranks: bool,
}

/// Which records are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Only {
    /// All of them.
    #[default]
    All,
    /// Those of rank 0.
    RankZero,
    /// Those of the window's last step.
    LastStep,
    /// Those of each rank's last micro-batch of a step.
    LastMicro,
    /// Those of each rank's first micro-batch of a step.
    FirstMicro,
    /// All but those of a batch that a step before has trained on already.
    Fresh,
    /// All, and those of the steps after it up to the next row that has what the row after it lacks: a batch was generated for all of them.
    Ahead,
    /// All, and those of this rank once more, as if a copy of it were a rank of its own.
    Twice(u32),
    /// All, without the completions that were cut off.
    Terminated,
    /// All, with the tokens that the loss leaves out.
    Unmasked,
    /// All, and the tokens that the loss leaves out are no part of a completion.
    Trained,
}

/// What becomes of the parts' numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fold {
    /// Their plain mean.
    #[default]
    Mean,
    /// The same over all parts: one that has no such number, as it has no token that counts, has 0.
    Filled,
    /// Their sum.
    Sum,
}

/// One way to make a window's number of its records; by default the right one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheme {
    /// Which records.
    pub only: Only,
    /// The parts that have a number each.
    pub cut: Cut,
    /// What becomes of those.
    pub fold: Fold,
    /// Which of [`OTHERS`] is computed of a part; the key's own number, if none.
    pub other: Option<usize>,
}

/// What there is to cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    pub has_steps: bool,
    pub has_micros: bool,
    pub ranks: u32,
    /// Whether there are rows without what others have.
    pub has_gaps: bool,
}

/// As many ranks may have been counted twice: each is a scheme of its own.
const TWICE: u32 = 16;

impl Scheme {
    pub fn definition(&self) -> Option<&'static Other> {
        self.other.and_then(|nth| OTHERS.get(nth))
    }

    /// What completions are counted by, where that is another setting.
    pub fn setting(&self) -> Option<Setting> {
        match self.definition()?.by {
            By::Setting(setting) => Some(setting),
            By::Definition(_) => None,
        }
    }

    /// Whether it says something of a key that this line makes.
    pub fn concerns(&self, line: &Line) -> bool {
        self.definition()
            .is_none_or(|other| other.keys.contains(&line.key))
    }

    /// The plainer one that it comes down to where what is special about it changes nothing.
    pub fn plain(&self) -> Self {
        Self {
            only: Only::All,
            other: None,
            fold: match self.fold {
                Fold::Filled => Fold::Mean,
                fold => fold,
            },
            ..*self
        }
    }

    /// How many things are special about it.
    fn weight(&self) -> usize {
        let Cut {
            steps,
            micros,
            ranks,
        } = self.cut;
        let cuts = [steps, micros, ranks]
            .into_iter()
            .filter(|is_cut| *is_cut)
            .count();
        let special = [
            self.only != Only::All,
            self.other.is_some(),
            self.fold != Fold::Mean,
        ];
        cuts + special.into_iter().filter(|is_so| *is_so).count()
    }
}

/// Every way that can differ from the others for records of this shape, the simplest first; the first is the right one.
pub fn schemes(shape: &Shape) -> Vec<Scheme> {
    let has_ranks = shape.ranks > 1;
    let both = [false, true];
    let mut cuts = Vec::new();
    for steps in both {
        for micros in both {
            for ranks in both {
                if steps <= shape.has_steps && micros <= shape.has_micros && ranks <= has_ranks {
                    cuts.push(Cut {
                        steps,
                        micros,
                        ranks,
                    });
                }
            }
        }
    }
    let mut kept = vec![
        Only::All,
        Only::Fresh,
        Only::Terminated,
        Only::Unmasked,
        Only::Trained,
    ];
    if has_ranks {
        kept.push(Only::RankZero);
    }
    if shape.has_steps {
        kept.push(Only::LastStep);
    }
    if shape.has_gaps {
        kept.push(Only::Ahead);
    }
    if shape.has_micros {
        kept.extend([Only::LastMicro, Only::FirstMicro]);
    }
    if has_ranks && shape.ranks <= TWICE {
        kept.extend((0..shape.ranks).map(Only::Twice));
    }
    let mut all = Vec::new();
    for only in kept {
        let is_cut = |cut: &Cut| match only {
            Only::RankZero => !cut.ranks,
            Only::LastStep => !cut.steps,
            Only::LastMicro | Only::FirstMicro => !cut.micros,
            _ => true,
        };
        for cut in cuts.iter().copied().filter(is_cut) {
            let plain = Scheme {
                only,
                cut,
                ..Scheme::default()
            };
            all.push(plain);
            if only == Only::All && cut != Cut::default() {
                all.extend([Fold::Sum, Fold::Filled].map(|fold| Scheme { fold, ..plain }));
            }
            if matches!(only, Only::All | Only::RankZero | Only::LastStep) {
                let others = (0..OTHERS.len()).map(|nth| Scheme {
                    other: Some(nth),
                    ..plain
                });
                all.extend(others);
            }
        }
    }
    all.sort_by_key(Scheme::weight);
    all
}

/// As an audit names it: `mean of ranks' numbers; population deviation`.
impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = Vec::new();
        let Cut {
            steps,
            micros,
            ranks,
        } = self.cut;
        let parts = [
            (steps, "steps'"),
            (micros, "micro-batches'"),
            (ranks, "ranks'"),
        ];
        let parts: Vec<&str> = parts
            .into_iter()
            .filter_map(|(is_cut, name)| is_cut.then_some(name))
            .collect();
        let fold = match self.fold {
            Fold::Mean | Fold::Filled => "mean",
            Fold::Sum => "sum",
        };
        match parts.as_slice() {
            [] => {}
            [one] => said.push(format!("{fold} of {one} numbers")),
            [first @ .., last] => {
                said.push(format!("{fold} of {} and {last} numbers", first.join(", ")));
            }
        }
        if self.fold == Fold::Filled {
            said.push("0 where one has none".to_owned());
        }
        match self.only {
            Only::All => {}
            Only::RankZero => said.push("rank 0 alone".to_owned()),
            Only::LastStep => said.push("the last step alone".to_owned()),
            Only::LastMicro => said.push("the last micro-batch alone".to_owned()),
            Only::FirstMicro => said.push("the first micro-batch alone".to_owned()),
            Only::Fresh => said.push("batches trained on again left out".to_owned()),
            Only::Ahead => {
                said.push("all of the generated batch, which later steps train on too".to_owned());
            }
            Only::Twice(rank) => said.push(format!("rank {rank} counted twice")),
            Only::Terminated => said.push("completions that were cut off left out".to_owned()),
            Only::Unmasked => said.push("masked tokens counted".to_owned()),
            Only::Trained => said.push("masked tokens left out of completions".to_owned()),
        }
        said.extend(self.definition().map(|other| other.said.to_owned()));
        if said.is_empty() {
            return f.write_str("exact");
        }
        f.write_str(&said.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;

    #[test]
    fn the_right_way_comes_first_and_every_plainer_one_before_those_that_come_down_to_it() {
        let shape = Shape {
            has_steps: true,
            has_micros: true,
            ranks: 2,
            has_gaps: true,
        };
        let all = schemes(&shape);
        assert_eq!(all.first(), Some(&Scheme::default()));
        for (nth, scheme) in all.iter().enumerate() {
            let at = all.iter().position(|other| *other == scheme.plain());
            assert!(at.is_some_and(|at| at <= nth), "{scheme}");
            assert_eq!(
                all.iter().filter(|other| *other == scheme).count(),
                1,
                "{scheme}"
            );
        }
    }

    #[test]
    fn of_one_part_there_is_no_mean_and_no_rank_to_leave_out() {
        let all = schemes(&Shape {
            ranks: 1,
            ..Shape::default()
        });
        assert!(
            all.iter()
                .all(|scheme| scheme.cut == Cut::default() && scheme.fold == Fold::Mean)
        );
        assert!(!all.iter().any(|scheme| matches!(
            scheme.only,
            Only::RankZero | Only::Twice(_) | Only::LastStep
        )));
    }

    #[test]
    fn every_other_number_stands_under_keys_that_some_dialect_has() {
        for other in OTHERS {
            for key in other.keys {
                let has = |dialect: &Dialect| dialect.lines().any(|line| line.key == *key);
                assert!(Dialect::ALL.iter().any(has), "{key}: {}", other.said);
            }
        }
    }
}
