//! Loops over a column of finite doubles. Each result is exact, or a comparison, so that no vector width can show in it.

use super::dispatched;
use super::lanes::{Lanes, Mask, Unit, WIDTH};

/// Independent lanes: enough for two of the widest vectors.
const LANES: usize = 16;

dispatched! {
    /// The largest size of a value; 0 for an empty column.
    pub(crate) fn largest(values: &[f64]) -> f64 = largest_body
}

/// [`largest`] for a few values, where choosing a path would cost more than it gains.
#[inline(always)]
pub(crate) fn largest_body(values: &[f64]) -> f64 {
    let (chunks, tail) = values.as_chunks::<LANES>();
    let mut lanes = [0.0_f64; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if x.abs() > *lane { x.abs() } else { *lane };
        }
    }
    let all = lanes.iter().copied().chain(tail.iter().map(|x| x.abs()));
    if chunks.is_empty() {
        return tail
            .iter()
            .fold(0.0, |top, x| if x.abs() > top { x.abs() } else { top });
    }
    all.fold(0.0, |top, x| if x > top { x } else { top })
}

/// What a column's values come to in multiples of two units: two exact sums, and whether any value has bits below both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extracted {
    pub high: f64,
    pub low: f64,
    pub leaves: bool,
}

dispatched! {
    /// Extracts from each value the multiple of each rounder's unit and adds those up, without error (Rump, Ogita and
    /// Oishi 2008, `ExtractVector`). The caller vouches that the rounders are large enough for the sums to stay exact.
    pub(crate) fn extract(values: &[f64], rounders: [f64; 2]) -> Extracted = extract_body
}

/// [`extract`] for a few values.
#[inline(always)]
pub(crate) fn extract_body(values: &[f64], rounders: [f64; 2]) -> Extracted {
    let (chunks, tail) = values.as_chunks::<LANES>();
    let (mut highs, mut lows, mut rests) = ([0.0; LANES], [0.0; LANES], [0_u64; LANES]);
    for chunk in chunks {
        for lane in 0..LANES {
            let (high, low, rest) = split(chunk[lane], rounders);
            highs[lane] += high;
            lows[lane] += low;
            rests[lane] |= rest.to_bits();
        }
    }
    let mut sums = (0.0, 0.0, 0);
    for &x in tail {
        let (high, low, rest) = split(x, rounders);
        sums = (sums.0 + high, sums.1 + low, sums.2 | rest.to_bits());
    }
    if !chunks.is_empty() {
        sums.0 += highs.iter().sum::<f64>();
        sums.1 += lows.iter().sum::<f64>();
        sums.2 |= rests.iter().fold(0, |all, rest| all | rest);
    }
    Extracted {
        high: sums.0,
        low: sums.1,
        // A rest of -0 is nothing.
        leaves: sums.2 << 1 != 0,
    }
}

/// The multiple of each rounder's unit in `x`, and the rest; no step rounds.
#[inline(always)]
pub(crate) fn split(x: f64, rounders: [f64; 2]) -> (f64, f64, f64) {
    let high = (rounders[0] + x) - rounders[0];
    let rest = x - high;
    let low = (rounders[1] + rest) - rounders[1];
    (high, low, rest - low)
}

/// What one look at a column finds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Met {
    /// Whether every value was finite; if not, all else is void.
    pub finite: bool,
    /// The smallest and the largest value; infinities where there is none. Which of -0 and 0 it gives is not said.
    pub low: f64,
    pub high: f64,
}

impl Met {
    /// The largest size of a value; 0 where there is none.
    pub fn largest(&self) -> f64 {
        let (low, high) = (self.low.abs(), self.high.abs());
        if self.low > self.high {
            0.0
        } else if low > high {
            low
        } else {
            high
        }
    }
}

dispatched! {
    /// Whether a column is finite, and what it is within.
    pub(crate) fn survey(values: &[f64]) -> Met = survey_body on a unit
}

