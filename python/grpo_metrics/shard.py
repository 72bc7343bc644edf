"""What some of a step's records know, without an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from . import _core
from ._face import stands_for
from ._row import Row
from .given import Column, Scalars, Weighting

if TYPE_CHECKING:
    from typing_extensions import Self


class Shard(_core.Shard):
    """What some of a step's records know, to be joined with what others do: in any order, to the same bits. `Shard()` knows nothing yet."""

    __slots__ = ()

    @classmethod
    @stands_for(lambda cls, *args, **kwargs: super(Shard, cls).of(*args, **kwargs))
    def of(  # type: ignore[override]  # the compiled one takes any keyword
        cls,
        *,
        step: int | None = None,
        replica: bool | None = False,
        # counted: made from the tables in src/batch/columns.rs and src/engine/options.rs, by UPDATE_DOCS=1 cargo test --test docs
        group_sizes: Column | None = None,
        group_ids: Column | None = None,
        completion_index: Column | None = None,
        rewards: Column,
        reward_components: Mapping[str, Column] | None = None,
        penalised_rewards: Column | None = None,
        advantages: Column | None = None,
        q: Column | None = None,
        weights: Column | None = None,
        completion_lengths: Column | None = None,
        padding_mask: Column | None = None,
        max_completion_length: int | None = None,
        prompt_lengths: Column | None = None,
        max_prompt_length: int | None = None,
        terminated: Column | None = None,
        token_logps: Column | None = None,
        old_token_logps: Column | None = None,
        ref_token_logps: Column | None = None,
        sampling_token_logps: Column | None = None,
        token_entropies: Column | None = None,
        token_advantages: Column | None = None,
        returns: Column | None = None,
        values: Column | None = None,
        loss_mask: Column | None = None,
        token_ids: Column | None = None,
        weight_versions: Column | None = None,
        semantic_entropies: Column | None = None,
        advantage_scales: Column | None = None,
        seed_alpha_effective: float | None = None,
        seed_max_possible_entropy: float | None = None,
        prompts: Sequence[str] | None = None,
        completions: Sequence[str] | None = None,
        trajectory_ids: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        turns: Column | None = None,
        tool_calls: Column | None = None,
        tool_failures: Column | None = None,
        aborted: Column | None = None,
        errors: Column | None = None,
        stop_conditions: Sequence[str] | None = None,
        answers: Sequence[str] | None = None,
        extended: bool | None = False,
        clip_range: tuple[float, float] | None = None,
        is_ratio_cap: float | None = None,
        is_ratio_floor: float | None = None,
        rollout_rs: Mapping[str, float | tuple[float, float]] | None = None,
        kl_penalty: float | None = None,
        kl_penalty_kind: Literal["k1", "abs", "k2", "k3"] | None = "k1",
        success: str | tuple[str | None, float] | None = None,
        success_threshold: float | None = 1.0,
        retain: Literal["exact", "sketch"] | None = "exact",
        dialect: str | None = "maxent",
        # end of counted
        scalars: Scalars | Mapping[str, float | None] | None = None,
        weighting: Weighting | None = None,
        rank: int | None = None,
        micro: int | None = None,
    ) -> Self:
        """What one record knows, counted as an engine with these options counts it: against `clip_range`, else the range of the
        record's own snapshot, else 0.2 either side. `dialect` and `extended` say whose numbers `row` shall have.

        `step` is the step's number. Of a `replica`, which holds a copy of another rank's record, the shard knows nothing, so that the
        record is not counted twice. `scalars`, `weighting`, `rank` and `micro` are as in `Engine.observe`. A ColumnError where a
        column does not fit, an OptionError where an option makes no sense.

        Columns and options, each with its type and shape, its unit, and what holds without it. n completions in G groups have S tokens,
        group_sizes: u32 [G], in completions. Completions per group, in order; these groups are whole and this record's own. A size of 0 is
            an empty group. Without it: `group_ids` are.
        group_ids: u64 or text [n]. The prompt that the completion belongs to, unique in the step; a group may go on in other ranks and
            micro-batches. Numbers, or texts, each of which is taken as the XXH3 (64 bits) of its UTF-8 bytes; not both in one record.
            Without it: `group_sizes` are.
        completion_index: u32 [n]. Place of the completion within its group. Without it: the order of ranks, micro-batches and completions.
        rewards: f64 [n], in reward. Total utility.
        reward_components: map name -> f64 or null [n], in reward. What each reward function gave; null where it does not apply. Ranks may
            have different sets of names. Without it: none applies to the completions.
        penalised_rewards: f64 [n], in reward. The reward after the penalties that the training takes off it, such as one for KL, where the
            trainer knows both. Without it: `rewards` less the KL by `kl_penalty`, where that is given; else they are the `rewards`.
        advantages: f64 [n]. How much better than expected the completion was, as the loss takes it. Without it: what looks at an
            advantage's sign or size leaves the completions out.
        q: f64 [n]. Listwise target distribution over a group's completions; for all completions or for none. Without it: no entropy of q
            for its groups.
        weights: f64 [n]. Update weights over a group's completions. Without it: no entropy of weights for its groups.
        completion_lengths: u32 [n], in tokens. Tokens of the completion. Token columns need it; padded ones may have `padding_mask`
            instead. Without it: the runs of `padding_mask`; without that too, no lengths and no token columns.
        padding_mask: 0/1 [n, t], in 0/1. 1 where padded rows hold a token; one unbroken run a row. In memory and in tensor files: JSON has
            no padding. Without it: a padded row begins with its tokens.
        max_completion_length: u32, in tokens. The generation cap. Without it: only `terminated` says what is clipped.
        prompt_lengths: u32 [n], in tokens. Tokens of the prompt, for `prompt_length/*` and `perf/total_num_tokens`. Without it: those keys
            leave its completions out.
        max_prompt_length: u32, in tokens. Where prompts are cut. Without it: `prompt_length/clip_ratio` leaves its prompts out.
        terminated: bool [n], in 0/1. Whether the completion ended by itself. Without it: one that reaches `max_completion_length` is
            clipped.
        token_logps: f32 [S], in nats. Log-probabilities of the completion's tokens under the current policy. Without it: no ratio and no KL
            to the reference.
        old_token_logps: f32 [S], in nats. The same under the behaviour policy. Without it: no ratio to it, and nothing of what is clipped;
            as METRICS.md says.
        ref_token_logps: f32 [S], in nats. The same under the reference policy. Without it: only a reported `kl_loss`.
        sampling_token_logps: f32 [S], in nats. The same as the sampler reported them. Without it: no difference to the sampler.
        token_entropies: f32 [S], in nats. The policy's entropy at each token. Without it: only a reported `policy_entropy`.
        token_advantages: f32 [S]. Advantages by token, for trainers that have them. Without it: the completion's own.
        returns: f32 [S], in reward. Returns by token, for trainers that have them. Without it: no `returns/*`.
        values: f32 [S], in reward. What the critic expected at each token, for trainers that have one. Without it: no `values/*`.
        loss_mask: 0/1 [S], in 0/1. 1 where the token counts, 0 where it does not, as in a tool's output. Without it: every token counts.
        token_ids: u32 [S]. The tokens, for diversity and repetition. Without it: the words of `completions`.
        weight_versions: u32 [S], in versions. Version of the weights that each token was sampled with, counted as `weight_version` counts.
            Without it: nothing of staleness.
        semantic_entropies: f64 [G], in nats. How much the meanings of a group's completions differ; with `group_ids`, groups in order of
            first appearance. Without it: 0 in `seed_grpo/*`.
        advantage_scales: f64 [G]. What a group's advantages are scaled by; groups likewise. Without it: 0 as a mean, 1 as an extreme in
            `seed_grpo/*`.
        seed_alpha_effective: f64. SEED-GRPO's alpha as it took effect. Without it: 0 where no rank gives it.
        seed_max_possible_entropy: f64, in nats. The largest semantic entropy that there could be. Without it: 0 where no rank gives it.
        prompts: text [n]. The prompt's text, for the sample table, and for `compare` to know it again. Without it: an empty text.
        completions: text [n]. The completion's text, for the sample table, and for diversity where no token ids are given. Without it: an
            empty text.
        trajectory_ids: text [n]. Which trajectory the completion is of, for the sample table. Without it: no such column in the sample
            table.
        tags: text [n]. Data source, task or environment, for `tags/{tag}/*`; beyond 64 tags, those that sort last by their bytes are
            counted under `other`. Without it: no `tags/*` counts the completions.
        turns: u32 [n], in turns. Turns of the conversation that the completion is. Without it: `turns/*` leaves the completions out.
        tool_calls: u32 [n], in calls. Tool calls in the completion. Without it: `tools/*` leaves the completions out.
        tool_failures: u32 [n], in calls. Those of its tool calls that failed. Without it: the share of tool calls that fail leaves the
            completions out.
        aborted: bool [n], in 0/1. 1 where generation was broken off and the completion is not meant to be trained on. Without it: nothing
            says which lengths are of whole completions.
        errors: bool [n], in 0/1. 1 where the environment or the reward failed. Without it: no share of completions that failed so.
        stop_conditions: text [n]. Why the completion ended (`stop`, `length`, `max_turns`), for `stop_conditions/{condition}/*`; beyond 64
            conditions, those that sort last by their bytes are counted under `other`. Without it: no `stop_conditions/*` counts the
            completions.
        answers: text [n]. The answer that was read out of the completion, for `maj@all/*`; an empty text where there is none, which is
            counted as an answer of its own. Without it: no `maj@all/*` for its groups.
        extended: true or false. The extended metrics too: distributions, uncertainty, splits by tag, health. Without it: false.
        clip_range: two numbers, (low, high). Below and above 1, where a token's ratio counts as clipped, if no snapshot of a controller
            says so. Without it: 0.2 either side.
        is_ratio_cap: a finite number above 0. Cap of the importance ratio to the sampler. Without it: no cap.
        is_ratio_floor: a finite number above 0. Below it that ratio counts as too low: of a loss that leaves such tokens out, where it
            begins to. Without it: 1 / `is_ratio_cap`. Only with `is_ratio_cap`.
        rollout_rs: bounds by name, each a finite number above 0. What a rejection by the sampler's ratio leaves out, by verl's names: of a
            k1 the lower and upper ratio of the sampler's to the trained probability, of another the upper bound. Without it: nothing is
            left out.
        kl_penalty: a finite number, at least 0. Coefficient of the KL penalty that the training takes off its rewards, for verl's
            `critic/rewards`. Without it: no penalty.
        kl_penalty_kind: k1, abs, k2 or k3. Estimator of that penalty. Without it: k1. Only with `kl_penalty`.
        success: a reward component, or (component or none, threshold). Reward component that says whether a completion succeeds, for
            pass@k. Without it: the total reward. Only with `extended`. Also `success_component`.
        success_threshold: a finite number, in reward. From this value on a completion succeeds. Without it: 1. Only with `extended`.
        retain: exact or sketch. How rewards are kept for their quantiles: exact, or sketch (within 1 %, in memory that does not grow).
            Without it: exact.
        dialect: maxent, trl, tunix, verl, openrlhf, nemo-rl, skyrl or prime-rl. Names of the metrics. Without it: maxent.
        """
        raise NotImplementedError

    @classmethod
    @stands_for(lambda cls, *args, **kwargs: super(Shard, cls).from_bytes(*args, **kwargs))
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` wrote, read with nothing taken on trust: a WireError where it is something else."""
        raise NotImplementedError

    @stands_for(_core.Shard.row)
    def row(  # type: ignore[override]
        self,
        *,
        step: int | None = None,
        # reading: made from the table in src/engine/options.rs, by UPDATE_DOCS=1 cargo test --test docs
        dialect: str | None = "maxent",
        mode: str | None = None,
        steps_per_epoch: float | None = None,
        num_generations: float | None = None,
        num_epochs: float | None = None,
        total_training_steps: float | None = None,
        kl_bias_correction: bool | None = True,
        kl_kind: Literal["k1", "abs", "k2", "k3"] | None = "k3",
        devices: int | None = None,
        high_kl: float | None = 0.1,
        pass_k: list[int] | tuple[int, ...] | None = None,
        limits: Mapping[str, float] | None = None,
        folds: Mapping[str, str | tuple[str, str]] | None = None,
        # end of reading
    ) -> Row:
        """The row of what it knows so far, as an engine with these options gives it that has seen nothing before; the extended metrics
        where they were counted. `step` is for a shard that has not been given one. What the dialect names must have been counted:
        else an OptionError.

        Options of a row, each with what it takes, its unit, and what holds without it:
        dialect: maxent, trl, tunix, verl, openrlhf, nemo-rl, skyrl or prime-rl. Names of the metrics. Without it: maxent.
        mode: full or slim. Keys to keep: full or slim. Without it: MAXENT_WANDB_METRICS_MODE, else MAXENT_METRICS_MODE, else full.
        steps_per_epoch: a finite number, in steps. Epoch, where none is reported: step / this. Without it: not known.
        num_generations: a finite number, in steps. Epoch, else: step / this. Without it: not known.
        num_epochs: a finite number, in epochs. Epoch, else: step * this / `total_training_steps`. Without it: not known. Only with
            `total_training_steps`.
        total_training_steps: a finite number, in steps. The divisor for `num_epochs`. Without it: not known. Only with `num_epochs`.
        kl_bias_correction: true or false. The ratio to the behaviour policy as a weight in trl's kl. Without it: true.
        kl_kind: k1, abs, k2 or k3. Estimator of verl's `actor/kl_loss`. Without it: k3.
        devices: a whole number, at least 1. How many devices train, for verl's `perf/throughput`. Without it: not known: the key is left
            out.
        high_kl: a finite number, in nats. From where on a token's KL to the reference (k3) counts as high. Without it: 0.1. Only with
            `extended`.
        pass_k: whole numbers, each at least 1. The k of pass@k. Without it: 1, 2, 4, ... up to the largest group. Only with `extended`.
        limits: names, each with a number. Beyond which number a flag of health rises. Without it: clipped=0.1, course_steps=100,
            entropy=0.05, entropy_first=20, entropy_share=0.2, entropy_steps=3, kl=0.2, length_at_cap=0.3, sampler_distance=0.02,
            sampler_probability=0.01, saturated_groups=0.9, shift=6, trend=6, zero_std=0.7. Only with `extended`. Also `limit`.
        folds: names, each with a fold, or (fold, window fold). How a metric of your own folds over ranks and windows: mean, min, max, sum,
            last, `mean_by_tokens`, `mean_by_completions`; or two folds, one over ranks and one over a window. Without it: each by mean.
            Also `fold`.
        """
        raise NotImplementedError


for _name, _method in vars(_core.Shard).items():
    if callable(_method) and not _name.startswith("_") and _name not in vars(Shard):
        setattr(Shard, _name, stands_for(_method)(_method))
