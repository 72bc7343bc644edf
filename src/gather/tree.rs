//! Who sends to whom, and how long one waits for the other.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::{Answer, GatherError, Silence};

/// As good as never.
pub(super) const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// After so many steps in a row without its part a rank is waited for no longer.
pub(super) const MISSES: u64 = 3;

/// The way from the ranks to the root. It never shows in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TreeShape {
    /// A binomial tree: a rank sends to itself less its lowest bit, so that no rank receives more than log2(ranks) times.
    #[default]
    Binomial,
    /// Everyone sends to the root.
    Flat,
}

impl TreeShape {
    /// Whom `rank` sends to; no one if it is the root.
    #[must_use]
    pub fn parent(self, rank: u32) -> Option<u32> {
        match self {
            _ if rank == 0 => None,
            Self::Binomial => Some(rank & (rank - 1)),
            Self::Flat => Some(0),
        }
    }

    /// Who sends to `rank`, each with the ranks that send through it.
    #[must_use]
    pub fn children(self, rank: u32, world_size: u32) -> Vec<(u32, Range<u32>)> {
        let steps = match rank {
            0 => 32,
            _ => rank.trailing_zeros(),
        };
        match self {
            Self::Binomial => (0..steps)
                .map_while(|k| Some((rank.checked_add(1 << k)?, 1_u32 << k)))
                .take_while(|&(child, _)| child < world_size)
                .map(|(child, span)| (child, child + 1..world_size.min(child.saturating_add(span))))
                .collect(),
            Self::Flat if rank == 0 => (1..world_size).map(|child| (child, 0..0)).collect(),
            Self::Flat => Vec::new(),
        }
    }
}

/// What a link has received. Between threads, messages alone say who is ahead and who behind.
#[derive(Debug)]
#[cfg_attr(not(feature = "mpi"), allow(dead_code))]
pub enum Received {
    Bytes(Message),
    /// The rank has ended: no more will come from it.
    Gone(u32),
    /// The rank has given this collective up and is at a later one; said once a collective.
    Ahead(u32),
    /// The rank is at an earlier collective.
    Behind(u32),
    /// The time is over.
    Nothing,
}

/// Bytes of one collective; collectives are numbered on each rank as it calls them.
#[derive(Debug)]
pub struct Message {
    pub from: u32,
    pub sequence: u64,
    pub bytes: Vec<u8>,
}

/// Messages from rank to rank.
pub trait Link {
    /// Hands a message over, or gives up at `until`.
    fn send(&mut self, to: u32, message: Message, until: Instant) -> Result<(), Silence>;

    /// The next message there is, also where `until` is over already. Those of collectives after `sequence` may wait; those
    /// of earlier ones may come as no more than [`Received::Behind`].
    fn receive(&mut self, sequence: u64, until: Instant) -> Received;
}

/// A gather along a [`TreeShape`], over any link.
#[derive(Debug)]
pub struct Tree<L> {
    pub link: L,
    pub rank: u32,
    pub world_size: u32,
    pub shape: TreeShape,
    /// How long the parents of leaves wait.
    pub deadline: Duration,
    sequence: u64,
    /// From ranks that are ahead.
    early: Vec<Message>,
    gone: Vec<u32>,
    /// Those of this rank's children that missed the last collective.
    absent: BTreeMap<u32, Absence>,
}

/// Of a rank whose bytes have not been there in time lately.
#[derive(Debug)]
struct Absence {
    /// The first of the collectives that it missed.
    since: u64,
    /// Whether it has spoken since it was last waited for, be it of a collective that is over.
    heard: bool,
    /// No word of it is trusted before this collective. Each time that it spoke, was waited for and missed all the same,
    /// it is kept as long again, so that a rank that is always late costs the logarithm of the steps.
    distrusted_until: u64,
}

impl Absence {
    fn missed(&self, sequence: u64) -> u64 {
        sequence - self.since
    }

    fn is_left_out(&self, sequence: u64) -> bool {
        self.missed(sequence) >= MISSES
    }

    fn is_waited_for(&self, sequence: u64) -> bool {
        !self.is_left_out(sequence) || (self.heard && sequence >= self.distrusted_until)
    }
}

impl<L: Link> Tree<L> {
    pub fn new(link: L, rank: u32, world_size: u32, deadline: Duration) -> Self {
        // Beyond a century clocks overflow, where they are asked for `Duration::MAX`.
        let deadline = deadline.min(CENTURY);
        Self {
            link,
            rank,
            world_size,
            shape: TreeShape::default(),
            deadline,
            sequence: 0,
            early: Vec::new(),
            gone: Vec::new(),
            absent: BTreeMap::new(),
        }
    }

