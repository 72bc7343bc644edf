//! What is compared: numbers that are means over completions or groups.

use std::fmt;

/// A number that every completion (pass@k: every prompt of a step) has a value of. In the order in which they are shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Number {
    /// The total reward.
    Reward,
    /// What the reward function of this name gave.
    Component(String),
    /// The reward after penalties.
    Penalised,
    /// pass@k of this k.
    Pass(u64),
    /// Tokens of the completion.
    Length,
    /// 1 where the completion did not end by itself.
    Clipped,
    /// Turns of its conversation.
    Turns,
    /// Tool calls in it.
    ToolCalls,
    /// Those that failed.
    ToolFailures,
    /// 1 where generation was broken off.
    Aborted,
    /// 1 where environment or reward failed.
    Errors,
    /// The same of the completions with this tag.
    Tagged(String, Tagged),
}

/// What is compared tag by tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tagged {
    /// The total reward.
    Reward,
    /// 1 where the completion succeeds.
    Pass,
    /// Its tokens.
    Length,
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reward => f.write_str("reward"),
            Self::Component(name) => write!(f, "rewards/{name}"),
            Self::Penalised => f.write_str("penalised_reward"),
            Self::Pass(k) => write!(f, "pass@{k}"),
            Self::Length => f.write_str("completions/length"),
            Self::Clipped => f.write_str("completions/clipped"),
            Self::Turns => f.write_str("turns"),
            Self::ToolCalls => f.write_str("tool_calls"),
            Self::ToolFailures => f.write_str("tool_failures"),
            Self::Aborted => f.write_str("aborted"),
            Self::Errors => f.write_str("errors"),
            Self::Tagged(tag, Tagged::Reward) => write!(f, "tags/{tag}/reward"),
            Self::Tagged(tag, Tagged::Pass) => write!(f, "tags/{tag}/pass@1"),
            Self::Tagged(tag, Tagged::Length) => write!(f, "tags/{tag}/length"),
        }
    }
}
