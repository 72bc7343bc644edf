//! Ranks that are processes under MPI.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use mpi::Tag;
use mpi::environment::{Threading, Universe};
use mpi::point_to_point::{Destination, MatchedReceiveVec, Source};
use mpi::topology::{Communicator, SimpleCommunicator};

use super::tree::{CENTURY, Link, MISSES, Message, Received, Tree};
use super::{Answer, Gather, GatherError, Silence};

/// A rank of MPI's world: point to point along a binomial tree, no call that waits without end.
///
/// MPI's own collectives wait for the slowest rank for ever, and so may a plain send of many bytes. So a rank first offers
/// what it has in a message that is small enough to be buffered, and sends it only to a parent that says it is waiting.
/// It uses the tags 24,000 to 32,767 of the world's communicator.
#[derive(Debug)]
pub struct Mpi(Tree<Messages>);

impl Mpi {
    /// Starts MPI. It ends when the [`Universe`] is dropped; `None` if it has been started before ([`Mpi::world`] then).
    #[must_use]
    pub fn start(deadline: Duration) -> Option<(Universe, Self)> {
        let (universe, _) = mpi::initialize_with_threading(Threading::Serialized)?;
        Some((universe, Self::world(deadline)))
    }

    /// This process's rank, once MPI has been started; it waits `deadline` for those that send to it (a tenth more for
    /// every level of the tree above the first).
    #[must_use]
    pub fn world(deadline: Duration) -> Self {
        let world = SimpleCommunicator::world();
        let link = Messages {
            deadline: deadline.min(CENTURY),
            unasked: 0,
            offers: Vec::new(),
            owed: Vec::new(),
        };
        let (rank, size) = (world.rank().cast_unsigned(), world.size().cast_unsigned());
        Self(Tree::new(link, rank, size, deadline))
    }
}

impl Gather for Mpi {
    fn rank(&self) -> u32 {
        self.0.rank
    }

    fn world_size(&self) -> u32 {
        self.0.world_size
    }

    fn gather(
        &mut self,
        part: &mut dyn FnMut(Vec<Answer>) -> Vec<u8>,
    ) -> Result<Option<Vec<Answer>>, GatherError> {
        self.0.gather(part)
    }
}

/// A child says which collective it has bytes for, and whether it waits until they are wanted ([`hail`]); a parent says which
/// collective's bytes it wants, or answers one that does not wait with its own number: the parent is there.
const OFFER: Tag = 24_000;
const WANT: Tag = 24_001;
/// Bytes have a tag of their collective, so that none are taken for another's.
fn tag_of(sequence: u64) -> Tag {
    24_002 + (sequence % 8_765) as Tag
}

#[derive(Debug)]
struct Messages {
    deadline: Duration,
    /// How many collectives in a row this rank's parent has not asked for.
    unasked: u64,
    /// The last offer of each child that has not been taken up: who offers again has given up what it offered before.
    offers: Vec<Offer>,
    /// Bytes that were asked for and did not come in time: a sender may stand waiting to be rid of them.
    owed: Vec<(u32, u64)>,
}

/// An offer as a number: the collective twice, and 1 more for a child that waits.
fn hail(sequence: u64, stands: bool) -> u64 {
    sequence << 1 | u64::from(stands)
}

#[derive(Debug)]
struct Offer {
    from: u32,
    sequence: u64,
    /// Whether the child waits to be asked; one that has waited for three collectives in vain does not.
    stands: bool,
    /// The collective in which it was last told that this child is ahead of it.
    told: u64,
}

impl Offer {
    fn is_ahead_of(&self, sequence: u64) -> bool {
        self.sequence > sequence || (self.sequence == sequence && !self.stands)
    }
}

