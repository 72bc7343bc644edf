//! One pass over the token columns of one completion.

use half::bf16;

use super::dispatched;
use super::exp::{EXPONENT_LIMIT, exp};

/// Virtual lanes: the lane of a token is its position in the completion modulo this, on every processor.
pub const LANES: usize = 16;
type Lanes = [f64; LANES];

/// The cells of one token column of one completion, as they lie in memory.
#[derive(Clone, Copy, Debug)]
pub enum Cells<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

impl Cells<'_> {
    /// One cell as a double.
    #[inline]
    pub fn at(&self, position: usize) -> f64 {
        match self {
            Self::F32(cells) => f64::from(cells[position]),
            Self::Bf16(cells) => f64::from(cells[position].to_f32()),
        }
    }

    /// The cells from `start`, as doubles; positions past the end are 0 (and count nowhere: the mask is 0 there).
    #[inline(always)]
    fn load(&self, start: usize) -> Lanes {
        let mut lanes = [0.0; LANES];
        match self {
            Self::F32(cells) => match cells[start..].first_chunk::<LANES>() {
                Some(chunk) => {
                    for (lane, cell) in lanes.iter_mut().zip(chunk) {
                        *lane = f64::from(*cell);
                    }
                }
                None => {
                    for (lane, cell) in lanes.iter_mut().zip(&cells[start..]) {
                        *lane = f64::from(*cell);
                    }
                }
            },
            Self::Bf16(cells) => {
                for (lane, cell) in lanes.iter_mut().zip(&cells[start..]) {
                    *lane = f64::from(f32::from_bits(u32::from(cell.to_bits()) << 16));
                }
            }
        }
        lanes
    }
}

/// The token columns of one completion; all given ones have `length` cells.
#[derive(Clone, Copy, Debug, Default)]
pub struct Completion<'a> {
    pub length: usize,
    pub mask: Option<&'a [u8]>,
    pub current: Option<Cells<'a>>,
    pub old: Option<Cells<'a>>,
    pub reference: Option<Cells<'a>>,
    pub sampling: Option<Cells<'a>>,
    pub entropies: Option<Cells<'a>>,
    pub advantages: Option<Cells<'a>>,
    pub returns: Option<Cells<'a>>,
    pub values: Option<Cells<'a>>,
}

impl Completion<'_> {
    /// The positions of the tokens that count.
    pub fn counted(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.length).filter(|&i| self.mask.is_none_or(|mask| mask[i] != 0))
    }

    /// The finite counted cells of a column.
    pub fn finite(&self, column: Cells<'_>) -> Vec<f64> {
        self.counted()
            .map(|i| column.at(i))
            .filter(|x| x.is_finite())
            .collect()
    }

    /// Both cells of the counted tokens at which both columns are finite.
    pub fn pairs(&self, a: Cells<'_>, b: Cells<'_>) -> Vec<(f64, f64)> {
        self.counted()
            .map(|i| (a.at(i), b.at(i)))
            .filter(|(a, b)| a.is_finite() && b.is_finite())
            .collect()
    }
}

/// The bounds that tokens are counted against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Clipped below if ratio < this (1 - eps low).
    pub ratio_low: f64,
    /// Clipped above if ratio > this (1 + eps high).
    pub ratio_high: f64,
    /// ln max(`ratio_low`, 1e-6).
    pub log_low: f64,
    /// ln max(`ratio_high`, 1e-6).
    pub log_high: f64,
    /// Cap of the sampler's importance ratio; infinite where none is set.
    pub ratio_cap: f64,
}

/// Sum over the tokens that a formula could use, and how many those were.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Total {
    pub tokens: u64,
    pub sum: f64,
}

/// [`Total`] with the extremes (infinities where there is no token).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    pub total: Total,
    pub min: f64,
    pub max: f64,
}

/// What one completion's tokens add up to. A family whose columns were not given is `None`; a token that has a
/// non-finite value in a needed column is left out of that family (so `counted - tokens` were non-finite).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// Tokens whose loss mask is 1.
    pub counted: u64,
    pub reference_logps: Option<Total>,
    pub entropies: Option<Total>,
    pub reference: Option<Reference>,
    pub behaviour: Option<Behaviour>,
    pub sampler: Option<Sampler>,
    pub advantages: Option<Range>,
    pub returns: Option<Range>,
    pub values: Option<Range>,
}

