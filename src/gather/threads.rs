//! Ranks that are threads of one process.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::tree::{Link, Message, Received, Tree};
use super::{Answer, Gather, GatherError, Silence, TreeShape};

/// One of n ranks in one process, for tests and for loops on one host. A handle that is dropped, be it by a panic, is a
/// rank that has ended.
#[derive(Debug)]
pub struct Threads(Tree<Channels>);

impl Threads {
    /// A handle for each of `world_size` ranks, by rank; each waits `deadline` for those that send to it (a tenth more
    /// for every level of the tree above the first).
    #[must_use]
    pub fn of(world_size: u32, deadline: Duration) -> Vec<Self> {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..world_size).map(|_| mpsc::channel()).unzip();
        (0..)
            .zip(receivers)
            .map(|(rank, inbox)| {
                let link = Channels {
                    rank,
                    peers: senders.clone(),
                    inbox,
                };
                Self(Tree::new(link, rank, world_size, deadline))
            })
            .collect()
    }

    /// The way to the root; every rank needs the same.
    #[must_use]
    pub fn shape(mut self, shape: TreeShape) -> Self {
        self.0.shape = shape;
        self
    }
}

impl Gather for Threads {
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

#[derive(Debug)]
enum Letter {
    Bytes(Message),
    Gone(u32),
}

#[derive(Debug)]
struct Channels {
    rank: u32,
    peers: Vec<Sender<Letter>>,
    inbox: Receiver<Letter>,
}

impl Link for Channels {
    fn send(&mut self, to: u32, message: Message, _until: Instant) -> Result<(), Silence> {
        let peer = self.peers.get(to as usize).ok_or(Silence::Gone)?;
        peer.send(Letter::Bytes(message)).map_err(|_| Silence::Gone)
    }

    fn receive(&mut self, _sequence: u64, until: Instant) -> Received {
        let left = until.saturating_duration_since(Instant::now());
        match self.inbox.recv_timeout(left) {
            Ok(Letter::Bytes(message)) => Received::Bytes(message),
            Ok(Letter::Gone(rank)) => Received::Gone(rank),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Received::Nothing,
        }
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        for peer in &self.peers {
            // A peer that has ended as well need not know.
            let _ = peer.send(Letter::Gone(self.rank));
        }
    }
}
