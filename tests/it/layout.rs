//! Layout does not show: the same completions give the same bits, however they are cut, spread, merged and counted.

use grpo_metrics::KernelPath;
use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::tokens::{TokenColumn, TokenIds, TokenMask};
use grpo_metrics::batch::{Batch, Columns, Place};
use grpo_metrics::dialect::Dialect;
use grpo_metrics::row::Metrics;
use grpo_metrics::shard::{Detail, KlKind, KlPenalty, Shard, Success, Thresholds};
use grpo_metrics::summary::Summary;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// All of a step's completions, each with everything that a record can say of it.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // as many as a record has columns of them
struct Completion {
    group: u64,
    index: u32,
    reward: f64,
    components: [Option<f64>; 2],
    advantage: f64,
    q: f64,
    weight: f64,
    terminated: bool,
    prompt: u32,
    tag: String,
    turns: u32,
    /// How many, and how many of them failed.
    tool_calls: (u32, u32),
    aborted: bool,
    error: bool,
    stop_condition: String,
    answer: String,
    /// Whether the step's records have token advantages.
    token_advantages: bool,
    /// current, old, reference, sampling, entropy, advantage, value; mask and id.
    tokens: Vec<([f32; 7], u8, u32)>,
}

/// Values that are awkward to add: signed, huge beside tiny, subnormal, equal, not numbers.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -2.0..2.0_f64,
        2 => Just(0.0),
        1 => Just(-0.0),
        2 => Just(1.0),
        1 => Just(1e300),
        1 => Just(-1e-300),
        1 => Just(5e-324),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
    ]
}

fn mass() -> impl Strategy<Value = f64> {
    prop_oneof![8 => 0.0..1.0_f64, 1 => Just(0.0), 1 => Just(f64::NAN), 1 => Just(1e-14)]
}

fn token() -> impl Strategy<Value = ([f32; 7], u8, u32)> {
    let logp = || prop_oneof![12 => -6.0..0.0_f32, 1 => Just(f32::NAN), 1 => Just(f32::NEG_INFINITY), 1 => Just(-90.0_f32)];
    (
        [logp(), logp(), logp(), logp(), logp(), logp(), logp()],
        prop_oneof![4 => Just(1_u8), 1 => Just(0)],
        0..12_u32,
    )
}

fn completion() -> impl Strategy<Value = Completion> {
    let tokens = prop_oneof![6 => prop::collection::vec(token(), 0..40), 1 => prop::collection::vec(token(), 60..70)];
    (
        0..5_u64,
        value(),
        [
            prop::option::weighted(0.8, value()),
            prop::option::weighted(0.8, value()),
        ],
        value(),
        mass(),
        mass(),
        (any::<bool>(), 0..20_u32, 0..4_u8),
        (
            1..5_u32,
            0..4_u32,
            0..4_u32,
            any::<[bool; 2]>(),
            0..3_u8,
            0..4_u8,
        ),
        tokens,
    )
        .prop_map(
            |(
                group,
                reward,
                components,
                advantage,
                q,
                weight,
                (terminated, prompt, tag),
                (turns, calls, failures, [aborted, error], stop_condition, answer),
                tokens,
            )| Completion {
                group,
                index: 0,
                reward,
                components,
                advantage,
                q,
                weight,
                terminated,
                prompt,
                tag: format!("task {tag}"),
                turns,
                tool_calls: (calls, failures.min(calls)),
                aborted,
                error,
                stop_condition: format!("stop {stop_condition}"),
                // Some say nothing.
                answer: "x".repeat(answer.into()),
                token_advantages: false,
                tokens,
            },
        )
}

/// A step's completions with their places in their groups.
fn step() -> impl Strategy<Value = Vec<Completion>> {
    (prop::collection::vec(completion(), 0..24), any::<bool>()).prop_map(
        |(mut completions, token_advantages)| {
            let mut sizes = [0; 5];
            for completion in &mut completions {
                completion.token_advantages = token_advantages;
                let size = &mut sizes[usize::try_from(completion.group).unwrap()];
                completion.index = *size;
                *size += 1;
            }
            completions
        },
    )
}

