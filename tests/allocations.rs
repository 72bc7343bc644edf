//! What a step asks of the allocator, once the first ones are over: alone in its process, whose allocations are counted.

mod counting;

use counting::step::steady;

#[test]
fn a_step_leaves_nothing_behind_and_asks_no_oftener_for_more_completions() {
    let few = steady(512, 3);
    let many = steady(4096, 3);
    for cost in [few, many] {
        assert_eq!(cost.left, 0, "{cost:?}");
        // Mostly the row: a hundred names and numbers.
        assert!(cost.times < 300, "{cost:?}");
    }
    assert!(many.times <= few.times + 20, "{few:?}, then {many:?}");
    // The four columns whose quantiles are asked for, and half as much beside.
    assert!(many.peak < 4096 * 8 * 12, "{many:?}");
}
