//! The pass against the definitions written out token by token, and its bits on every unit and every way through it.

mod definition;

use std::sync::{Mutex, PoisonError};

use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::kernel::Path;
use definition::check;

const BOUNDS: Bounds = Bounds {
    ratio_low: 0.8,
    ratio_high: 1.2,
    dual: 3.0,
    weight_cap: f64::INFINITY,
    log_low: -0.223_143_551_314_209_7,
    log_high: 0.182_321_556_793_954_6,
    ratio_cap: 2.0,
    ratio_floor: 0.6,
    apart: true,
};

/// Where [`Tokens`] has the columns of the policies.
const CURRENT: usize = 0;
const OLD: usize = 1;
const REFERENCE: usize = 2;
const SAMPLING: usize = 3;

/// A completion's columns by [`Columns`]' order, and its mask.
#[derive(Clone, Debug)]
struct Tokens {
    columns: [Option<Vec<f32>>; 8],
    mask: Option<Vec<u8>>,
    length: usize,
}

impl Tokens {
    fn sums_of<'t>(&'t self, cells: impl Fn(usize, &'t [f32]) -> Cells<'t>) -> Sums {
        self.sums_and_kept(cells).0
    }

    fn sums_and_kept<'t>(&'t self, cells: impl Fn(usize, &'t [f32]) -> Cells<'t>) -> (Sums, Kept) {
        let column = |at: usize| self.columns[at].as_ref().map(|values| cells(at, values));
        let completion = Completion {
            length: self.length,
            mask: self.mask.as_deref(),
            columns: Columns {
                current: column(0),
                old: column(1),
                reference: column(2),
                sampling: column(3),
                entropies: column(4),
                advantages: column(5),
                returns: column(6),
                values: column(7),
            },
        };
        on_every_unit(&completion)
    }

    fn sums(&self) -> Sums {
        self.sums_of(|_, values| Cells::F32(values))
    }

    /// The rows of the counted tokens: one number for each column asked for, where all of them are finite.
    fn usable(&self, wanted: &[usize]) -> Option<Vec<Vec<f64>>> {
        let columns: Vec<&Vec<f32>> = wanted
            .iter()
            .map(|&at| self.columns[at].as_ref())
            .collect::<Option<_>>()?;
        let counted = |&i: &usize| self.mask.as_ref().is_none_or(|mask| mask[i] == 1);
        let row = |i: usize| {
            columns
                .iter()
                .map(|column| f64::from(column[i]))
                .collect::<Vec<f64>>()
        };
        Some(
            (0..self.length)
                .filter(counted)
                .map(row)
                .filter(|row| row.iter().all(|x| x.is_finite()))
                .collect(),
        )
    }
}

/// The path is forced for the whole process: one test at a time.
static FORCED: Mutex<()> = Mutex::new(());

/// The sums and what is kept, which are the same bits on each unit that this processor has, kept or not.
fn on_every_unit(completion: &Completion<'_>) -> (Sums, Kept) {
    let _forced = FORCED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut found = Vec::new();
    for path in Path::available() {
        assert!(path.force());
        let mut kept = Kept::default();
        let sums_kept = sums(completion, &BOUNDS, Some(&mut kept));
        let sums = sums(completion, &BOUNDS, None);
        assert_eq!(format!("{sums_kept:?}"), format!("{sums:?}"));
        found.push((sums, kept));
    }
    for other in &found {
        assert_eq!(format!("{other:?}"), format!("{:?}", found[0]));
    }
    found.swap_remove(0)
}

/// Mostly log-probabilities as they are; now and then what a broken step brings.
fn value() -> impl Strategy<Value = f32> {
    prop_oneof![
        200 => -3.0_f32..0.0,
        1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -70.0, -0.0, 0.0, -58.5]),
    ]
}

