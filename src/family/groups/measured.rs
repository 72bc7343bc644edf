//! Completions whose length is known, each with its reward: kept whole for the correlation of their ranks and for the
//! lengths' quantiles.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::family::groups::byte_columns::Bytes;
use crate::stat::{Order, Statistic, spearman};

/// Lengths in tokens, and the finite rewards of the same completions. Two states of the same completions in another order come
/// to the same results, bit for bit, and to the same bytes.
///
/// Memory: 12 bytes a completion.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Measured {
    /// One each of as many completions.
    rewards: Vec<f64>,
    lengths: Vec<u32>,
    /// The lengths of completions without a finite reward.
    unrewarded: Vec<u32>,
}

impl Measured {
    /// Takes in a completion, whose reward is finite where there is one.
    pub fn add(&mut self, reward: Option<f64>, length: u32) {
        if let Some(reward) = reward {
            self.rewards.push(reward);
            self.lengths.push(length);
        } else {
            self.unrewarded.push(length);
        }
    }

    pub fn merge(&mut self, other: Self) {
        let Self {
            rewards,
            lengths,
            unrewarded,
        } = other;
        self.rewards.extend(rewards);
        self.lengths.extend(lengths);
        self.unrewarded.extend(unrewarded);
    }

    /// How many completions.
    pub fn count(&self) -> u64 {
        (self.lengths.len() + self.unrewarded.len()) as u64
    }

    /// The rewards of those that have one.
    pub fn rewards(&self) -> &[f64] {
        &self.rewards
    }

    /// The lengths of all of them.
    pub fn lengths(&self) -> Order {
        let mut order = Order::default();
        for lengths in [&self.lengths, &self.unrewarded] {
            order.add(&doubles(lengths));
        }
        order
    }

    /// The correlation of the ranks of reward and length; `None` for fewer than two pairs or where either does not vary.
    pub fn spearman(&self) -> Option<f64> {
        spearman(&self.rewards, &doubles(&self.lengths))
    }
}

fn doubles(lengths: &[u32]) -> Vec<f64> {
    lengths.iter().map(|&length| length.into()).collect()
}

/// What [`Measured`] travels as: the rewards ascending, equal ones once; each one's length, ascending where rewards are equal; the
/// other lengths ascending.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Measured")]
struct MeasuredOnWire {
    rewards: Order,
    lengths: Bytes,
    unrewarded: Bytes,
}

impl Serialize for Measured {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pairs = self.rewards.iter().copied().zip(&self.lengths);
        let mut pairs: Vec<(f64, &u32)> = pairs.collect();
        pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(b.1)));
        let mut unrewarded = self.unrewarded.clone();
        unrewarded.sort_unstable();
        let mut rewards = Order::default();
        // In order already: what is sorted once more costs little.
        rewards.add(
            &pairs
                .iter()
                .map(|(reward, _)| *reward)
                .collect::<Vec<f64>>(),
        );
        MeasuredOnWire {
            rewards,
            lengths: Bytes::of_numbers(pairs.iter().map(|(_, length)| u64::from(**length))),
            unrewarded: Bytes::of_numbers(unrewarded.into_iter().map(u64::from)),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Measured {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = MeasuredOnWire::deserialize(deserializer)?;
        let lengths = |bytes: &Bytes| {
            let found = bytes.numbers()?.into_iter().map(u32::try_from);
            found.collect::<Result<Vec<u32>, _>>().ok()
        };
        let (Some(lengths), Some(unrewarded)) =
            (lengths(&found.lengths), lengths(&found.unrewarded))
        else {
            return Err(D::Error::custom("expected lengths of 32 bits"));
        };
        // Every length has a byte of its own; a reward that repeats has none.
        if found.rewards.len() != lengths.len() as u64 {
            return Err(D::Error::custom("expected a length for every reward"));
        }
        let mut rewards = Vec::with_capacity(lengths.len());
        for (reward, count) in found.rewards.runs() {
            rewards.extend((0..count).map(|_| reward));
        }
        Ok(Self {
            rewards,
            lengths,
            unrewarded,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_in_another_order_come_to_the_same_bytes_and_come_back() {
        let completions = [
            (Some(1.0), 7),
            (Some(-0.0), 300),
            (None, 5),
            (Some(0.0), 2),
            (Some(1.0), 3),
            (None, 4),
        ];
        let of = |completions: &[(Option<f64>, u32)]| {
            let mut measured = Measured::default();
            for &(reward, length) in completions {
                measured.add(reward, length);
            }
            measured
        };
        let bytes = |measured: &Measured| postcard::to_stdvec(measured).expect("it has bytes");
        let (one, mut other) = (of(&completions[..2]), of(&completions[2..]));
        other.merge(one);
        let whole = of(&completions);
        assert_eq!(bytes(&other), bytes(&whole));
        let read: Measured = postcard::from_bytes(&bytes(&whole)).expect("its own bytes");
        assert_eq!(bytes(&read), bytes(&whole));
        assert_eq!((read.count(), read.lengths()), (6, whole.lengths()));
        assert_eq!(read.spearman(), whole.spearman());
    }
}
