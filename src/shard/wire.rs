//! A shard on the wire: nothing twice, and nothing taken that no shard could be.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::extended::Extended;
use super::{Detail, Reports, Shard, Span, Thresholds};
use crate::batch::Place;
use crate::family::completions::Completions;
use crate::family::groups::Groups;
use crate::family::number_totals::NumberTotals;
use crate::family::policy::Policy;
use crate::family::rewards::column::Column;
use crate::family::rewards::components::{ComponentRows, Components};
use crate::family::tokens::Tokens;

/// What a [`Shard`] travels as: its own fields, the rewards without those that its groups keep as well.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Shard")]
struct ShardOnWire<'a> {
    span: Span,
    counted: Cow<'a, Option<(Thresholds, Place)>>,
    reports: Cow<'a, Reports>,
    rewards: Cow<'a, Column>,
    components: Cow<'a, Components>,
    component_rows: Cow<'a, ComponentRows>,
    advantages: Cow<'a, NumberTotals>,
    completion_advantages: Cow<'a, NumberTotals>,
    groups: Cow<'a, Groups>,
    completions: Cow<'a, Completions>,
    tokens: Cow<'a, Tokens>,
    policy: Cow<'a, Option<Box<Policy>>>,
    extended: Cow<'a, Option<Box<Extended>>>,
}

impl Serialize for Shard {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kept = self.groups.kept_rewards();
        let rewards = if kept.iter().all(|rewards| rewards.is_empty()) {
            Cow::Borrowed(&self.rewards)
        } else {
            let rest = self.rewards.without(kept.into_iter().flatten().copied());
            Cow::Owned(rest.ok_or_else(|| {
                serde::ser::Error::custom(
                    "expected every completion's kept reward among the rewards",
                )
            })?)
        };
        ShardOnWire {
            span: self.span,
            counted: Cow::Borrowed(&self.counted),
            reports: Cow::Borrowed(&self.reports),
            rewards,
            components: Cow::Borrowed(&self.components),
            component_rows: Cow::Borrowed(&self.component_rows),
            advantages: Cow::Borrowed(&self.advantages),
            completion_advantages: Cow::Borrowed(&self.completion_advantages),
            groups: Cow::Borrowed(&self.groups),
            completions: Cow::Borrowed(&self.completions),
            tokens: Cow::Borrowed(&self.tokens),
            policy: Cow::Borrowed(&self.policy),
            extended: Cow::Borrowed(&self.extended),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Shard {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = ShardOnWire::deserialize(deserializer)?;
        let mut shard = Shard {
            span: found.span,
            counted: found.counted.into_owned(),
            reports: found.reports.into_owned(),
            rewards: found.rewards.into_owned(),
            components: found.components.into_owned(),
            component_rows: found.component_rows.into_owned(),
            advantages: found.advantages.into_owned(),
            completion_advantages: found.completion_advantages.into_owned(),
            groups: found.groups.into_owned(),
            completions: found.completions.into_owned(),
            tokens: found.tokens.into_owned(),
            policy: found.policy.into_owned(),
            extended: found.extended.into_owned(),
        };
        if !shard.rewards.is_sketch() {
            for kept in shard.groups.kept_rewards() {
                shard.rewards.keep(kept);
            }
        }
        match shard.fault() {
            None => Ok(shard),
            Some(fault) => Err(D::Error::custom(fault)),
        }
    }
}

impl Shard {
    /// Whether an open shard has the parts that its level of detail says, and no other.
    fn has_its_detail(&self) -> bool {
        if self.extended.is_some() != self.groups.is_extended() {
            return false;
        }
        let detail = match &self.counted {
            _ if self.span == Span::Closed => return true,
            Some((thresholds, _)) => thresholds.detail,
            None => Detail::Plain,
        };
        self.policy.is_some() == (detail >= Detail::Policy)
            && self.extended.is_some() == (detail >= Detail::Extended)
    }

