//! A gather of one's own, here over TCP: every rank sends its bytes to rank 0. `cargo run --example own_gather` runs three ranks
//! as threads; on a cluster each would be a process, with the root's address from the launcher.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use grpo_metrics::gather::{Answer, Gather, GatherError, Silence};
use grpo_metrics::{Batch, Columns, Engine, Grouping, Metrics};

/// How long the root waits for the others: a step ends on every rank, whatever happens to one of them.
const DEADLINE: Duration = Duration::from_secs(30);
/// More than any shard of this training takes: a length that is not true costs no memory.
const LONGEST: u32 = 1 << 30;

#[derive(Debug)]
enum Place {
    Root(TcpListener),
    /// The root's address.
    Other(SocketAddr),
}

#[derive(Debug)]
struct Tcp {
    rank: u32,
    world_size: u32,
    place: Place,
}

impl Gather for Tcp {
    fn rank(&self) -> u32 {
        self.rank
    }

    fn world_size(&self) -> u32 {
        self.world_size
    }

    fn gather(
        &mut self,
        part: &mut dyn FnMut(Vec<Answer>) -> Vec<u8>,
    ) -> Result<Option<Vec<Answer>>, GatherError> {
        let (rank, world_size) = (self.rank, self.world_size);
        let outcome = match &self.place {
            Place::Root(listener) => receive(listener, world_size).map(Some),
            Place::Other(root) => send(*root, rank, &part(Vec::new())).map(|()| None),
        };
        outcome.map_err(|error| GatherError::Other {
            rank,
            reason: error.to_string(),
        })
    }
}

/// Rank, length, bytes.
fn send(root: SocketAddr, rank: u32, bytes: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&root, DEADLINE)?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&rank.to_le_bytes())?;
    stream.write_all(&length.to_le_bytes())?;
    stream.write_all(bytes)
}

/// One answer for each other rank: its bytes, or that it was too late.
fn receive(listener: &TcpListener, world_size: u32) -> io::Result<Vec<Answer>> {
    let until = Instant::now() + DEADLINE;
    let mut answers: Vec<Answer> = Vec::new();
    listener.set_nonblocking(true)?;
    while answers.len() + 1 < world_size as usize && Instant::now() < until {
        match listener.accept() {
            // A rank whose connection breaks is one that is not heard.
            Ok((stream, _)) => answers.extend(answer(stream)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
    for rank in 1..world_size {
        if !answers.iter().any(|answer| answer.rank == rank) {
            answers.push(Answer {
                bytes: Err(Silence::Late(DEADLINE)),
                ..Answer::of(rank, Vec::new())
            });
        }
    }
    Ok(answers)
}

fn answer(mut stream: TcpStream) -> io::Result<Answer> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut number = || -> io::Result<u32> {
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    };
    let (rank, length) = (number()?, number()?.min(LONGEST));
    let mut bytes = Vec::new();
    stream.take(length.into()).read_to_end(&mut bytes)?;
    Ok(Answer::of(rank, bytes))
}

/// One step on each of so many ranks; the row of rank 0.
fn row(world_size: u32) -> Result<Metrics, Box<dyn Error + Send + Sync>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let root = listener.local_addr()?;
    let mut places = vec![Place::Root(listener)];
    places.extend((1..world_size).map(|_| Place::Other(root)));
    let ranks = (0..).zip(places).map(|(rank, place)| {
        let gather = Tcp {
            rank,
            world_size,
            place,
        };
        thread::spawn(move || -> Result<_, Box<dyn Error + Send + Sync>> {
            let mut engine = Engine::builder().gather(gather).build()?;
            let rewards = [f64::from(rank), 1.0];
            engine.observe(&Batch::of(Columns::new(Grouping::Sizes(&[2]), &rewards))?)?;
            Ok(engine.step(1)?)
        })
    });
    let mut first = None;
    for rank in ranks.collect::<Vec<_>>() {
        let row = rank.join().map_err(|_| "a rank panicked")??;
        first = first.or(row);
    }
    Ok(first.ok_or("expected a row at rank 0, found none")?.metrics)
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    println!("reward {:?}", row(3)?.get("train/reward"));
    Ok(())
}

#[test]
fn the_row_is_over_all_ranks() {
    // 0, 1, 2 and three times 1.
    assert_eq!(row(3).unwrap().get("train/reward"), Some(1.0));
}
