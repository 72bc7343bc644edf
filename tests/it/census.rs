//! Nothing vanishes: a value that is no number is counted, whatever else the record has and however it is laid out.

use std::collections::BTreeMap;

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::scalars::{Meta, Scalar, Scalars, Weighting};
use grpo_metrics::batch::tokens::{TokenColumn, TokenMask};
use grpo_metrics::batch::{Batch, ColumnInfo, ColumnKind, Columns, Place};
use grpo_metrics::recording::Record;
use grpo_metrics::row::health::Health;
use grpo_metrics::shard::{Detail, KlKind, KlPenalty, Shard, Thresholds};
use grpo_metrics::summary::{Census, Flag, Summary};
use half::bf16;
use ndarray::Array2;
use serde_json::Value;

const LENGTHS: [u32; 4] = [3, 1, 0, 40];
const WIDTH: usize = 41;
/// The tokens of [`LENGTHS`].
const TOKENS: usize = 44;
/// Completion and token, all of them counted: among others, the only one of its completion, in a full block, in the rest.
const PLACES: [(usize, usize); 4] = [(0, 1), (1, 0), (3, 7), (3, 39)];
/// Not counted where there is a mask.
const MASKED: [(usize, usize); 2] = [(0, 0), (3, 35)];
const POISONS: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

const TOKEN_COLUMNS: [&str; 8] = [
    "token_logps",
    "old_token_logps",
    "ref_token_logps",
    "sampling_token_logps",
    "token_entropies",
    "token_advantages",
    "returns",
    "values",
];
const COMPLETION_COLUMNS: [&str; 5] = [
    "rewards",
    "reward_components/a",
    "advantages",
    "q",
    "weights",
];
/// Of one detail on.
const PENALISED: &str = "penalised_rewards";
const GROUP_COLUMNS: [&str; 2] = ["semantic_entropies", "advantage_scales"];
/// Numbers of the record, and the family that counts each.
const NUMBERS: [(&str, &str); 6] = [
    ("seed_alpha_effective", "scalars"),
    ("seed_max_possible_entropy", "scalars"),
    ("total_loss", "scalars"),
    ("a metric of the user's own", "scalars"),
    ("tau", "weighting"),
    ("last_tau_grad", "weighting"),
];

/// How a record is laid out and counted.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // every combination of them is tried
struct Way {
    detail: Detail,
    penalty: Option<KlKind>,
    by_id: bool,
    padded: bool,
    halves: bool,
    masked: bool,
}

/// Every combination, each in turn.
fn ways() -> Vec<Way> {
    let mut ways = Vec::new();
    for (detail, penalty) in [
        (Detail::Plain, None),
        (Detail::Policy, None),
        (Detail::Policy, Some(KlKind::K1)),
        (Detail::Extended, None),
        (Detail::Extended, Some(KlKind::K3)),
    ] {
        for bits in 0_u8..16 {
            ways.push(Way {
                detail,
                penalty,
                by_id: bits & 1 > 0,
                padded: bits & 2 > 0,
                halves: bits & 4 > 0,
                masked: bits & 8 > 0,
            });
        }
    }
    ways
}

/// What is in a record: token columns by their places in [`TOKEN_COLUMNS`], and whether everything else is; and which
/// value of it is no number.
#[derive(Clone, Copy, Debug)]
struct Shape {
    tokens: u8,
    advantages: bool,
    rest: bool,
}

#[derive(Clone, Copy, Debug)]
struct Poison {
    column: &'static str,
    /// Completion (or group) and token.
    place: (usize, usize),
    value: f32,
}

fn padded(cells: &[f32]) -> Vec<f32> {
    let mut rows = vec![f32::NAN; LENGTHS.len() * WIDTH];
    let mut start = 0;
    for (row, &length) in LENGTHS.iter().enumerate() {
        let length = length as usize;
        rows[row * WIDTH..row * WIDTH + length].copy_from_slice(&cells[start..start + length]);
        start += length;
    }
    rows
}

fn flat((completion, token): (usize, usize)) -> usize {
    let before = LENGTHS[..completion].iter().map(|&length| length as usize);
    before.sum::<usize>() + token
}

/// One of a record's token columns in all four layouts.
struct Cells {
    flat: Vec<f32>,
    halves: Vec<bf16>,
    rows: Array2<f32>,
    rows_of_halves: Array2<bf16>,
}

