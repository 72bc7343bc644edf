//! Names that are nearly a scalar's.

use super::Scalar;

impl Scalar {
    /// The scalar that `name` is nearly the name of: it is written otherwise by capitals alone, or a letter is missing, wrong, too
    /// many or in its neighbour's place. `None` of a name that is a scalar's ([`Scalar::of`]), and of one with a slash: whoever
    /// writes that has a name of their own in mind.
    ///
    /// A number under such a name is in no row. One of your own that must be called so is declared in the engine's `folds`.
    #[must_use]
    pub fn meant_by(name: &str) -> Option<Self> {
        if name.contains('/') || !(2..=MOST).contains(&name.len()) || Self::of(name).is_some() {
            return None;
        }
        let lower = name.to_ascii_lowercase();
        let near = |scalar: &Self| {
            let known = scalar.name();
            scalar.also().contains(&&*lower)
                || (known.len().abs_diff(lower.len()) <= 1
                    && strsim::osa_distance(known, &lower) <= 1)
        };
        Self::ALL.iter().copied().find(near)
    }
}

/// Longer than any scalar's name with a letter too many, in bytes.
const MOST: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_with_one_slip_in_it_is_nearly_its_scalars() {
        for scalar in Scalar::ALL {
            let name = scalar.name();
            for at in 0..name.len() {
                let (before, after) = name.split_at(at);
                let mut slips = vec![
                    format!("{before}{}", &after[1..]),
                    format!("{before}x{after}"),
                    format!("{before}x{}", &after[1..]),
                    format!("{before}{}{}", after[..1].to_uppercase(), &after[1..]),
                ];
                if after.len() > 1 {
                    slips.push(format!(
                        "{before}{}{}{}",
                        &after[1..2],
                        &after[..1],
                        &after[2..]
                    ));
                }
                for slip in slips.into_iter().filter(|slip| slip != name) {
                    assert_eq!(Scalar::meant_by(&slip), Some(*scalar), "{slip}");
                }
            }
            assert_eq!(Scalar::meant_by(name), None);
            assert_eq!(Scalar::meant_by(&name.to_uppercase()), Some(*scalar));
            assert!(name.len() < MOST);
            for also in scalar.also() {
                assert_eq!(Scalar::of(also), Some(*scalar));
                assert_eq!(Scalar::meant_by(also), None, "{also}");
            }
        }
    }

    #[test]
    fn names_of_ones_own_are_nearly_nobodys() {
        for name in [
            "",
            "x",
            "mine",
            "los",
            "losses",
            "vf_loss",
            "value_loss",
            "aux_loss",
            "kl",
            "entropy",
            "reward",
            "train/totl_loss",
            "step",
            "steps",
            "time",
            "lr_scale",
            "beta",
            "pg_clipfrac",
            "num_turns",
            "tokens_per_second",
            "gen_time",
        ] {
            assert_eq!(Scalar::meant_by(name), None, "{name}");
        }
    }
}