    /// What no record and no merge could have made it.
    fn fault(&self) -> Option<&'static str> {
        let staleness = self.policy.as_ref().and_then(|p| p.staleness.as_ref());
        let aged = staleness
            .into_iter()
            .flat_map(|staleness| staleness.steps());
        let mut steps = self.reports.keys().map(|(step, _)| *step).chain(aged);
        let of_span = match self.span {
            Span::Any => steps.all(|step| step == 0),
            Span::Step(own) => steps.all(|step| step == own),
            Span::Closed => true,
        };
        if !of_span {
            return Some("expected reports of the shard's own step");
        }
        let open = self.counted.is_some() || self.groups.is_open();
        if self.span == Span::Closed && open {
            return Some("expected nothing open in a shard that is closed");
        }
        let nothing = || Self {
            span: self.span,
            counted: self.counted.clone(),
            ..Self::default()
        };
        if self.is_empty() && *self != nothing() {
            return Some("expected a report of every record that the shard is of");
        }
        if !self.has_its_detail() {
            return Some("expected as much detail as the shard's tokens were counted in");
        }
        let seen = self.completions.seen;
        if !self
            .policy
            .as_ref()
            .is_none_or(|policy| policy.is_consistent())
            || !self.groups.is_consistent(seen)
            || !self.extended.as_ref().is_none_or(|e| e.is_consistent(seen))
        {
            return Some("expected numbers of the shard's own completions and tokens");
        }
        let mut columns = self
            .components
            .values()
            .map(Box::as_ref)
            .chain([&self.rewards]);
        if !columns.clone().all(Column::is_consistent) {
            return Some("expected as many values in a column as it has counted");
        }
        let mut retained = columns.by_ref().filter_map(Column::retain);
        let first = retained.next();
        if !retained.all(|other| first == Some(other)) {
            return Some("expected reward columns that are all retained alike");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::group::Grouping;
    use crate::batch::{Batch, Columns};

    fn counted(detail: Detail) -> Shard {
        let rewards = [1.0, 0.0, 0.5];
        let tags = ["a", "b", "a"].map(str::to_owned);
        let mut columns = Columns::new(Grouping::Sizes(&[1, 2]), &rewards);
        columns.reward_components = vec![("c".into(), (&rewards).into())];
        columns.advantages = Some((&rewards).into());
        columns.tags = Some(&tags);
        let batch = Batch::of(columns).expect("the columns fit");
        let thresholds = Thresholds {
            detail,
            ..Thresholds::default()
        };
        Shard::counted(&batch, Place::default(), &thresholds)
    }

    #[test]
    fn an_open_shard_has_the_parts_of_its_detail_and_a_closed_one_what_its_steps_had() {
        let detail = Some("expected as much detail as the shard's tokens were counted in");
        for level in [Detail::Plain, Detail::Policy, Detail::Extended] {
            assert_eq!(counted(level).fault(), None);
        }
        let mut shard = counted(Detail::Policy);
        shard.policy = None;
        assert_eq!(shard.fault(), detail);
        let mut shard = counted(Detail::Plain);
        shard.extended = Some(Box::default());
        assert_eq!(shard.fault(), detail);
        shard.groups = counted(Detail::Extended).groups;
        assert_eq!(shard.fault(), detail);
        shard.counted = None;
        shard.span = Span::Closed;
        assert_eq!(shard.fault(), None);
    }

    #[test]
    fn what_no_record_reports_is_refused() {
        let mut shard = counted(Detail::Plain);
        assert_eq!(shard.fault(), None);
        shard.reports.clear();
        assert_eq!(
            shard.fault(),
            Some("expected a report of every record that the shard is of")
        );
        assert_eq!(Shard::default().fault(), None);
    }

    #[test]
    fn an_extended_part_is_of_the_shards_own_completions() {
        let own = Some("expected numbers of the shard's own completions and tokens");
        let mut fewer = counted(Detail::Extended);
        fewer.completions.seen = 2;
        assert_eq!(fewer.fault(), own);
        let mut missing = counted(Detail::Extended);
        missing.policy = Some(Box::default());
        assert_eq!(missing.fault(), None);
        if let Some(policy) = &mut missing.policy {
            policy.advantages.tokens = 3;
        }
        assert_eq!(missing.fault(), own);
    }
}
