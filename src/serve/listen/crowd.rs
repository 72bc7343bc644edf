//! How many are connected at once, and who has to leave where it is one too many.
//!
//! A client that holds connections and asks nothing shuts nobody out: the one that has been idle for longest makes room for the next.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

#[derive(Debug)]
pub struct Crowd {
    most: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    next: u64,
    guests: BTreeMap<u64, Place>,
}

#[derive(Debug)]
struct Place {
    /// How many answers are being made.
    busy: usize,
    /// Since when none is.
    since: Instant,
    leave: Arc<Notify>,
}

/// One who is connected, until it is dropped.
#[derive(Debug)]
pub struct Guest {
    crowd: Arc<Crowd>,
    number: u64,
    leave: Arc<Notify>,
}

/// While it is there, its guest is not asked to leave.
#[derive(Debug)]
pub struct Busy(Arc<Guest>);

impl Crowd {
    pub fn of(most: usize) -> Self {
        Self {
            most: most.max(1),
            inside: Mutex::default(),
        }
    }

    /// None where all who are in are busy.
    pub fn enter(crowd: &Arc<Self>) -> Option<Guest> {
        let mut inside = crowd.inside();
        if inside.guests.len() >= crowd.most {
            let idle = inside.guests.iter().filter(|(_, place)| place.busy == 0);
            let (&longest, _) = idle.min_by_key(|(_, place)| place.since)?;
            let place = inside.guests.remove(&longest)?;
            place.leave.notify_one();
        }
        let (number, leave) = (inside.next, Arc::new(Notify::new()));
        inside.next += 1;
        let place = Place {
            busy: 0,
            since: Instant::now(),
            leave: Arc::clone(&leave),
        };
        inside.guests.insert(number, place);
        drop(inside);
        Some(Guest {
            crowd: Arc::clone(crowd),
            number,
            leave,
        })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Ends when somebody else is to have the place.
    pub async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }

    pub fn busy(guest: &Arc<Self>) -> Busy {
        if let Some(place) = guest.crowd.inside().guests.get_mut(&guest.number) {
            place.busy += 1;
        }
        Busy(Arc::clone(guest))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(place) = self.0.crowd.inside().guests.get_mut(&self.0.number) {
            place.busy = place.busy.saturating_sub(1);
            place.since = Instant::now();
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.crowd.inside().guests.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_is_idle_for_longest_makes_room_and_who_is_busy_never() {
        let crowd = Arc::new(Crowd::of(3));
        let enter = || Crowd::enter(&crowd).map(Arc::new);
        let [first, second, third] = [enter(), enter(), enter()].map(Option::unwrap);
        let is_in = |guest: &Arc<Guest>| crowd.inside().guests.contains_key(&guest.number);
        let busy = Guest::busy(&first);
        let [fourth, fifth] = [enter(), enter()].map(Option::unwrap);
        assert!(is_in(&first) && !is_in(&second) && !is_in(&third));
        let all = [busy, Guest::busy(&fourth), Guest::busy(&fifth)];
        assert!(enter().is_none(), "all are busy");
        drop(all);
        let sixth = enter().unwrap();
        assert!(!is_in(&first) && is_in(&fourth) && is_in(&sixth));
        drop(fourth);
        let seventh = enter();
        assert!(seventh.is_some() && is_in(&fifth), "one has left by itself");
    }
}