/// [`Met`], lane by lane.
#[derive(Clone, Copy)]
struct Seen<L> {
    zero: L,
    low: L,
    high: L,
    /// A sum that is NaN once a value was not finite: 0 times NaN or infinity is NaN.
    finite: L,
}

impl<L: Lanes> Seen<L> {
    #[inline(always)]
    fn take(&mut self, x: L) {
        self.low = x.min(self.low);
        self.high = x.max(self.high);
        self.finite = self.finite + x * self.zero;
    }
}

#[inline(always)]
fn survey_body<U: Unit>(unit: U, values: &[f64]) -> Met {
    let (chunks, tail) = values.as_chunks::<WIDTH>();
    let (pairs, odd) = chunks.as_chunks::<2>();
    // Two in turn, so that no step waits for the one before.
    let mut a = Seen {
        zero: unit.splat(0.0),
        low: unit.splat(f64::INFINITY),
        high: unit.splat(f64::NEG_INFINITY),
        finite: unit.splat(0.0),
    };
    let mut b = a;
    for [first, second] in pairs {
        a.take(unit.doubles(first));
        b.take(unit.doubles(second));
    }
    for chunk in odd {
        a.take(unit.doubles(chunk));
    }
    if let Some(&x) = tail.first() {
        let mut last = [x; WIDTH];
        for (to, &x) in last.iter_mut().zip(tail) {
            *to = x;
        }
        b.take(unit.doubles(&last));
    }
    Met {
        finite: (a.finite + b.finite).all_finite(),
        low: folded(a.low.min(b.low), |a, b| if a < b { a } else { b }),
        high: folded(a.high.max(b.high), |a, b| if a > b { a } else { b }),
    }
}

