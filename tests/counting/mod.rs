//! The system's allocator, and how much it gave out. Whoever takes this in is alone in its process.
#![allow(
    unsafe_code,
    reason = "to count allocations is to stand before the allocator"
)]
#![allow(dead_code, reason = "not everyone asks for every number")]

pub mod step;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static TIMES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TIMES.fetch_add(1, Ordering::Relaxed);
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What something cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// The most bytes it held at a time.
    pub peak: usize,
    /// How often it asked for memory.
    pub times: usize,
    /// The bytes that it left held.
    pub left: isize,
}

/// What `act` costs, on whatever threads; what it returns is dropped after that.
pub fn cost<T>(act: impl FnOnce() -> T) -> Cost {
    let (before, times) = (NOW.load(Ordering::Relaxed), TIMES.load(Ordering::Relaxed));
    PEAK.store(before, Ordering::Relaxed);
    let made = act();
    let peak = PEAK.load(Ordering::Relaxed) - before;
    let times = TIMES.load(Ordering::Relaxed) - times;
    let left = NOW
        .load(Ordering::Relaxed)
        .wrapping_sub(before)
        .cast_signed();
    drop(made);
    Cost { peak, times, left }
}
