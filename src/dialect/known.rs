//! Which keys a dialect's rows may have.

use super::{Dialect, Line};

impl Dialect {
    /// Whether one of the dialect's lines makes this key, those of the extended metrics among them where they are wanted.
    #[must_use]
    pub fn knows(self, key: &str, extended: bool) -> bool {
        self.lines().any(|line| line.makes(key))
            || (extended && self.extended_lines().any(|line| line.makes(key)))
    }
}

#[cfg(feature = "sqlite")]
impl Dialect {
    /// The line that makes this key, one of the extended metrics among them; one of that very name before one that makes it for a name.
    pub(crate) fn line(self, key: &str) -> Option<&'static Line> {
        let lines = || self.lines().chain(self.extended_lines());
        let named = lines().find(|line| line.key == key);
        named.or_else(|| lines().find(|line| line.makes(key)))
    }
}

impl Line {
    /// Whether the line makes this key for some name in its braces.
    fn makes(&self, key: &str) -> bool {
        self.key == key || self.name_in(key).is_some()
    }

    /// What stands in a key where the line has braces, if the line makes that key; `None` for a line without braces.
    pub(crate) fn name_in<'a>(&self, key: &'a str) -> Option<&'a str> {
        let (before, rest) = self.key.split_once('{')?;
        let (_, after) = rest.split_once('}')?;
        let name = key.strip_prefix(before)?.strip_suffix(after)?;
        (!name.is_empty()).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(feature = "sqlite")]
    fn a_key_whose_end_ends_in_anothers_is_made_by_the_longer_line() {
        for end in ["mean", "seq_mean", "fraction_low", "seq_masked_fraction"] {
            let line = Dialect::Verl.line(&format!("rollout_corr/rollout_rs_seq_max_k2_{end}"));
            let key = line.map(|line| line.key);
            let expected = format!("rollout_corr/rollout_rs_{{statistic}}_{end}");
            assert_eq!(key, Some(expected.as_str()));
        }
    }

    #[test]
    fn a_dialect_knows_the_keys_that_its_lines_make_and_no_other() {
        for dialect in Dialect::ALL {
            for line in dialect.lines() {
                let key = match line.key.split_once('{') {
                    Some((before, rest)) => {
                        format!("{before}a/b{}", rest.split_once('}').unwrap().1)
                    }
                    None => line.key.to_owned(),
                };
                assert!(dialect.knows(&key, false), "{dialect}: {key}");
            }
            assert!(!dialect.knows("vespo_clip_ratio", true));
            assert!(!dialect.knows("rewards//mean", false) || *dialect == Dialect::Tunix);
        }
        assert!(Dialect::Trl.knows("reward", false));
        assert!(!Dialect::Trl.knows("train/reward", false));
        assert!(!Dialect::MaxEnt.knows("train/pass@4", false));
        assert!(Dialect::MaxEnt.knows("train/pass@4", true));
        assert!(!Dialect::MaxEnt.knows("train/rewards//mean", false));
    }
}