/// By halves, as registers are folded onto each other.
#[inline(always)]
fn folded(lanes: impl Lanes, join: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = lanes.array();
    let mut width = WIDTH / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = join(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

dispatched! {
    /// The bucket of each value: the whole part of (x - `low`) * `scale`, at most `last`. Rounding is monotonic, so
    /// buckets are ordered as the values are.
    pub(crate) fn buckets(values: &[f64], low: f64, scale: f64, last: u16, buckets: &mut [u16]) = buckets_body
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // `last` has 16 bits
fn buckets_body(values: &[f64], low: f64, scale: f64, last: u16, buckets: &mut [u16]) {
    /// Added to a number below 2^51, it leaves the nearest integer in the low bits of the sum.
    const WHOLE: f64 = 4_503_599_627_370_496.0;
    let top = f64::from(last);
    for (bucket, &x) in buckets.iter_mut().zip(values) {
        let place = (x - low) * scale;
        let place = if place < top { place } else { top };
        *bucket = (place + WHOLE).to_bits() as u16;
    }
}

/// Pieces of a value, and of the widths of their products: with 20 bits a piece, two products of any kind and 1024
/// of them still add up within the 53 bits of a double.
const PIECES: usize = 4;
pub(crate) const PIECE_BITS: i32 = 20;
/// The most values of one [`powers`] call.
pub(crate) const POWERS_MOST: usize = 1024;

/// The exact sum of values and of their squares, in parts that are each exact.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Powers {
    pub sums: [f64; PIECES],
    pub squares: [f64; 2 * PIECES - 1],
    /// Whether any value has bits below the last piece; the parts are then worth nothing.
    pub leaves: bool,
}

dispatched! {
    /// Cuts each value into pieces of [`PIECE_BITS`] from `size` downwards (every |x| < 2^size) and adds up pieces, and
    /// products of pieces by the weight they have, without rounding: the extraction of [`extract`], carried on to squares.
    /// `rounders[i]` rounds to multiples of the unit of piece i. At most [`POWERS_MOST`] values.
    pub(crate) fn powers(values: &[f64], rounders: [f64; 4]) -> Powers where
        baseline: powers_body(values, rounders, |a, b, sum| a * b + sum);
        avx2: powers_body(values, rounders, f64::mul_add);
        avx512: powers_body(values, rounders, f64::mul_add);
}

/// `add` gives a product and a sum added up. As nothing here rounds, it may be fused where that is one instruction.
#[inline(always)]
fn powers_body(values: &[f64], rounders: [f64; 4], add: impl Fn(f64, f64, f64) -> f64) -> Powers {
    let mut sums = [[0.0; WIDTH]; PIECES];
    let mut squares = [[0.0; WIDTH]; 2 * PIECES - 1];
    let mut rests = [0_u64; WIDTH];
    let (chunks, tail) = values.as_chunks::<WIDTH>();
    let mut last = [[0.0; WIDTH]];
    last[0][..tail.len()].copy_from_slice(tail);
    for chunks in [chunks, &last[..usize::from(!tail.is_empty())]] {
        for chunk in chunks {
            for lane in 0..WIDTH {
                let mut rest = chunk[lane];
                let mut piece = [0.0; PIECES];
                for i in 0..PIECES {
                    piece[i] = (rounders[i] + rest) - rounders[i];
                    rest -= piece[i];
                    sums[i][lane] += piece[i];
                }
                rests[lane] |= rest.to_bits();
                let [a, b, c, d] = piece;
                let [a2, b2, c2] = [2.0 * a, 2.0 * b, 2.0 * c];
                squares[0][lane] = add(a, a, squares[0][lane]);
                squares[1][lane] = add(a2, b, squares[1][lane]);
                squares[2][lane] = add(a2, c, add(b, b, squares[2][lane]));
                squares[3][lane] = add(a2, d, add(b2, c, squares[3][lane]));
                squares[4][lane] = add(b2, d, add(c, c, squares[4][lane]));
                squares[5][lane] = add(c2, d, squares[5][lane]);
                squares[6][lane] = add(d, d, squares[6][lane]);
            }
        }
    }
    Powers {
        sums: sums.map(|lanes| lanes.iter().sum()),
        squares: squares.map(|lanes| lanes.iter().sum()),
        leaves: rests.iter().fold(0, |all, rest| all | rest) << 1 != 0,
    }
}

/// How large the values of a column are: the smallest size of one that is not 0, infinite where there is none, and the largest,
/// 0 where there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sizes {
    pub least: f64,
    pub most: f64,
}

impl Sizes {
    /// Whether no product of two such values, nor any part of it, leaves the range of normal doubles.
    pub fn have_products(&self) -> bool {
        self.are_within(400)
    }

    /// The same of products of three: the last bit of a cube is above 2^-1000.
    pub fn have_cubes(&self) -> bool {
        self.are_within(280)
    }

    /// Whether every size is 0 or within 2^-`power` and 2^`power`.
    fn are_within(&self, power: u64) -> bool {
        let [least, most] = [1023 - power, 1023 + power].map(|field| f64::from_bits(field << 52));
        self.least >= least && self.most <= most
    }
}

dispatched! {
    pub(crate) fn sizes(values: &[f64]) -> Sizes = sizes_body on a unit
}

#[inline(always)]
fn sizes_body<U: Unit>(unit: U, values: &[f64]) -> Sizes {
    let (zero, nothing) = (unit.splat(0.0), unit.splat(f64::INFINITY));
    // Two in turn, so that no step waits for the one before.
    let (mut least, mut most) = ([nothing; 2], [zero; 2]);
    let (chunks, tail) = values.as_chunks::<WIDTH>();
    let (pairs, odd) = chunks.as_chunks::<2>();
    // Zeros change neither.
    let mut tail_pair = [[[0.0; WIDTH]; 2]];
    tail_pair[0][0][..tail.len()].copy_from_slice(tail);
    tail_pair[0][1] = *odd.first().unwrap_or(&[0.0; WIDTH]);
    for pairs in [pairs, &tail_pair] {
        for pair in pairs {
            for (turn, chunk) in pair.iter().enumerate() {
                let size = unit.doubles(chunk).abs();
                least[turn] = size.within(zero).select(nothing, size).min(least[turn]);
                most[turn] = size.max(most[turn]);
            }
        }
    }
    Sizes {
        least: folded(least[0].min(least[1]), f64::min),
        most: folded(most[0].max(most[1]), f64::max),
    }
}
