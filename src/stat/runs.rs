//! Runs: distinct things in the ascending order of their keys, each with how often it occurs.

/// Two lists of runs as one; counts of equal things add up, to 2^64 - 1 at most.
pub(super) fn merge_runs<T: Copy, K: Ord>(
    left: &[(T, u64)],
    right: &[(T, u64)],
    key: impl Fn(T) -> K,
) -> Vec<(T, u64)> {
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (
        left.iter().copied().peekable(),
        right.iter().copied().peekable(),
    );
    while let (Some(&a), Some(&b)) = (left.peek(), right.peek()) {
        let order = key(a.0).cmp(&key(b.0));
        let (value, mut count) = if order.is_gt() { b } else { a };
        if order.is_le() {
            left.next();
        }
        if order.is_ge() {
            right.next();
        }
        if order.is_eq() {
            count = count.saturating_add(b.1);
        }
        merged.push((value, count));
    }
    merged.extend(left.chain(right));
    merged
}
