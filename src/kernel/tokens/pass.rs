//! The pass itself. A token's virtual lane is its position in the completion modulo 16; the lanes are computed as two
//! octets, each with its own sums, which are folded onto each other at the end.
//!
//! Nearly all real data is whole: every token counts, every value is finite and no exponent leaves its range. So blocks
//! whose tokens all count are taken in that belief first ([`Believed`]), without a mask and with the sums in registers;
//! a block that belies it, and any chunk of which not all tokens count, runs the same formulas through a mask ([`Only`]).
//! Where both could run they give the same bits.

use std::cell::Cell;

use super::families::{
    Believed, Family, Only, Policies, PolicyLanes, Ranged, Sampled, SamplerLanes, Summed,
};
use super::{Bounds, Cells, Columns, Completion, Range, Sums, Total};
use crate::kernel::lanes::{Lanes, Mask, Unit, WIDTH};
use crate::kernel::tokens::families::{RangeLanes, TotalLanes};

/// Virtual lanes, on every processor.
const LANES: usize = 2 * WIDTH;
/// Tokens of a block: its columns stay in the first-level cache while they are read once for each octet.
const BLOCK: usize = 32 * LANES;

/// `Option::map` as an expression: a closure would be compiled apart, without the unit's instructions.
macro_rules! mapped {
    ($option:expr, $some:pat => $result:expr) => {
        match $option {
            Some($some) => Some($result),
            None => None,
        }
    };
}

/// All sums of one completion, on `unit`. No two families read the same column, but for the sampler's.
#[inline(always)]
pub fn pass<U: Unit>(unit: U, completion: &Completion<'_>, bounds: &Bounds) -> Sums {
    let c = &completion.columns;
    let policy = mapped!(c.current, _ => policy(unit, completion, bounds));
    let compared = policy.filter(|_| c.reference.is_some());
    let has_old = c.old.is_some();
    Sums {
        counted: completion.counted(),
        reference_logps: match compared {
            Some(policy) => Some(PolicyLanes::reference_logps(policy)),
            None => mapped!(c.reference, x => total(unit, completion, x)),
        },
        entropies: mapped!(c.entropies, x => total(unit, completion, x)),
        reference: mapped!(compared, policy => PolicyLanes::reference(policy, has_old)),
        behaviour: mapped!(policy, policy => PolicyLanes::behaviour(policy, has_old)),
        sampler: mapped!(c.sampling.zip(c.behaviour()), (sampling, old) => {
            let cap = bounds.ratio_cap;
            SamplerLanes::finish(sums(unit, completion, [old, sampling], &Sampled { cap }))
        }),
        advantages: mapped!(c.advantages, x => range(unit, completion, x)),
        returns: mapped!(c.returns, x => range(unit, completion, x)),
        values: mapped!(c.values, x => range(unit, completion, x)),
    }
}

#[inline(always)]
fn total(unit: impl Unit, completion: &Completion<'_>, column: Cells<'_>) -> Total {
    TotalLanes::finish(sums(unit, completion, [column], &Summed))
}

#[inline(always)]
fn range(unit: impl Unit, completion: &Completion<'_>, column: Cells<'_>) -> Range {
    RangeLanes::finish(sums(unit, completion, [column], &Ranged))
}

/// The loops differ in whether there are an old and a reference column, so that none asks for them token by token.
#[inline(always)]
fn policy<U: Unit>(
    unit: U,
    completion: &Completion<'_>,
    bounds: &Bounds,
) -> [PolicyLanes<U::Lanes>; 2] {
    let Columns {
        current,
        old,
        reference,
        advantages,
        ..
    } = completion.columns;
    let columns = [current, old, reference, advantages]
        .map(|column| column.or(current).unwrap_or(Cells::F32(&[])));
    let has_advantages = advantages.is_some();
    macro_rules! with {
        ($old:literal, $reference:literal) => {
            sums(
                unit,
                completion,
                columns,
                &Policies::<$old, $reference> {
                    bounds,
                    has_advantages,
                },
            )
        };
    }
    match (old.is_some(), reference.is_some()) {
        (true, true) => with!(true, true),
        (true, false) => with!(true, false),
        (false, true) => with!(false, true),
        (false, false) => with!(false, false),
    }
}

/// A family's sums over the completion, of its lower and its upper lanes.
#[inline(always)]
fn sums<U: Unit, F: Family<U::Lanes, N>, const N: usize>(
    unit: U,
    completion: &Completion<'_>,
    columns: [Cells<'_>; N],
    family: &F,
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
            Counted::All(tokens) => add_block(unit, columns, start, tokens, family, &mut parts),
            Counted::None => true,
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
                family.add(&mut parts[octet % 2], tokens, counted);
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
    let mut sums = *parts;
    let zero = unit.splat(0.0);
    let believed = Cell::new(zero.within(zero));
    // First every lower octet, then every upper one, so that the sums of one part stay in registers.
    for (part, sums) in sums.iter_mut().enumerate() {
        for chunk in 0..tokens / LANES {
            let mut tokens = [zero; N];
            for (tokens, column) in tokens.iter_mut().zip(&chunks) {
                *tokens = unit.singles(&column[chunk].as_chunks().0[part]);
            }
            family.add(sums, tokens, Believed(&believed));
        }
    }
    let held = believed.get().count() == WIDTH as u64
        && F::are_finite(&sums[0])
        && F::are_finite(&sums[1]);
    if held {
        *parts = sums;
    }
    held
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
    #[inline(always)]
    fn counted(&self) -> u64 {
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
