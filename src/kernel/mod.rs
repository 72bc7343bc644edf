//! The loops that read millions of values, and the arithmetic they stand on. The only home of unsafe code.
//!
//! Bits first: every loop runs over 16 virtual lanes (the lane of a token is its position in the completion modulo 16),
//! folded in one fixed order, in IEEE arithmetic in which every fused operation is written down. A wider vector unit
//! computes more lanes at a time; it never computes another number. [`Path`] says which unit runs them.

#![allow(
    clippy::inline_always,
    reason = "a loop's body must become part of each function that enables a vector unit for it"
)]
#![allow(
    clippy::needless_bitwise_bool,
    reason = "lanes are computed without branches"
)]
#![allow(
    clippy::needless_range_loop,
    clippy::many_single_char_names,
    reason = "loops over lanes name the lane; formulas have their letters"
)]

pub(crate) mod bucket;
pub(crate) mod column;
pub(crate) mod entropy;
pub(crate) mod exp;
pub(crate) mod groups;
mod lanes;
pub(crate) mod products;
pub(crate) mod ranked;
pub(crate) mod tile;
pub(crate) mod tokens;
pub(crate) mod within;

use std::sync::atomic::{AtomicU8, Ordering};

/// The vector units that the loops are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Path {
    /// What every processor of the target has.
    Baseline = 1,
    /// 64-bit x86 with AVX2 and FMA: two registers of four doubles.
    Avx2 = 2,
    /// 64-bit x86 with AVX-512: one register of eight doubles.
    Avx512 = 3,
}

/// 0: not looked up yet.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

impl Path {
    /// Every path that this processor can run, the widest last.
    #[must_use]
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut)]
        let mut paths = vec![Self::Baseline];
        #[cfg(target_arch = "x86_64")]
        {
            if lanes::x86::Avx2::detect().is_some() {
                paths.push(Self::Avx2);
            }
            if lanes::x86::Avx512::detect().is_some() {
                paths.push(Self::Avx512);
            }
        }
        paths
    }

    /// The path in use: the widest available, unless [`Path::force`] chose another.
    pub(crate) fn current() -> Self {
        match CHOSEN.load(Ordering::Relaxed) {
            1 => Self::Baseline,
            2 => Self::Avx2,
            3 => Self::Avx512,
            _ => {
                let widest = *Self::available().last().unwrap_or(&Self::Baseline);
                CHOSEN.store(widest as u8, Ordering::Relaxed);
                widest
            }
        }
    }

    /// Makes the loops of this process run on `self`; says whether this processor can. The numbers do not change.
    pub fn force(self) -> bool {
        let available = Self::available().contains(&self);
        if available {
            CHOSEN.store(self as u8, Ordering::Relaxed);
        }
        available
    }
}

/// Defines `$name` as `$body` compiled once for each [`Path`], chosen at run time. A body `on a unit` is written for that
/// path's [`lanes::Unit`] and takes it first; any other is left to the compiler.
macro_rules! dispatched {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)? = $body:ident on a unit) => {
        dispatched! {
            $(#[$doc])*
            $visibility fn $name($($argument: $kind),*) $(-> $result)? where
                baseline: $body($crate::kernel::lanes::Baseline, $($argument),*);
                avx2: $body($crate::kernel::lanes::x86::Avx2::known(), $($argument),*);
                avx512: $body($crate::kernel::lanes::x86::Avx512::known(), $($argument),*);
        }
    };
    ($(#[$doc:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)? = $body:path) => {
        dispatched! {
            $(#[$doc])*
            $visibility fn $name($($argument: $kind),*) $(-> $result)? where
                baseline: $body($($argument),*);
                avx2: $body($($argument),*);
                avx512: $body($($argument),*);
        }
    };
    ($(#[$doc:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)? where
        baseline: $baseline:expr; avx2: $avx2:expr; avx512: $avx512:expr;) => {
        $(#[$doc])*
        $visibility fn $name($($argument: $kind),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,popcnt")]
                fn avx2($($argument: $kind),*) $(-> $result)? { $avx2 }
                #[target_feature(enable = "avx512f,avx512dq,avx2,fma,popcnt")]
                fn avx512($($argument: $kind),*) $(-> $result)? { $avx512 }
                match $crate::kernel::Path::current() {
                    // SAFETY: `Path::current` is `Avx2` or `Avx512` only after `Path::available` saw the processor's
                    // features, the same ones that the two functions above enable.
                    #[allow(unsafe_code)]
                    $crate::kernel::Path::Avx2 => return unsafe { avx2($($argument),*) },
                    // SAFETY: as above.
                    #[allow(unsafe_code)]
                    $crate::kernel::Path::Avx512 => return unsafe { avx512($($argument),*) },
                    $crate::kernel::Path::Baseline => {}
                }
            }
            $baseline
        }
    };
}
pub(crate) use dispatched;
