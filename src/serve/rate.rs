//! How often somebody may: so many at once, and then so many a second.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Of how many is remembered what they took: who is forgotten begins anew.
const REMEMBERED: usize = 1024;

/// What each has left.
#[derive(Debug)]
pub struct Rates<K> {
    /// How many a second come back; also how many there are at most.
    per_second: f64,
    left: Mutex<HashMap<K, Left>>,
}

#[derive(Clone, Copy, Debug)]
struct Left {
    /// As many as there were at that time.
    count: f64,
    at: Instant,
}

impl<K: Eq + Hash> Rates<K> {
    pub fn of(per_second: u32) -> Self {
        Self {
            per_second: f64::from(per_second.max(1)),
            left: Mutex::default(),
        }
    }

    /// Takes one.
    ///
    /// # Errors
    /// If there is none left: after that time there is.
    pub fn take(&self, who: K, now: Instant) -> Result<(), Duration> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.len() >= REMEMBERED && !left.contains_key(&who) {
            left.retain(|_, left| self.count(*left, now) < self.per_second);
            if left.len() >= REMEMBERED {
                left.clear();
            }
        }
        let full = Left {
            count: self.per_second,
            at: now,
        };
        let of_it = left.entry(who).or_insert(full);
        let count = self.count(*of_it, now);
        let taken = count >= 1.0;
        *of_it = Left {
            count: if taken { count - 1.0 } else { count },
            at: now,
        };
        if taken {
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - count) / self.per_second))
    }

    fn count(&self, left: Left, now: Instant) -> f64 {
        let since = now.saturating_duration_since(left.at).as_secs_f64();
        (left.count + since * self.per_second).min(self.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_took_all_gets_one_again_after_its_time_and_nobody_else_waits() {
        let rates = Rates::of(4);
        let begun = Instant::now();
        for _ in 0..4 {
            assert_eq!(rates.take("a", begun), Ok(()));
        }
        let wait = rates.take("a", begun).unwrap_err();
        assert_eq!(wait, Duration::from_millis(250));
        assert_eq!(rates.take("b", begun), Ok(()));
        assert_eq!(rates.take("a", begun + wait), Ok(()));
        assert!(rates.take("a", begun + wait).is_err());
        // However long somebody waits, it is no more at once.
        let late = begun + Duration::from_secs(3600);
        let at_once = (0..9).filter(|_| rates.take("a", late).is_ok()).count();
        assert_eq!(at_once, 4);
    }

    #[test]
    fn however_many_come_so_many_are_remembered() {
        let rates = Rates::of(4);
        let now = Instant::now();
        for who in 0..10 * REMEMBERED {
            assert_eq!(rates.take(who, now), Ok(()));
        }
        assert!(rates.left.lock().unwrap().len() <= REMEMBERED);
    }
}
