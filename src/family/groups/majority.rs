//! What a group's completions answer most often, and whether that is right.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::family::marked_values::{GroupColumn, Mark};
use crate::family::number_totals::count;
use crate::stat::{ExactSum, Statistic};

/// Of groups all of whose completions have an answer, be it an empty one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Majority {
    pub groups: u64,
    /// Over groups: the share of its completions that give one and the same most frequent answer.
    pub agreeing: ExactSum,
    /// Groups all of whose completions are judged, and over them the share of successes where the answer is a most frequent one.
    pub judged: u64,
    pub passes: ExactSum,
    /// Groups all of whose rewards are there, and over them the mean reward likewise.
    pub rewarded: u64,
    pub rewards: ExactSum,
}

/// The members of a group whose answer no other is more frequent than, and how many give one such answer.
fn most_frequent(answers: &[u64]) -> (Vec<usize>, usize) {
    let mut places: Vec<usize> = (0..answers.len()).collect();
    places.sort_unstable_by_key(|&i| answers[i]);
    let alike = || places.chunk_by(|&a, &b| answers[a] == answers[b]);
    let most = alike().map(<[usize]>::len).max().unwrap_or(0);
    let members = alike().filter(|alike| alike.len() == most);
    (members.flatten().copied().collect(), most)
}

impl Majority {
    /// `judged` with the value from which on it is a success.
    pub fn add(
        &mut self,
        answers: &[Option<u64>],
        judged: Option<(&GroupColumn<'_>, f64)>,
        rewards: &GroupColumn<'_>,
        ranges: &[Range<usize>],
    ) {
        let (mut agreeing, mut passes, mut means) = (Vec::new(), Vec::new(), Vec::new());
        for range in ranges {
            let given: Option<Vec<u64>> = answers[range.clone()].iter().copied().collect();
            let Some(given) = given else { continue };
            let (members, most) = most_frequent(&given);
            agreeing.push(most as f64 / range.len() as f64);
            let of = |column: &GroupColumn<'_>| {
                let usable = column.mark(range.clone()) == Mark::Finite;
                let values = &column.values[range.clone()];
                usable.then(|| members.iter().map(|&i| values[i]).collect::<Vec<f64>>())
            };
            if let Some((judged, threshold)) = judged
                && let Some(values) = of(judged)
            {
                let hits = values.iter().filter(|x| **x >= threshold).count();
                passes.push(hits as f64 / members.len() as f64);
            }
            if let Some(values) = of(rewards) {
                means.push(ExactSum::of(&values).divided(values.len() as u64));
            }
        }
        count(&mut self.groups, agreeing.len() as u64);
        count(&mut self.judged, passes.len() as u64);
        count(&mut self.rewarded, means.len() as u64);
        self.agreeing.add(&agreeing);
        self.passes.add(&passes);
        self.rewards.add(&means);
    }

    pub fn merge(&mut self, other: &Self) {
        let Self {
            groups,
            agreeing,
            judged,
            passes,
            rewarded,
            rewards,
        } = other;
        count(&mut self.groups, *groups);
        self.agreeing.merge(agreeing);
        count(&mut self.judged, *judged);
        self.passes.merge(passes);
        count(&mut self.rewarded, *rewarded);
        self.rewards.merge(rewards);
    }

    /// Whether it could be of so many completions.
    pub fn is_consistent(&self, completions: u64) -> bool {
        self.groups <= completions && self.judged <= self.groups && self.rewarded <= self.groups
    }
}

/// What groups answer most often.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MajorityNumbers {
    /// Mean over groups of the share of completions that agree; `None` without answers.
    pub agreeing: Option<f64>,
    /// Mean over groups of how probably the answer succeeds that most of its completions give, each of several equally frequent ones
    /// as probably chosen; `None` without a group all of whose completions answer and are judged.
    pub pass: Option<f64>,
    /// Mean reward of that answer, likewise.
    pub reward: Option<f64>,
}

pub(crate) fn majority_numbers(majority: &Majority) -> MajorityNumbers {
    let of = |sum: &ExactSum, groups: u64| (groups > 0).then(|| sum.divided(groups));
    MajorityNumbers {
        agreeing: of(&majority.agreeing, majority.groups),
        pass: of(&majority.passes, majority.judged),
        reward: of(&majority.rewards, majority.rewarded),
    }
}
