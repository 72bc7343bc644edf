//! Shards: each is changed twice over. As it stands, any change must be refused. With length and checksum made to fit again,
//! what is left must be refused or be a shard like any other: it is merged, summarised and written.

use std::error::Error;

use grpo_metrics::batch::group::Grouping;
use grpo_metrics::batch::tokens::TokenIds;
use grpo_metrics::batch::{Batch, Columns};
use grpo_metrics::dialect::Dialect;
use grpo_metrics::engine::Engine;
use grpo_metrics::shard::{KlKind, Rejection, RejectionBounds, RejectionStatistic, Retain, Shard};
use grpo_metrics::summary::Summary;
use grpo_metrics::wire;
use xxhash_rust::xxh3::xxh3_64;

use super::{Random, Target};

const HEADER: usize = 28;

pub struct Shards {
    shards: Vec<Shard>,
    written: Vec<Box<[u8]>>,
}

impl Shards {
    pub fn new() -> Self {
        let shards = shards().expect("shards of our own");
        let written = shards
            .iter()
            .map(|shard| wire::write(shard).expect("a shard of our own").into())
            .collect();
        Self { shards, written }
    }
}

impl Target for Shards {
    fn turn(&mut self, random: &mut Random) -> Result<&'static str, String> {
        let original = random.of_these(&self.written);
        let mut bytes = random.change(original, &self.written);
        if wire::read(&bytes).is_ok() {
            return Err(format!("a changed shard was accepted: {bytes:?}"));
        }
        if bytes.len() <= HEADER {
            return Ok("cut to less than a header, refused");
        }
        seal(&mut bytes);
        let Ok(mut shard) = wire::read(&bytes) else {
            return Ok("refused as it stood and with a fitting checksum");
        };
        let other = &self.shards[random.below(self.shards.len())];
        let _ = shard.merge(other.clone());
        let _ = shard.close(1);
        let _ = Summary::from(&shard);
        let _ = wire::write(&shard);
        Ok("refused as it stood; with a fitting checksum read, merged and summarised")
    }
}

fn seal(bytes: &mut [u8]) {
    let checksum = xxh3_64(&bytes[HEADER..]);
    let length = (bytes.len() - HEADER) as u64;
    bytes[..8].copy_from_slice(b"grpo-shd");
    bytes[8..12].copy_from_slice(&wire::VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&length.to_le_bytes());
    bytes[20..28].copy_from_slice(&checksum.to_le_bytes());
}

/// Shards of every kind: empty, of whole groups, of spread groups with tokens or texts, sketched, closed, and in every detail.
fn shards() -> Result<Vec<Shard>, Box<dyn Error>> {
    let rewards = [0.0, 1.0, -0.0, f64::NAN, 1e300, 5e-324, -2.5, 1.0];
    let lengths = [2_u32, 0, 1, 3, 0, 0, 1, 1];
    let logps = [-0.5_f32, -1.0, -2.0, f32::NAN, -0.1, -0.2, -3.0, -0.7];
    let token_ids = [1, 2, 1, 9, 4, 4, 7, 1];
    let texts: Vec<String> = ["a b a", "", "c", "a", "b b", "d e f", "g", "a b"]
        .map(Into::into)
        .to_vec();
    let with = |grouping| {
        let mut columns = Columns::new(grouping, &rewards);
        columns.reward_components = vec![
            ("format".into(), (&rewards).into()),
            ("é/x".into(), (&rewards).into()),
        ];
        columns.advantages = Some((&rewards).into());
        columns.weights = Some((&rewards).into());
        columns.completion_lengths = Some(&lengths);
        columns.token_logps = Some((&logps[..]).into());
        columns.ref_token_logps = Some((&logps[..]).into());
        columns.old_token_logps = Some((&logps[..]).into());
        columns.scalars.set("total_loss", f64::NAN);
        columns.scalars.set("mine", 0.25);
        columns
    };
    let ids = [3_u64, 3, 1 << 60, 3, 7, 7, 9, 3];
    let mut by_id = with(Grouping::Ids(&ids));
    by_id.token_ids = Some(TokenIds::Ragged(&token_ids));
    let mut texted = with(Grouping::Ids(&ids));
    texted.completions = Some(&texts);
    let whole = Shard::of(&Batch::of(with(Grouping::Sizes(&[4, 0, 4])))?.at(3, 1));
    let spread = Shard::of(&Batch::of(by_id)?.at(1, 0));
    let mut sketched = whole.clone();
    sketched.sketch();
    let mut assigned = Shard::of(&Batch::of(texted)?.at(2, 0));
    assigned.assign(1)?;
    let mut closed = spread.clone();
    closed.close(9)?;
    let mut shards = vec![Shard::default(), whole, spread, sketched, assigned, closed];
    let tags = ["math", "code", "math", "", "code", "é", "math", "math"].map(str::to_owned);
    let mut detailed = with(Grouping::Ids(&ids));
    detailed.token_ids = Some(TokenIds::Ragged(&token_ids));
    detailed.tags = Some(&tags);
    detailed.penalised_rewards = Some((&rewards).into());
    detailed.turns = Some(&lengths);
    detailed.tool_calls = Some(&lengths);
    detailed.tool_failures = Some(&lengths);
    detailed.aborted = Some(&[true, false, false, false, true, false, false, true]);
    detailed.errors = Some(&[false, false, false, false, true, true, true, true]);
    detailed.stop_conditions = Some(&tags);
    detailed.answers = Some(&tags);
    detailed.prompt_lengths = Some(&lengths);
    detailed.sampling_token_logps = Some((&logps[..]).into());
    detailed.token_entropies = Some((&logps[..]).into());
    detailed.weight_versions = Some(TokenIds::Ragged(&token_ids));
    detailed.scalars.set("weight_version", 9.0);
    let detailed = Batch::of(detailed)?.at(0, 2);
    for retain in [Retain::Exact, Retain::Sketch] {
        let engine = || Engine::builder().retain(retain);
        for builder in [
            engine()
                .extended(true)
                .success("format".to_owned())
                .success_threshold(0.5),
            engine()
                .dialect(Dialect::Verl)
                .kl_penalty(0.1)
                .kl_penalty_kind(KlKind::K3),
            engine()
                .dialect(Dialect::Verl)
                .extended(true)
                .rollout_rs(
                    Rejection::default()
                        .by(RejectionStatistic::TokenK1, RejectionBounds::up_to(1.5))
                        .by(RejectionStatistic::MaxK3, RejectionBounds::up_to(0.1)),
                )
                .is_ratio_cap(2.0),
        ] {
            let mut shard = builder.build()?.shard_of(&detailed);
            shards.push(shard.clone());
            shard.close(3)?;
            shards.push(shard);
        }
    }
    Ok(shards)
}