/// The columns of one record, owned.
#[derive(Default)]
struct Record {
    ids: Vec<u64>,
    index: Vec<u32>,
    rewards: Vec<f64>,
    components: [(Vec<f64>, Vec<bool>); 2],
    advantages: Vec<f64>,
    q: Vec<f64>,
    weights: Vec<f64>,
    lengths: Vec<u32>,
    terminated: Vec<bool>,
    prompts: Vec<u32>,
    tags: Vec<String>,
    turns: Vec<u32>,
    tool_calls: Vec<u32>,
    tool_failures: Vec<u32>,
    aborted: Vec<bool>,
    errors: Vec<bool>,
    stop_conditions: Vec<String>,
    answers: Vec<String>,
    logps: [Vec<f32>; 7],
    mask: Vec<u8>,
    token_ids: Vec<u32>,
    versions: Vec<u32>,
    token_advantages: bool,
}

impl Record {
    fn of<'a>(completions: impl IntoIterator<Item = &'a Completion>) -> Self {
        let mut record = Self::default();
        for c in completions {
            record.token_advantages = c.token_advantages;
            record.ids.push(c.group);
            record.index.push(c.index);
            record.rewards.push(c.reward);
            for ((values, absent), component) in record.components.iter_mut().zip(c.components) {
                values.push(component.unwrap_or(0.0));
                absent.push(component.is_none());
            }
            record.advantages.push(c.advantage);
            record.q.push(c.q);
            record.weights.push(c.weight);
            record.lengths.push(u32::try_from(c.tokens.len()).unwrap());
            record.terminated.push(c.terminated);
            record.prompts.push(c.prompt);
            record.tags.push(c.tag.clone());
            record.turns.push(c.turns);
            record.tool_calls.push(c.tool_calls.0);
            record.tool_failures.push(c.tool_calls.1);
            record.aborted.push(c.aborted);
            record.errors.push(c.error);
            record.stop_conditions.push(c.stop_condition.clone());
            record.answers.push(c.answer.clone());
            for (logps, mask, id) in &c.tokens {
                for (column, logp) in record.logps.iter_mut().zip(logps) {
                    column.push(*logp);
                }
                record.mask.push(*mask);
                record.token_ids.push(*id);
                record.versions.push(7 + id / 4);
            }
        }
        record
    }

    fn columns(&self) -> Columns<'_> {
        let mut columns = Columns::new(Grouping::Ids(&self.ids), &self.rewards);
        columns.completion_index = Some(&self.index);
        let [a, b] = &self.components;
        columns.reward_components = vec![
            ("a".into(), grpo_metrics::batch::Values::masked(&a.0, &a.1)),
            (
                "b/c".into(),
                grpo_metrics::batch::Values::masked(&b.0, &b.1),
            ),
        ];
        columns.advantages = Some((&self.advantages).into());
        columns.q = Some((&self.q).into());
        columns.weights = Some((&self.weights).into());
        columns.completion_lengths = Some(&self.lengths);
        columns.max_completion_length = Some(64);
        columns.terminated = Some(&self.terminated);
        columns.prompt_lengths = Some(&self.prompts);
        columns.max_prompt_length = Some(15);
        columns.tags = Some(&self.tags);
        columns.turns = Some(&self.turns);
        columns.tool_calls = Some(&self.tool_calls);
        columns.tool_failures = Some(&self.tool_failures);
        columns.aborted = Some(&self.aborted);
        columns.errors = Some(&self.errors);
        columns.stop_conditions = Some(&self.stop_conditions);
        columns.answers = Some(&self.answers);
        let [
            current,
            old,
            reference,
            sampling,
            entropies,
            advantages,
            values,
        ] = &self.logps;
        // As a trainer does: token advantages in every record of a step, or in none.
        if self.token_advantages {
            columns.token_advantages = Some(advantages.into());
            // Others have their penalty from the log-probabilities.
            columns.penalised_rewards = Some((&self.advantages).into());
        }
        columns.values = Some(values.into());
        columns.token_logps = Some(current.into());
        columns.old_token_logps = Some(old.into());
        columns.ref_token_logps = Some(reference.into());
        columns.sampling_token_logps = Some(sampling.into());
        columns.token_entropies = Some(entropies.into());
        columns.returns = Some(TokenColumn::Ragged(reference));
        columns.loss_mask = Some(TokenMask::Ragged(&self.mask));
        columns.token_ids = Some(TokenIds::Ragged(&self.token_ids));
        columns.weight_versions = Some(TokenIds::Ragged(&self.versions));
        columns
    }

    fn shard(&self, rank: u32, micro: u32) -> Shard {
        let thresholds = Thresholds {
            detail: Detail::Extended,
            ratio_cap: Some(1.5),
            ratio_floor: Some(0.8),
            kl_penalty: Some(KlPenalty {
                coefficient: 0.1,
                kind: KlKind::K1,
            }),
            success: Success {
                component: None,
                threshold: 0.0,
            },
            ..Thresholds::default()
        };
        let mut columns = self.columns();
        if (rank, micro) == (0, 0) {
            // One report a step: how many there are is counted too.
            columns.scalars.set("weight_version", 9.0);
        }
        let batch = Batch::of(columns).unwrap();
        Shard::counted(&batch, Place { rank, micro }, &thresholds)
    }
}

