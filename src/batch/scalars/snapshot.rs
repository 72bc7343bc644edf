//! What a controller says of itself and of the loss.

use serde::{Deserialize, Serialize};

use super::loss::{ClipRange, ImportanceLevel, LossType, RewardScale, WordError};

macro_rules! snapshot {
    (
        $(#[$doc:meta])* $kind:ident
        numbers { $($(#[$number_doc:meta])* $number:ident,)* }
        flags { $($(#[$flag_doc:meta])* $flag:ident,)* }
        others { $($(#[$other_doc:meta])* $other:ident: $other_kind:ty,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        pub struct $kind {
            $($(#[$number_doc])* pub $number: Option<f64>,)*
            $($(#[$flag_doc])* pub $flag: Option<bool>,)*
            $($(#[$other_doc])* pub $other: $other_kind,)*
        }

        impl $kind {
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
        tau,
        /// The coefficient of the KL to the reference policy.
        beta,
        /// What update weights are divided by to normalise them.
        weight_norm_denom,
        /// The temperature of the target distribution q.
        q_temperature,
        /// The floor of q.
        q_epsilon,
        /// The learning rate of tau as configured.
        tau_lr,
        /// The learning rate of tau as it took effect; `train/tau_lr` is this, else `tau_lr`.
        tau_lr_effective,
        /// The smallest that tau may become.
        tau_min,
        /// The largest that tau may become.
        tau_max,
        /// Steps before tau moves.
        tau_warmup_steps,
        /// The weight entropy that tau is steered to, in nats; `None`: no target (a target of 0 is one).
        tau_target_entropy,
        /// The logarithm of tau; `None`: `train/tau_log` is ln max(tau, 1e-8).
        tau_log,
        /// The controller's moving average of the weight entropy, in nats.
        tau_entropy_ema,
        /// The KL that beta is steered to, in nats; the KL controller counts as on only above 0.
        kl_target,
        /// The horizon of the KL controller, in steps; likewise.
        kl_horizon,
        /// The step size of the KL controller; likewise.
        kl_step_size,
        /// tau before this step; `None`: the engine's own, of the last row that went out.
        prev_tau,
        /// beta before this step; `None`: the engine's own, of the last row that went out.
        prev_beta,
        /// How far below 1 a ratio may be before it counts as clipped; `None`: 0.2.
        clip_range_low,
        /// How far above 1 a ratio may be before it counts as clipped; `None`: 0.2.
        clip_range_high,
        /// The cap on ratios of TRL's two-sided clipping (`delta`); `None`: no cap.
        clip_delta,
    }
    flags {
        /// Whether the reference's scores are normalised by length.
        len_norm_ref,
        /// Whether training is on the plain GRPO objective, not the maximum-entropy one; `None` counts as not.
        train_grpo_objective,
    }
    others {
        /// What `train/kl` is averaged over, and what clipping is; `None`: [`LossType::Bnpo`].
        loss_type: Option<LossType>,
        /// Whether a ratio is a token's or a whole completion's; `None`: a token's.
        importance_sampling_level: Option<ImportanceLevel>,
        /// The deviation that advantages are divided by; `None`: the group's.
        scale_rewards: Option<RewardScale>,
        /// The meta-controller's own snapshot; `None`: there is no meta-controller.
        meta: Option<Meta>,
    }
}

snapshot! {
    /// The meta-controller's snapshot; `None` where a field was not given.
    Meta
    numbers {
        /// Its learning rate.
        learning_rate,
        /// Steps between its updates.
        update_interval,
        /// How many steps it unrolls.
        truncation_steps,
        /// The last gradient by tau.
        last_tau_grad,
        /// The last gradient by beta.
        last_beta_grad,
        /// Its last loss, in nats.
        last_loss,
        /// tau as projected.
        tau_projected,
        /// beta as projected.
        beta_projected,
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
            of_logs: self.loss_type == Some(LossType::Gmpo),
        }
    }
}
