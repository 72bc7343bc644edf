//! Quantiles by hundredths, of all values or of their sketch.

use crate::stat::{Order, Quantile, Sketch};

/// The quantile at so many hundredths.
fn hundredth(hundredths: u16) -> Quantile {
    Quantile::of_thousandths(10 * hundredths).unwrap_or_default()
}

/// Exact; `None` of nothing.
pub fn quantiles<const N: usize>(order: &Order, hundredths: [u16; N]) -> Option<[f64; N]> {
    order.quantiles(&hundredths.map(hundredth))?.try_into().ok()
}

/// Within 1 %; `None` of nothing.
pub fn near_quantiles<const N: usize>(sketch: &Sketch, hundredths: [u16; N]) -> Option<[f64; N]> {
    let found: Option<Vec<f64>> = hundredths
        .iter()
        .map(|&q| sketch.quantile(hundredth(q)))
        .collect();
    found?.try_into().ok()
}
