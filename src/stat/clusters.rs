//! Values that come in clusters: what the clusters' sums say of the mean of all values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fixed::scale;
use super::{CHUNK, Covariance, ExactSum, Moments, Statistic};
use crate::kernel::tile::twofold_sums;

/// The exact sums of clusters, by how many values a cluster has; memory does not grow with the clusters.
///
/// A cluster's sum is no double in general: here it is not rounded to one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Clusters {
    by_size: BTreeMap<u64, Moments>,
}

impl Clusters {
    /// Takes in clusters of finite values; empty ones are none.
    pub fn add(&mut self, clusters: &[&[f64]]) {
        let mut clusters = clusters.to_vec();
        clusters.retain(|values| !values.is_empty());
        clusters.sort_by_key(|values| values.len());
        for alike in clusters.chunk_by(|a, b| a.len() == b.len()) {
            let sums = self.of_size(alike[0].len() as u64);
            alike
                .chunks(CHUNK)
                .for_each(|clusters| sums.merge(&moments_of_sums(clusters)));
        }
    }

    fn of_size(&mut self, size: u64) -> &mut Moments {
        self.by_size.entry(size).or_default()
    }

    /// Takes in all clusters that `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        for (&size, sums) in &other.by_size {
            self.of_size(size).merge(sums);
        }
    }

    /// How many clusters.
    #[must_use]
    pub fn count(&self) -> u64 {
        let counts = self.by_size.values().map(Moments::count);
        counts.fold(0, u64::saturating_add)
    }

    /// How many values they have together.
    #[must_use]
    pub fn values(&self) -> u64 {
        let values = self.by_size.iter();
        let values = values.map(|(size, sums)| size.saturating_mul(sums.count()));
        values.fold(0, u64::saturating_add)
    }

    /// Whether it could be of clusters.
    pub(crate) fn is_consistent(&self) -> bool {
        self.by_size
            .iter()
            .all(|(size, sums)| *size > 0 && sums.count() > 0)
    }

    /// The standard error of the mean of all values, of which these are the moments, clustered: sqrt(G/(G-1) * sum over
    /// clusters of (sum of x - mean)^2) / n (Liang and Zeger, "Longitudinal data analysis using generalized linear models",
    /// 1986); `None` for fewer than two clusters.
    #[must_use]
    pub fn standard_error(&self, all: &Moments) -> Option<f64> {
        let (clusters, n) = (self.count(), all.count() as f64);
        if clusters < 2 {
            return None;
        }
        let correction = clusters as f64 / (clusters - 1) as f64;
        let (squares, exponent) = self.squares(all, |_| 1.0);
        Some(scale((correction * squares).sqrt() / n / n, exponent))
    }

    /// The share of the values' sum of squared deviations, of which these are the moments, that is between clusters; `None`
    /// where they do not vary.
    #[must_use]
    pub fn between(&self, all: &Moments) -> Option<f64> {
        let (total, total_exponent) = all.deviation();
        let (squares, exponent) = self.squares(all, |size| size as f64);
        let share = scale(
            squares / total / all.count() as f64,
            2 * (exponent - total_exponent),
        );
        (total > 0.0).then(|| share.min(1.0))
    }

    /// The intraclass correlation: which share of the values' variance is between clusters, by the estimator of the analysis of
    /// variance for clusters of unequal sizes (Donner, "A review of inference procedures for the intraclass correlation
    /// coefficient", 1986). Unlike [`Clusters::between`] it does not grow as clusters shrink, and may be negative; `None` where the
    /// values do not vary, for fewer than two clusters and where none has two values.
    #[must_use]
    pub fn intraclass(&self, all: &Moments) -> Option<f64> {
        let sizes = self.by_size.iter();
        let sizes = sizes.map(|(&size, sums)| (size, sums.count()));
        intraclass(self.between(all)?, sizes)
    }

    /// n^2 times the sum over clusters of (sum of x - mean)^2 / `over`(size), as `value * 4^exponent`. Each size's part is
    /// an integer and not negative: nothing cancels.
    fn squares(&self, all: &Moments, over: impl Fn(u64) -> f64) -> (f64, i32) {
        let parts = self.by_size.iter().map(|(&size, sums)| {
            let (part, exponent) = sums.residuals(size, all);
            (part.max(0.0) / over(size), exponent)
        });
        let parts: Vec<(f64, i32)> = parts.filter(|(part, _)| *part > 0.0).collect();
        let top = parts
            .iter()
            .map(|(_, exponent)| *exponent)
            .max()
            .unwrap_or(0);
        let aligned = parts.iter();
        let aligned = aligned.map(|(part, exponent)| scale(*part, 2 * (exponent - top).max(-1000)));
        // From 0: the sum of nothing would be -0.
        (aligned.fold(0.0, |sum, part| sum + part), top)
    }
}

/// [`Clusters::intraclass`] from the share of the sum of squares that is between clusters, and from the clusters' sizes, each with how
/// many clusters have it.
pub(crate) fn intraclass(between: f64, sizes: impl Iterator<Item = (u64, u64)>) -> Option<f64> {
    let (mut clusters, mut values, mut squares) = (0.0, 0.0, 0.0);
    for (size, count) in sizes {
        let (size, count) = (size as f64, count as f64);
        clusters += count;
        values += count * size;
        squares += count * size * size;
    }
    if clusters < 2.0 || values <= clusters {
        return None;
    }
    let mean_size = (values - squares / values) / (clusters - 1.0);
    let (among, within) = (
        between / (clusters - 1.0),
        (1.0 - between) / (values - clusters),
    );
    Some((among - within) / (among + (mean_size - 1.0) * within))
}

/// The moments of the exact sums of at most [`CHUNK`] clusters, all of which are as long.
fn moments_of_sums(clusters: &[&[f64]]) -> Moments {
    let (mut sums, mut rests) = (vec![0.0; clusters.len()], vec![0.0; clusters.len()]);
    let mut wide = Moments::default();
    twofold_sums(clusters, &mut sums, &mut rests);
    if sums.iter().any(|sum| sum.is_nan()) {
        for (cluster, _) in clusters.iter().zip(&sums).filter(|(_, sum)| sum.is_nan()) {
            wide.add_exact(&ExactSum::of(cluster));
        }
        sums.retain(|sum| !sum.is_nan());
        rests.retain(|rest| !rest.is_nan());
    }
    let mut pairs = Covariance::default();
    pairs.add(&sums, &rests);
    wide.merge(&pairs.of_sums());
    wide
}
