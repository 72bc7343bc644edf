//! By what a prompt is known again in another recording.

use std::collections::BTreeSet;
use std::fmt;

use super::{PairError, Side};
use crate::batch::group::{Grouping, id_of};
use crate::batch::{Batch, Columns};
use crate::recording::Fault;

/// What is looked for where nobody says by what.
const NAMES: &str = "`prompts`, or `group_ids` that name prompts";

/// What names a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Its text.
    Prompts,
    /// The id of its groups.
    GroupIds,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prompts => "text",
            Self::GroupIds => "group id",
        })
    }
}

impl By {
    /// Why two recordings of the same prompts may have none in common.
    pub(super) const fn hint(self) -> &'static str {
        match self {
            Self::Prompts => "",
            Self::GroupIds => " (some trainers draw group ids anew in each run, as verl its `uid`)",
        }
    }

    /// The names of a record's prompts, one a completion; none where it has none, or an empty one.
    pub(super) fn names(self, batch: &Batch<'_>) -> Vec<Option<u64>> {
        let columns = batch.columns();
        match (self, columns.prompts, columns.grouping) {
            (Self::Prompts, Some(texts), _) => {
                let name = |text: &String| (!text.is_empty()).then(|| id_of(text.as_bytes()));
                texts.iter().map(name).collect()
            }
            (Self::GroupIds, _, Grouping::Ids(ids)) => ids.iter().copied().map(Some).collect(),
            _ => vec![None; batch.completions()],
        }
    }

    fn is_in(self, columns: &Columns<'_>) -> bool {
        match self {
            Self::Prompts => columns
                .prompts
                .is_some_and(|texts| texts.iter().any(|text| !text.is_empty())),
            Self::GroupIds => matches!(columns.grouping, Grouping::Ids(_)),
        }
    }
}

/// By what the prompts of both are known, as the first record of each that has completions says.
pub(super) fn by(sides: &[Side<'_>; 2], told: Option<By>) -> Result<By, PairError> {
    let [a, b] = sides;
    let (of_a, of_b) = (ways(a)?, ways(b)?);
    let in_both = |by: &By| of_a.contains(by) && of_b.contains(by);
    let asked = told.map_or(vec![By::Prompts, By::GroupIds], |by| vec![by]);
    if let Some(by) = asked.iter().copied().find(in_both) {
        return Ok(by);
    }
    let has_none = |of: &[By]| !asked.iter().any(|by| of.contains(by));
    for (side, of) in [(a, &of_a), (b, &of_b)] {
        if has_none(of) {
            return Err(PairError::Nameless {
                name: side.name.clone(),
                expected: match told {
                    Some(By::Prompts) => "`prompts`",
                    Some(By::GroupIds) => "`group_ids`",
                    None => NAMES,
                },
                found: match of.first() {
                    None => "`group_sizes` alone",
                    Some(By::Prompts) => "`prompts` alone",
                    Some(By::GroupIds) => "`group_ids` alone",
                }
                .to_owned(),
            });
        }
    }
    let (texts, ids) = if of_a.contains(&By::Prompts) {
        (a, b)
    } else {
        (b, a)
    };
    Err(PairError::Unlike {
        a: texts.name.clone(),
        b: ids.name.clone(),
    })
}

/// The ways in which a recording names its prompts.
fn ways(side: &Side<'_>) -> Result<Vec<By>, PairError> {
    for found in side.steps().flat_map(|step| step.records()) {
        let record = side.recording.load(found)?;
        let batch = record
            .batch()
            .map_err(|error| side.recording.wrong(found, Fault::Batch(error)))?;
        if batch.completions() > 0 {
            let all = [By::Prompts, By::GroupIds].into_iter();
            return Ok(all.filter(|by| by.is_in(batch.columns())).collect());
        }
    }
    let there: Vec<u64> = side.recording.steps().map(|step| step.step).collect();
    let (first, last) = (*side.steps.start(), *side.steps.end());
    Err(PairError::NoSteps {
        name: side.name.clone(),
        expected: match last {
            u64::MAX => format!("from {first} on"),
            _ => format!("{first} to {last}"),
        },
        found: match (there.first(), there.last()) {
            (Some(first), Some(last)) => format!("{first} to {last}"),
            _ => "none".to_owned(),
        },
    })
}

/// Refuses ids that count a step's groups: nobody's prompt is the first of its step. A trainer counts from 0, or, where groups of
/// several generations are in a step, from a multiple of 2^32; a text's hash has bits everywhere.
pub(super) fn no_counters(name: &str, ids: &BTreeSet<u64>) -> Result<(), PairError> {
    /// More than a run has groups; one hash in 256 is below it, and so never all of many.
    const MOST: u64 = 1 << 24;
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
        return Ok(());
    };
    if ids.iter().any(|id| id & u64::from(u32::MAX) >= MOST) {
        return Ok(());
    }
    Err(PairError::Nameless {
        name: name.to_owned(),
        expected: NAMES,
        found: format!(
            "group ids from {first} to {last}, which count groups; if they do name prompts, say `--by group-ids`"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_count_are_told_from_those_of_texts() {
        let is_refused = |ids: &[u64]| no_counters("a", &ids.iter().copied().collect()).is_err();
        assert!(is_refused(&[0, 1, 2, 3]));
        assert!(is_refused(&[0, 1, 1 << 32, (1 << 32) + 1, 7 << 32]));
        assert!(!is_refused(&[]));
        let texts = ["a", "b"].map(|text| id_of(text.as_bytes()));
        assert!(!is_refused(&texts));
    }
}
