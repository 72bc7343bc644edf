//! What a controller says of itself and of the loss.

use serde::{Deserialize, Serialize};

use super::loss::{ClipRange, ImportanceLevel, LossType, RewardScale, WordError};

/// What a field of the snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A number.
    Number,
    /// True or false.
    Flag,
    /// One of the words that are known.
    Word(&'static [&'static str]),
    /// Any text, of which these are known.
    Text(&'static [&'static str]),
    /// The meta-controller's snapshot.
    Meta,
}

/// What there is to know of a field of the snapshot.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FieldInfo {
    /// Its name in a record.
    pub name: &'static str,
    /// What it holds.
    pub kind: FieldKind,
    /// Of a number: its unit, `1` of a plain one; else `-`.
    pub unit: &'static str,
    /// What it says, and what holds without it.
    pub meaning: &'static str,
    /// Names by which trainers have it too, which are taken for it.
    pub also: &'static [&'static str],
}

macro_rules! snapshot {
    (
        $(#[$doc:meta])* $kind:ident
        numbers { $($(#[doc = $number_doc:literal])+ $number:ident in $unit:literal $(also $($also:literal)+)?,)* }
        flags { $($(#[doc = $flag_doc:literal])+ $flag:ident,)* }
        others { $($(#[doc = $other_doc:literal])+ $other:ident: $other_type:ty = $other_kind:expr,)* }
        $(beside { $($(#[$beside_doc:meta])* $beside:ident: $beside_type:ty,)* })?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        pub struct $kind {
            $($(#[doc = $number_doc])+ #[doc = concat!("\n\nUnit: ", $unit, ".")] pub $number: Option<f64>,)*
            $($(#[doc = $flag_doc])+ pub $flag: Option<bool>,)*
            $($(#[doc = $other_doc])+ pub $other: $other_type,)*
            $($($(#[$beside_doc])* #[serde(skip)] pub $beside: $beside_type,)*)?
        }

        impl $kind {
            /// Every field, in the order of docs/RECORDING.md.
            pub const FIELDS: &[FieldInfo] = &[
                $(FieldInfo {
                    name: stringify!($number),
                    kind: FieldKind::Number,
                    unit: $unit,
                    meaning: concat!($($number_doc),+).trim_ascii(),
                    also: &[$($($also),+)?],
                },)*
                $(FieldInfo {
                    name: stringify!($flag),
                    kind: FieldKind::Flag,
                    unit: "-",
                    meaning: concat!($($flag_doc),+).trim_ascii(),
                    also: &[],
                },)*
                $(FieldInfo {
                    name: stringify!($other),
                    kind: $other_kind,
                    unit: "-",
                    meaning: concat!($($other_doc),+).trim_ascii(),
                    also: &[],
                },)*
            ];

            /// The name of the field that `name` names, its own or another that is taken for it; `None` if there is no such field.
            #[must_use]
            pub fn field(name: &str) -> Option<&'static str> {
                let names = |field: &&FieldInfo| field.name == name || field.also.contains(&name);
                Self::FIELDS.iter().find(names).map(|field| field.name)
            }

            /// The fields that hold a number.
            pub const NUMBERS: &[&str] = &[$(stringify!($number),)*];
            /// The fields that hold true or false.
            pub const FLAGS: &[&str] = &[$(stringify!($flag),)*];

            /// The place of the number that `name` names, or `None` if there is no such field.
            pub fn number_mut(&mut self, name: &str) -> Option<&mut Option<f64>> {
                match name { $(stringify!($number) => Some(&mut self.$number),)* _ => None }
            }

            /// The place of the flag that `name` names, or `None` if there is no such field.
            pub fn flag_mut(&mut self, name: &str) -> Option<&mut Option<bool>> {
                match name { $(stringify!($flag) => Some(&mut self.$flag),)* _ => None }
            }

            /// The numbers that are set, by field name.
            pub fn numbers(&self) -> impl Iterator<Item = (&'static str, f64)> {
                [$((stringify!($number), self.$number),)*].into_iter().filter_map(|(name, x)| x.map(|x| (name, x)))
            }

            /// The flags that are set, by field name.
            pub fn flags(&self) -> impl Iterator<Item = (&'static str, bool)> {
                [$((stringify!($flag), self.$flag),)*].into_iter().filter_map(|(name, x)| x.map(|x| (name, x)))
            }

            /// The snapshot without its non-finite numbers, and how many those were.
            #[must_use]
            pub(crate) fn finite(mut self) -> (Self, u64) {
                let mut nonfinite = 0;
                for number in [$(&mut self.$number,)*] {
                    if number.is_some_and(|x| !x.is_finite()) {
                        *number = None;
                        nonfinite += 1;
                    }
                }
                (self, nonfinite)
            }
        }
    };
}

snapshot! {
    /// The controller's snapshot, every field as RECORDING.md names it; `None` where it was not given.
    Weighting
    numbers {
        /// The temperature of the update weights.
        tau in "1",
        /// The coefficient of the KL to the reference policy.
        beta in "1" also "kl_coef" "kl_coeff" "kl_coefficient",
        /// What update weights are divided by to normalise them.
        weight_norm_denom in "1",
        /// The temperature of the target distribution q.
        q_temperature in "1",
        /// The floor of q.
        q_epsilon in "1",
        /// The learning rate of tau as configured.
        tau_lr in "1",
        /// The learning rate of tau as it took effect; `train/tau_lr` is this, else `tau_lr`.
        tau_lr_effective in "1",
        /// The smallest that tau may become.
        tau_min in "1",
        /// The largest that tau may become.
        tau_max in "1",
        /// Steps before tau moves.
        tau_warmup_steps in "steps",
        /// The weight entropy that tau is steered to. Without it there is no target; a target of 0 is one.
        tau_target_entropy in "nats",
        /// The logarithm of tau. Without it `train/tau_log` is ln max(tau, 1e-8).
        tau_log in "1",
        /// The controller's moving average of the weight entropy.
        tau_entropy_ema in "nats",
        /// The KL that beta is steered to; the KL controller counts as on only above 0.
        kl_target in "nats",
        /// The horizon of the KL controller; likewise.
        kl_horizon in "steps",
        /// The step size of the KL controller; likewise.
        kl_step_size in "1",
        /// tau before this step. Without it the engine's own, of the last row that went out.
        prev_tau in "1",
        /// beta before this step. Without it the engine's own, of the last row that went out.
        prev_beta in "1",
        /// How far below 1 a ratio may be before it counts as clipped. Without it 0.2.
        clip_range_low in "1" also "epsilon_low" "clip_ratio_low",
        /// How far above 1 a ratio may be before it counts as clipped. Without it 0.2.
        clip_range_high in "1" also "epsilon_high" "clip_ratio_high",
        /// The cap on ratios of TRL's two-sided clipping (`delta`). Without it no cap.
        clip_delta in "1" also "delta",
        /// The ratio beyond which the loss of a negative advantage is capped (dual clipping). Without it `clip_delta`, else 3.
        clip_ratio_c in "1" also "ratio_clip_c",
    }
    flags {
        /// Whether the reference's scores are normalised by length.
        len_norm_ref,
        /// Whether training is on the plain GRPO objective, not the maximum-entropy one. Without it, it is not.
        train_grpo_objective,
    }
    others {
        /// What `train/kl` is averaged over, and what clipping is. Without it `bnpo`, which every other text counts as too.
        loss_type: Option<LossType> = FieldKind::Text(LossType::WORDS),
        /// Whether a ratio of the policies is a token's or a whole completion's (GSPO). Without it a token's.
        importance_sampling_level: Option<ImportanceLevel> = FieldKind::Word(ImportanceLevel::WORDS),
        /// The deviation that advantages are divided by; `other`: of something that the rewards do not tell. Without it the group's.
        scale_rewards: Option<RewardScale> = FieldKind::Word(RewardScale::WORDS),
        /// The meta-controller's own snapshot. Without it there is no meta-controller.
        meta: Option<Meta> = FieldKind::Meta,
    }
    beside {
        /// Names that were given and that no field has (`meta.` before those of the meta-controller): nothing came of their values.
        /// The engine warns of them and counts them (`kept_out`); they stay on their rank.
        strange: Vec<String>,
    }
}

snapshot! {
    /// The meta-controller's snapshot; `None` where a field was not given.
    Meta
    numbers {
        /// Its learning rate.
        learning_rate in "1" also "lr",
        /// Steps between its updates.
        update_interval in "steps",
        /// How many steps it unrolls.
        truncation_steps in "steps",
        /// The last gradient by tau.
        last_tau_grad in "1",
        /// The last gradient by beta.
        last_beta_grad in "1",
        /// Its last loss.
        last_loss in "nats",
        /// tau as projected.
        tau_projected in "1",
        /// beta as projected.
        beta_projected in "1",
    }
    flags {
        /// Whether it is on; the schedule of tau and the KL controller then count as off.
        enabled,
        /// Whether it uses the Hessian.
        use_hessian,
    }
    others {}
}

impl Weighting {
    /// The fields that hold a word.
    pub const WORDS: &[&str] = &["loss_type", "importance_sampling_level", "scale_rewards"];

    /// Sets the word that `name` names; `None` if there is no such field.
    ///
    /// # Errors
    /// If the field does not know the word; a `loss_type` takes any.
    pub fn set_word(&mut self, name: &str, word: &str) -> Option<Result<(), WordError>> {
        Some(match name {
            "loss_type" => {
                self.loss_type = Some(LossType::of(word));
                Ok(())
            }
            "importance_sampling_level" => {
                ImportanceLevel::of(word).map(|level| self.importance_sampling_level = Some(level))
            }
            "scale_rewards" => RewardScale::of(word).map(|scale| self.scale_rewards = Some(scale)),
            _ => return None,
        })
    }

    /// The words that are set, by field name.
    pub fn words(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let words = [
            self.loss_type.map(LossType::name),
            self.importance_sampling_level.map(ImportanceLevel::name),
            self.scale_rewards.map(RewardScale::name),
        ];
        let named = Self::WORDS.iter().zip(words);
        named.filter_map(|(name, word)| Some((*name, word?)))
    }

    /// The snapshot's clip range; a side that is not given (or not finite) has the default.
    #[must_use]
    pub fn clip_range(&self) -> ClipRange {
        let default = ClipRange::default();
        let finite = |x: Option<f64>| x.filter(|x| x.is_finite());
        ClipRange {
            low: finite(self.clip_range_low).unwrap_or(default.low),
            high: finite(self.clip_range_high).unwrap_or(default.high),
            delta: finite(self.clip_delta),
            dual: finite(self.clip_ratio_c),
            of_logs: self.loss_type == Some(LossType::Gmpo),
            of_weights: self.loss_type == Some(LossType::Cispo),
        }
    }
}
