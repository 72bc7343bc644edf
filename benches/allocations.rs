//! What one step, observed and named, asks of the allocator once the first ones are over.

#[path = "../tests/counting/mod.rs"]
mod counting;

fn main() {
    for (completions, components) in [(512, 3), (4096, 4), (65536, 4)] {
        let cost = counting::step::steady(completions, components);
        println!(
            "step/{completions}x{components}: {} allocations, {} bytes at most, {} left",
            cost.times, cost.peak, cost.left
        );
    }
}
