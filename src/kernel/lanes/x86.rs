//! The vector units of 64-bit x86: AVX2 with FMA (two registers of four), AVX-512 (one register of eight).
//!
//! Safety of this whole file: an [`Avx2`] or [`Avx512`] is made where the processor is known to have every feature that
//! the intrinsics below need: by `detect`, which looks, or by `known`, which only a function compiled for those features
//! can call safely. The vectors are made from a unit, or from vectors. So wherever a method here
//! runs, its instructions exist. The intrinsics touch registers only, but for loads and stores of whole arrays.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256d, __m512d, __mmask8, _CMP_LE_OQ, _CMP_LT_OQ, _MM_HINT_T0, _mm_loadu_ps, _mm_prefetch,
    _mm256_add_epi64, _mm256_add_pd, _mm256_and_pd, _mm256_andnot_pd, _mm256_blend_pd,
    _mm256_blendv_pd, _mm256_castpd_si256, _mm256_castsi256_pd, _mm256_cmp_pd, _mm256_cvtps_pd,
    _mm256_div_pd, _mm256_fmadd_pd, _mm256_hadd_pd, _mm256_loadu_pd, _mm256_loadu_ps,
    _mm256_max_pd, _mm256_min_pd, _mm256_movemask_pd, _mm256_mul_pd, _mm256_permute2f128_pd,
    _mm256_set1_epi64x, _mm256_set1_pd, _mm256_slli_epi64, _mm256_storeu_pd, _mm256_sub_pd,
    _mm512_abs_pd, _mm512_add_epi64, _mm512_add_pd, _mm512_castpd_si512, _mm512_castsi512_pd,
    _mm512_cmp_pd_mask, _mm512_cvtps_pd, _mm512_div_pd, _mm512_fmadd_pd, _mm512_loadu_pd,
    _mm512_mask_blend_pd, _mm512_max_pd, _mm512_min_pd, _mm512_mul_pd, _mm512_set1_epi64,
    _mm512_set1_pd, _mm512_shuffle_f64x2, _mm512_slli_epi64, _mm512_storeu_pd, _mm512_sub_pd,
    _mm512_unpackhi_pd, _mm512_unpacklo_pd,
};
use std::ops::{Add, BitAnd, Div, Mul, Sub};

use super::{Lanes, Mask, Real, Unit, WIDTH};

/// 1.0, whose bits are the exponent field of 2^0.
const ONE: i64 = 1.0_f64.to_bits().cast_signed();

/// A unit, its vector and its mask: `$registers` are the indexes of the registers that make up the lanes, `$width` the
/// doubles in one.
macro_rules! unit {
    ($unit:ident $features:tt $enabled:literal, $lanes:ident, $mask:ident: [$register:ty; $($at:literal)*], width $width:literal,
     $add:ident, $sub:ident, $mul:ident, $div:ident, $fused:ident, $min:ident, $max:ident, $splat:ident, $load:ident, $store:ident) => {
        #[derive(Clone, Copy, Debug)]
        pub struct $unit(());

        impl $unit {
            /// The unit, if this processor has it.
            pub fn detect() -> Option<Self> {
                unit!(@has $features).then_some(Self(()))
            }

            /// The unit, in a function that is compiled for it and so runs nowhere else.
            #[inline]
            #[target_feature(enable = $enabled)]
            pub fn known() -> Self {
                Self(())
            }
        }

        #[derive(Clone, Copy, Debug)]
        pub struct $lanes([$register; WIDTH / $width]);

        impl Add for $lanes {
            type Output = Self;
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                // SAFETY: the vectors prove their unit.
                Self(unsafe { [$($add(self.0[$at], other.0[$at])),*] })
            }
        }

        impl Sub for $lanes {
            type Output = Self;
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                // SAFETY: as above.
                Self(unsafe { [$($sub(self.0[$at], other.0[$at])),*] })
            }
        }

        impl Mul for $lanes {
            type Output = Self;
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                // SAFETY: as above.
                Self(unsafe { [$($mul(self.0[$at], other.0[$at])),*] })
            }
        }

        impl Div for $lanes {
            type Output = Self;
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                // SAFETY: as above.
                Self(unsafe { [$($div(self.0[$at], other.0[$at])),*] })
            }
        }

        impl Real for $lanes {
            #[inline(always)]
            fn splat(self, x: f64) -> Self {
                // SAFETY: as above.
                Self(unsafe { [$splat(x); WIDTH / $width] })
            }

            #[inline(always)]
            fn mul_add(self, factor: Self, term: Self) -> Self {
                // SAFETY: as above.
                Self(unsafe { [$($fused(self.0[$at], factor.0[$at], term.0[$at])),*] })
            }

            #[inline(always)]
            fn power_of_two(self) -> Self {
                // SAFETY: as above.
                Self(unsafe { [$($lanes::exponent(self.0[$at])),*] })
            }
        }

        impl Lanes for $lanes {
            type Mask = $mask;

            #[inline(always)]
            fn abs(self) -> Self {
                // SAFETY: as above.
                Self(unsafe { [$($lanes::size(self.0[$at])),*] })
            }

            // The instructions give their second operand where the first is not smaller (larger), as the trait says.
            #[inline(always)]
            fn min(self, other: Self) -> Self {
                // SAFETY: as above.
                Self(unsafe { [$($min(self.0[$at], other.0[$at])),*] })
            }

            #[inline(always)]
            fn max(self, other: Self) -> Self {
                // SAFETY: as above.
                Self(unsafe { [$($max(self.0[$at], other.0[$at])),*] })
            }

            #[inline(always)]
            fn below(self, other: Self) -> $mask {
                // SAFETY: as above.
                $mask(unsafe { [$($mask::compare::<_CMP_LT_OQ>(self.0[$at], other.0[$at])),*] })
            }

            #[inline(always)]
            fn within(self, other: Self) -> $mask {
                // SAFETY: as above.
                $mask(unsafe { [$($mask::compare::<_CMP_LE_OQ>(self.0[$at], other.0[$at])),*] })
            }

            #[inline(always)]
            fn array(self) -> [f64; WIDTH] {
                let mut lanes = [0.0; WIDTH];
                for (part, register) in lanes.chunks_exact_mut($width).zip(self.0) {
                    // SAFETY: as above; `part` has as many doubles as the register.
                    unsafe { $store(part.as_mut_ptr(), register) };
                }
                lanes
            }

            #[inline(always)]
            fn row_sums(rows: &[Self; WIDTH]) -> Self {
                // SAFETY: as above.
                unsafe { $lanes::added_up(rows) }
            }
        }

        impl Unit for $unit {
            type Lanes = $lanes;
            type Mask = $mask;

            #[inline(always)]
            fn doubles(self, cells: &[f64; WIDTH]) -> $lanes {
                // SAFETY: the unit is there; each load reads `$width` of the cells.
                $lanes(unsafe { [$($load(cells.as_ptr().add($at * $width))),*] })
            }

            #[inline(always)]
            fn singles(self, cells: &[f32; WIDTH]) -> $lanes {
                // SAFETY: as above.
                $lanes(unsafe { [$($lanes::widen(cells.as_ptr().add($at * $width))),*] })
            }

            #[inline(always)]
            fn fetch(self, cells: &[f32], place: usize) {
                // SAFETY: a prefetch of any address is allowed: it reads nothing into the program.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(cells.as_ptr().wrapping_add(place).cast()) }
            }
        }
    };
    (@has [$($feature:tt)*]) => { true $(&& is_x86_feature_detected!($feature))* };
}

