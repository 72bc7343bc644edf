//! What is read of an answer: no more than can be meant, and without a tree of what nobody looks at.

use std::fmt;
use std::io::{self, Read};

use serde::de::{
    Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::limits;

/// What an answer is read as.
pub(in crate::store::evsys) trait Answer: DeserializeOwned {
    /// The most bytes that are read of an answer to a request of `asked` bytes.
    fn most(asked: usize) -> u64;
}

/// The whole of an answer.
#[derive(serde::Deserialize)]
pub(super) struct Whole<T> {
    pub result: T,
}

/// That it was done; what came of it nobody needs.
pub(in crate::store::evsys) struct Done;

impl Answer for Done {
    /// Nothing of it is kept, so that only the time is bounded, which it takes to read.
    fn most(_: usize) -> u64 {
        limits::ACKNOWLEDGEMENT
    }
}

impl<'de> Deserialize<'de> for Done {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(from).map(|_| Self)
    }
}

/// One record: what was asked, with an id and some times.
impl Answer for Value {
    fn most(asked: usize) -> u64 {
        limits::ENTRY as u64 + 4 * asked as u64
    }
}

/// What a list is made of.
pub(in crate::store::evsys) trait Entry: Sized {
    /// The bytes that an entry is counted as at least: about what it takes in memory when it says nothing.
    const LEAST: u64;

    fn of(json: &str) -> Option<Self>;
}

/// A list, entry by entry.
pub(in crate::store::evsys) struct Entries<T> {
    /// Those that are what they should be.
    pub good: Vec<T>,
    /// Whether others came too, or no list at all.
    pub damaged: bool,
}

impl<T: Entry> Answer for Entries<T> {
    fn most(_: usize) -> u64 {
        limits::LIST
    }
}

impl<'de, T: Entry> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(List(Self {
            good: Vec::new(),
            damaged: false,
        }))
    }
}

/// A list in the making; whatever else comes is none.
struct List<T>(Entries<T>);

impl<T> List<T> {
    fn none(mut self) -> Entries<T> {
        self.0.damaged = true;
        self.0
    }
}

impl<'de, T: Entry> Visitor<'de> for List<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut left = limits::LIST;
        while let Some(json) = list.next_element::<Box<RawValue>>()? {
            let json = json.get();
            left = left.saturating_sub(T::LEAST.max(json.len() as u64));
            let counts = left > 0 && json.len() <= limits::ENTRY;
            match counts.then(|| T::of(json)).flatten() {
                Some(entry) => self.0.good.push(entry),
                None => self.0.damaged = true,
            }
        }
        Ok(self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.none())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(self.none())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(self.none())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(self.none())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(self.none())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(self.none())
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(self.none())
    }
}

/// A reader that keeps the beginning of what it reads.
pub(super) struct Kept<R> {
    from: R,
    beginning: Vec<u8>,
    most: usize,
}

impl<R> Kept<R> {
    pub fn new(from: R, most: usize) -> Self {
        Self {
            from,
            beginning: Vec::new(),
            most,
        }
    }

    pub fn beginning(&self) -> &[u8] {
        &self.beginning
    }
}

impl<R: Read> Read for Kept<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        let room = self.most - self.beginning.len();
        self.beginning.extend_from_slice(&buffer[..read.min(room)]);
        Ok(read)
    }
}
