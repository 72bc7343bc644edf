//! The pass itself. A token's virtual lane is its position in the completion modulo 16; the lanes are computed as two
//! octets, each with its own sums, which are folded onto each other at the end.
//!
//! Nearly all real data is whole: every token counts, every value is finite and no exponent leaves its range. So blocks
//! whose tokens all count are taken in that belief first ([`Believed`]), without a mask and with the sums in registers;
//! a block that belies it, and any chunk of which not all tokens count, runs the same formulas through a mask ([`Only`]).
//! Where both could run they give the same bits.

use std::cell::Cell;

use super::families::{
    Believed, Family, Only, Policies, PolicySums, Ranged, Sampled, Selection, Summed,
};
use super::{Bounds, Cells, Columns, Completion, Range, Sampler, Total};
use crate::kernel::dispatched;
use crate::kernel::lanes::{Lanes, Mask, Unit, WIDTH};
use crate::kernel::tokens::families::{RangeLanes, TotalLanes};

/// Virtual lanes, on every processor.
pub const LANES: usize = 2 * WIDTH;
/// Tokens of a block: its columns stay in the first-level cache while they are read once for each octet.
const BLOCK: usize = 32 * LANES;

dispatched! {
    /// A column's total.
    pub fn total(completion: &Completion<'_>, column: Cells<'_>, kept: Option<&mut [f64]>) -> Total = total_on on a unit
}

#[inline(always)]
fn total_on(
    unit: impl Unit,
    completion: &Completion<'_>,
    column: Cells<'_>,
    kept: Option<&mut [f64]>,
) -> Total {
    TotalLanes::finish(sums(unit, completion, [column], &Summed, [kept, None]))
}

dispatched! {
    /// A column's total and extremes.
    pub fn range(completion: &Completion<'_>, column: Cells<'_>) -> Range = range_on on a unit
}

#[inline(always)]
fn range_on(unit: impl Unit, completion: &Completion<'_>, column: Cells<'_>) -> Range {
    RangeLanes::finish(sums(unit, completion, [column], &Ranged, [None, None]))
}

dispatched! {
    /// The sums of the families that need the current policy; `kept` takes log-ratios and k3s.
    pub fn policies(completion: &Completion<'_>, current: Cells<'_>, bounds: &Bounds, kept: [Option<&mut [f64]>; 2]) -> PolicySums = policies_on on a unit
}

#[inline(always)]
fn policies_on(
    unit: impl Unit,
    completion: &Completion<'_>,
    current: Cells<'_>,
    bounds: &Bounds,
    kept: [Option<&mut [f64]>; 2],
) -> PolicySums {
    let Columns {
        old,
        reference,
        advantages,
        ..
    } = completion.columns;
    let family = Policies {
        has_old: old.is_some(),
        has_reference: reference.is_some(),
        has_advantages: advantages.is_some(),
        bounds,
    };
    let columns =
        [Some(current), old, reference, advantages].map(|column| column.unwrap_or(current));
    family.finish(sums(unit, completion, columns, &family, kept))
}

