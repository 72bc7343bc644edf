//! Warnings that would come with every step, each said once.

use std::collections::BTreeSet;

/// What has been said.
#[derive(Clone, Debug, Default)]
pub(super) struct Once(BTreeSet<String>);

impl Once {
    /// Warns, the first time.
    pub fn say(&mut self, message: String) {
        if !self.0.contains(&message) {
            tracing::warn!("{message}");
            self.0.insert(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::event::logged::logged;

    #[test]
    fn a_warning_is_said_once() {
        let lines = logged(|| {
            let mut once = Once::default();
            for word in ["a", "b", "a"] {
                once.say(format!("it is {word}"));
            }
        });
        assert_eq!(lines, ["WARN: it is a", "WARN: it is b"]);
    }
}
