//! Columns as bytes: short where they are regular, and never longer in memory than their bytes allow.

pub(super) use crate::stat::Bytes;

impl Bytes {
    /// Doubles, bit for bit.
    pub fn of_doubles(values: &[f64]) -> Self {
        Self(values.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    /// The doubles written by [`Bytes::of_doubles`]; none where the bytes are not doubles.
    pub fn doubles(&self) -> Option<Vec<f64>> {
        let (words, rest) = self.0.as_chunks::<8>();
        rest.is_empty()
            .then(|| words.iter().map(|&word| f64::from_le_bytes(word)).collect())
    }

    /// Whole numbers as runs of equal steps, (step, length) each: a column that counts up, repeats or stands still is a few bytes.
    pub fn of_steps(values: impl IntoIterator<Item = u64>) -> Self {
        let mut bytes = Self::default();
        let (mut last, mut run) = (0_u64, (0_u64, 0_u64));
        for value in values {
            let step = value.wrapping_sub(last);
            last = value;
            if run.1 > 0 && run.0 == step {
                run.1 += 1;
                continue;
            }
            bytes.push_run(run);
            run = (step, 1);
        }
        bytes.push_run(run);
        bytes
    }

    fn push_run(&mut self, (step, length): (u64, u64)) {
        if length > 0 {
            self.push(zigzag(step));
            self.push(length - 1);
        }
    }

    /// The `count` numbers written by [`Bytes::of_steps`]; none where the bytes hold more, fewer or anything else. The
    /// caller vouches that `count` numbers are not too many to hold.
    pub fn steps(&self, count: usize) -> Option<Vec<u64>> {
        let mut values = Vec::with_capacity(count);
        let (mut rest, mut last) = (&self.0[..], 0_u64);
        while !rest.is_empty() {
            let step = unzigzag(take(&mut rest)?);
            let length = take(&mut rest)?.checked_add(1)?;
            if length > (count - values.len()) as u64 {
                return None;
            }
            for _ in 0..length {
                last = last.wrapping_add(step);
                values.push(last);
            }
        }
        (values.len() == count).then_some(values)
    }

    /// Whole numbers one by one: those that vary and are small.
    pub fn of_numbers(values: impl IntoIterator<Item = u64>) -> Self {
        let mut bytes = Self::default();
        values.into_iter().for_each(|value| bytes.push(value));
        bytes
    }

    /// The numbers written by [`Bytes::of_numbers`]; none where the bytes are not numbers. At most eight bytes of memory a byte.
    pub fn numbers(&self) -> Option<Vec<u64>> {
        let (mut values, mut rest) = (Vec::new(), &self.0[..]);
        while !rest.is_empty() {
            values.push(take(&mut rest)?);
        }
        Some(values)
    }

    /// A set in ascending order: the gaps between its members.
    pub fn of_set(ascending: &[u64]) -> Self {
        let mut bytes = Self::default();
        let mut next = 0;
        for &value in ascending {
            bytes.push(value.wrapping_sub(next));
            next = value.wrapping_add(1);
        }
        bytes
    }

    /// The set written by [`Bytes::of_set`]; none where the bytes are not one. At most eight bytes of memory a byte.
    pub fn set(&self) -> Option<Vec<u64>> {
        let (mut values, mut rest) = (Vec::new(), &self.0[..]);
        let mut next = Some(0_u64);
        while !rest.is_empty() {
            let value = next?.checked_add(take(&mut rest)?)?;
            values.push(value);
            next = value.checked_add(1);
        }
        Some(values)
    }

    /// Seven bits a byte, the lowest first, the top bit saying that more follow.
    fn push(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
    }
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..10 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        // The tenth byte holds the one bit that is left.
        if place == 9 && part > 1 {
            return None;
        }
        value |= part << (7 * place);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Small steps of either sign as small numbers.
fn zigzag(step: u64) -> u64 {
    step << 1 ^ (step.cast_signed() >> 63).cast_unsigned()
}

fn unzigzag(code: u64) -> u64 {
    code >> 1 ^ (code & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whole_numbers_come_back_whatever_they_are(values in prop::collection::vec(prop_oneof![any::<u64>(), 0_u64..9], 0..50)) {
            prop_assert_eq!(Bytes::of_steps(values.iter().copied()).steps(values.len()), Some(values));
        }

        #[test]
        fn numbers_come_back_one_by_one(values in prop::collection::vec(prop_oneof![any::<u64>(), 0_u64..999], 0..50)) {
            prop_assert_eq!(Bytes::of_numbers(values.iter().copied()).numbers(), Some(values));
        }

        #[test]
        fn sets_come_back(values in prop::collection::btree_set(prop_oneof![any::<u64>(), 0_u64..99, Just(u64::MAX)], 0..50)) {
            let values: Vec<u64> = values.into_iter().collect();
            prop_assert_eq!(Bytes::of_set(&values).set(), Some(values));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60), count in 0_usize..2000) {
            let bytes = Bytes(bytes);
            if let Some(values) = bytes.steps(count) {
                prop_assert_eq!(values.len(), count);
            }
            if let Some(set) = bytes.set() {
                prop_assert!(set.is_sorted_by(|a, b| a < b) && set.len() <= bytes.0.len());
            }
        }
    }

    #[test]
    fn a_column_that_counts_up_is_a_few_bytes() {
        assert!(Bytes::of_steps(0..100_000).0.len() <= 6);
        assert!(
            Bytes::of_steps(std::iter::repeat_n(u64::MAX, 100_000))
                .0
                .len()
                <= 6
        );
    }
}
