//! From where on a flag is up.

/// A limit as a number, if it can be one.
trait Limit: Sized {
    const IS_STEPS: bool;
    fn of(number: f64) -> Option<Self>;
}

impl Limit for f64 {
    const IS_STEPS: bool = false;

    fn of(number: f64) -> Option<Self> {
        Some(number)
    }
}

/// So many steps.
impl Limit for u32 {
    const IS_STEPS: bool = true;

    fn of(number: f64) -> Option<Self> {
        let whole = number.fract() == 0.0 && (1.0..=Self::MAX.into()).contains(&number);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // whole, and within
        whole.then_some(number as Self)
    }
}

macro_rules! limits {
    ($($(#[doc = $meaning:literal])+ $name:ident: $type:ty = $default:literal,)+) => {
        /// From where on a flag is up. Every bound is exclusive. The defaults have their sources in docs/METRICS.md.
        ///
        /// ```
        /// use grpo_metrics::row::health::Limits;
        ///
        /// let limits = Limits::default().kl(0.5);
        /// assert_eq!(limits.kl, 0.5);
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct Limits {
            $($(#[doc = $meaning])+ pub $name: $type,)+
        }

        impl Default for Limits {
            /// Those of docs/METRICS.md.
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Limits {
            $($(#[doc = $meaning])+
            #[must_use]
            pub fn $name(mut self, limit: $type) -> Self {
                self.$name = limit;
                self
            })+

            /// Each by its name, and whether it is a number of steps.
            #[must_use]
            pub fn numbers(&self) -> Vec<(&'static str, f64, bool)> {
                vec![$((stringify!($name), f64::from(self.$name), <$type as Limit>::IS_STEPS)),+]
            }

            /// Sets the one of this name: whether it can be that number; `None` if there is none of that name.
            pub fn set(&mut self, name: &str, number: f64) -> Option<bool> {
                match name {
                    $(stringify!($name) => {
                        let limit = Limit::of(number);
                        self.$name = limit.unwrap_or(self.$name);
                        Some(limit.is_some())
                    })+
                    _ => None,
                }
            }
        }
    };
}

limits! {
    /// Nats: mean token entropy below this, or ...
    entropy: f64 = 0.05,
    /// ... below this share of its mean over the first steps ...
    entropy_share: f64 = 0.2,
    /// ... of which there are so many (rows of a pooled window), ...
    entropy_first: u32 = 20,
    /// ... for so many steps in a row.
    entropy_steps: u32 = 3,
    /// Share of groups all of whose completions succeed.
    saturated_groups: f64 = 0.9,
    /// Share of completions whose group's rewards do not vary.
    zero_std: f64 = 0.7,
    /// Share of tokens clipped, by the sign of their advantage.
    clipped: f64 = 0.1,
    /// Nats a token to the reference policy: k2 where tokens say, else the reported `kl_loss`.
    kl: f64 = 0.2,
    /// Share of completions that were cut off.
    length_at_cap: f64 = 0.3,
    /// Nats: mean distance of the trainer's and the sampler's log-probabilities.
    sampler_distance: f64 = 0.02,
    /// Mean distance of their probabilities.
    sampler_probability: f64 = 0.01,
    /// Steps that reward, entropy and KL are followed over (rows of a pooled window), at least 10.
    course_steps: u32 = 100,
    /// Standard errors that a slope over them must be from zero, ...
    trend: f64 = 6.0,
    /// ... and the last fifth of them from the others.
    shift: f64 = 6.0,
}