impl Link for Messages {
    fn send(&mut self, to: u32, message: Message, until: Instant) -> Result<(), Silence> {
        let world = SimpleCommunicator::world();
        let parent = world.process_at_rank(to.cast_signed());
        let patient = Cell::new(false);
        let asked = |until| {
            poll(until, || {
                let (asked, _) = parent.immediate_matched_probe_with_tag(WANT)?;
                let (sequence, _) = asked.matched_receive::<u64>();
                // Also a question that comes too late is a sign of life.
                patient.set(true);
                (sequence >= message.sequence).then_some(sequence)
            })
        };
        if self.unasked >= MISSES {
            // What has come since the last collective is of those before it.
            asked(Instant::now());
        } else {
            patient.set(true);
        }
        parent.send_with_tag(&hail(message.sequence, patient.get()), OFFER);
        let wanted = patient.get().then(|| asked(until)).flatten();
        match wanted {
            Some(sequence) if sequence == message.sequence => {}
            Some(_) => {
                self.unasked = 0;
                return Err(Silence::Ahead);
            }
            None => {
                self.unasked += 1;
                return Err(if patient.get() {
                    Silence::Late(self.deadline)
                } else {
                    let missed = self.unasked;
                    Silence::LeftOut { missed }
                });
            }
        }
        self.unasked = 0;
        parent.send_with_tag(&message.bytes[..], tag_of(message.sequence));
        Ok(())
    }

    fn receive(&mut self, sequence: u64, until: Instant) -> Received {
        let world = SimpleCommunicator::world();
        let spoken = poll(until, || {
            self.drop_owed(&world);
            self.take_offers(&world);
            let at = self
                .offers
                .iter()
                .position(|offer| !offer.is_ahead_of(sequence) || offer.told < sequence)?;
            match &mut self.offers[at] {
                ahead if ahead.is_ahead_of(sequence) => {
                    ahead.told = sequence;
                    Some(Err(Received::Ahead(ahead.from)))
                }
                now if now.sequence == sequence => Some(Ok(self.offers.swap_remove(at).from)),
                // Whoever offers what is over need not wait to be asked for it.
                late => {
                    let from = late.from;
                    self.offers.swap_remove(at);
                    let late = world.process_at_rank(from.cast_signed());
                    late.send_with_tag(&sequence, WANT);
                    Some(Err(Received::Behind(from)))
                }
            }
        });
        let from = match spoken {
            Some(Ok(from)) => from,
            Some(Err(other)) => return other,
            None => return Received::Nothing,
        };
        let child = world.process_at_rank(from.cast_signed());
        child.send_with_tag(&sequence, WANT);
        let bytes = poll(until + self.deadline, || {
            // Once it offers anew it sends no more of this; but it may have sent this before.
            self.take_offers(&world);
            let given_up = self.offers.iter().any(|offer| offer.from == from);
            match take(&world, from, sequence) {
                None if given_up => Some(None),
                bytes => bytes.map(Some),
            }
        });
        match bytes {
            Some(Some(bytes)) => Received::Bytes(Message {
                from,
                sequence,
                bytes,
            }),
            Some(None) => {
                self.owed.push((from, sequence));
                Received::Ahead(from)
            }
            None => {
                self.owed.push((from, sequence));
                Received::Nothing
            }
        }
    }
}

impl Messages {
    fn take_offers(&mut self, world: &SimpleCommunicator) {
        while let Some((offer, _)) = world.any_process().immediate_matched_probe_with_tag(OFFER) {
            let (hail, status) = offer.matched_receive::<u64>();
            let (sequence, stands) = (hail >> 1, hail & 1 == 1);
            let from = status.source_rank().cast_unsigned();
            if !stands {
                let child = world.process_at_rank(status.source_rank());
                child.send_with_tag(&sequence, WANT);
            }
            self.offers.retain(|earlier| earlier.from != from);
            self.offers.push(Offer {
                from,
                sequence,
                stands,
                told: 0,
            });
        }
    }

    fn drop_owed(&mut self, world: &SimpleCommunicator) {
        self.owed
            .retain(|&(from, sequence)| take(world, from, sequence).is_none());
    }
}

fn take(world: &SimpleCommunicator, from: u32, sequence: u64) -> Option<Vec<u8>> {
    let from = world.process_at_rank(from.cast_signed());
    let arrived = from.immediate_matched_probe_with_tag(tag_of(sequence))?;
    Some(arrived.matched_receive_vec().0)
}

/// Asks again and again, at first without a pause, until there is an answer or the time is over.
fn poll<T>(until: Instant, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    for turn in 0_u32.. {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= until {
            return None;
        }
        if turn > 1_000 {
            thread::sleep(Duration::from_micros(50));
        }
    }
    None
}