/// The rows of a summary in every dialect, as bits.
fn rows(shard: &Shard) -> Vec<(String, u64)> {
    let summary = Summary::from(shard);
    let rows = Dialect::ALL
        .iter()
        .map(|dialect| (dialect, dialect.row(&summary)));
    rows.flat_map(|(dialect, row): (_, Metrics)| {
        row.into_iter()
            .map(move |(key, value)| (format!("{dialect} {key}"), value.to_bits()))
    })
    .collect()
}

/// Which of `parts` records each completion goes to, and in what order records are merged: `tree` picks the pair.
#[derive(Clone, Debug)]
struct Cut {
    ranks: u32,
    micros: u32,
    owner: Vec<prop::sample::Index>,
    tree: Vec<(prop::sample::Index, prop::sample::Index)>,
}

fn cut() -> impl Strategy<Value = Cut> {
    let index = any::<prop::sample::Index>;
    (
        1..=8_u32,
        1..=4_u32,
        prop::collection::vec(index(), 24),
        prop::collection::vec((index(), index()), 32),
    )
        .prop_map(|(ranks, micros, owner, tree)| Cut {
            ranks,
            micros,
            owner,
            tree,
        })
}

fn merged(completions: &[Completion], cut: &Cut) -> Shard {
    let places: Vec<(u32, u32)> = (0..cut.ranks)
        .flat_map(|rank| (0..cut.micros).map(move |micro| (rank, micro)))
        .collect();
    let mut parts: Vec<Vec<&Completion>> = vec![Vec::new(); places.len()];
    for (completion, owner) in completions.iter().zip(&cut.owner) {
        parts[owner.index(places.len())].push(completion);
    }
    let mut shards: Vec<Shard> = parts
        .into_iter()
        .zip(places)
        .map(|(part, (rank, micro))| Record::of(part).shard(rank, micro))
        .collect();
    let mut tree = cut.tree.iter().cycle();
    while shards.len() > 1 {
        let (a, b) = tree.next().unwrap();
        let a = shards.swap_remove(a.index(shards.len()));
        let b = b.index(shards.len());
        shards[b].merge(a).unwrap();
    }
    shards.pop().unwrap()
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 192,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/tests/layout.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn rows_are_the_same_bits_for_any_cut_merge_tree_threads_and_vector_unit(completions in step(), cut in cut(), threads in 1..=2_usize) {
        let whole = rows(&Record::of(&completions).shard(0, 0));
        let cut_rows = pool(threads).install(|| rows(&merged(&completions, &cut)));
        prop_assert_eq!(&whole, &cut_rows);
        for path in KernelPath::available() {
            prop_assert!(path.force());
            prop_assert_eq!(&whole, &rows(&merged(&completions, &cut)));
        }
    }

    #[test]
    fn a_pooled_window_is_one_step_with_all_its_completions(steps in prop::collection::vec(step(), 1..5)) {
        let mut all: Vec<Completion> = Vec::new();
        let mut window = Shard::default();
        // One record has token advantages for all of its completions, or for none.
        let token_advantages = steps.iter().flatten().any(|c| c.token_advantages);
        for (step, mut completions) in steps.into_iter().enumerate() {
            for completion in &mut completions {
                completion.token_advantages = token_advantages;
            }
            let step = u64::try_from(step).unwrap();
            let mut shard = Record::of(&completions).shard(0, 0);
            shard.close(step).unwrap();
            window.merge(shard).unwrap();
            // A group is (step, id).
            all.extend(completions.into_iter().map(|c| Completion { group: c.group + 100 * step, ..c }));
        }
        let of_data = |row: Vec<(String, u64)>| -> Vec<(String, u64)> {
            row.into_iter().filter(|(key, _)| !["global_step", "epoch", "health/scalars"].iter().any(|part| key.contains(part))).collect()
        };
        prop_assert_eq!(of_data(rows(&Record::of(&all).shard(0, 0))), of_data(rows(&window)));
    }
}

