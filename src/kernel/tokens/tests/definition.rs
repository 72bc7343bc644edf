//! The sums by their definitions, written out token by token with the C library's exponential.

use super::*;

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
    close(found.k2, sum(|d| d * d / 2.0));
    close(found.k3, sum(|d| clamped(-d).exp_m1() - clamped(-d)));
}

fn count(rows: &[Vec<f64>], which: impl Fn(&Vec<f64>) -> bool) -> u64 {
    rows.iter().filter(|row| which(row)).count() as u64
}

pub fn check(tokens: &Tokens) {
    let sums = tokens.sums();
    let all: Vec<usize> = (0..tokens.length).collect();
    let counted = all
        .iter()
        .filter(|&&i| tokens.mask.as_ref().is_none_or(|mask| mask[i] == 1));
    assert_eq!(sums.counted, counted.count() as u64);
    let single = |at| tokens.usable(&[at]).map(|rows| rows.concat());
    let finite = &sums.finite;
    for (at, found) in [
        finite.current,
        finite.old,
        finite.reference,
        finite.sampling,
        finite.entropies,
        finite.advantages,
        finite.returns,
        finite.values,
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(found, single(at).map(|values| values.len() as u64));
    }
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
        let sum = |term: fn(f64) -> f64| rows.iter().map(|row| term(row[0] - row[1])).sum();
        close(found.abs, sum(f64::abs));
        let k3 = |d: f64| (-d).clamp(-20.0, 20.0).exp() + d.clamp(-20.0, 20.0) - 1.0;
        close(
            found.k3_bounded,
            rows.iter()
                .map(|row| k3(row[0] - row[1]).clamp(-10.0, 10.0))
                .sum(),
        );
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
        assert_eq!(found.tokens, rows.len() as u64);
        let ratio = |row: &Vec<f64>| clamped(row[1] - row[0]).exp();
        assert_eq!(found.moved.is_some(), tokens.columns[OLD].is_some());
        if let Some(moved) = &found.moved {
            check_divergence(&moved.divergence, &rows);
            let bounded = |row: &Vec<f64>| (row[0] - row[1]).clamp(-20.0, 20.0);
            close(moved.k1_bounded, rows.iter().map(bounded).sum());
            let ratios: Vec<f64> = rows.iter().map(ratio).collect();
            check_range(&moved.ratio, &ratios);
            close(moved.ratio_squares, ratios.iter().map(|r| r * r).sum());
        }
        assert_eq!(found.low, count(&rows, |row| ratio(row) < 0.8));
        assert_eq!(found.high, count(&rows, |row| ratio(row) > 1.2));
        let signed = tokens.usable(&[old, CURRENT, 5]).unwrap_or_default();
        assert_eq!(found.signed_tokens, signed.len() as u64);
        let (low, high) = (
            |row: &Vec<f64>| ratio(row) < 0.8 && row[2] < 0.0,
            |row: &Vec<f64>| ratio(row) > 1.2 && row[2] > 0.0,
        );
        assert_eq!(found.signed_low, count(&signed, low));
        assert_eq!(found.signed_high, count(&signed, high));
    }
    check_kept(tokens);
    check_sampler(tokens, &sums);
    check_apart(tokens, &sums);
}

fn check_apart(tokens: &Tokens, sums: &Sums) {
    let old = if tokens.columns[OLD].is_some() {
        OLD
    } else {
        CURRENT
    };
    let Some((sampler, rows)) = sums.sampler.zip(tokens.usable(&[old, SAMPLING])) else {
        return;
    };
    let found = sampler.apart.unwrap();
    let of_rows = |term: fn(f64) -> f64| {
        let terms = rows.iter().map(|row| term(clamped(row[0] - row[1])));
        terms.sum::<f64>()
    };
    close(found.old, rows.iter().map(|row| row[0]).sum());
    close(found.sampling, rows.iter().map(|row| row[1]).sum());
    close(found.k3, of_rows(|d| d.exp_m1() - d));
    close(found.k3_back, of_rows(|d| (-d).exp_m1() + d));
    let mixture = |d: f64| d.abs() / 2.0 - 2_f64.ln() + (-d.abs()).exp().ln_1p();
    close(found.mixture, of_rows(mixture));
    close(found.factor, of_rows(|d| d.abs().exp()));
    close(found.ratio, of_rows(f64::exp));
    close(found.capped_squares, of_rows(|d| d.exp().min(2.0).powi(2)));
    close(
        found.bounded_squares,
        of_rows(|d| d.min(20.0).exp().powi(2)),
    );
    let ratio = |row: &Vec<f64>| clamped(row[0] - row[1]).exp();
    assert_eq!(found.above, count(&rows, |row| ratio(row) > 2.0));
    assert_eq!(found.below, count(&rows, |row| ratio(row) < 0.6));
    // As by the mean of the two policies' probabilities, which NeMo-RL takes.
    let by_mixture = |row: &Vec<f64>| {
        let (p, q) = (row[0].exp(), row[1].exp());
        let mean = f64::midpoint(p, q);
        let k3 = |x: f64| x - x.ln() - 1.0;
        f64::midpoint(k3(p / mean), k3(q / mean))
    };
    let usual = rows.iter().all(|row| row.iter().all(|x| *x > -50.0));
    if usual {
        close(found.mixture, rows.iter().map(by_mixture).sum());
    }
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
    let rows_of = |wanted: &[usize], value: fn(&Vec<f64>) -> f64| {
        let rows = tokens.usable(wanted)?;
        Some(rows.iter().map(value).collect::<Vec<f64>>())
    };
    same(&kept.entropies, rows_of(&[4], |row| row[0]));
    same(
        &kept.log_ratios,
        rows_of(&[CURRENT, OLD], |row| clamped(row[0] - row[1])),
    );
    let k3 = |row: &Vec<f64>| clamped(row[1] - row[0]).exp_m1() - clamped(row[1] - row[0]);
    same(&kept.k3s, rows_of(&[CURRENT, REFERENCE], k3));
}
