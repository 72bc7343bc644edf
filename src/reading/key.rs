//! The keys that somebody means, by patterns.

use glob::Pattern;

/// Why no key is meant. The patterns stand in it as they are given, behind the option's name where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It is no pattern.
    #[error("{glob}: expected a pattern of *, ? and [...]: {reason}")]
    Glob {
        /// The pattern.
        glob: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No key has any, and nothing would match.
    #[error(
        "{glob}: expected a pattern of *, ? and [...], found braces: give one pattern for each"
    )]
    Braces {
        /// The pattern.
        glob: String,
    },
    /// Nothing matches.
    #[error("{globs}: expected a pattern that one of {keys} keys matches, found none{}", hint(.closest))]
    None {
        /// The patterns.
        globs: String,
        /// How many keys there are.
        keys: usize,
        /// Those most like it.
        closest: Vec<String>,
    },
}

fn hint(closest: &[String]) -> String {
    let named: Vec<String> = closest.iter().map(|key| format!("`{key}`")).collect();
    match named.as_slice() {
        [] => String::new(),
        named => format!("; the closest: {}", named.join(", ")),
    }
}

/// The patterns that say which keys are meant: all of them where there is none. `*` stands for anything, `/` too.
#[derive(Clone, Debug)]
pub struct Keys {
    /// What stands before each pattern where it is told of: `--key ` for the command.
    option: &'static str,
    patterns: Vec<Pattern>,
}

impl Keys {
    /// These patterns; in errors, `option` stands before each.
    ///
    /// # Errors
    /// If one of them is no pattern.
    pub fn of(option: &'static str, globs: &[String]) -> Result<Self, KeyError> {
        let pattern = |glob: &String| {
            let said = || format!("{option}{glob}");
            if glob.contains(['{', '}']) {
                return Err(KeyError::Braces { glob: said() });
            }
            Pattern::new(glob).map_err(|error| KeyError::Glob {
                glob: said(),
                reason: error.to_string(),
            })
        };
        let patterns = globs.iter().map(pattern).collect::<Result<_, _>>()?;
        Ok(Self { option, patterns })
    }

    /// Whether there is none, so that nobody has said what is meant.
    #[must_use]
    pub fn are_all(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether this key is meant.
    #[must_use]
    pub fn have(&self, key: &str) -> bool {
        self.are_all() || self.patterns.iter().any(|glob| means(glob, key))
    }

    /// Holds the patterns against all the keys that there are: those that match none, as they are told of.
    ///
    /// # Errors
    /// If none of them matches any, and there are any.
    pub fn idle(&self, keys: &[&str]) -> Result<Vec<String>, KeyError> {
        if self.are_all() || keys.is_empty() {
            return Ok(Vec::new());
        }
        let idle = |glob: &&Pattern| !keys.iter().any(|key| means(glob, key));
        let idle: Vec<&Pattern> = self.patterns.iter().filter(idle).collect();
        let said = idle.iter().map(|glob| format!("{}{glob}", self.option));
        let said: Vec<String> = said.collect();
        if idle.len() < self.patterns.len() {
            return Ok(said);
        }
        Err(KeyError::None {
            globs: said.join(", "),
            keys: keys.len(),
            closest: closest(idle[0].as_str(), keys),
        })
    }
}

/// A key may be called by its own name, whatever is in that.
fn means(glob: &Pattern, key: &str) -> bool {
    glob.matches(key) || glob.as_str() == key
}

/// The few keys that are most like a pattern, if any are like it at all.
fn closest(glob: &str, keys: &[&str]) -> Vec<String> {
    const NAMED: usize = 3;
    let wanted = glob.replace(['*', '?', '[', ']'], "");
    let last = |key: &str| key.rsplit('/').next().unwrap_or_default().to_owned();
    let likeness = |key: &str| {
        let whole = strsim::jaro_winkler(&wanted, key);
        whole.max(strsim::jaro_winkler(&last(&wanted), &last(key)))
    };
    let mut like: Vec<(f64, &str)> = keys
        .iter()
        .map(|key| (likeness(key), *key))
        .filter(|(likeness, _)| *likeness > 0.7)
        .collect();
    like.sort_by(|a, b| b.0.total_cmp(&a.0));
    like.truncate(NAMED);
    like.into_iter().map(|(_, key)| key.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(globs: &[&str]) -> Result<Keys, KeyError> {
        Keys::of(
            "--key ",
            &globs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_key_pattern_matches_across_slashes() {
        let some = keys(&["train/kl*", "*reward*"]).unwrap();
        assert!(some.have("train/kl_per_token_bucket/long"));
        assert!(some.have("train/rewards/len/mean"));
        assert!(!some.have("train/loss/kl"));
        assert!(keys(&[]).unwrap().have("train/loss/kl"));
        assert!(matches!(keys(&["["]), Err(KeyError::Glob { .. })));
        assert!(matches!(
            keys(&["train/{kl,loss}"]),
            Err(KeyError::Braces { .. })
        ));
    }

    #[test]
    fn a_pattern_that_nothing_matches_brings_the_closest() {
        let there = ["train/reward", "train/reward_std", "train/kl", "train/tau"];
        let error = keys(&["*rewrad*"]).unwrap().idle(&there).unwrap_err();
        insta::assert_snapshot!(error, @"--key *rewrad*: expected a pattern that one of 4 keys matches, found none; the closest: `train/reward`, `train/reward_std`");
        let error = keys(&["zzz", "qqq?"]).unwrap().idle(&there).unwrap_err();
        insta::assert_snapshot!(error, @"--key zzz, --key qqq?: expected a pattern that one of 4 keys matches, found none");
        assert!(keys(&["zzz", "train/kl"]).unwrap().idle(&there).is_ok());
        assert!(keys(&["zzz"]).unwrap().idle(&[]).is_ok());
    }
}