/// Current against reference policy: k = e^d - d - 1, d = clamp(reference - current, -60, 60).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reference {
    pub k3: Total,
    /// k times the ratio of current to behaviour policy.
    pub k3_corrected: Total,
    /// Tokens with current - reference below and above the log bounds.
    pub low: u64,
    pub high: u64,
}

/// Current against behaviour policy (old): ratio = e^(current - old).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Behaviour {
    pub tokens: u64,
    /// Tokens with a ratio beyond each bound, whatever the advantage.
    pub low: u64,
    pub high: u64,
    /// Where the completion has token advantages: tokens with a usable one, and those clipped given its sign.
    pub signed_tokens: u64,
    pub signed_clipped: u64,
}

/// Behaviour policy (old) against the sampler's own log-probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// |old - sampling|.
    pub logp_difference: Range,
    /// e^(old - sampling), capped.
    pub ratio: Range,
    /// |e^old - e^sampling|.
    pub probability_difference: Range,
    /// e^old and e^sampling.
    pub old: Range,
    pub sampling: Range,
    pub old_squares: f64,
    pub sampling_squares: f64,
    pub products: f64,
}

/// One accumulator of each lane.
struct LaneTotal {
    tokens: Lanes,
    sum: Lanes,
}

impl LaneTotal {
    const EMPTY: Self = Self {
        tokens: [0.0; LANES],
        sum: [0.0; LANES],
    };

    #[inline(always)]
    fn add(&mut self, usable: &[bool; LANES], x: &Lanes) {
        for lane in 0..LANES {
            self.tokens[lane] += if usable[lane] { 1.0 } else { 0.0 };
            self.sum[lane] += if usable[lane] { x[lane] } else { 0.0 };
        }
    }

    #[inline(always)]
    fn finish(&self) -> Total {
        Total {
            tokens: count(&self.tokens),
            sum: fold(&self.sum),
        }
    }
}

struct LaneRange {
    total: LaneTotal,
    min: Lanes,
    max: Lanes,
}

impl LaneRange {
    const EMPTY: Self = Self {
        total: LaneTotal::EMPTY,
        min: [f64::INFINITY; LANES],
        max: [f64::NEG_INFINITY; LANES],
    };

    #[inline(always)]
    fn add(&mut self, usable: &[bool; LANES], x: &Lanes) {
        self.total.add(usable, x);
        for lane in 0..LANES {
            self.min[lane] = if usable[lane] && x[lane] < self.min[lane] {
                x[lane]
            } else {
                self.min[lane]
            };
            self.max[lane] = if usable[lane] && x[lane] > self.max[lane] {
                x[lane]
            } else {
                self.max[lane]
            };
        }
    }