#[test]
fn padded_columns_give_the_bits_of_ragged_ones() {
    let lengths = [3_u32, 0, 17, 40];
    let width = 41;
    let cells: Vec<f32> = (0_u8..60).map(|i| -f32::from(i) * 0.07).collect();
    let other: Vec<f32> = (0_u8..60).map(|i| -f32::from(i % 7) * 0.3).collect();
    let padded = |cells: &[f32]| {
        let mut rows = ndarray::Array2::<f32>::from_elem((4, width), f32::NAN);
        let mut cells = cells.iter();
        for (row, &length) in lengths.iter().enumerate() {
            for at in 0..length as usize {
                rows[(row, at + 1)] = *cells.next().unwrap();
            }
        }
        rows
    };
    let mut mask = ndarray::Array2::<u8>::zeros((4, width));
    for (row, &length) in lengths.iter().enumerate() {
        for at in 0..length as usize {
            mask[(row, at + 1)] = 1;
        }
    }
    let rewards = [1.0, 2.0, 3.0, 4.0];
    let mut ragged = Columns::new(Grouping::Sizes(&[2, 2]), &rewards);
    ragged.completion_lengths = Some(&lengths);
    ragged.token_logps = Some((&cells).into());
    ragged.ref_token_logps = Some((&other).into());
    let (rows_a, rows_b) = (padded(&cells), padded(&other));
    let mut rectangular = Columns::new(Grouping::Sizes(&[2, 2]), &rewards);
    rectangular.padding_mask = Some(mask.view());
    rectangular.token_logps = Some(rows_a.view().into());
    rectangular.ref_token_logps = Some(rows_b.view().into());
    let ragged = rows(&Shard::of(&Batch::of(ragged).unwrap()));
    assert!(ragged.iter().any(|(key, _)| key == "maxent train/kl"));
    assert_eq!(ragged, rows(&Shard::of(&Batch::of(rectangular).unwrap())));
}

#[test]
fn a_window_whose_steps_are_half_nan_is_the_mean_of_the_rest() {
    use grpo_metrics::engine::Engine;
    let mut engine = Engine::builder().logging_steps(4).build().unwrap();
    let mut row = None;
    for (step, reward) in [(1, 1.0), (2, f64::NAN), (3, 2.0), (4, f64::NAN)] {
        let rewards = [reward; 2];
        let batch = Batch::of(Columns::new(Grouping::Sizes(&[2]), &rewards)).unwrap();
        engine.observe(&batch).unwrap();
        row = engine.step(step).unwrap();
    }
    assert_eq!(row.unwrap().metrics.get("train/reward"), Some(1.5));
    assert_eq!(engine.census()["rewards"].nonfinite, 4);
}
