//! A summary's row in a dialect's words: its tables line by line, and no two numbers under one key.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::{Dialect, Line, Take};
use crate::batch::scalars::{Scalar, Scalars};
use crate::row::Metrics;
use crate::summary::{Attempts, BestNumbers, Distribution, Summary};

/// A row in a dialect's words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Named {
    /// The row itself: each key with its number, in the order of the dialect's tables.
    pub metrics: Metrics,
    /// Names under which something was reported that is not in the row: that of one of the row's own keys, and what
    /// [`Summary::strange`] has.
    pub kept_out: Vec<String>,
    /// Keys that two names came to (components `a` and `a/corr_total`): the later one, and what it is called instead.
    pub renamed: Vec<(String, String)>,
}

impl Dialect {
    /// The numbers of [`Dialect::named`].
    #[must_use]
    pub fn row(self, summary: &Summary) -> Metrics {
        self.named(summary).metrics
    }

    /// The row of a summary: the dialect's keys, the extended metrics where they were counted, then the users' own metrics
    /// under their own names.
    #[must_use]
    pub fn named(self, summary: &Summary) -> Named {
        let mut metrics = Metrics::with_capacity(192);
        let extended = match summary.extended {
            Some(_) => self.extended_tables(),
            None => &[],
        };
        for table in self.tables().iter().chain(extended) {
            let mut rest = *table;
            while let [first, ..] = rest {
                let kind = std::mem::discriminant(&first.take);
                let same = rest
                    .iter()
                    .take_while(|l| std::mem::discriminant(&l.take) == kind)
                    .count();
                let (block, after) = rest.split_at(same);
                push_block(&mut metrics, block, summary);
                rest = after;
            }
        }
        let renamed = if self.may_repeat(summary) {
            metrics.set_apart()
        } else {
            Vec::new()
        };
        let untold = self.untold(summary);
        let mut kept_out = push_own(&mut metrics, summary.own.iter().chain(&untold));
        kept_out.extend_from_slice(&summary.strange);
        let counts = extended.iter().copied().flatten();
        for line in counts.filter(|line| matches!(line.take, Take::KeptOut)) {
            metrics.push(line.key, kept_out.len() as f64);
        }
        Named {
            metrics,
            kept_out,
            renamed,
        }
    }

    /// Scalars that were reported under another name, and that the dialect has no key for: they stand under that name.
    fn untold(self, summary: &Summary) -> Vec<(String, f64)> {
        let untold = summary.taken.iter();
        let untold = untold.filter(|(_, scalar)| !self.tells(*scalar));
        untold
            .filter_map(|(name, scalar)| Some((name.clone(), summary.scalar(*scalar)?)))
            .collect()
    }

    /// Whether one of the dialect's lines has what is reported as this scalar.
    fn tells(self, scalar: Scalar) -> bool {
        static TOLD: LazyLock<HashSet<(&str, Scalar)>> = LazyLock::new(|| {
            let nothing = Summary::of_scalars(Scalars::default());
            let told = Scalar::ALL.iter().flat_map(|&scalar| {
                let only = Summary::of_scalars(Scalars::default().with(scalar, 0.5));
                let tells = |line: &Line| match line.take {
                    Take::Number(take) => take(&only) != take(&nothing),
                    _ => false,
                };
                let dialects = Dialect::ALL.iter();
                let dialects = dialects.filter(|dialect| dialect.lines().any(tells));
                let dialects: Vec<&str> = dialects.map(|dialect| dialect.name()).collect();
                dialects.into_iter().map(move |dialect| (dialect, scalar))
            });
            told.collect()
        });
        TOLD.contains(&(self.name(), scalar))
    }

    /// Whether two of a summary's names may come to one key: only a name with a slash can end as a key's own end does, or
    /// one that stands at the end of its key.
    fn may_repeat(self, summary: &Summary) -> bool {
        let ends_in_name =
            |line: &Line| matches!(line.take, Take::Component(_)) && line.key.ends_with('}');
        let sliced = |(name, _): &(String, Distribution)| name.contains('/');
        summary.components.iter().any(sliced)
            || (!summary.components.is_empty() && self.lines().any(ends_in_name))
    }
}