impl Cells {
    fn of(flat: Vec<f32>) -> Self {
        let shape = (LENGTHS.len(), WIDTH);
        let rows = Array2::from_shape_vec(shape, padded(&flat)).unwrap();
        Self {
            halves: flat.iter().map(|&x| bf16::from_f32(x)).collect(),
            rows_of_halves: rows.mapv(bf16::from_f32),
            flat,
            rows,
        }
    }

    fn column(&self, way: Way) -> TokenColumn<'_> {
        match (way.padded, way.halves) {
            (false, false) => TokenColumn::Ragged(&self.flat),
            (false, true) => TokenColumn::RaggedBf16(&self.halves),
            (true, false) => TokenColumn::Padded(self.rows.view()),
            (true, true) => TokenColumn::PaddedBf16(self.rows_of_halves.view()),
        }
    }
}

/// The numbers of a record in which one value may be no number.
fn summary(way: Way, shape: Shape, poison: Option<Poison>) -> Summary {
    let of = |column: &str| poison.filter(|poison| poison.column == column);
    let completions = |column: &str, mut values: Vec<f64>| {
        if let Some(Poison { place, value, .. }) = of(column) {
            let at = place.0 % values.len();
            values[at] = value.into();
        }
        values
    };
    let number = |name: &str, value: f64| of(name).map_or(value, |poison| poison.value.into());

    #[allow(clippy::cast_precision_loss)] // small numbers
    let tokens: Vec<Cells> = TOKEN_COLUMNS
        .iter()
        .enumerate()
        .map(|(nth, name)| {
            let mut cells: Vec<f32> = (0..TOKENS)
                .map(|i| -0.25 - ((i * 7 + nth * 3) % 16) as f32 / 8.0)
                .collect();
            if let Some(Poison { place, value, .. }) = of(name) {
                cells[flat(place)] = value;
            }
            Cells::of(cells)
        })
        .collect();
    let token = |nth: usize| (shape.tokens >> nth & 1 > 0).then(|| tokens[nth].column(way));
    let mut mask = vec![1_u8; TOKENS];
    for place in MASKED {
        mask[flat(place)] = 0;
    }
    let mut mask_rows = vec![1_u8; LENGTHS.len() * WIDTH];
    for (row, at) in MASKED {
        mask_rows[row * WIDTH + at] = 0;
    }
    let mask_rows = Array2::from_shape_vec((LENGTHS.len(), WIDTH), mask_rows).unwrap();

    let [rewards, components, advantages, q, weights] =
        COMPLETION_COLUMNS.map(|column| completions(column, vec![0.5, 0.25, 0.125, 0.5]));
    let penalised = completions(PENALISED, vec![0.25, 0.125, 0.0, 0.5]);
    let [entropies, scales] = GROUP_COLUMNS.map(|column| completions(column, vec![0.5, 0.75]));
    let grouping = if way.by_id {
        Grouping::Ids(&[7, 7, 9, 9])
    } else {
        Grouping::Sizes(&[2, 2])
    };
    let mut columns = Columns::new(grouping, &rewards);
    columns.completion_lengths = Some(&LENGTHS);
    columns.token_logps = token(0);
    columns.old_token_logps = token(1);
    columns.ref_token_logps = token(2);
    columns.sampling_token_logps = token(3);
    columns.token_entropies = token(4);
    columns.token_advantages = token(5);
    columns.returns = token(6);
    columns.values = token(7);
    columns.loss_mask = way.masked.then(|| {
        if way.padded {
            TokenMask::Padded(mask_rows.view())
        } else {
            TokenMask::Ragged(&mask)
        }
    });
    if shape.advantages {
        columns.advantages = Some((&advantages).into());
    }
    if shape.rest {
        columns.reward_components = vec![("a".into(), (&components).into())];
        if way.detail > Detail::Plain {
            columns.penalised_rewards = Some((&penalised).into());
        }
        columns.q = Some((&q).into());
        columns.weights = Some((&weights).into());
        columns.semantic_entropies = Some((&entropies).into());
        columns.advantage_scales = Some((&scales).into());
        columns.seed_alpha_effective = Some(number("seed_alpha_effective", 0.5));
        columns.seed_max_possible_entropy = Some(number("seed_max_possible_entropy", 0.5));
        let mut scalars = Scalars::default();
        for name in [Scalar::TotalLoss.name(), "a metric of the user's own"] {
            scalars.set(name, number(name, 0.5));
        }
        columns.scalars = scalars;
        columns.weighting = Some(Weighting {
            tau: Some(number("tau", 0.5)),
            meta: Some(Meta {
                last_tau_grad: Some(number("last_tau_grad", 0.5)),
                ..Meta::default()
            }),
            ..Weighting::default()
        });
    }
    let thresholds = Thresholds {
        detail: way.detail,
        kl_penalty: way.penalty.map(|kind| KlPenalty {
            coefficient: 0.5,
            kind,
        }),
        ..Thresholds::default()
    };
    let batch = Batch::of(columns).unwrap();
    Summary::from(&Shard::counted(&batch, Place::default(), &thresholds))
}

