//! The keys that somebody means: `--key`, in every verb that has it.

use glob::{Pattern, PatternError};

use super::say::complain;
use crate::sink::one_line;

/// Why no key can be shown.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("--key {glob}: expected a pattern of *, ? and [...]: {source}")]
    Glob { glob: String, source: PatternError },
    /// No key has any, and nothing would match.
    #[error(
        "--key {glob}: expected a pattern of *, ? and [...], found braces: give --key once for each"
    )]
    Braces { glob: String },
    /// Nothing matches.
    #[error("--key {globs}: expected a pattern that one of {keys} keys matches, found none{}", hint(.closest))]
    None {
        globs: String,
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

/// The patterns that say which keys are meant: all of them where there is none.
#[derive(Clone, Debug)]
pub struct Keys(Vec<Pattern>);

impl Keys {
    /// # Errors
    /// If one of them is no pattern.
    pub fn of(globs: &[String]) -> Result<Self, KeyError> {
        let pattern = |glob: &String| {
            if glob.contains(['{', '}']) {
                return Err(KeyError::Braces { glob: glob.clone() });
            }
            Pattern::new(glob).map_err(|source| KeyError::Glob {
                glob: glob.clone(),
                source,
            })
        };
        globs
            .iter()
            .map(pattern)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether there is none, so that nobody has said what is meant.
    #[must_use]
    pub fn are_all(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn have(&self, key: &str) -> bool {
        self.are_all() || self.0.iter().any(|glob| glob.matches(key))
    }

    /// Holds the patterns against all the keys that there are: that one matches nothing is said.
    ///
    /// # Errors
    /// If none of them matches any, and there are any.
    pub fn check(&self, keys: &[&str]) -> Result<(), KeyError> {
        if self.are_all() || keys.is_empty() {
            return Ok(());
        }
        let idle = |glob: &&Pattern| !keys.iter().any(|key| glob.matches(key));
        let idle: Vec<&Pattern> = self.0.iter().filter(idle).collect();
        if idle.len() < self.0.len() {
            for glob in idle {
                complain(&one_line(&format!("note: --key {glob}: no key matches")));
            }
            return Ok(());
        }
        let globs: Vec<&str> = idle.iter().map(|glob| glob.as_str()).collect();
        Err(KeyError::None {
            globs: globs.join(", --key "),
            keys: keys.len(),
            closest: closest(globs[0], keys),
        })
    }
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
        Keys::of(&globs.iter().map(ToString::to_string).collect::<Vec<_>>())
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
        let error = keys(&["*rewrad*"]).unwrap().check(&there).unwrap_err();
        insta::assert_snapshot!(error, @"--key *rewrad*: expected a pattern that one of 4 keys matches, found none; the closest: `train/reward`, `train/reward_std`");
        let error = keys(&["zzz", "qqq?"]).unwrap().check(&there).unwrap_err();
        insta::assert_snapshot!(error, @"--key zzz, --key qqq?: expected a pattern that one of 4 keys matches, found none");
        assert!(keys(&["zzz", "train/kl"]).unwrap().check(&there).is_ok());
        assert!(keys(&["zzz"]).unwrap().check(&[]).is_ok());
    }
}