    pub fn gather(
        &mut self,
        part: &mut dyn FnMut(Vec<Answer>) -> Vec<u8>,
    ) -> Result<Option<Vec<Answer>>, GatherError> {
        self.sequence += 1;
        let answers = self.receive();
        let Some(parent) = self.shape.parent(self.rank) else {
            return Ok(Some(answers));
        };
        let message = Message {
            from: self.rank,
            sequence: self.sequence,
            bytes: part(answers),
        };
        let most = i32::MAX as usize;
        if message.bytes.len() > most {
            return Err(GatherError::Long {
                rank: self.rank,
                most,
                found: message.bytes.len(),
            });
        }
        let until = Instant::now() + self.deadline;
        let sent = self.link.send(parent, message, until);
        sent.map(|()| None).map_err(|why| GatherError::Parent {
            rank: self.rank,
            parent,
            why: why.to_string(),
        })
    }

    /// What comes of this rank's children. Messages of an earlier collective are dropped: their time is over.
    ///
    /// A child that has been left out is in if its message is there already, or comes while others are waited for.
    fn receive(&mut self) -> Vec<Answer> {
        let current = self.sequence;
        let children = self.shape.children(self.rank, self.world_size);
        let waited = self.patience(children.len());
        let begun = Instant::now();
        let mut waiting: BTreeMap<u32, Range<u32>> = children.into_iter().collect();
        let mut answers = Vec::with_capacity(waiting.len());
        let mut settle = |waiting: &mut BTreeMap<u32, Range<u32>>, rank, bytes| {
            if let Some(behind) = waiting.remove(&rank) {
                answers.push(Answer {
                    rank,
                    behind,
                    bytes,
                });
            }
        };
        self.early.retain(|message| message.sequence >= current);
        let due = self.early.extract_if(.., |m| m.sequence == current);
        for message in due.collect::<Vec<_>>() {
            self.is_back(message.from);
            settle(&mut waiting, message.from, Ok(message.bytes));
        }
        for &rank in &self.gone {
            settle(&mut waiting, rank, Err(Silence::Gone));
        }
        while !waiting.is_empty() {
            let until = if waiting.keys().any(|&rank| self.is_waited_for(rank)) {
                begun + waited
            } else {
                begun
            };
            match self.link.receive(current, until) {
                Received::Bytes(message) if message.sequence > current => self.early.push(message),
                Received::Bytes(message) if message.sequence == current => {
                    self.is_back(message.from);
                    settle(&mut waiting, message.from, Ok(message.bytes));
                }
                Received::Bytes(Message { from: rank, .. }) | Received::Behind(rank) => {
                    if let Some(absence) = self.absent.get_mut(&rank) {
                        absence.heard = true;
                    }
                }
                Received::Ahead(rank) => settle(&mut waiting, rank, Err(Silence::Ahead)),
                Received::Gone(rank) => {
                    self.gone.push(rank);
                    self.absent.remove(&rank);
                    settle(&mut waiting, rank, Err(Silence::Gone));
                }
                Received::Nothing => break,
            }
        }
        for rank in waiting.clone().into_keys() {
            let silence = self.missed(rank, waited);
            settle(&mut waiting, rank, Err(silence));
        }
        answers
    }

    fn is_waited_for(&self, rank: u32) -> bool {
        let absence = self.absent.get(&rank);
        absence.is_none_or(|absence| absence.is_waited_for(self.sequence))
    }

    /// Notes that a rank's part is there.
    fn is_back(&mut self, rank: u32) {
        let Some(absence) = self.absent.remove(&rank) else {
            return;
        };
        if absence.is_left_out(self.sequence) {
            let missed = absence.missed(self.sequence);
            tracing::warn!("rank {rank} is back, after {missed} steps without its part");
        }
    }

    /// Notes that a rank's part is not there.
    fn missed(&mut self, rank: u32, waited: Duration) -> Silence {
        let sequence = self.sequence;
        let absence = self.absent.entry(rank).or_insert(Absence {
            since: sequence,
            heard: false,
            distrusted_until: 0,
        });
        let was_waited_for = absence.is_waited_for(sequence);
        let was_left_out = absence.is_left_out(sequence);
        let missed = absence.missed(sequence) + 1;
        if was_left_out && was_waited_for {
            absence.heard = false;
            absence.distrusted_until = sequence.saturating_add(missed);
        }
        if !was_left_out && missed >= MISSES {
            tracing::warn!(
                "rank {rank} has missed {missed} steps in a row: it is left out, and not waited for until it is heard again"
            );
        }
        if was_waited_for {
            Silence::Late(waited)
        } else {
            Silence::LeftOut { missed }
        }
    }

