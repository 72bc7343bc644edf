//! What a plot of so many pixels shows of a series: it is smoothed first, and then the least and the greatest value of every pixel are kept.

/// The exponential mean of each value and of those before it, whose weights sum to one from the beginning on: the sum of `w^(i-j) x(j)`
/// over that of `w^(i-j)`, over the finite `x(j)` with `j <= i`. What is not finite stays as it is and moves no mean.
///
/// `weight` is in [0, 1); at 0 all values stay as they are. No value: none.
#[must_use]
pub fn smoothed(values: &[f64], weight: f64) -> Vec<f64> {
    if weight <= 0.0 {
        return values.to_vec();
    }
    let (mut mean, mut share) = (0.0, 0.0);
    let next = |value: &f64| {
        if !value.is_finite() {
            return *value;
        }
        mean = weight * mean + (1.0 - weight) * value;
        share = weight * share + (1.0 - weight);
        mean / share
    };
    values.iter().map(next).collect()
}

/// Which points a plot of `pixels` columns needs, ascending: of each column the first least, the first greatest and the first infinite
/// value, and the first and the last point of all. `x` ascends; a point whose value is NaN is none. So few points that they fit, two to a
/// column, are all kept.
#[must_use]
pub fn kept(x: &[f64], values: &[f64], pixels: usize) -> Vec<usize> {
    let points = x.iter().zip(values).enumerate();
    let mut points = points.filter(|(_, (_, value))| !value.is_nan());
    let pixels = pixels.max(1);
    let count = points.clone().count();
    if count <= pixels.saturating_mul(2) {
        return points.map(|(at, _)| at).collect();
    }
    let ends = points.clone().next().zip(points.next_back());
    let Some(((first, (begin, _)), (last, (end, _)))) = ends else {
        return Vec::new();
    };
    let columns = Columns {
        begin: *begin,
        span: end - begin,
        count: pixels,
    };
    let mut kept = vec![first];
    let mut column: Option<Column> = None;
    let points = x.iter().zip(values).enumerate();
    for (at, (x, value)) in points
        .take(last + 1)
        .filter(|(_, (_, value))| !value.is_nan())
    {
        let place = columns.place(*x);
        match &mut column {
            Some(column) if column.place == place => column.take(at, *value),
            other => {
                let done = other.replace(Column::of(place, at, *value));
                kept.extend(done.into_iter().flat_map(Column::kept));
            }
        }
    }
    kept.extend(column.into_iter().flat_map(Column::kept));
    kept.push(last);
    kept.dedup();
    kept
}

/// A plot's columns of pixels.
struct Columns {
    begin: f64,
    span: f64,
    count: usize,
}

impl Columns {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 0 and the number of columns
    fn place(&self, x: f64) -> usize {
        if self.span <= 0.0 {
            return 0;
        }
        (((x - self.begin) / self.span * self.count as f64) as usize).min(self.count - 1)
    }
}

/// What a column has come to: the places of its points, with the values that others are held against.
struct Column {
    place: usize,
    least: Option<(usize, f64)>,
    greatest: Option<(usize, f64)>,
    infinite: Option<usize>,
}

impl Column {
    fn of(place: usize, at: usize, value: f64) -> Self {
        let mut column = Self {
            place,
            least: None,
            greatest: None,
            infinite: None,
        };
        column.take(at, value);
        column
    }

    fn take(&mut self, at: usize, value: f64) {
        if value.is_infinite() {
            self.infinite.get_or_insert(at);
            return;
        }
        if self.least.is_none_or(|(_, least)| value < least) {
            self.least = Some((at, value));
        }
        if self.greatest.is_none_or(|(_, greatest)| value > greatest) {
            self.greatest = Some((at, value));
        }
    }

    /// In the order in which they lie.
    fn kept(self) -> impl Iterator<Item = usize> {
        let ends = [self.least, self.greatest].map(|end| end.map(|(at, _)| at));
        let mut kept = [ends[0], ends[1], self.infinite];
        kept.sort_unstable();
        kept.into_iter().flatten()
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
        assert_eq!(kept(&[1.0, 2.0], &[f64::NAN, f64::INFINITY], 10), [1]);
        assert_eq!(kept(&[1.0, 1.0, 1.0], &[1.0, 3.0, 2.0], 1), [0, 1, 2]);
        assert_eq!(kept(&x, &x, usize::MAX).len(), 20);
    }

    /// `pandas.Series([2, 4, -1, 8, 0.5]).ewm(alpha=1-0.7, adjust=True).mean().tolist()`, pandas 3.1.1.
    #[test]
    fn smoothing_is_the_mean_that_pandas_has() {
        let expected = [
            2.0,
            3.176_470_588_235_294_4,
            1.269_406_392_694_064,
            3.926_569_285_432_293_6,
            2.690_923_515_199_596,
        ];
        let smooth = smoothed(&[2.0, 4.0, -1.0, 8.0, 0.5], 0.7);
        for (smooth, expected) in smooth.iter().zip(expected) {
            assert!((smooth - expected).abs() < 1e-14, "{smooth} {expected}");
        }
    }

    proptest! {
        #[test]
        fn every_column_keeps_its_least_and_its_greatest_and_that_it_has_infinite_ones(
            values in proptest::collection::vec(
                prop_oneof![9 => -100.0..100.0, 1 => Just(f64::NAN), 1 => Just(f64::INFINITY)], 1..800),
            pixels in 1_usize..50,
        ) {
            let x: Vec<f64> = (0..values.len()).map(|i| i as f64).collect();
            let kept = kept(&x, &values, pixels);
            prop_assert!(kept.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(kept.len() <= 3 * pixels + 2);
            let points: Vec<usize> = (0..values.len()).filter(|i| !values[*i].is_nan()).collect();
            let (Some(first), Some(last)) = (points.first(), points.last()) else {
                prop_assert!(kept.is_empty());
                return Ok(());
            };
            prop_assert_eq!((kept.first(), kept.last()), (Some(first), Some(last)));
            let columns = Columns { begin: x[*first], span: x[*last] - x[*first], count: pixels };
            for place in 0..pixels {
                let of = |places: &[usize]| -> (Option<f64>, Option<f64>, bool) {
                    let here = || places.iter().filter(|i| columns.place(x[**i]) == place).map(|i| values[*i]);
                    let finite = || here().filter(|value| value.is_finite());
                    (finite().reduce(f64::min), finite().reduce(f64::max), here().any(f64::is_infinite))
                };
                prop_assert_eq!(of(&kept), of(&points));
            }
        }
    }
}
