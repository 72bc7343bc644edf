//! What comes in between two steps: batches, shards, scalars, and reasons why there is nothing.

use super::{Engine, EngineError, Scope};
use crate::batch::scalars::{ClipRange, Scalars, Weighting};
use crate::batch::{Batch, Place};
use crate::gather::Part;
use crate::shard::{MergeError, Shard};

impl Engine {
    /// Takes in one micro-batch. Never communicates; nothing of the batch is kept but numbers.
    ///
    /// A batch that says its place ([`Batch::at`]) is of that rank and micro-batch; any other is this rank's next one.
    ///
    /// # Errors
    /// If the same rank and micro-batch was observed before in this step, or its tokens were counted against another
    /// clip range. Alone, the batch is left out and the rest of the step stands; among other ranks, this one has then
    /// failed in this step ([`Engine::fail`]).
    pub fn observe(&mut self, batch: &Batch<'_>) -> Result<(), EngineError> {
        let place = self.place_of(batch);
        if self.options.scope == Scope::Local && place.rank != 0 {
            return Ok(());
        }
        let shard = self.shard_of(batch);
        self.join(shard)?;
        self.next_micro = self.next_micro.max(place.micro.saturating_add(1));
        Ok(())
    }

    /// What [`Engine::observe`] would take in of this micro-batch, to be kept or sent elsewhere: of a replica
    /// ([`EngineBuilder::replica`](super::EngineBuilder::replica)) nothing.
    #[must_use]
    pub fn shard_of(&mut self, batch: &Batch<'_>) -> Shard {
        if self.replica {
            return Shard::default();
        }
        for (name, own) in batch.renamed() {
            self.once.say(format!(
                "two reward components are named `{name}`: the later one is `{own}`"
            ));
        }
        if let Some(weighting) = &batch.columns().weighting {
            self.known_range = Some(weighting.clip_range());
            self.keep_out_strange(weighting);
        }
        // What the caller has said of the step decides, then the record's own snapshot, then the last one seen here, then the
        // options, then the default.
        let range = self.expected_range.or(self.known_range);
        self.options.count(batch, self.place_of(batch), range)
    }

    /// Takes in what is a shard already: from then on it is as if its records had been observed here. Never communicates.
    ///
    /// # Errors
    /// As [`Engine::observe`], and if the shard was counted in less detail than the rows of this engine need.
    pub fn join(&mut self, shard: Shard) -> Result<(), EngineError> {
        self.join_part(Part::of(shard))
    }

    /// As [`Engine::join`], of what several ranks together have to say, such as workers that return their shards: the ranks whose
    /// shards are missing count as ranks that a gather has not heard, and the step fails or goes on by the engine's
    /// [`OnFailure`](super::OnFailure).
    ///
    /// # Errors
    /// As [`Engine::join`], and if two of the part's shards could not be merged.
    pub fn join_part(&mut self, part: Part) -> Result<(), EngineError> {
        if self.replica {
            return Ok(());
        }
        let Part {
            shard,
            mut failures,
            conflict,
        } = part;
        let here = self.gather.rank();
        let own = shard.reports.keys().filter(|(_, at)| at.rank == here);
        let next = own.map(|(_, at)| at.micro.saturating_add(1)).max();
        if let Err(error) = self.merged(shard, conflict) {
            if self.gathers() {
                self.fail(error.to_string());
            }
            return Err(error);
        }
        self.missing.append(&mut failures);
        self.next_micro = self.next_micro.max(next.unwrap_or(0));
        Ok(())
    }

    fn merged(&mut self, shard: Shard, conflict: Option<MergeError>) -> Result<(), EngineError> {
        if let Some(conflict) = conflict {
            return Err(conflict.into());
        }
        shard.check_detail(self.options.dialect.detail(self.options.extended))?;
        self.pending.merge(shard)?;
        Ok(())
    }

    fn place_of(&self, batch: &Batch<'_>) -> Place {
        batch.place().unwrap_or(Place {
            rank: self.gather.rank(),
            micro: self.next_micro,
        })
    }

    /// Says that this rank has no part in the step that is not over: its batch could not be built, its environment is
    /// gone. The step still ends on all ranks, and the root learns the reason. Only the first reason counts.
    pub fn fail(&mut self, reason: impl Into<String>) {
        // What a replica lacks, the rank has that it is a copy of.
        if !self.replica {
            self.failure.get_or_insert(reason.into());
        }
    }

    /// Says what the tokens of the step now beginning are counted against, whatever its records' own snapshots say: the
    /// range of the step's snapshot, which is the lowest reporting rank's last. For a caller that knows it beforehand, as
    /// a replay does; elsewhere every rank observes with a snapshot, or the range stands in the options.
    pub fn expect_clip_range(&mut self, range: ClipRange) {
        self.expected_range = Some(range);
    }

    /// Adds scalars and the controller's snapshot that are known only when the step is over.
    pub fn report(&mut self, scalars: Scalars, weighting: Option<Weighting>) {
        if self.replica {
            return;
        }
        if let Some(weighting) = &weighting {
            self.known_range = Some(weighting.clip_range());
            self.keep_out_strange(weighting);
        }
        self.pending.report(self.gather.rank(), scalars, weighting);
    }
}
