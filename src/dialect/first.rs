//! How a dialect says what is looked at first.

/// Which way a number gets better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// As a reward does.
    Higher,
    /// As a loss does.
    Lower,
}

impl Better {
    /// As a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
        }
    }
}

/// A key that is looked at first: one of the dialect's lines, or of its trainer's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct First {
    pub key: &'static str,
    /// None where either way may be good or bad.
    pub better: Option<Better>,
}

/// One that tells by its course.
pub(super) const fn first(key: &'static str) -> First {
    First { key, better: None }
}

impl First {
    /// The same, of a number that gets better upward.
    pub(super) const fn higher(mut self) -> Self {
        self.better = Some(Better::Higher);
        self
    }

    /// The same, of a number that gets better downward.
    pub(super) const fn lower(mut self) -> Self {
        self.better = Some(Better::Lower);
        self
    }
}
