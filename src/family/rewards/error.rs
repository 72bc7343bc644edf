//! How far the mean reward may be off.

use crate::stat::{Clusters, Moments, student};

/// The mean reward's uncertainty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RewardError {
    /// Clustered by group: [`Clusters::standard_error`](crate::stat::Clusters::standard_error).
    pub standard_error: f64,
    /// 95 %, from Student's t with G - 1 degrees of freedom.
    pub interval: (f64, f64),
}

/// `groups` are those of the same rewards; `None` for fewer than two.
pub fn error(groups: &Clusters, rewards: &Moments) -> Option<RewardError> {
    let standard_error = groups.standard_error(rewards)?;
    let mean = rewards.mean()?;
    let half = student(groups.count() - 1)? * standard_error;
    Some(RewardError {
        standard_error,
        interval: (mean - half, mean + half),
    })
}
