//! The course of a series in little room: its digest and its sparkline.

/// The last value, and mean, min and max of the finite ones; NaN where there are none.
pub fn digest(values: &[f64]) -> [f64; 4] {
    let last = values.last().copied().unwrap_or(f64::NAN);
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let count = finite().count() as f64;
    let mut mean = finite().sum::<f64>() / count;
    if !mean.is_finite() {
        // The sum of large values may be beyond a double where their mean is not.
        mean = finite().map(|value| value / count).sum();
    }
    let min = finite().fold(f64::NAN, f64::min);
    let max = finite().fold(f64::NAN, f64::max);
    if count == 0.0 {
        return [last, f64::NAN, f64::NAN, f64::NAN];
    }
    // It is rounded, and that of one number again and again is that number.
    [last, mean.clamp(min, max), min, max]
}

/// The course of a series in block characters, the lowest finite value lowest: `▁▂▅█`. A long series is shown by the means
/// of equal stretches, at most so many; one that has an infinity shows as an arrow, and a constant series is a level line.
pub fn sparkline(values: &[f64], cells: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let cells = values.len().min(cells);
    let stretches: Vec<f64> = (0..cells)
        .map(|cell| {
            mean_of(&values[cell * values.len() / cells..(cell + 1) * values.len() / cells])
        })
        .collect();
    let [_, _, low, high] = digest(&stretches);
    // The means of a constant series differ in their last bits.
    let level = high - low <= 1e-12 * high.abs().max(low.abs());
    let draw = |value: &f64| match *value {
        value if value.is_nan() => ' ',
        f64::INFINITY => '↑',
        f64::NEG_INFINITY => '↓',
        _ if level => BLOCKS[3],
        value => {
            // Halved, so that the widest range there is stays finite.
            let height = (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
            let above = |block: &&usize| height * 8.0 < **block as f64;
            let block = [1, 2, 3, 4, 5, 6, 7]
                .iter()
                .find(above)
                .map_or(7, |next| next - 1);
            BLOCKS[block]
        }
    };
    stretches.iter().map(draw).collect()
}

fn mean_of(values: &[f64]) -> f64 {
    values.iter().map(|value| value / values.len() as f64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELLS: usize = 24;

    #[test]
    fn a_sparkline_spans_the_finite_values() {
        assert_eq!(
            sparkline(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], CELLS),
            "▁▂▃▄▅▆▇█"
        );
        assert_eq!(
            sparkline(
                &[1.0, f64::INFINITY, 2.0, f64::NEG_INFINITY, f64::NAN],
                CELLS
            ),
            "▁↑█↓ "
        );
        assert_eq!(sparkline(&[f64::MAX, f64::MIN], CELLS), "█▁");
        assert_eq!(sparkline(&[5.0; 3], CELLS), "▄▄▄");
        assert_eq!(sparkline(&[0.1; 1000], CELLS), "▄".repeat(CELLS));
        assert_eq!(sparkline(&[], CELLS), "");
    }

    #[test]
    fn a_long_series_is_shown_by_the_means_of_its_stretches() {
        let rising: Vec<f64> = (0..1000).map(f64::from).collect();
        let line = sparkline(&rising, CELLS);
        assert_eq!(line.chars().count(), CELLS);
        assert_eq!(line, "▁▁▁▂▂▂▃▃▃▄▄▄▅▅▅▆▆▆▇▇▇███");
    }

    #[test]
    fn infinities_stay_out_of_the_mean() {
        let [last, mean, min, max] = digest(&[1.0, f64::INFINITY, 3.0, f64::NEG_INFINITY]);
        assert_eq!((last, mean, min, max), (f64::NEG_INFINITY, 2.0, 1.0, 3.0));
        assert!(digest(&[f64::INFINITY])[1].is_nan());
        assert_eq!(digest(&[0.04; 24]), [0.04; 4]);
        assert!(digest(&[f64::MAX, f64::MAX])[1] >= f64::MAX);
    }
}
