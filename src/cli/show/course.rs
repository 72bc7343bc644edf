//! The course of a series in little room.

use crate::reading::digest;

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
}
