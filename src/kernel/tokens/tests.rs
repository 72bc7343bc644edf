//! The pass against the definitions written out token by token, and its bits on every unit and every way through it.

use std::sync::{Mutex, PoisonError};

use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::kernel::Path;

const BOUNDS: Bounds = Bounds {
    ratio_low: 0.8,
    ratio_high: 1.2,
    log_low: -0.223_143_551_314_209_7,
    log_high: 0.182_321_556_793_954_6,
    ratio_cap: 2.0,
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

fn close(found: f64, expected: f64) {
    let near = (found - expected).abs() <= 1e-11 * expected.abs().max(1.0);
    assert!(
        near || found == expected,
        "expected {expected}, found {found}"
    );
}

fn check_total(found: &Total, values: &[f64]) {
    assert_eq!(found.tokens, values.len() as u64);
    close(found.sum, values.iter().sum());
}

fn check_range(found: &Range, values: &[f64]) {
    check_total(&found.total, values);
    close(
        found.min,
        values.iter().copied().fold(f64::INFINITY, f64::min),
    );
    close(
        found.max,
        values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    );
}

fn clamped(d: f64) -> f64 {
    d.clamp(-60.0, 60.0)
}

/// By the definition, with the C library's exponential: rows of (p, q) of KL(p || q).
fn check_divergence(found: &Divergence, rows: &[Vec<f64>]) {
    let sum = |term: fn(f64) -> f64| rows.iter().map(|row| term(row[0] - row[1])).sum();
    assert_eq!(found.tokens, rows.len() as u64);
    close(found.k1, sum(|d| d));
    close(found.abs, sum(f64::abs));
    close(found.k2, sum(|d| d * d / 2.0));
    close(found.k3, sum(|d| clamped(-d).exp_m1() - clamped(-d)));
}

fn count(rows: &[Vec<f64>], which: impl Fn(&Vec<f64>) -> bool) -> u64 {
    rows.iter().filter(|row| which(row)).count() as u64
}

fn check(tokens: &Tokens) {
    let sums = tokens.sums();
    let all: Vec<usize> = (0..tokens.length).collect();
    let counted = all
        .iter()
        .filter(|&&i| tokens.mask.as_ref().is_none_or(|mask| mask[i] == 1));
    assert_eq!(sums.counted, counted.count() as u64);
    let single = |at| tokens.usable(&[at]).map(|rows| rows.concat());
    for (found, at) in [(&sums.reference_logps, REFERENCE), (&sums.entropies, 4)] {
        match (found, single(at)) {
            (Some(found), Some(values)) => check_total(found, &values),
            (found, values) => assert_eq!(found.is_some(), values.is_some()),
        }
    }
    for (found, at) in [(&sums.advantages, 5), (&sums.returns, 6), (&sums.values, 7)] {
        match (found, single(at)) {
            (Some(found), Some(values)) => check_range(found, &values),
            (found, values) => assert_eq!(found.is_some(), values.is_some()),
        }
    }
    let (low, high) = (BOUNDS.log_low, BOUNDS.log_high);
    assert_eq!(
        sums.reference.is_some(),
        tokens.usable(&[CURRENT, REFERENCE]).is_some()
    );
    if let (Some(found), Some(rows)) = (&sums.reference, tokens.usable(&[CURRENT, REFERENCE])) {
        check_divergence(&found.divergence, &rows);
        assert_eq!(found.low, count(&rows, |row| row[0] - row[1] < low));
        assert_eq!(found.high, count(&rows, |row| row[0] - row[1] > high));
        match tokens.usable(&[CURRENT, REFERENCE, OLD]) {
            Some(rows) => {
                let k3 = |d: f64| d.exp_m1() - d;
                let corrected = rows
                    .iter()
                    .map(|row| k3(clamped(row[1] - row[0])) * clamped(row[0] - row[2]).exp());
                check_total(&found.k3_corrected, &corrected.collect::<Vec<f64>>());
            }
            None => assert_eq!(found.k3_corrected, found.divergence.k3()),
        }
    }
    assert_eq!(sums.behaviour.is_some(), tokens.columns[CURRENT].is_some());
    if let Some(found) = &sums.behaviour {
        let old = if tokens.columns[OLD].is_some() {
            OLD
        } else {
            CURRENT
        };
        let rows = tokens.usable(&[old, CURRENT]).unwrap_or_default();
        check_divergence(&found.divergence, &rows);
        let ratio = |row: &Vec<f64>| clamped(row[1] - row[0]).exp();
        let ratios: Vec<f64> = rows.iter().map(ratio).collect();
        check_range(&found.ratio, &ratios);
        close(found.ratio_squares, ratios.iter().map(|r| r * r).sum());
        assert_eq!(found.low, count(&rows, |row| ratio(row) < 0.8));
        assert_eq!(found.high, count(&rows, |row| ratio(row) > 1.2));
        let signed = tokens.usable(&[old, CURRENT, 5]).unwrap_or_default();
        assert_eq!(found.signed_tokens, signed.len() as u64);
        let clipped =
            |row: &Vec<f64>| ratio(row) < 0.8 && row[2] < 0.0 || ratio(row) > 1.2 && row[2] > 0.0;
        assert_eq!(found.signed_clipped, count(&signed, clipped));
    }
    check_kept(tokens);
    check_sampler(tokens, &sums);
}

fn check_sampler(tokens: &Tokens, sums: &Sums) {
    let behaviour = if tokens.columns[OLD].is_some() {
        OLD
    } else {
        CURRENT
    };
    let sampled = tokens.usable(&[behaviour, SAMPLING]);
    assert_eq!(sums.sampler.is_some(), sampled.is_some());
    if let (Some(found), Some(rows)) = (&sums.sampler, sampled) {
        let of = |f: fn(&Vec<f64>) -> f64| rows.iter().map(f).collect::<Vec<f64>>();
        check_range(&found.logp_difference, &of(|row| (row[0] - row[1]).abs()));
        check_range(
            &found.ratio,
            &of(|row| clamped(row[0] - row[1]).exp().min(2.0)),
        );
        check_range(
            &found.probability_difference,
            &of(|row| (clamped(row[0]).exp() - clamped(row[1]).exp()).abs()),
        );
        let apart = of(|row| clamped(row[0]).exp() - clamped(row[1]).exp());
        close(
            found.probability_difference_squares,
            apart.iter().map(|x| x * x).sum(),
        );
        check_range(&found.old, &of(|row| clamped(row[0]).exp()));
        check_range(&found.sampling, &of(|row| clamped(row[1]).exp()));
        close(
            found.old_squares,
            of(|row| clamped(row[0]).exp().powi(2)).iter().sum(),
        );
        close(
            found.sampling_squares,
            of(|row| clamped(row[1]).exp().powi(2)).iter().sum(),
        );
        close(
            found.products,
            of(|row| (clamped(row[0]) + clamped(row[1])).exp())
                .iter()
                .sum(),
        );
    }
}

/// What is kept of the tokens that can be used, by the definitions.
fn check_kept(tokens: &Tokens) {
    let (_, kept) = tokens.sums_and_kept(|_, values| Cells::F32(values));
    let same = |kept: &[f64], expected: Option<Vec<f64>>| {
        let usable: Vec<f64> = kept.iter().copied().filter(|x| !x.is_nan()).collect();
        let expected = expected.unwrap_or_default();
        assert_eq!(usable.len(), expected.len());
        usable
            .iter()
            .zip(expected)
            .for_each(|(&found, x)| close(found, x));
    };
    let old = if tokens.columns[OLD].is_some() {
        OLD
    } else {
        CURRENT
    };
    let rows_of = |wanted: &[usize], value: fn(&Vec<f64>) -> f64| {
        let rows = tokens.usable(wanted)?;
        Some(rows.iter().map(value).collect::<Vec<f64>>())
    };
    same(&kept.entropies, rows_of(&[4], |row| row[0]));
    same(
        &kept.ratios,
        rows_of(&[CURRENT, old], |row| clamped(row[0] - row[1]).exp()),
    );
    let k3 = |row: &Vec<f64>| clamped(row[1] - row[0]).exp_m1() - clamped(row[1] - row[0]);
    same(&kept.k3s, rows_of(&[CURRENT, REFERENCE], k3));
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

#[test]
fn no_tokens_come_to_nothing() {
    let empty = Tokens {
        columns: std::array::from_fn(|_| Some(Vec::new())),
        mask: None,
        length: 0,
    };
    let sums = empty.sums();
    assert_eq!((sums.counted, sums.entropies), (0, Some(Total::default())));
    let behaviour = sums.behaviour.unwrap();
    assert_eq!(
        (behaviour.divergence, behaviour.ratio.min),
        (Divergence::default(), f64::INFINITY)
    );
    assert_eq!(behaviour.divergence.k1.to_bits(), 0);
    let masked = Tokens {
        columns: std::array::from_fn(|_| Some(vec![f32::NAN; 40])),
        mask: Some(vec![0; 40]),
        length: 40,
    };
    assert_eq!(format!("{:?}", masked.sums()), format!("{sums:?}"));
}
