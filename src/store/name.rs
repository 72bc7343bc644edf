//! Names for runs that were given none: they sort by time, and can be read out and typed.

const FIRST: [&str; 48] = [
    "amber", "ancient", "autumn", "bold", "brave", "bright", "brisk", "calm", "clear", "clever",
    "cosy", "crisp", "dapper", "eager", "early", "fair", "fleet", "gentle", "glad", "golden",
    "grand", "hardy", "honest", "humble", "jolly", "keen", "kind", "lively", "lucky", "mellow",
    "merry", "mild", "nimble", "noble", "patient", "plain", "proud", "quick", "quiet", "rustic",
    "sharp", "silver", "steady", "sunny", "swift", "tidy", "warm", "wise",
];

const SECOND: [&str; 48] = [
    "badger", "bear", "beaver", "bison", "camel", "crane", "curlew", "deer", "dove", "eagle",
    "falcon", "finch", "fox", "gecko", "goose", "hare", "hawk", "heron", "horse", "ibis", "jay",
    "koala", "lark", "lemur", "lion", "lynx", "magpie", "marten", "mole", "moose", "newt", "otter",
    "owl", "panda", "pike", "plover", "raven", "robin", "salmon", "seal", "stork", "swan", "tiger",
    "toad", "trout", "vole", "walrus", "wren",
];

/// A name that begins with `time`, as `2026-11-21-1402`; the words follow from `chance`.
pub(super) fn made_up(time: &str, chance: u64) -> String {
    let word = |words: &[&'static str; 48], chance: u64| words[(chance % 48) as usize];
    let (first, second) = (word(&FIRST, chance), word(&SECOND, chance / 48));
    format!("{time}-{first}-{second}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_words_in_small_letters_each_once() {
        let mut words: Vec<&str> = FIRST.into_iter().chain(SECOND).collect();
        for word in &words {
            assert!(
                (3..=7).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase()),
                "{word}"
            );
        }
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 96);
        assert_eq!(
            made_up("2026-11-21-1402", 38 + 48 * 17),
            "2026-11-21-1402-quiet-heron"
        );
        assert_eq!(
            made_up("2026-11-21-1402", u64::MAX),
            made_up("2026-11-21-1402", u64::MAX % (48 * 48))
        );
    }
}