#[test]
fn every_column_of_numbers_is_poisoned_here() {
    let numbers = |info: &&ColumnInfo| {
        let kinds = [
            ColumnKind::Numbers,
            ColumnKind::Components,
            ColumnKind::Tokens,
            ColumnKind::Number,
        ];
        kinds.contains(&info.kind)
    };
    let columns = TOKEN_COLUMNS
        .iter()
        .chain(&COMPLETION_COLUMNS)
        .chain(&GROUP_COLUMNS);
    let columns = columns.chain(NUMBERS.iter().map(|(column, _)| column));
    let columns = columns.chain([&PENALISED]);
    let poisoned: Vec<&str> = columns
        .map(|column| column.split('/').next().unwrap())
        .collect();
    for info in Columns::ALL.iter().filter(numbers) {
        assert!(poisoned.contains(&info.name), "{}", info.name);
    }
}

fn families(summary: &Summary) -> BTreeMap<&str, Census> {
    let families = summary.census.iter();
    families
        .map(|(name, census)| (name.as_str(), *census))
        .collect()
}

/// That the value is counted by `family` and raises the flag.
#[track_caller]
fn check(way: Way, shape: Shape, poison: Poison, family: &str) {
    let clean = summary(way, shape, None);
    assert!(clean.census.iter().all(|(_, census)| census.nonfinite == 0));
    assert_eq!(
        Health::default().judge(&clean)[Flag::NonFinite as usize],
        Some(false)
    );
    let poisoned = summary(way, shape, Some(poison));
    let told = || format!("{poison:?} in {shape:?}, {way:?}: {:?}", poisoned.census);
    assert_eq!(
        Health::default().judge(&poisoned)[Flag::NonFinite as usize],
        Some(true),
        "{}",
        told()
    );
    let (before, after) = (families(&clean), families(&poisoned));
    let (before, after) = (before.get(family), after.get(family));
    let (Some(before), Some(after)) = (before, after) else {
        panic!("no family {family}: {}", told());
    };
    assert_eq!(after.nonfinite, 1, "{}", told());
    assert_eq!(after.absent, before.absent, "{}", told());
    if family != "weighting" {
        assert_eq!(after.used, before.used - 1, "{}", told());
    }
}

#[test]
fn a_token_that_is_no_number_is_counted_by_its_columns_family_in_every_shape_of_record() {
    let ways = ways();
    let mut turn = 0;
    for tokens in 0..=u8::MAX {
        for &way in &ways {
            for nth in (0..8).filter(|nth| tokens >> nth & 1 > 0) {
                turn += 1;
                // A few of each, with places, poisons and what else there is in turn, out of step with each other.
                if turn % 11 > 1 {
                    continue;
                }
                let shape = Shape {
                    tokens,
                    advantages: turn % 2 > 0,
                    rest: turn % 5 > 2,
                };
                let poison = Poison {
                    column: TOKEN_COLUMNS[nth],
                    place: PLACES[turn / 3 % PLACES.len()],
                    value: POISONS[turn % 7 % POISONS.len()],
                };
                check(way, shape, poison, poison.column);
            }
        }
    }
}

#[test]
fn a_value_of_a_completion_group_or_record_that_is_no_number_is_counted_in_every_shape_of_record() {
    for way in ways() {
        for tokens in [0, 0b1, 0b110, u8::MAX] {
            let shape = Shape {
                tokens,
                advantages: true,
                rest: true,
            };
            let columns = COMPLETION_COLUMNS.iter().chain(&GROUP_COLUMNS);
            let penalised = (way.detail > Detail::Plain).then_some((PENALISED, PENALISED));
            let columns = columns.map(|column| (*column, *column)).chain(NUMBERS);
            let columns = columns.chain(penalised);
            for (nth, (column, family)) in columns.enumerate() {
                let poison = Poison {
                    column,
                    place: (nth % 4, 0),
                    value: POISONS[nth % 3],
                };
                check(way, shape, poison, family);
            }
        }
    }
}

