//! Random numbers that a seed gives again, and the changes that they make.

/// `SplitMix64` (Steele, Lea and Flood, 2014).
pub struct Random(u64);

impl Random {
    /// Each turn has its own, so that it can be done again alone.
    pub fn of(seed: u64, turn: u64) -> Self {
        let mut random = Self(seed);
        let own = random.next();
        Self(own ^ turn.wrapping_mul(0xd134_2543_de82_ef95))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `end`; 0 where that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub fn of_these<'a, T: ?Sized>(&mut self, these: &'a [Box<T>]) -> &'a T {
        &these[self.below(these.len())]
    }

    /// One to four changes: a bit, a byte, a cut, an insertion, a huge varint, a stretch from elsewhere in these bytes or in
    /// others, a stretch repeated, a number made extreme. Never leaves them as they were.
    pub fn change(&mut self, original: &[u8], others: &[Box<[u8]>]) -> Vec<u8> {
        let mut bytes = original.to_vec();
        for _ in 0..=self.below(4) {
            self.change_once(&mut bytes, others);
        }
        if bytes == original && bytes.pop().is_none() {
            bytes.push(self.next() as u8);
        }
        bytes
    }

    fn change_once(&mut self, bytes: &mut Vec<u8>, others: &[Box<[u8]>]) {
        let at = self.below(bytes.len());
        match self.below(10) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, self.next() as u8),
            2 => {
                let stretch = self.stretch(bytes, 8);
                for (to, byte) in bytes[at..].iter_mut().zip(stretch) {
                    *to = byte;
                }
            }
            3 => {
                let huge = [0xff; 9].into_iter().chain([1]);
                bytes.splice(at..at, huge);
            }
            4 => {
                let other = self.of_these(others).to_vec();
                let stretch = self.stretch(&other, 64);
                let end = bytes.len().min(at + self.below(64));
                bytes.splice(at..end, stretch);
            }
            5 => {
                let block = self.stretch(bytes, 32);
                let times = 1 + self.below(16);
                bytes.splice(at..at, block.repeat(times));
            }
            6 => self.make_extreme(bytes, at),
            7 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            _ if !bytes.is_empty() => bytes[at] = self.next() as u8,
            _ => {}
        }
    }

    fn stretch(&mut self, bytes: &[u8], most: usize) -> Vec<u8> {
        let from = self.below(bytes.len());
        let end = bytes.len().min(from + 1 + self.below(most));
        bytes.get(from..end).unwrap_or_default().to_vec()
    }

    /// The next number written in digits is replaced by one that few expect.
    fn make_extreme(&mut self, bytes: &mut Vec<u8>, at: usize) {
        const EXTREMES: [&str; 14] = [
            "-1",
            "0",
            "-0.0",
            "1e308",
            "-1e999",
            "5e-324",
            "4294967295",
            "4294967296",
            "9223372036854775808",
            "18446744073709551616",
            "123456789012345678901234567890123456789012345678901234567890",
            "\"NaN\"",
            "null",
            "[[[[[[[[[]]]]]]]]]",
        ];
        let is_digit = |byte: &u8| byte.is_ascii_digit();
        let Some(start) = bytes[at..].iter().position(is_digit) else {
            return;
        };
        let start = at + start;
        let digits = bytes[start..]
            .iter()
            .take_while(|byte| is_digit(byte))
            .count();
        let extreme = EXTREMES[self.below(EXTREMES.len())];
        bytes.splice(start..start + digits, extreme.bytes());
    }
}