    /// How long to wait for this many children: a parent waits a little longer than each of them waits for its own, so
    /// that one late leaf does not cost the branch. At 100,000 ranks the root waits 2.6 times as long as a leaf's parent.
    fn patience(&self, children: usize) -> Duration {
        let levels = match self.shape {
            TreeShape::Binomial => u32::try_from(children).unwrap_or(u32::MAX),
            TreeShape::Flat => 1,
        };
        self.deadline + self.deadline * levels.saturating_sub(1) / 10
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::hooks::event::logged::logged;

    /// What there is to hear, step by step; counts how often it was asked to wait for more than there is.
    #[derive(Debug, Default)]
    struct Script {
        heard: VecDeque<Received>,
        waits: u32,
    }

    impl Link for Script {
        fn send(&mut self, _: u32, _: Message, _: Instant) -> Result<(), Silence> {
            Ok(())
        }

        fn receive(&mut self, _: u64, until: Instant) -> Received {
            let next = self.heard.pop_front();
            self.waits += u32::from(next.is_none() && until > Instant::now());
            next.unwrap_or(Received::Nothing)
        }
    }

    /// The root of two ranks, far more patient than a test.
    fn root() -> Tree<Script> {
        Tree::new(Script::default(), 0, 2, Duration::from_secs(3600))
    }

    /// A step of the root in which rank 1 is heard with messages of these collectives: how often the root waited, and what
    /// became of rank 1.
    fn step(root: &mut Tree<Script>, heard: &[u64]) -> (u32, Result<Vec<u8>, Silence>) {
        root.link.waits = 0;
        root.link.heard = heard
            .iter()
            .map(|&sequence| {
                Received::Bytes(Message {
                    from: 1,
                    sequence,
                    bytes: Vec::new(),
                })
            })
            .collect();
        let answers = root.gather(&mut |_| Vec::new()).unwrap().unwrap();
        let [answer] = <[Answer; 1]>::try_from(answers).unwrap();
        (root.link.waits, answer.bytes)
    }

    #[test]
    fn a_silent_rank_is_left_out_after_three_steps_and_the_log_says_so_once_and_once_that_it_is_back()
     {
        let late = |root: &Tree<Script>| Err(Silence::Late(root.deadline));
        let said = logged(|| {
            let mut root = root();
            for _ in 1..=3 {
                let expected = late(&root);
                assert_eq!(step(&mut root, &[]), (1, expected));
            }
            for missed in 4..=10 {
                let left_out = Err(Silence::LeftOut { missed });
                assert_eq!(step(&mut root, &[]), (0, left_out));
            }
            // Its message is there when the root looks: no wait, and it is waited for from then on.
            assert_eq!(step(&mut root, &[11]), (0, Ok(Vec::new())));
            let expected = late(&root);
            assert_eq!(step(&mut root, &[]), (1, expected));
        });
        assert_eq!(
            said,
            [
                "WARN: rank 1 has missed 3 steps in a row: it is left out, and not waited for until it is heard again",
                "WARN: rank 1 is back, after 10 steps without its part",
            ]
        );
    }

    #[test]
    fn a_rank_that_is_heard_of_an_earlier_step_is_waited_for_in_this_one() {
        let mut root = root();
        for _ in 1..=9 {
            let _ = step(&mut root, &[]);
        }
        assert_eq!(
            step(&mut root, &[4, 5, 6, 7, 8, 9, 10]),
            (0, Ok(Vec::new()))
        );
        assert_eq!(step(&mut root, &[11]), (0, Ok(Vec::new())));
    }

    #[test]
    fn a_rank_that_is_always_one_step_late_costs_the_logarithm_of_the_steps() {
        let mut root = root();
        let waits: u32 = (0..1000)
            .map(|sequence| step(&mut root, &[sequence]).0)
            .sum();
        // Three, and then at steps 4, 8, 16, ... 512.
        assert_eq!(waits, 3 + 8);
    }

    #[test]
    fn a_rank_that_is_ahead_is_not_waited_for_and_its_message_is_kept() {
        let mut root = root();
        root.link.heard.push_back(Received::Ahead(1));
        let ahead = root.gather(&mut |_| Vec::new()).unwrap().unwrap();
        assert_eq!(ahead[0].bytes, Err(Silence::Ahead));
        assert_eq!(root.link.waits, 0);
        assert_eq!(step(&mut root, &[2]), (0, Ok(Vec::new())));
    }
}