unit!(Avx2 ["avx2" "fma" "popcnt"] "avx2,fma,popcnt", Quads, QuadMask: [__m256d; 0 1], width 4,
    _mm256_add_pd, _mm256_sub_pd, _mm256_mul_pd, _mm256_div_pd, _mm256_fmadd_pd, _mm256_min_pd, _mm256_max_pd, _mm256_set1_pd,
    _mm256_loadu_pd, _mm256_storeu_pd);
unit!(Avx512 ["avx512f" "avx512dq" "avx2" "fma" "popcnt"] "avx512f,avx512dq,avx2,fma,popcnt", Octets, OctetMask: [__m512d; 0], width 8,
    _mm512_add_pd, _mm512_sub_pd, _mm512_mul_pd, _mm512_div_pd, _mm512_fmadd_pd, _mm512_min_pd, _mm512_max_pd, _mm512_set1_pd,
    _mm512_loadu_pd, _mm512_storeu_pd);

/// What the two units do differently. Safety: the caller's processor has the unit, and pointers have a register's cells.
impl Quads {
    #[inline(always)]
    unsafe fn exponent(x: __m256d) -> __m256d {
        // SAFETY: the caller's.
        unsafe {
            _mm256_castsi256_pd(_mm256_add_epi64(
                _mm256_slli_epi64::<52>(_mm256_castpd_si256(x)),
                _mm256_set1_epi64x(ONE),
            ))
        }
    }

    #[inline(always)]
    unsafe fn size(x: __m256d) -> __m256d {
        // SAFETY: the caller's.
        unsafe { _mm256_andnot_pd(_mm256_set1_pd(-0.0), x) }
    }

    #[inline(always)]
    unsafe fn widen(cells: *const f32) -> __m256d {
        // SAFETY: the caller's.
        unsafe { _mm256_cvtps_pd(_mm_loadu_ps(cells)) }
    }

    /// The sums of four registers.
    #[inline(always)]
    unsafe fn four(a: __m256d, b: __m256d, c: __m256d, d: __m256d) -> __m256d {
        // SAFETY: the caller's.
        unsafe {
            // Pairs of the first and of the second one, in turn.
            let (ab, cd) = (_mm256_hadd_pd(a, b), _mm256_hadd_pd(c, d));
            let crossed = _mm256_permute2f128_pd::<0x21>(ab, cd);
            _mm256_add_pd(_mm256_blend_pd::<0b1100>(ab, cd), crossed)
        }
    }