#[test]
fn a_token_that_does_not_count_is_in_no_family() {
    for way in ways().into_iter().filter(|way| way.masked) {
        let shape = Shape {
            tokens: u8::MAX,
            advantages: true,
            rest: false,
        };
        let clean = summary(way, shape, None);
        for column in TOKEN_COLUMNS {
            let poison = Poison {
                column,
                place: MASKED[1],
                value: f32::NAN,
            };
            let masked = summary(way, shape, Some(poison));
            assert_eq!(masked.census, clean.census, "{column}, {way:?}");
        }
    }
}

#[test]
fn a_penalty_of_which_a_token_is_no_number_takes_its_reward_out_and_is_counted() {
    let penalised = |summary: &Summary| families(summary).get("penalised_rewards").copied();
    for way in ways().into_iter().filter(|way| way.penalty.is_some()) {
        for (tokens, columns) in [
            (0b110, &TOKEN_COLUMNS[1..3]),
            (0b101, &["token_logps", "ref_token_logps"][..]),
        ] {
            let shape = Shape {
                tokens,
                advantages: false,
                rest: false,
            };
            let clean = penalised(&summary(way, shape, None)).unwrap();
            // One of no tokens is taken to be broken off.
            assert_eq!((clean.used, clean.absent, clean.nonfinite), (3, 1, 0));
            for (nth, &place) in PLACES.iter().enumerate() {
                for column in columns {
                    let poison = Poison {
                        column,
                        place,
                        value: POISONS[nth % 3],
                    };
                    let found = summary(way, shape, Some(poison));
                    let counted = penalised(&found).unwrap();
                    assert_eq!(
                        (counted.used, counted.nonfinite),
                        (2, 1),
                        "{poison:?} {way:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_seed_value_that_is_no_number_in_one_record_of_a_group_is_counted() {
    for poisoned in 0..2 {
        for column in GROUP_COLUMNS {
            let mut whole = Shard::default();
            for rank in 0..2 {
                let values = [if rank == poisoned { f64::NAN } else { 0.5 }];
                let mut columns = Columns::new(Grouping::Ids(&[7, 7]), &[1.0, 0.0]);
                if column == "semantic_entropies" {
                    columns.semantic_entropies = Some((&values).into());
                } else {
                    columns.advantage_scales = Some((&values).into());
                }
                let batch = Batch::of(columns).unwrap();
                let place = Place { rank, micro: 0 };
                let shard = Shard::counted(&batch, place, &Thresholds::default());
                whole.merge(shard).unwrap();
            }
            let census = families(&Summary::from(&whole))[column];
            assert_eq!(
                (census.used, census.nonfinite),
                (0, 1),
                "{column}, rank {poisoned}"
            );
        }
    }
}

/// The step of a reference case, its clip range as the engine takes it.
fn step(case: &Value) -> Summary {
    let records = case["records"].as_array().unwrap().iter();
    let mut whole = Shard::default();
    let thresholds = Thresholds::default();
    for record in records {
        let record = Record::from_json(&record.to_string()).unwrap();
        let batch = record.batch().unwrap();
        let place = batch.place().unwrap();
        whole
            .merge(Shard::counted(&batch, place, &thresholds))
            .unwrap();
    }
    Summary::from(&whole)
}

#[test]
fn what_is_no_number_in_a_reference_case_is_counted_as_the_reference_counts_it() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/vectors/layout.jsonl"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let mut compared = 0;
    for case in text.lines() {
        let case: Value = serde_json::from_str(case).unwrap();
        let Some(expected) = case.get("nonfinite") else {
            continue;
        };
        let summary = step(&case);
        let found = families(&summary);
        let mut scalars = 0;
        for (column, count) in expected.as_object().unwrap() {
            let count = count.as_u64().unwrap();
            compared += 1;
            if column.starts_with("scalars/") {
                scalars += count;
                continue;
            }
            let nonfinite = found[column.as_str()].nonfinite;
            // One of a group's values is enough to leave the group out.
            let by_group = ["q", "weights"].contains(&column.as_str());
            let agrees = if by_group {
                0 < nonfinite && nonfinite <= count
            } else {
                nonfinite == count
            };
            assert!(
                agrees,
                "{}: {column} has {nonfinite}, expected {count}",
                case["name"]
            );
        }
        assert_eq!(found["scalars"].nonfinite, scalars, "{}", case["name"]);
    }
    assert!(compared > 40, "{compared} counts were compared");
}
