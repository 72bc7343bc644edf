//! Ranks that are processes under MPI.

use std::thread;
use std::time::{Duration, Instant};

use mpi::Tag;
use mpi::environment::{Threading, Universe};
use mpi::point_to_point::{Destination, MatchedReceiveVec, Source};
use mpi::topology::{Communicator, SimpleCommunicator};

use super::tree::{CENTURY, Link, Message, Received, Tree};
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

/// A child says which collective it has bytes for; a parent says which collective's bytes it wants.
const OFFER: Tag = 24_000;
const WANT: Tag = 24_001;
/// Bytes have a tag of their collective, so that none are taken for another's.
fn tag_of(sequence: u64) -> Tag {
    24_002 + (sequence % 8_765) as Tag
}

#[derive(Debug)]
struct Messages {
    deadline: Duration,
    /// Offers for collectives to come: who, and for which.
    offers: Vec<(u32, u64)>,
    /// Bytes that were asked for and did not come in time: a sender may stand waiting to be rid of them.
    owed: Vec<(u32, u64)>,
}

impl Link for Messages {
    fn send(&mut self, to: u32, message: Message, until: Instant) -> Result<(), Silence> {
        let world = SimpleCommunicator::world();
        let parent = world.process_at_rank(to.cast_signed());
        parent.send_with_tag(&message.sequence, OFFER);
        let wanted = poll(until, || {
            let (asked, _) = parent.immediate_matched_probe_with_tag(WANT)?;
            let (sequence, _) = asked.matched_receive::<u64>();
            (sequence >= message.sequence).then_some(sequence)
        });
        match wanted {
            Some(sequence) if sequence == message.sequence => {}
            Some(_) => return Err(Silence::Ahead),
            None => return Err(Silence::Late(self.deadline)),
        }
        parent.send_with_tag(&message.bytes[..], tag_of(message.sequence));
        Ok(())
    }

    fn receive(&mut self, sequence: u64, until: Instant) -> Received {
        let world = SimpleCommunicator::world();
        let offer = poll(until, || {
            self.drop_owed(&world);
            while let Some((offer, _)) = world.any_process().immediate_matched_probe_with_tag(OFFER)
            {
                let (offered, status) = offer.matched_receive::<u64>();
                self.offers
                    .push((status.source_rank().cast_unsigned(), offered));
            }
            // Whoever offers what is over need not wait to be asked for it.
            for (late, _) in self
                .offers
                .extract_if(.., |(_, offered)| *offered < sequence)
            {
                let late = world.process_at_rank(late.cast_signed());
                late.send_with_tag(&sequence, WANT);
            }
            let now = self
                .offers
                .iter()
                .position(|(_, offered)| *offered == sequence)?;
            Some(self.offers.swap_remove(now))
        });
        let Some((from, sequence)) = offer else {
            return Received::Nothing;
        };
        let child = world.process_at_rank(from.cast_signed());
        child.send_with_tag(&sequence, WANT);
        let bytes = poll(until + self.deadline, || take(&world, from, sequence));
        let Some(bytes) = bytes else {
            self.owed.push((from, sequence));
            return Received::Nothing;
        };
        Received::Bytes(Message {
            from,
            sequence,
            bytes,
        })
    }
}

impl Messages {
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