    #[inline(always)]
    unsafe fn added_up(rows: &[Self; WIDTH]) -> Self {
        let [
            Self(a),
            Self(b),
            Self(c),
            Self(d),
            Self(e),
            Self(f),
            Self(g),
            Self(h),
        ] = rows;
        // SAFETY: the caller's.
        unsafe {
            let (low, high) = (
                Self::four(a[0], b[0], c[0], d[0]),
                Self::four(a[1], b[1], c[1], d[1]),
            );
            let (more_low, more_high) = (
                Self::four(e[0], f[0], g[0], h[0]),
                Self::four(e[1], f[1], g[1], h[1]),
            );
            Self([_mm256_add_pd(low, high), _mm256_add_pd(more_low, more_high)])
        }
    }
}

impl Octets {
    #[inline(always)]
    unsafe fn exponent(x: __m512d) -> __m512d {
        // SAFETY: the caller's.
        unsafe {
            _mm512_castsi512_pd(_mm512_add_epi64(
                _mm512_slli_epi64::<52>(_mm512_castpd_si512(x)),
                _mm512_set1_epi64(ONE),
            ))
        }
    }

    #[inline(always)]
    unsafe fn size(x: __m512d) -> __m512d {
        // SAFETY: the caller's.
        unsafe { _mm512_abs_pd(x) }
    }

    #[inline(always)]
    unsafe fn widen(cells: *const f32) -> __m512d {
        // SAFETY: the caller's.
        unsafe { _mm512_cvtps_pd(_mm256_loadu_ps(cells)) }
    }

    /// Pairs of x and of y added, in turn.
    #[inline(always)]
    unsafe fn pairs(x: __m512d, y: __m512d) -> __m512d {
        // SAFETY: the caller's.
        unsafe { _mm512_add_pd(_mm512_unpacklo_pd(x, y), _mm512_unpackhi_pd(x, y)) }
    }

    /// Neighbouring quarters of a register added: first those of x, then those of y.
    #[inline(always)]
    unsafe fn quarters(x: __m512d, y: __m512d) -> __m512d {
        // SAFETY: the caller's.
        unsafe {
            let even = _mm512_shuffle_f64x2::<0b10_00_10_00>(x, y);
            _mm512_add_pd(even, _mm512_shuffle_f64x2::<0b11_01_11_01>(x, y))
        }
    }

    #[inline(always)]
    unsafe fn added_up(rows: &[Self; WIDTH]) -> Self {
        let [
            Self([a]),
            Self([b]),
            Self([c]),
            Self([d]),
            Self([e]),
            Self([f]),
            Self([g]),
            Self([h]),
        ] = *rows;
        // SAFETY: the caller's.
        unsafe {
            let low = Self::quarters(Self::pairs(a, b), Self::pairs(c, d));
            let high = Self::quarters(Self::pairs(e, f), Self::pairs(g, h));
            Self([Self::quarters(low, high)])
        }
    }
}

/// All bits of a lane that says yes.
#[derive(Clone, Copy, Debug)]
pub struct QuadMask([__m256d; 2]);

impl QuadMask {
    #[inline(always)]
    unsafe fn compare<const HOW: i32>(x: __m256d, y: __m256d) -> __m256d {
        // SAFETY: the caller's.
        unsafe { _mm256_cmp_pd::<HOW>(x, y) }
    }
}

impl BitAnd for QuadMask {
    type Output = Self;
    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        let ([a, b], [c, d]) = (self.0, other.0);
        // SAFETY: the masks were made by the unit.
        Self(unsafe { [_mm256_and_pd(a, c), _mm256_and_pd(b, d)] })
    }
}

impl Mask<Quads> for QuadMask {
    #[inline(always)]
    fn count(self) -> u64 {
        let [a, b] = self.0;
        // SAFETY: as above.
        let bits = unsafe { _mm256_movemask_pd(a) | _mm256_movemask_pd(b) << 4 };
        u64::from(bits.count_ones())
    }

    #[inline(always)]
    fn select(self, yes: Quads, no: Quads) -> Quads {
        let ([a, b], yes, no) = (self.0, yes.0, no.0);
        // SAFETY: as above.
        Quads(unsafe {
            [
                _mm256_blendv_pd(no[0], yes[0], a),
                _mm256_blendv_pd(no[1], yes[1], b),
            ]
        })
    }
}

/// A bit for each lane.
#[derive(Clone, Copy, Debug)]
pub struct OctetMask([__mmask8; 1]);

impl OctetMask {
    #[inline(always)]
    unsafe fn compare<const HOW: i32>(x: __m512d, y: __m512d) -> __mmask8 {
        // SAFETY: the caller's.
        unsafe { _mm512_cmp_pd_mask::<HOW>(x, y) }
    }
}

impl BitAnd for OctetMask {
    type Output = Self;
    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self([self.0[0] & other.0[0]])
    }
}

impl Mask<Octets> for OctetMask {
    #[inline(always)]
    fn count(self) -> u64 {
        u64::from(self.0[0].count_ones())
    }

    #[inline(always)]
    fn select(self, yes: Octets, no: Octets) -> Octets {
        // SAFETY: the mask was made by the unit.
        Octets(unsafe { [_mm512_mask_blend_pd(self.0[0], no.0[0], yes.0[0])] })
    }
}
