//! What a plot of so many pixels shows of a series: it is smoothed first, and then the least and the greatest value of every pixel are kept.

/// The exponential mean of each value and of those before it, whose weights sum to one from the beginning on:
/// m_i = sum_j w^(i-j) x_j / sum_j w^(i-j), over the finite x_j with j <= i. What is not finite stays as it is and moves no mean.
///
/// `weight` is in [0, 1); at 0 all values stay as they are. No value: none.
#[must_use]
pub fn smoothed(values: &[f64], weight: f64) -> Vec<f64> {
    let (mut mean, mut share) = (0.0, 0.0);
    let mut next = |value: f64| {
        if !value.is_finite() {
            return value;
        }
        mean = weight * mean + (1.0 - weight) * value;
        share = weight * share + (1.0 - weight);
        mean / share
    };
    values.iter().map(|value| next(*value)).collect()
}

/// Which points a plot of `pixels` columns needs, ascending: of each column the first least and the first greatest, and the first and the
/// last point of all. `x` ascends; a point whose value is not finite is none. So few points that they fit are all kept.
#[must_use]
pub fn kept(x: &[f64], values: &[f64], pixels: usize) -> Vec<usize> {
    let mut finite = (0..x.len().min(values.len())).filter(|i| values[*i].is_finite());
    let count = finite.clone().count();
    let ends = finite.clone().next().zip(finite.next_back());
    let Some((first, last)) = ends else {
        return Vec::new();
    };
    let all = (first..=last).filter(|i| values[*i].is_finite());
    if count <= 2 * pixels.max(1) {
        return all.collect();
    }
    let span = x[last] - x[first];
    let column = |i: usize| column_of(x[i] - x[first], span, pixels.max(1));
    let mut kept = vec![first];
    let mut open: Option<(usize, usize, usize)> = None;
    for i in all {
        open = Some(match open {
            Some((at, least, greatest)) if at == column(i) => (
                at,
                if values[i] < values[least] { i } else { least },
                if values[i] > values[greatest] {
                    i
                } else {
                    greatest
                },
            ),
            done => {
                push(&mut kept, done);
                (column(i), i, i)
            }
        });
    }
    push(&mut kept, open);
    kept.push(last);
    kept.dedup();
    kept
}

/// The column of a point that lies `at` into a plot `span` wide.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 0 and the number of columns
fn column_of(at: f64, span: f64, columns: usize) -> usize {
    if span <= 0.0 {
        return 0;
    }
    ((at / span * columns as f64) as usize).min(columns - 1)
}

/// Adds a column's least and greatest in the order in which they lie.
fn push(kept: &mut Vec<usize>, column: Option<(usize, usize, usize)>) {
    let Some((_, least, greatest)) = column else {
        return;
    };
    for i in [least.min(greatest), least.max(greatest)] {
        if kept.last().is_none_or(|last| *last < i) {
            kept.push(i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_smoothed_series_is_the_weighted_mean_of_what_came_before() {
        let values = [2.0, f64::INFINITY, 4.0, f64::NAN, 8.0];
        let smooth = smoothed(&values, 0.5);
        assert_eq!(smooth[0], 2.0);
        assert_eq!(smooth[1], f64::INFINITY);
        assert_eq!(smooth[2], (0.5 * 2.0 + 4.0) / 1.5);
        assert!(smooth[3].is_nan());
        assert_eq!(smooth[4], (0.25 * 2.0 + 0.5 * 4.0 + 8.0) / 1.75);
        assert_eq!(smoothed(&[1.0, 5.0], 0.0), [1.0, 5.0]);
        assert_eq!(smoothed(&[], 0.9), [0.0; 0]);
    }

    #[test]
    fn few_points_are_all_kept_and_of_none_there_is_none() {
        let x: Vec<f64> = (0..20).map(f64::from).collect();
        assert_eq!(kept(&x, &x, 10), (0..20).collect::<Vec<_>>());
        assert_eq!(kept(&[], &[], 10), [0; 0]);
        assert_eq!(kept(&[1.0, 2.0], &[f64::NAN, f64::INFINITY], 10), [0; 0]);
        assert_eq!(kept(&[1.0, 1.0, 1.0], &[1.0, 3.0, 2.0], 1), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn every_column_keeps_its_least_and_its_greatest(
            values in proptest::collection::vec(prop_oneof![9 => -100.0..100.0, 1 => Just(f64::NAN)], 1..800),
            pixels in 1_usize..50,
        ) {
            let x: Vec<f64> = (0..values.len()).map(|i| i as f64).collect();
            let kept = kept(&x, &values, pixels);
            prop_assert!(kept.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(kept.len() <= (2 * pixels + 2).max(values.len().min(2 * pixels)));
            let finite: Vec<usize> = (0..values.len()).filter(|i| values[*i].is_finite()).collect();
            if let (Some(first), Some(last)) = (finite.first(), finite.last()) {
                prop_assert_eq!((kept.first(), kept.last()), (Some(first), Some(last)));
                let column = |i: usize| column_of(x[i] - x[*first], x[*last] - x[*first], pixels);
                for at in 0..pixels {
                    let of = |places: &[usize]| places.iter().filter(|i| column(**i) == at).map(|i| values[*i]).collect::<Vec<_>>();
                    let ends = |values: &[f64]| values.iter().fold(None, |ends: Option<(f64, f64)>, value| {
                        Some(ends.map_or((*value, *value), |(least, greatest)| (least.min(*value), greatest.max(*value))))
                    });
                    prop_assert_eq!(ends(&of(&kept)), ends(&of(&finite)));
                }
            } else {
                prop_assert!(kept.is_empty());
            }
        }
    }
}
