//! A step of the engine, counted.

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::{Batch, Columns};
use grpo_metrics::engine::Engine;

use super::{Cost, cost};

/// What `observe` and `step` cost, of so many completions in groups of 8 with so many components, after a hundred steps.
pub fn steady(completions: u32, components: u32) -> Cost {
    let sizes = vec![8; completions as usize / 8];
    let values = |seed: u32| -> Vec<f64> {
        (0..completions)
            .map(|i| f64::from((i + 1).wrapping_mul(2_654_435_761) >> seed) / 1e9)
            .collect()
    };
    let columns: Vec<Vec<f64>> = (0..3 + components).map(values).collect();
    let names: Vec<String> = (0..components).map(|c| format!("reward_{c}")).collect();
    let mut engine = Engine::builder().build().unwrap();
    let mut run = |step| {
        let mut batch = Columns::new(Grouping::Sizes(&sizes), &columns[0]);
        batch.advantages = Some((&columns[1]).into());
        batch.weights = Some((&columns[2]).into());
        batch.reward_components = names
            .iter()
            .zip(&columns[3..])
            .map(|(name, values)| (name.as_str().into(), values.into()))
            .collect();
        engine.observe(&Batch::of(batch).unwrap()).unwrap();
        assert!(engine.step(step).unwrap().is_some());
    };
    (0..100).for_each(&mut run);
    cost(|| run(100))
}
