//! Who sends to whom, and how long one waits for the other.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::{Answer, GatherError, Silence};

/// As good as never.
pub(super) const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The way from the ranks to the root. It never shows in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// A binomial tree: a rank sends to itself less its lowest bit, so that no rank receives more than log2(ranks) times.
    #[default]
    Binomial,
    /// Everyone sends to the root.
    Flat,
}

impl Shape {
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

/// What a link has received.
#[derive(Debug)]
pub enum Received {
    Bytes(Message),
    /// The rank has ended: no more will come from it.
    Gone(u32),
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

    /// The next message there is. Those of collectives after `sequence` may wait, those of earlier ones may be dropped.
    fn receive(&mut self, sequence: u64, until: Instant) -> Received;
}

/// A gather along a [`Shape`], over any link.
#[derive(Debug)]
pub struct Tree<L> {
    pub link: L,
    pub rank: u32,
    pub world_size: u32,
    pub shape: Shape,
    /// How long the parents of leaves wait.
    pub deadline: Duration,
    sequence: u64,
    /// From ranks that are ahead.
    early: Vec<Message>,
    gone: Vec<u32>,
}

impl<L: Link> Tree<L> {
    pub fn new(link: L, rank: u32, world_size: u32, deadline: Duration) -> Self {
        // Beyond a century clocks overflow, where they are asked for `Duration::MAX`.
        let deadline = deadline.min(CENTURY);
        Self {
            link,
            rank,
            world_size,
            shape: Shape::default(),
            deadline,
            sequence: 0,
            early: Vec::new(),
            gone: Vec::new(),
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
    fn receive(&mut self) -> Vec<Answer> {
        let mut waiting = self.shape.children(self.rank, self.world_size);
        let waited = self.patience(waiting.len());
        let until = Instant::now() + waited;
        let mut answers = Vec::with_capacity(waiting.len());
        let mut settle = |waiting: &mut Vec<(u32, Range<u32>)>, from: u32, bytes| {
            if let Some(at) = waiting.iter().position(|(rank, _)| *rank == from) {
                let (rank, behind) = waiting.swap_remove(at);
                answers.push(Answer {
                    rank,
                    behind,
                    bytes,
                });
            }
        };
        let current = self.sequence;
        self.early.retain(|message| message.sequence >= current);
        for message in self.early.extract_if(.., |m| m.sequence == current) {
            settle(&mut waiting, message.from, Ok(message.bytes));
        }
        for &rank in &self.gone {
            settle(&mut waiting, rank, Err(Silence::Gone));
        }
        while !waiting.is_empty() {
            match self.link.receive(current, until) {
                Received::Bytes(message) if message.sequence > current => self.early.push(message),
                Received::Bytes(message) if message.sequence == current => {
                    settle(&mut waiting, message.from, Ok(message.bytes));
                }
                Received::Bytes(_) => {}
                Received::Gone(rank) => {
                    self.gone.push(rank);
                    settle(&mut waiting, rank, Err(Silence::Gone));
                }
                Received::Nothing => break,
            }
        }
        for (rank, _) in waiting.clone() {
            settle(&mut waiting, rank, Err(Silence::Late(waited)));
        }
        answers
    }

    /// How long to wait for this many children: a parent waits a little longer than each of them waits for its own, so
    /// that one late leaf does not cost the branch. At 100,000 ranks the root waits 2.6 times as long as a leaf's parent.
    fn patience(&self, children: usize) -> Duration {
        let levels = match self.shape {
            Shape::Binomial => u32::try_from(children).unwrap_or(u32::MAX),
            Shape::Flat => 1,
        };
        self.deadline + self.deadline * levels.saturating_sub(1) / 10
    }
}