    #[inline(always)]
    fn finish(&self) -> Range {
        Range {
            total: self.total.finish(),
            min: self.min.iter().copied().fold(f64::INFINITY, f64::min),
            max: self.max.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// Halves folded onto each other: the same tree for every vector width.
#[inline(always)]
fn fold(lanes: &Lanes) -> f64 {
    let mut sums = *lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// A count held in doubles: exact up to 2^53.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole and not negative
fn count(lanes: &Lanes) -> u64 {
    fold(lanes) as u64
}

#[inline(always)]
fn add_where(counts: &mut Lanes, hit: &[bool; LANES]) {
    for lane in 0..LANES {
        counts[lane] += if hit[lane] { 1.0 } else { 0.0 };
    }
}

#[inline(always)]
fn each(f: impl Fn(usize) -> f64) -> Lanes {
    let mut lanes = [0.0; LANES];
    for (lane, x) in lanes.iter_mut().enumerate() {
        *x = f(lane);
    }
    lanes
}

#[inline(always)]
fn where_(f: impl Fn(usize) -> bool) -> [bool; LANES] {
    let mut lanes = [false; LANES];
    for (lane, x) in lanes.iter_mut().enumerate() {
        *x = f(lane);
    }
    lanes
}

#[inline(always)]
fn finite(usable: &[bool; LANES], x: &Lanes) -> [bool; LANES] {
    where_(|lane| usable[lane] & (x[lane].abs() < f64::INFINITY))
}

#[inline(always)]
fn clamped(usable: bool, d: f64) -> f64 {
    // An unusable lane may hold a NaN: it is computed as 0 and added nowhere.
    let d = if usable { d } else { 0.0 };
    d.clamp(-EXPONENT_LIMIT, EXPONENT_LIMIT)
}

dispatched! {
    /// All sums of one completion, in one pass; the same bits on every path and for ragged and padded columns.
    pub fn sums(completion: &Completion<'_>, bounds: &Bounds) -> Sums = sums_body
}

#[inline(always)]
#[allow(clippy::too_many_lines)] // one pass: the families share the loads
fn sums_body(completion: &Completion<'_>, bounds: &Bounds) -> Sums {
    let mut counted = [0.0; LANES];
    let (mut reference_logps, mut entropies) = (LaneTotal::EMPTY, LaneTotal::EMPTY);
    let (mut k3, mut k3_corrected) = (LaneTotal::EMPTY, LaneTotal::EMPTY);
    let (mut reference_low, mut reference_high) = ([0.0; LANES], [0.0; LANES]);
    let (mut behaviour_tokens, mut behaviour_low, mut behaviour_high) =
        ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    let (mut signed_tokens, mut signed_clipped) = ([0.0; LANES], [0.0; LANES]);
    let mut sampler = completion.sampling.map(|_| SamplerLanes::EMPTY);
    let [mut advantages, mut returns, mut values] = [const { LaneRange::EMPTY }; 3];

    let mut start = 0;
    while start < completion.length {
        let inside = completion.length - start;
        let masked = match completion.mask {
            Some(mask) => {
                let mask = &mask[start..];
                where_(|lane| lane < inside && mask[lane.min(mask.len() - 1)] != 0)
            }
            None => where_(|lane| lane < inside),
        };
        add_where(&mut counted, &masked);

        if let Some(cells) = completion.entropies {
            let x = cells.load(start);
            entropies.add(&finite(&masked, &x), &x);
        }
        for (column, range) in [
            (completion.returns, &mut returns),
            (completion.values, &mut values),
        ] {
            if let Some(cells) = column {
                let x = cells.load(start);
                range.add(&finite(&masked, &x), &x);
            }
        }
        let token_advantages = completion.advantages.map(|cells| {
            let x = cells.load(start);
            let usable = finite(&masked, &x);
            advantages.add(&usable, &x);
            (usable, x)
        });
        let reference = completion.reference.map(|cells| {
            let x = cells.load(start);
            let usable = finite(&masked, &x);
            reference_logps.add(&usable, &x);
            (usable, x)
        });
        let current = completion.current.map(|cells| {
            let x = cells.load(start);
            (finite(&masked, &x), x)
        });
        let old = completion.old.map(|cells| {
            let x = cells.load(start);
            (finite(&masked, &x), x)
        });

        // Without a behaviour column the behaviour policy is the current one: every ratio is 1.
        let mut ratio = None;
        if let Some((current_usable, c)) = &current {
            if let Some((old_usable, o)) = &old {
                let usable = where_(|lane| current_usable[lane] & old_usable[lane]);
                let r = each(|lane| exp(clamped(usable[lane], c[lane] - o[lane])).value());
                let low = where_(|lane| usable[lane] && (r[lane] < bounds.ratio_low));
                let high = where_(|lane| usable[lane] && (r[lane] > bounds.ratio_high));
                add_where(&mut behaviour_tokens, &usable);
                add_where(&mut behaviour_low, &low);
                add_where(&mut behaviour_high, &high);
                if let Some((signed, a)) = &token_advantages {
                    add_where(
                        &mut signed_tokens,
                        &where_(|lane| usable[lane] & signed[lane]),
                    );
                    let clipped = where_(|lane| {
                        let low = low[lane] & (a[lane] < 0.0);
                        let high = high[lane] & (a[lane] > 0.0);
                        signed[lane] & (low | high)
                    });
                    add_where(&mut signed_clipped, &clipped);
                }
                ratio = Some((usable, r));
            } else {
                add_where(&mut behaviour_tokens, current_usable);
                if let Some((signed, _)) = &token_advantages {
                    let usable = where_(|lane| current_usable[lane] & signed[lane]);
                    add_where(&mut signed_tokens, &usable);
                }
            }
        }
        if let (Some((current_usable, c)), Some((reference_usable, r))) = (&current, &reference) {
            let usable = where_(|lane| current_usable[lane] & reference_usable[lane]);
            let k = each(|lane| {
                let d = clamped(usable[lane], r[lane] - c[lane]);
                exp(d).k3(d)
            });
            k3.add(&usable, &k);
            let (low, high) = (bounds.log_low, bounds.log_high);
            add_where(
                &mut reference_low,
                &where_(|l| usable[l] && (c[l] - r[l] < low)),
            );
            add_where(
                &mut reference_high,
                &where_(|l| usable[l] && (c[l] - r[l] > high)),
            );
            if let Some((ratio_usable, ratio)) = &ratio {
                let both = where_(|lane| usable[lane] & ratio_usable[lane]);
                k3_corrected.add(&both, &each(|lane| k[lane] * ratio[lane]));
            }
        }
        if let (Some(lanes), Some(cells)) = (&mut sampler, completion.sampling)
            && let Some((behaviour_usable, o)) = old.as_ref().or(current.as_ref())
        {
            let s = cells.load(start);
            let sampling_usable = finite(&masked, &s);
            let usable = where_(|lane| behaviour_usable[lane] & sampling_usable[lane]);
            lanes.add(&usable, o, &s, bounds.ratio_cap);
        }
        start += LANES;
    }

    let k3 = k3.finish();
    Sums {
        counted: count(&counted),
        reference_logps: completion.reference.map(|_| reference_logps.finish()),
        entropies: completion.entropies.map(|_| entropies.finish()),
        reference: completion
            .current
            .and(completion.reference)
            .map(|_| Reference {
                k3,
                k3_corrected: if completion.old.is_some() {
                    k3_corrected.finish()
                } else {
                    k3
                },
                low: count(&reference_low),
                high: count(&reference_high),
            }),
        behaviour: completion.current.map(|_| Behaviour {
            tokens: count(&behaviour_tokens),
            low: count(&behaviour_low),
            high: count(&behaviour_high),
            signed_tokens: count(&signed_tokens),
            signed_clipped: count(&signed_clipped),
        }),
        sampler: sampler
            .filter(|_| completion.old.or(completion.current).is_some())
            .map(|lanes| lanes.finish()),
        advantages: completion.advantages.map(|_| advantages.finish()),
        returns: completion.returns.map(|_| returns.finish()),
        values: completion.values.map(|_| values.finish()),
    }
}

struct SamplerLanes {
    logp_difference: LaneRange,
    ratio: LaneRange,
    probability_difference: LaneRange,
    old: LaneRange,
    sampling: LaneRange,
    old_squares: LaneTotal,
    sampling_squares: LaneTotal,
    products: LaneTotal,
}

impl SamplerLanes {
    const EMPTY: Self = Self {
        logp_difference: LaneRange::EMPTY,
        ratio: LaneRange::EMPTY,
        probability_difference: LaneRange::EMPTY,
        old: LaneRange::EMPTY,
        sampling: LaneRange::EMPTY,
        old_squares: LaneTotal::EMPTY,
        sampling_squares: LaneTotal::EMPTY,
        products: LaneTotal::EMPTY,
    };

    #[inline(always)]
    fn add(&mut self, usable: &[bool; LANES], old: &Lanes, sampling: &Lanes, cap: f64) {
        let difference = each(|lane| (old[lane] - sampling[lane]).abs());
        self.logp_difference.add(usable, &difference);
        let ratio = each(|lane| {
            let r = exp(clamped(usable[lane], old[lane] - sampling[lane])).value();
            if r > cap { cap } else { r }
        });
        self.ratio.add(usable, &ratio);
        let p = each(|lane| exp(clamped(usable[lane], old[lane])).value());
        let q = each(|lane| exp(clamped(usable[lane], sampling[lane])).value());
        let apart = each(|lane| (p[lane] - q[lane]).abs());
        self.probability_difference.add(usable, &apart);
        self.old.add(usable, &p);
        self.sampling.add(usable, &q);
        self.old_squares
            .add(usable, &each(|lane| p[lane] * p[lane]));
        self.sampling_squares
            .add(usable, &each(|lane| q[lane] * q[lane]));
        self.products.add(usable, &each(|lane| p[lane] * q[lane]));
    }

    #[inline(always)]
    fn finish(&self) -> Sampler {
        Sampler {
            logp_difference: self.logp_difference.finish(),
            ratio: self.ratio.finish(),
            probability_difference: self.probability_difference.finish(),
            old: self.old.finish(),
            sampling: self.sampling.finish(),
            old_squares: self.old_squares.finish().sum,
            sampling_squares: self.sampling_squares.finish().sum,
            products: self.products.finish().sum,
        }
    }
}
