//! What is timed: the same data in every run, and for whoever counts instead of timing.
#![allow(dead_code, reason = "each bench takes what it times")]

pub mod step;
pub mod tokens;

/// A fixed-seed stream of integers (`SplitMix64`; Steele, Lea and Flood, 2014).
fn stream(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