fn tokens() -> impl Strategy<Value = Tokens> {
    (
        0_usize..1200,
        any::<bool>(),
        prop::array::uniform8(any::<bool>()),
        any::<bool>(),
    )
        .prop_flat_map(|(length, masked, given, clean)| {
            let column = move |given: bool| {
                let cell = if clean {
                    (-3.0_f32..0.0).boxed()
                } else {
                    value().boxed()
                };
                given
                    .then(|| prop::collection::vec(cell, length))
                    .map_or(Just(None).boxed(), |s| s.prop_map(Some).boxed())
            };
            // Runs of tokens that count or not, as prompts, tool calls and padding make them.
            let run = (any::<bool>(), 1_usize..100);
            let mask = prop::collection::vec(run, 1..60).prop_map(move |runs| {
                let cells = runs
                    .iter()
                    .flat_map(|&(counts, times)| std::iter::repeat_n(u8::from(counts), times));
                cells
                    .chain(std::iter::repeat(1))
                    .take(length)
                    .collect::<Vec<u8>>()
            });
            let mask = if masked {
                mask.prop_map(Some).boxed()
            } else {
                Just(None).boxed()
            };
            (given.map(column), mask).prop_map(move |(columns, mask)| Tokens {
                columns,
                mask,
                length,
            })
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_pass_is_its_definition_on_every_unit(tokens in tokens()) {
        check(&tokens);
    }

    #[test]
    fn a_value_that_breaks_its_block_changes_no_other_bit(mut tokens in tokens(), at in any::<prop::sample::Index>()) {
        // Whole blocks run without a mask, broken ones with one: a token left out by its mask leaves the rest of its
        // block whole, a token left out for its NaNs breaks it.
        prop_assume!(tokens.length > 0);
        let at = at.index(tokens.length);
        let given = tokens.columns.clone();
        tokens.mask = None;
        for column in tokens.columns.iter_mut().flatten() {
            column[at] = f32::NAN;
        }
        let mut broken = tokens.sums();
        let mut mask = vec![1; tokens.length];
        mask[at] = 0;
        let left_out = Tokens { columns: given, mask: Some(mask), length: tokens.length }.sums();
        broken.counted -= 1;
        prop_assert_eq!(format!("{broken:?}"), format!("{left_out:?}"));
    }

    #[test]
    fn halves_are_read_as_the_singles_they_stand_for(mut tokens in tokens(), which in 1_u8..=255) {
        let halves: Vec<Vec<bf16>> = tokens.columns.iter().map(|column| {
            column.iter().flatten().map(|&x| bf16::from_f32(x)).collect()
        }).collect();
        for (column, halves) in tokens.columns.iter_mut().zip(&halves) {
            if let Some(values) = column {
                *values = halves.iter().map(|x| x.to_f32()).collect();
            }
        }
        // Some columns in one format, some in the other.
        let found = tokens.sums_of(|at, values| if which >> at & 1 == 1 {
            Cells::Bf16(&halves[at])
        } else {
            Cells::F32(values)
        });
        prop_assert_eq!(format!("{found:?}"), format!("{:?}", tokens.sums()));
    }
}

/// Small enough for Miri, which has minutes for one case of the properties: two whole steps of lanes and a rest, in singles and
/// halves, with and without a mask, and with a value that breaks its block.
#[test]
fn a_few_tokens_come_to_the_same_bits_on_every_unit() {
    const LENGTH: usize = 2 * pass::LANES + 3;
    let column = |at: usize| -> Vec<f32> {
        (0..LENGTH)
            .map(|i| -0.125 * (((i * 7 + at * 3) % 11) as f32 + 0.5))
            .collect()
    };
    let mut tokens = Tokens {
        columns: std::array::from_fn(|at| Some(column(at))),
        mask: None,
        length: LENGTH,
    };
    let plain = tokens.sums();
    assert_eq!(plain.counted, LENGTH as u64);
    let halves: Vec<Vec<bf16>> = (0..8)
        .map(|at| column(at).into_iter().map(bf16::from_f32).collect())
        .collect();
    let sums = tokens.sums_of(|at, _| Cells::Bf16(&halves[at]));
    assert_eq!(sums.counted, LENGTH as u64);
    tokens.mask = Some((0..LENGTH).map(|i| u8::from(i % 5 != 1)).collect());
    tokens.columns[CURRENT].as_mut().unwrap()[pass::LANES + 1] = f32::NAN;
    assert!(tokens.sums().counted < LENGTH as u64);
}

#[test]
fn no_tokens_come_to_nothing() {
    let empty = Tokens {
        columns: std::array::from_fn(|_| Some(Vec::new())),
        mask: None,
        length: 0,
    };
    let sums = empty.sums();
    assert_eq!((sums.counted, sums.entropies), (0, Some(Total::default())));
    let moved = sums.behaviour.and_then(|b| b.moved).unwrap();
    assert_eq!(
        (moved.divergence, moved.ratio.min),
        (Divergence::default(), f64::INFINITY)
    );
    assert_eq!(moved.divergence.k1.to_bits(), 0);
    assert_eq!(moved.k1_bounded.to_bits(), 0);
    let masked = Tokens {
        columns: std::array::from_fn(|_| Some(vec![f32::NAN; 40])),
        mask: Some(vec![0; 40]),
        length: 40,
    };
    assert_eq!(format!("{:?}", masked.sums()), format!("{sums:?}"));
}
