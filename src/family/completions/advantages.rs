//! The advantages of completions.

use crate::batch::Values;
use crate::family::moment::{moment, part};
use crate::family::number_totals::NumberTotals;
use crate::family::quantiles::quantiles;
use crate::stat::Order;

/// The advantages of a record (one a completion): count, moments, extremes.
pub(crate) fn totals_of(values: &Values<'_>) -> NumberTotals {
    let mut spread = NumberTotals::default();
    if let Some(values) = values.whole() {
        spread.add(values);
    } else {
        let present: Vec<f64> = values.iter().flatten().collect();
        spread.census.absent = (values.len() - present.len()) as u64;
        spread.add(&present);
    }
    spread
}

/// The advantages of completions in numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdvantageNumbers {
    /// Mean over completions.
    pub mean: f64,
    /// Population standard deviation over completions.
    pub population_std: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// 5 % quantile, exact (type 7).
    pub p05: f64,
    /// 25 % quantile, likewise.
    pub p25: f64,
    /// Median.
    pub p50: f64,
    /// 75 % quantile.
    pub p75: f64,
    /// 95 % quantile.
    pub p95: f64,
    /// Share of completions whose advantage is below 1e-8 in size.
    pub zero: f64,
}

/// `order`: all of them that are finite.
pub(crate) fn advantages(totals: &NumberTotals, order: &Order) -> Option<AdvantageNumbers> {
    let all = moment(totals)?;
    let [p05, p25, p50, p75, p95] = quantiles(order, [5, 25, 50, 75, 95])?;
    let zero = order.count_where(|a| a.abs() < 1e-8);
    Some(AdvantageNumbers {
        mean: all.mean,
        population_std: all.population_std,
        min: all.min,
        max: all.max,
        p05,
        p25,
        p50,
        p75,
        p95,
        zero: part(zero, order.len())?,
    })
}
