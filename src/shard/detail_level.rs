//! Whether a shard has what is asked of it.

use thiserror::Error;

use super::{Detail, Shard};

/// A shard was counted without numbers that are asked of it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: expected a shard with {wanted}, found one without", named(ranks))]
pub struct DetailError {
    /// Whose records the shard holds, ascending.
    pub ranks: Vec<u32>,
    /// The detail that was asked for, and that their completions were not counted in.
    pub wanted: Detail,
}

fn named(ranks: &[u32]) -> String {
    let ranks: Vec<String> = ranks.iter().map(|rank| format!("rank {rank}")).collect();
    ranks.join(", ")
}

impl Shard {
    /// That its completions were counted in as much detail as `wanted`, as a row would lack its numbers without a word. A
    /// shard without completions has nothing to lack.
    ///
    /// # Errors
    /// If they were not.
    pub fn check_detail(&self, wanted: Detail) -> Result<(), DetailError> {
        let has = match wanted {
            Detail::Plain => true,
            Detail::Policy => self.policy.is_some(),
            Detail::Extended => self.extended.is_some(),
        };
        if has || self.completions() == 0 {
            return Ok(());
        }
        let ranks = self.ranks();
        Err(DetailError { ranks, wanted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::group::Grouping;
    use crate::batch::{Batch, Columns, Place};
    use crate::shard::Thresholds;

    #[test]
    fn a_shard_has_its_own_level_of_detail_and_those_before_it() {
        let levels = [Detail::Plain, Detail::Policy, Detail::Extended];
        let batch = Batch::of(Columns::new(Grouping::Sizes(&[2]), &[0.0, 1.0]));
        let batch = batch.expect("the columns fit");
        for detail in levels {
            let thresholds = Thresholds {
                detail,
                ..Thresholds::default()
            };
            let shard = Shard::counted(&batch, Place::default(), &thresholds);
            for wanted in levels {
                let ranks = vec![0];
                let expected = (wanted > detail).then_some(DetailError { ranks, wanted });
                assert_eq!(shard.check_detail(wanted).err(), expected, "{detail:?}");
                assert_eq!(Shard::default().check_detail(wanted), Ok(()));
            }
        }
    }
}