/// Adds the users' own metrics; the names of those whose key the row has already.
fn push_own<'a>(
    metrics: &mut Metrics,
    own: impl Iterator<Item = &'a (String, f64)>,
) -> Vec<String> {
    let mut own = own.peekable();
    if own.peek().is_none() {
        return Vec::new();
    }
    let taken: HashSet<&str> = metrics.iter().map(|(key, _)| key).collect();
    let (kept_out, free): (Vec<_>, Vec<_>) =
        own.partition(|(name, _)| taken.contains(name.as_str()));
    for (name, value) in free {
        metrics.push(name.clone(), *value);
    }
    kept_out.into_iter().map(|(name, _)| name.clone()).collect()
}

/// Lines of one kind that follow each other: component by component (or bucket by bucket, tag by tag), and line by line
/// within.
fn push_block(metrics: &mut Metrics, block: &[Line], summary: &Summary) {
    let (Some(first), extended) = (block.first(), &summary.extended) else {
        return;
    };
    match (first.take, extended) {
        (Take::Number(_), _) => {
            for line in block {
                if let Take::Number(take) = line.take
                    && let Some(value) = take(summary)
                {
                    metrics.push(line.key, value);
                }
            }
        }
        (Take::Component(_), _) => {
            let components = summary.components.iter();
            let components = components.map(|(name, c)| (name.as_str(), c));
            push_each(metrics, block, components, |take, c| match take {
                Take::Component(take) => take(c),
                _ => None,
            });
        }
        (Take::Bucket(_), _) => {
            let buckets = summary.reference.buckets.iter().map(|b| (b.label, b));
            push_each(metrics, block, buckets, |take, b| match take {
                Take::Bucket(take) => take(b),
                _ => None,
            });
        }
        (Take::Rejected(_), _) => {
            let by = summary.policy.rejection.iter().flat_map(|r| &r.by);
            push_each(
                metrics,
                block,
                by.map(|(name, r)| (*name, r)),
                |take, r| match take {
                    Take::Rejected(take) => take(r),
                    _ => None,
                },
            );
        }
        (Take::Correlation, Some(extended)) => {
            let correlations = extended.components.iter();
            let correlations = correlations.map(|(name, c)| (name.as_str(), c));
            push_each(metrics, block, correlations, |_, c| Some(**c));
        }
        (Take::Attempts(_), Some(extended)) => {
            let attempts = extended.attempts.iter();
            let ks: Vec<(String, &Attempts)> = attempts.map(|a| (a.k.to_string(), a)).collect();
            let attempts = ks.iter().map(|(k, attempts)| (k.as_str(), *attempts));
            push_each(metrics, block, attempts, |take, a| match take {
                Take::Attempts(take) => take(a),
                _ => None,
            });
        }
        (Take::Best(_), Some(extended)) => {
            let best: Vec<(String, &BestNumbers)> = extended
                .best
                .iter()
                .map(|best| (best.k.to_string(), best))
                .collect();
            let best = best.iter().map(|(k, best)| (k.as_str(), *best));
            push_each(metrics, block, best, |take, b| match take {
                Take::Best(take) => take(b),
                _ => None,
            });
        }
        (Take::Condition(_), Some(extended)) => {
            let conditions = extended.stop_conditions.iter();
            let conditions = conditions.map(|(condition, c)| (condition.as_str(), c));
            push_each(metrics, block, conditions, |take, c| match take {
                Take::Condition(take) => take(c),
                _ => None,
            });
        }
        (Take::Tag(_), Some(extended)) => {
            let tags = extended.tags.iter().map(|(tag, t)| (tag.as_str(), t));
            push_each(metrics, block, tags, |take, t| match take {
                Take::Tag(take) => take(t),
                _ => None,
            });
        }
        (Take::Family(_), Some(_)) => {
            let families = summary.census.iter().map(|(name, c)| (name.as_str(), c));
            push_each(metrics, block, families, |take, c| match take {
                Take::Family(take) => take(c),
                _ => None,
            });
        }
        // What is kept out is known when the rest stands.
        (Take::KeptOut, _) | (_, None) => {}
    }
}

fn push_each<'n, T>(
    metrics: &mut Metrics,
    block: &[Line],
    each: impl Iterator<Item = (&'n str, T)>,
    take: impl Fn(Take, &T) -> Option<f64>,
) {
    for (name, of) in each {
        for line in block {
            if let Some(value) = take(line.take, &of) {
                // The one place that a key has for a name stands in braces.
                let (before, rest) = line.key.split_once('{').unwrap_or((line.key, ""));
                let after = rest.split_once('}').map_or("", |(_, after)| after);
                metrics.push([before, name, after].concat(), value);
            }
        }
    }
}