dispatched! {
    /// Behaviour policy against sampler, with [`Apart`](super::Apart) where it is asked for.
    pub fn sampler(completion: &Completion<'_>, old: Cells<'_>, sampling: Cells<'_>, bounds: &Bounds) -> Sampler = sampler_on on a unit
}

#[inline(always)]
fn sampler_on(
    unit: impl Unit,
    completion: &Completion<'_>,
    old: Cells<'_>,
    sampling: Cells<'_>,
    bounds: &Bounds,
) -> Sampler {
    /// Each of its own, so that what is not asked for costs nothing.
    #[inline(always)]
    fn of<const APART: bool>(
        unit: impl Unit,
        completion: &Completion<'_>,
        columns: [Cells<'_>; 2],
        bounds: &Bounds,
    ) -> Sampler {
        let family = Sampled::<APART> { bounds };
        let sums = sums(unit, completion, columns, &family, [None, None]);
        Sampled::<APART>::finish(sums)
    }
    let columns = [old, sampling];
    if bounds.apart {
        of::<true>(unit, completion, columns, bounds)
    } else {
        of::<false>(unit, completion, columns, bounds)
    }
}

/// A family's sums over the completion, of its lower and its upper lanes.
#[inline(always)]
fn sums<U: Unit, F: Family<U::Lanes, N>, const N: usize>(
    unit: U,
    completion: &Completion<'_>,
    columns: [Cells<'_>; N],
    family: &F,
    mut kept: [Option<&mut [f64]>; 2],
) -> [F::Sums; 2] {
    let zero = unit.splat(0.0);
    let mut parts = [family.empty(zero); 2];
    let mut start = 0;
    while start < completion.length {
        let counted = Counted::of(completion.mask, start, completion.length);
        let tokens = match counted {
            Counted::All(tokens) => tokens,
            Counted::Some | Counted::None => LANES,
        };
        let done = match counted {
            Counted::All(tokens) => {
                add_block(unit, columns, start, tokens, family, &mut parts, &mut kept)
            }
            Counted::None => {
                let nothing = unit.splat(f64::NAN);
                for octet in 0..LANES / WIDTH {
                    keep(&mut kept, start + octet * WIDTH, [nothing; 2]);
                }
                true
            }
            Counted::Some => false,
        };
        if !done {
            for octet in 0..tokens / WIDTH {
                let start = start + octet * WIDTH;
                let counted = Only(zero.below(unit.doubles(&completion.counts(start))));
                let mut tokens = [zero; N];
                for (tokens, cells) in tokens.iter_mut().zip(&columns) {
                    *tokens = unit.singles(&cells.octet(start));
                }
                let values = family.add(&mut parts[octet % 2], tokens, counted);
                keep(&mut kept, start, values);
            }
        }
        start += tokens;
    }
    parts
}

/// Adds a block in which every token counts, if every value is finite and every exponent within its range; whether so.
#[inline(always)]
fn add_block<U: Unit, F: Family<U::Lanes, N>, const N: usize>(
    unit: U,
    columns: [Cells<'_>; N],
    start: usize,
    tokens: usize,
    family: &F,
    parts: &mut [F::Sums; 2],
    kept: &mut [Option<&mut [f64]>; 2],
) -> bool {
    // Columns of bfloat16 are widened block by block.
    let widened = columns
        .iter()
        .any(|cells| matches!(cells, Cells::Bf16(_)))
        .then(|| columns.map(|cells| cells.widened(start, tokens)));
    let chunks: [&[[f32; LANES]]; N] = std::array::from_fn(|column| {
        let singles = match (&widened, columns[column]) {
            (None, Cells::F32(cells)) => &cells[start..start + tokens],
            (Some(widened), _) => &widened[column][..tokens],
            (None, Cells::Bf16(_)) => &[],
        };
        singles.as_chunks().0
    });
    let zero = unit.splat(0.0);
    let believed = Cell::new(zero.within(zero));
    let believing = Believed(&believed);
    // First every lower octet, then every upper one, so that the sums of one part stay in registers. The second time the
    // memory has nothing to do: the next block's cells may come.
    let lower = octets::<_, _, N, 0>(
        unit,
        &chunks,
        family,
        parts[0],
        believing,
        |chunk, values| {
            keep(kept, start + chunk * LANES, values);
        },
    );
    let upper = octets::<_, _, N, 1>(
        unit,
        &chunks,
        family,
        parts[1],
        believing,
        |chunk, values| {
            keep(kept, start + chunk * LANES + WIDTH, values);
            for column in &chunks {
                unit.fetch(column.as_flattened(), tokens + chunk * LANES);
            }
        },
    );
    let held =
        believed.get().count() == WIDTH as u64 && F::are_finite(&lower) && F::are_finite(&upper);
    if held {
        *parts = [lower, upper];
    }
    held
}

/// The sums, and what the lower (0) or the upper (1) octet of each chunk adds to them; `done` takes what may be kept.
#[inline(always)]
fn octets<U: Unit, F: Family<U::Lanes, N>, const N: usize, const PART: usize>(
    unit: U,
    columns: &[&[[f32; LANES]]; N],
    family: &F,
    mut sums: F::Sums,
    counted: impl Selection<U::Lanes>,
    mut done: impl FnMut(usize, [U::Lanes; 2]),
) -> F::Sums {
    for chunk in 0..columns[0].len() {
        let mut tokens = [unit.splat(0.0); N];
        for (tokens, column) in tokens.iter_mut().zip(columns) {
            *tokens = unit.singles(&column[chunk].as_chunks().0[PART]);
        }
        let values = family.add(&mut sums, tokens, counted);
        done(chunk, values);
    }
    sums
}

#[inline(always)]
fn keep(kept: &mut [Option<&mut [f64]>; 2], start: usize, values: [impl Lanes; 2]) {
    for (kept, values) in kept.iter_mut().zip(values) {
        if let Some(octet) = kept
            .as_mut()
            .and_then(|kept| kept[start..].first_chunk_mut())
        {
            *octet = values.array();
        }
    }
}

/// Which tokens count, from a position on.
#[derive(Clone, Copy, Debug)]
enum Counted {
    /// None of the chunk's.
    None,
    /// Some of the chunk's, or the chunk is the last and not full.
    Some,
    /// All of as many tokens, in full chunks, at most a block of them.
    All(usize),
}

impl Counted {
    #[inline(always)]
    fn of(mask: Option<&[u8]>, start: usize, length: usize) -> Self {
        let full = (length - start).min(BLOCK) / LANES * LANES;
        let Some(mask) = mask else {
            return if full > 0 {
                Self::All(full)
            } else {
                Self::Some
            };
        };
        let (chunks, _) = mask[start..start + full].as_chunks::<LANES>();
        let ones = chunks.iter().take_while(|chunk| **chunk == [1; LANES]);
        match (ones.count() * LANES, chunks.first()) {
            (0, Some(chunk)) if *chunk == [0; LANES] => Self::None,
            (0, _) => Self::Some,
            (tokens, _) => Self::All(tokens),
        }
    }
}

impl Completion<'_> {
    /// How many tokens count.
    pub fn counted(&self) -> u64 {
        match self.mask {
            None => self.length as u64,
            Some(mask) => mask.iter().map(|&cell| u64::from(cell)).sum(),
        }
    }

    /// 1 where a token of the octet counts, and 0 elsewhere and past the end.
    fn counts(&self, start: usize) -> [f64; WIDTH] {
        let mut counts = [0.0; WIDTH];
        for (position, count) in (start..self.length).zip(&mut counts) {
            *count = self.mask.map_or(1.0, |mask| f64::from(mask[position]));
        }
        counts
    }
}

impl Cells<'_> {
    /// As many cells from `start`; the rest is 0.
    #[inline(always)]
    fn widened(&self, start: usize, tokens: usize) -> [f32; BLOCK] {
        let mut block = [0.0; BLOCK];
        match self {
            Self::F32(cells) => block[..tokens].copy_from_slice(&cells[start..start + tokens]),
            Self::Bf16(cells) => {
                for (to, from) in block.iter_mut().zip(&cells[start..start + tokens]) {
                    // A bfloat16 is the upper half of a single.
                    *to = f32::from_bits(u32::from(from.to_bits()) << 16);
                }
            }
        }
        block
    }

    /// The 8 cells from `start`; 0 past the end.
    fn octet(&self, start: usize) -> [f32; WIDTH] {
        let mut octet = [0.0; WIDTH];
        for (lane, to) in octet.iter_mut().enumerate() {
            *to = match self {
                Self::F32(cells) => cells.get(start + lane).copied(),
                Self::Bf16(cells) => cells.get(start + lane).map(|cell| cell.to_f32()),
            }
            .unwrap_or(0.0);
        }
        octet
    }
}
