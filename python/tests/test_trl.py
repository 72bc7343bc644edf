"""TRL: the callback on a trainer's own logs, and an instrumented training of two ranks beside a plain one."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

import grpo_metrics as gm
from grpo_metrics.trl import GrpoMetricsCallback, instrument

NAMED = gm._core.normalised
STATE = SimpleNamespace(global_step=3, is_world_process_zero=True)


def log(callback, logs, state=STATE):
    callback.on_log(SimpleNamespace(), state, SimpleNamespace(), logs=logs)


def test_the_callback_puts_a_trainers_logs_into_a_store_under_normalised_names(tmp_path):
    log(GrpoMetricsCallback(tmp_path / "runs.db", run="r"), {"loss": 0.5, "kl": 0.1, "eval_reward": 2.0, "note": "x", "flag": True})
    store = gm.Store(tmp_path / "runs.db", read_only=True)
    stored = {(m["name"], m["split"]): m["value"] for m in store.get_metrics("r")}
    assert stored == {
        ("train/loss/total", "train"): 0.5,
        ("train/kl", "train"): 0.1,
        ("train/loss/kl", "train"): 0.1,
        ("eval/reward", "val"): 2.0,
    }


def test_the_callback_feeds_an_engines_sinks():
    rows = []
    engine = gm.Engine(sinks=[SimpleNamespace(write=rows.append)], journal=False)
    log(GrpoMetricsCallback(engine), {"loss": 0.5})
    assert [row["metrics"]["train/loss/total"] for row in rows] == [0.5] and rows[0]["step"] == 3


def test_the_callback_never_raises_and_is_silent_on_other_ranks(tmp_path, caplog):
    class Down:
        def log_metrics(self, **_):
            raise ConnectionError("down")

    log(GrpoMetricsCallback(Down(), run="r"), {"loss": 1.0})
    assert "step 3 could not be stored: down" in caplog.text
    caplog.clear()
    log(GrpoMetricsCallback(Down(), run="r"), {"loss": 1.0}, SimpleNamespace(global_step=3, is_world_process_zero=False))
    log(GrpoMetricsCallback(Down(), run="r"), None)
    assert caplog.text == ""


class Trainer:
    """What any trainer has in common with TRL's."""

    def __init__(self):
        self.callbacks = []

    def add_callback(self, callback):
        self.callbacks.append(callback)


def test_of_a_trainer_that_is_no_grpo_trainer_only_its_own_numbers_are_stored(tmp_path):
    with pytest.warns(UserWarning, match=r"Trainer has no `_calculate_rewards\(completion_ids_list\)` as a GRPO trainer has it"):
        made = instrument(Trainer, store=tmp_path / "runs.db", run="r")
    assert made.__name__ == "Trainer" and issubclass(made, Trainer)
    [callback] = made().callbacks
    assert isinstance(callback, GrpoMetricsCallback) and callback.run == "r"


def test_an_option_that_cannot_be_is_an_error_before_the_training():
    with pytest.raises(gm.OptionError, match="unknown option `dialekt`"):
        instrument(Trainer, dialekt="trl")


class Alike:
    """A trainer with methods of a GRPO trainer's names, in whose versions more is taken and given."""

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list, more): ...
    def _generate_and_score_completions(self, inputs, *, more=None): ...
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None): ...


@pytest.mark.filterwarnings("error")
def test_a_class_is_observed_by_what_its_methods_take_and_not_by_a_version():
    made = instrument(Alike)
    assert made.__name__ == "Alike" and hasattr(made, "_observing")


@pytest.mark.parametrize(
    ("lacking", "named"),
    [
        ({"compute_loss": lambda self, model: None}, "compute_loss(inputs)"),
        ({"_calculate_rewards": lambda self, inputs: None}, "_calculate_rewards(completion_ids_list)"),
        ({"_generate_and_score_completions": None}, "_generate_and_score_completions"),
        ({"_generate_and_score_completions": None, "_calculate_rewards": 3}, "_calculate_rewards(completion_ids_list)"),
    ],
)
def test_a_class_without_what_is_read_trains_as_it_is_and_one_warning_names_what_it_lacks(lacking, named):
    other = type("Other", (Alike,), lacking)
    with pytest.warns(UserWarning) as warned:
        made = instrument(other)
    [warning] = warned
    assert str(warning.message) == f"Other has no `{named}` as a GRPO trainer has it: only what the trainer logs itself is stored"
    assert Path(warning.filename) == Path(__file__)  # where `instrument` was called
    assert not hasattr(made, "_observing") and made.compute_loss is other.compute_loss


ARGS = SimpleNamespace(seed=7, to_dict=lambda: {"lr": 0.5, "kwargs": {"token": "hf_x", "dtype": "auto"}, "odd": float("nan")})
MODEL = SimpleNamespace(config=SimpleNamespace(_name_or_path="tiny"))


def run_of(path):
    return gm.Store(path, read_only=True).get_run("r")


def test_a_callbacks_run_is_running_while_the_training_is_and_completed_at_its_end(tmp_path):
    callback = GrpoMetricsCallback(tmp_path / "runs.db", run="r")
    callback.on_train_begin(ARGS, STATE, SimpleNamespace(), model=MODEL)
    run = run_of(tmp_path / "runs.db")
    assert (run["status"], run["seed"]) == ("running", 7)
    assert run["run_config"] == {"model": "tiny", "args": {"lr": 0.5, "kwargs": {"token": "<TOKEN>", "dtype": "auto"}, "odd": None}}
    log(callback, {"loss": 0.5})
    callback.on_train_end(ARGS, STATE, SimpleNamespace())
    del callback
    run = run_of(tmp_path / "runs.db")
    assert (run["status"], run.get("error_message")) == ("completed", None)


def test_a_callback_that_is_let_go_of_before_the_trainings_end_leaves_a_failed_run_which_may_go_on(tmp_path):
    path = tmp_path / "runs.db"
    callback = GrpoMetricsCallback(path, run="r")
    callback.on_train_begin(ARGS, STATE, SimpleNamespace(), model=MODEL)
    del callback
    run = run_of(path)
    assert (run["status"], run["error_message"]) == ("failed", "the training did not come to its end")
    callback = GrpoMetricsCallback(path, run="r")
    callback.on_train_begin(ARGS, STATE, SimpleNamespace(), model=MODEL)
    assert (run_of(path)["status"], run_of(path).get("error_message") or None) == ("running", None)
    callback.on_train_end(ARGS, STATE, SimpleNamespace())
    assert run_of(path)["status"] == "completed"


def at(step):
    return SimpleNamespace(global_step=step, is_world_process_zero=True)


def steps_of(path, run):
    return sorted({m["step"] for m in gm.Store(path, read_only=True).get_metrics(run)})


def test_a_callback_goes_on_with_a_run_where_the_training_does_and_begins_another_where_it_begins(tmp_path):
    path = tmp_path / "runs.db"
    first = GrpoMetricsCallback(path, run="r")
    for callback, began, step in [(first, 0, 1), (GrpoMetricsCallback(path, run="r"), 1, 2), (first, 0, 1)]:
        callback.on_train_begin(ARGS, at(began), SimpleNamespace(), model=MODEL)
        log(callback, {"loss": 0.5}, at(step))
        callback.on_train_end(ARGS, at(step), SimpleNamespace())
    assert steps_of(path, "r") == [1, 2] and steps_of(path, "r-2") == [1]
    log(first, {"eval_loss": 0.5}, at(3))
    assert steps_of(path, "r-2") == [1, 3]
    with pytest.raises(ValueError, match="`resume`: expected never, allow or must, found `perhaps`"):
        GrpoMetricsCallback(path, run="r", resume="perhaps")


class Steps(Trainer):
    """What a trainer has that logs steps, and may go on from a checkpoint."""

    args, model = ARGS, MODEL
    accelerator = SimpleNamespace(num_processes=1, is_main_process=True)

    @property
    def callback_handler(self):
        return self

    def said(self, step, logs):
        for callback in self.callbacks:
            log(callback, logs, at(step))

    def train(self, resume_from_checkpoint=None, steps=()):
        for step in steps:
            self.said(step, {"loss": 0.5})


def test_an_instrumented_trainer_says_by_itself_that_it_goes_on_from_a_checkpoint(tmp_path, caplog):
    path = tmp_path / "runs.db"

    def trainer(**options):
        with pytest.warns(UserWarning, match="as a GRPO trainer has it"):
            return instrument(Steps, store=path, run="r", **options)()

    made = trainer()
    made.said(0, {"eval_loss": 0.5})  # before the training
    made.train(steps=[1, 2])
    made.said(3, {"eval_loss": 0.5})  # and after it
    assert steps_of(path, "r") == [0, 1, 2, 3]
    trainer().train(True, steps=[2, 4])
    trainer().train(resume_from_checkpoint="folder", steps=[5])
    assert steps_of(path, "r") == [0, 1, 2, 3, 4, 5]
    assert gm.Store(path).get_run("r")["status"] == "completed"
    trainer().train(steps=[1])
    trainer().train(True, steps=[2])
    assert steps_of(path, "r-2") == [1, 2]  # the newest of the name
    caplog.clear()
    trainer(dialect="maxent").train(True, steps=[3])
    assert steps_of(path, "r-3") == [3]
    assert "has a run of its own: run `r-2`: expected dialect trl, as it was begun with, found dialect maxent" in caplog.text
    trainer(resume="never").train(True, steps=[3])
    assert steps_of(path, "r-4") == [3]


@pytest.mark.parametrize(
    ("raised", "status", "text"),
    [
        ("ValueError('no reward')", "failed", "ValueError: no reward"),
        ("KeyboardInterrupt", "cancelled", "KeyboardInterrupt"),
        ("SystemExit(3)", "failed", "the training did not come to its end"),
    ],
)
def test_a_callbacks_run_says_of_what_the_interpreter_ended(tmp_path, raised, status, text):
    code = f"""
import sys; sys.modules["transformers"] = None  # by duck type: nothing of it is needed, and it is slow to import
from types import SimpleNamespace as N
from grpo_metrics.trl import GrpoMetricsCallback
callback = GrpoMetricsCallback({str(tmp_path / "runs.db")!r}, run="r")
callback.on_train_begin(N(seed=1), N(global_step=0, is_world_process_zero=True), N())
raise {raised}
"""
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    run = run_of(tmp_path / "runs.db")
    assert (run["status"], run["error_message"]) == (status, text)


def test_a_callback_that_cannot_open_its_store_never_raises(tmp_path, caplog):
    callback = GrpoMetricsCallback(tmp_path / "no" / "such" / "folder" / "runs.db", run="r")
    callback.on_train_begin(ARGS, STATE, SimpleNamespace(), model=MODEL)
    log(callback, {"loss": 1.0})
    callback.on_train_end(ARGS, STATE, SimpleNamespace())
    assert "step 3 could not be stored" in caplog.text


def test_no_step_waits_for_the_store_that_a_callback_writes_to(tmp_path):
    held, written = threading.Event(), []

    class Slow:
        def update_run(self, run_id, patch):
            written.append(patch["status"])

        def log_metrics(self, step, **_):
            assert held.wait(30)
            written.append(step)

    callback = GrpoMetricsCallback(Slow(), run="r")
    callback.on_train_begin(ARGS, STATE, SimpleNamespace(), model=MODEL)
    for step in (1, 2):  # would never come back
        log(callback, {"loss": 0.5}, SimpleNamespace(global_step=step, is_world_process_zero=True))
    assert written == ["running"]
    held.set()
    callback.on_train_end(ARGS, STATE, SimpleNamespace())
    assert written == ["running", 1, 2, "completed"]


FOUND = importlib.util.find_spec("trl")
TRL = Path(FOUND.origin).parent if FOUND and FOUND.origin else None


def is_there(kind: str) -> bool:
    """Whether the TRL that is installed has such a trainer; where none is, all are, and their tests are skipped."""
    return TRL is None or (TRL / "trainer" / f"{kind}_trainer.py").exists() or (TRL / "experimental" / kind).exists()


OVER_ALL = TRL is None or "def global_masked_mean" in (TRL / "trainer" / "grpo_trainer.py").read_text()
"""Whether TRL logs means over the tokens of all ranks, as the engine does; older ones log the mean of the ranks' means, and the extremes of these."""
ABSENT = TRL is None or "unscorable_mask" in (TRL / "trainer" / "grpo_trainer.py").read_text()
"""Whether a completion that no function scores has no reward in TRL, as in the engine; in older ones it has 0."""
EXTREMES = set() if OVER_ALL else {"clip_ratio/low_min", "clip_ratio/high_max"}
OVER_RANKS = EXTREMES if OVER_ALL else EXTREMES | {"kl", "entropy", *(f"clip_ratio/{of}_mean" for of in ("low", "high", "region"))}


def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def train(folder: Path, kind: str, ranks: int = 2):
    folder.mkdir()
    environment = os.environ | {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port())}
    worker = [sys.executable, str(Path(__file__).with_name("trl_worker.py")), str(folder), kind]
    running = [
        subprocess.Popen(
            worker,
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(ranks)
    ]
    said = [process.communicate(timeout=900)[0] for process in running]
    assert all(process.returncode == 0 for process in running), said
    assert not any("grpo_metrics:" in text for text in said), said
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(ranks)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    for module in ("torch", "trl", "datasets"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("trl")
    return folder, train(folder / "plain", "plain"), train(folder / "instrumented", "instrumented")


def steps(said):
    return [row for row in said["log"] if "loss" in row]


def test_training_is_bitwise_the_same_with_and_without_metrics(trained):
    _, plain, instrumented = trained
    assert len(steps(plain[0])) == 8
    for before, after in zip(plain, instrumented):
        assert [row["loss"] for row in steps(before)] == [row["loss"] for row in steps(after)]
        assert [row["grad_norm"] for row in steps(before)] == [row["grad_norm"] for row in steps(after)]
        assert (before["weights"], before["sum"]) == (after["weights"], after["sum"])


def test_every_steps_row_agrees_with_what_trl_logged(trained):
    _, _, [said, other] = trained
    compared = set()
    for row in steps(said):
        own = {key.removeprefix("grpo_metrics/"): value for key, value in row.items() if key.startswith("grpo_metrics/")}
        theirs = {key: value for key, value in row.items() if key in own and key not in OVER_RANKS}
        assert {"loss", "grad_norm", "entropy", "kl", "clip_ratio/region_mean", "epoch"} - OVER_RANKS <= set(theirs)
        for key, value in theirs.items():
            assert own[key] == pytest.approx(value, rel=1e-6, abs=1e-6), (row["step"], key)
        compared |= set(theirs)
    names = "reward reward_std frac_reward_zero_std rewards/evens/mean rewards/brevity/std completions/mean_length completions/clipped_ratio num_tokens"
    assert set(names.split()) <= compared
    assert not any(key.startswith("grpo_metrics/") for row in other["log"] for key in row)


def test_the_rows_are_in_the_store_and_the_records_replay_to_them(trained):
    folder, _, [said, _] = trained
    store = gm.Store(folder / "instrumented" / "runs.db", read_only=True)
    assert store.get_run("r")["status"] == "completed"
    rewards = [m["value"] for m in store.get_metrics("r", name="reward")]
    assert rewards == [row["grpo_metrics/reward"] for row in steps(said)] and len(rewards) == 8
    records = folder / "instrumented" / "records"
    assert sorted(path.name for path in records.iterdir()) == ["rank0.jsonl", "rank1.jsonl"]
    replay = [sys.executable, "-m", "grpo_metrics", "replay", "--quiet", "--dialect", "trl", "--jsonl", "-", str(records)]
    done = subprocess.run(replay, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    replayed = [json.loads(line)["metrics"] for line in done.stdout.splitlines()]
    for key in ("reward", "reward_std", "kl", "entropy", "completions/mean_length"):
        assert [row[key] for row in replayed] == [row[f"grpo_metrics/{key}"] for row in steps(said)], key


def test_on_two_ranks_few_rows_go_out_when_trl_logs_over_the_same_steps(tmp_path):
    for module in ("torch", "trl", "datasets"):
        pytest.importorskip(module)
    [said, other] = train(tmp_path / "sparse", "sparse")
    rows = [row for row in said["log"] if "entropy" in row]
    assert [row["step"] for row in rows] == [1, 3, 6, 8]
    for row in rows:
        assert "entropy" in OVER_RANKS or row["grpo_metrics/entropy"] == pytest.approx(row["entropy"], rel=1e-6)
    store = gm.Store(tmp_path / "sparse" / "runs.db", read_only=True)
    assert [m["step"] for m in store.get_metrics("r", name="entropy")] == [1, 3, 6, 8]


def is_observed(kind: str) -> bool:
    """Whether a trainer with a loss of its own had the shape of a GRPO trainer in the TRL that is installed."""
    files = TRL.glob("experimental/s*/*.py") if TRL and kind == "sdpo" else ()
    return any("def _generate_and_score_completions" in path.read_text() for path in files)


OTHERS = [kind for kind in "rloo dpo sft kto reward a2po sdpo online_dpo cpo orpo tpo".split() if is_there(kind)]
if TRL is None or (TRL / "trainer" / "distillation_trainer.py").exists():
    OTHERS.append("distillation")
GEOMETRIC = is_there("gmpo")
LOSSES = "token sequence delta cispo sapo unscored batch".split() + ["gmpo"] * GEOMETRIC
RATIOS = {"kl", "clip_ratio/low_mean", "clip_ratio/low_min", "clip_ratio/high_mean", "clip_ratio/high_max", "clip_ratio/region_mean"}
TOTAL = {"reward", "reward_std", "frac_reward_zero_std"}
BY_FUNCTION = {f"rewards/{name}/{of}" for name in ("evens", "brevity") for of in ("mean", "std")}
ALL = "completions: only what the trainer logs itself is stored"
LACKS = {
    "ends": ("`pad_token_id`), not counted: which completions came to their end, but by their length", set()),
    "longest": ("has no `max_completion_length` as a GRPO trainer has it: only what the trainer logs itself is stored", None),
    "weights": ("without `reward_weights`, not counted: the total reward, and groups", TOTAL),
    "names": ("without `reward_func_names`, not counted: reward components", BY_FUNCTION),
    "beta": ("without `beta` (or `args.beta`), not counted: the weight of KL", set()),
    "clip": ("without `epsilon_low` (or `args.epsilon`) and `epsilon_high` (or `args.epsilon_high`, `args.epsilon`), not counted: KL", RATIOS),
    "level": ("without `importance_sampling_level` (or `args.importance_sampling_level`), not counted: KL, clipping", RATIOS),
    "scale": ("without `scale_rewards` (or `args.scale_rewards`), not counted: groups without spread", {"frac_reward_zero_std"}),
    "advantages": ("without `advantages` in a batch, not counted: advantages", RATIOS - {"kl"}),
    "mask": ("without `completion_mask` in a batch, not counted: tokens, and their log-probabilities", RATIOS | {"entropy"}),
    "ids": ("without `completion_ids` in a batch, not counted: tokens by their ids", set()),
    "reference": ("without `ref_per_token_logps` in a batch of a loss with `beta`, not counted: KL", {"kl"}),
    "old": ("without `old_per_token_logps` in a batch of an earlier step, not counted: KL, clipping", RATIOS),
    "logps": ("without what `_get_per_token_logps_and_entropies` gives for a loss, not counted: log-", RATIOS | {"entropy"}),
    "rows": (f"in the batches that are trained on, not counted: {ALL}", None),
    "rewards": (f"without a call of `_calculate_rewards` for what is generated, not counted: {ALL}", None),
    "shape": (f"without rewards from `_calculate_rewards`, a row for each completion of all ranks, not counted: {ALL}", None),
    "loss": ("has no `loss_type` as a GRPO trainer has it: only what the trainer logs itself is stored", None),
}
"""What a trainer may lack: what the warning says, and the keys that a row is without; `None` for all that the engine computes of completions."""
CASES = [
    *"grpo failed cancelled beside evaluated evaluated-later first fraction epoch no own resumed cut twice same-name samples".split(),
    *"audit audit-plain audit-right audit-double audit-maxent audit-failing".split(),
    *["gmpo"] * GEOMETRIC,
    *OTHERS,
    *(f"loss-{kind}" for kind in LOSSES),
    *(f"lacks-{part}" for part in LACKS),
]


class Case:
    """What a small training logged, and what its store holds."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        said = json.loads((folder / f"{name}.json").read_text())
        self.log, self.step, self.error, self.warned = said["log"], said["step"], said["error"], said["warned"]
        self.store = gm.Store(folder / f"{name}.db", read_only=True) if (folder / f"{name}.db").exists() else None

    @property
    def run(self):
        return self.store.get_run("r")

    def stored(self, split="train"):
        return {(m["step"], m["name"]): m["value"] for m in self.store.get_metrics("r", split=split)}

    def steps(self, name):
        return [m["step"] for m in self.store.get_metrics("r", name=name, split="train")]


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    for module in ("torch", "trl", "datasets"):
        pytest.importorskip(module)
    folder = tmp_path_factory.mktemp("cases")
    worker = [sys.executable, str(Path(__file__).with_name("trl_cases.py")), str(folder), *CASES]
    done = subprocess.run(worker, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return {name: Case(folder, name) for name in CASES}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_trainer_that_is_no_grpo_trainer_trains_to_its_end_and_what_it_logs_is_stored(cases, kind):
    case = cases[kind]
    assert (case.error, case.step, case.run["status"]) == (None, 3, "completed")
    [warned] = case.warned
    if is_observed(kind):
        assert "not counted: log-probabilities, entropies, KL" in warned and case.steps("train/reward_p50") == [1, 2, 3]
        return
    assert warned.endswith("only what the trainer logs itself is stored")
    stored = case.stored()
    for row in case.log:
        numbers = {key: value for key, value in row.items() if key != "step" and isinstance(value, (int, float))}
        assert {(row["step"], name): value for name, value in NAMED(numbers).items()}.items() <= stored.items()
    assert case.steps("train/loss/total") == [1, 2, 3]


@pytest.mark.parametrize("kind", ["grpo", *["gmpo"] * GEOMETRIC])
def test_a_grpo_trainer_is_observed_without_a_warning(cases, kind):
    case = cases[kind]
    assert (case.error, case.step, case.warned, case.run["status"]) == (None, 3, [], "completed")
    assert case.steps("reward_std") == [1, 2, 3]


def test_a_training_that_a_reward_function_ends_is_failed_with_its_error_and_keeps_its_rows(cases):
    case = cases["failed"]
    assert case.error == "ValueError: no reward today"
    assert (case.run["status"], case.run["error_message"]) == ("failed", "ValueError: no reward today")
    assert case.steps("reward") == [2]


def test_a_training_that_ctrl_c_ends_is_cancelled(cases):
    case = cases["cancelled"]
    assert case.error.startswith("KeyboardInterrupt")
    assert case.run["status"] == "cancelled" and case.run["error_message"].startswith("KeyboardInterrupt")


def test_an_evaluation_is_stored_in_split_val_under_eval_names(cases):
    case = cases["evaluated"]
    theirs = {}
    for row in case.log:
        evaluated = {key: value for key, value in row.items() if key.startswith("eval_")}
        theirs |= {(row["step"], name): value for name, value in NAMED(evaluated, "eval").items()}
    assert {(2, "eval/reward"), (4, "eval/reward"), (2, "eval/loss"), (2, "eval/cispo_clip_ratio")} <= set(theirs)
    stored = case.stored("val")
    assert {at: value for at, value in stored.items() if at[1] != "eval/epoch"} == theirs
    assert not any(name.startswith("eval/") for _, name in case.stored())


def test_an_evaluation_after_the_training_joins_its_run(cases):
    case = cases["evaluated-later"]
    [evaluated] = [row for row in case.log if "eval_reward" in row]
    assert case.stored("val")[3, "eval/reward"] == evaluated["eval_reward"]
    assert case.run["status"] == "completed"


def test_what_only_trl_logs_is_stored_once_beside_the_row_and_what_the_engine_computes_is_the_engines(cases):
    case = cases["evaluated"]
    stored = case.stored()
    rows = [row for row in case.log if "reward" in row]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert stored[row["step"], "train/words"] == pytest.approx(row["words"], rel=1e-12)
        assert "grpo_metrics/words" not in row
        for name in ("reward_std", "completions/mean_length", "step_time", "cispo_clip_ratio"):
            assert stored[row["step"], name] == row[f"grpo_metrics/{name}"] == pytest.approx(row[name], rel=1e-6)
            assert (row["step"], f"train/{name}") not in stored
    last = case.log[-1]
    assert stored[4, "train/runtime"] == last["train_runtime"]


def test_a_run_has_the_trainers_arguments_seed_and_model(cases):
    for kind in ("grpo", "dpo"):
        run = cases[kind].run
        assert run["seed"] == 7 and run["run_config"]["model"].endswith("model")
        assert run["run_config"]["trainer"] == {"grpo": "GRPOTrainer", "dpo": "DPOTrainer"}[kind]
        arguments = run["run_config"]["args"]
        assert (arguments["learning_rate"], arguments["max_steps"], arguments["seed"]) == (3e-3, 3, 7)


def test_samples_of_an_instrumented_trainer_have_the_texts_that_were_scored(cases):
    case, same = cases["samples"], cases["grpo"]
    kept = case.store.list_predictions("r", "train")
    assert [(one["step"], one["sample_idx"]) for one in kept] == [(2, 0), (2, 1), (2, 2)]
    for one in kept:
        assert one["instruction"].startswith("w") and one["model_output"].strip() and one["metadata"]["group_size"] == 4
        rewards = one["metadata"]["rewards"]
        assert len(rewards) == 2 and one["reward"] == pytest.approx(sum(value or 0 for value in rewards.values()), abs=1e-6)
        assert one["metadata"]["length"] >= len(one["model_output"].split())
    # Texts change no number, but for how long things took.
    ours, theirs = ({key: value for key, value in each.stored().items() if "second" not in key[1] and "time" not in key[1]} for each in (case, same))
    assert case.warned == [] and ours == theirs and len(ours) > 60


def test_a_callback_beside_an_instrumented_trainer_on_its_run_is_silent_and_says_so_once(cases):
    case, alone = cases["beside"], cases["grpo"]
    [warned] = case.warned
    assert "the GrpoMetricsCallback of the same run is silent" in warned
    assert set(case.stored()) == set(alone.stored())
    for row in case.log:
        if "grpo_metrics/reward_std" in row:
            assert case.stored()[row["step"], "reward_std"] == row["grpo_metrics/reward_std"]


@pytest.mark.parametrize(
    ("kind", "steps"),
    [("first", [1, 3, 6, 8]), ("fraction", [2, 4, 6, 8]), ("epoch", [3, 6]), ("no", [3]), ("grpo", [1, 2, 3])],
)
def test_a_row_goes_out_when_trl_logs_and_is_over_the_same_steps(cases, kind, steps):
    case = cases[kind]
    rows = [row for row in case.log if "reward" in row]
    assert [row["step"] for row in rows] == steps == case.steps("reward")
    for row in rows:
        assert row["grpo_metrics/reward"] == pytest.approx(row["reward"], rel=1e-6)
        assert row["grpo_metrics/entropy"] == pytest.approx(row["entropy"], rel=1e-6)
    assert not any("grpo_metrics/reward" in row for row in case.log if row not in rows)


def test_a_cadence_that_was_asked_for_stands_whatever_trl_logs(cases):
    assert cases["own"].steps("reward") == [2, 4]


def test_a_training_that_goes_on_from_a_checkpoint_begins_its_window_there(cases):
    case = cases["resumed"]
    rows = [row for row in case.log if "reward" in row]
    assert [row["step"] for row in rows] == [3, 6, 9]
    assert case.steps("reward") == [3, 5, 6, 9]  # the first training left two steps over at its end
    stored = case.stored()
    for row in rows:
        assert stored[row["step"], "reward"] == row["grpo_metrics/reward"] == pytest.approx(row["reward"], rel=1e-6)


def test_a_row_that_a_resume_cuts_short_does_not_replace_the_one_over_the_whole_window(cases):
    case = cases["cut"]
    [whole] = [row for row in json.loads((case.folder / "before-cut.json").read_text()) if row["step"] == 6]
    [short] = [row for row in case.log if row["step"] == 6]
    stored = case.stored()[6, "reward"]
    assert stored == whole["grpo_metrics/reward"] != short["grpo_metrics/reward"]
    assert stored == pytest.approx(whole["reward"], rel=1e-6)
    assert case.steps("reward") == [3, 6, 7, 9]


def test_a_batch_that_an_earlier_training_of_the_trainer_generated_is_known_again(cases):
    case = cases["twice"]
    again = "run `r`: rows of steps that were there already are written again: 1, of steps 1 to 1"
    assert (case.error, case.warned, case.run["status"]) == (None, [again], "completed")
    assert not case.run.get("error_message")
    assert case.steps("reward") == [1, 2, 3, 4]


def test_a_number_of_trls_that_cannot_be_read_costs_the_other_ranks_nothing(caplog):
    from grpo_metrics._observer import Generated, Observer

    stepped = []
    engine = SimpleNamespace(step=lambda step, **given: stepped.append((step, given)), computes=lambda name: False)
    trainer = SimpleNamespace(
        state=SimpleNamespace(global_step=2, epoch=0.5, num_input_tokens_seen=8),
        accelerator=SimpleNamespace(is_main_process=True),
        _metrics={"train": {"odd": ["no number"]}},
    )
    training = SimpleNamespace(trainer=trainer, engine=engine, follows_log=True, log=SimpleNamespace(theirs=None))
    observer = Observer(training, Generated())
    observer._began_at = 1
    observer.end_step({"loss": 0.5})
    [(step, given)] = stepped
    assert (step, given["goes_out"], given["scalars"]["total_loss"]) == (2, True, 0.5)
    assert "must be real number" in caplog.text


def scoring(**parts):
    """An observer of one rank whose trainer scores two completions by two functions, and what it knows of them."""
    torch = pytest.importorskip("torch")
    from grpo_metrics._observer import Generated, Observer

    given = {"reward_weights": [1.0, 3.0], "reward_func_names": ["a", "b"], "eos_token_ids": [7], "pad_token_id": 0, "num_generations": 2}
    accelerator = SimpleNamespace(process_index=0, num_processes=1, is_main_process=True)
    training = SimpleNamespace(trainer=SimpleNamespace(accelerator=accelerator, **given | parts), engine=None, log=SimpleNamespace(theirs=None))
    observer = Observer(training, Generated())
    observer.rewarded(torch.tensor([[1.0, 0.5], [float("nan"), 2.0]]), [[3, 7], [4, 5]])
    return observer


def test_weights_may_be_a_list_and_of_a_number_that_is_not_the_functions_nothing_is_made(caplog):
    known = scoring()
    assert known._rewarded["rewards"] == [2.5, 6.0] and known._rewarded["reward_components"] == {"a": [1.0, None], "b": [0.5, 2.0]}
    assert known._rewarded["terminated"] == [True, False]
    known.parts.tell()
    assert caplog.text == ""
    uneven = scoring(reward_weights=[1.0], reward_func_names=["a"])
    assert "rewards" not in uneven._rewarded and uneven._rewarded["reward_components"] == {}
    for _ in range(2):
        uneven.parts.tell()
    [said] = caplog.messages
    assert "without a `reward_weights` a reward function, not counted: the total reward" in said and "a `reward_func_names`" in said


def test_the_rewards_of_one_generation_are_never_anothers(caplog):
    observer = scoring()
    observer.trainer.accelerator.device, observer.trainer.state = "cpu", SimpleNamespace(global_step=0)
    first, second = {}, {}
    observer.generated_batch(first)
    observer.generated_batch(second)  # which nobody has scored
    assert list(first) == ["grpo_metrics_row"] and second == {} and not observer.parts.counts


CLIPS = ("clip_ratio/", "cispo_clip_ratio")
LOSS_KEYS = ("kl", "entropy", "reward", "reward_std", "frac_reward_zero_std")


@pytest.mark.parametrize("kind", LOSSES)
def test_kl_clipping_and_the_share_without_spread_are_those_of_the_loss_that_trl_trains(cases, kind):
    case = cases[f"loss-{kind}"]
    assert case.error is None
    rows = [row for row in case.log if "kl" in row]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        theirs = {key for key in row if key in LOSS_KEYS or key.startswith(CLIPS)}
        ours = {key.removeprefix("grpo_metrics/") for key in row if key.startswith("grpo_metrics/")}
        of_the_loss = (*CLIPS, "kl")
        assert {key for key in theirs if key.startswith(of_the_loss)} == {key for key in ours if key.startswith(of_the_loss)}
        unlike = EXTREMES if ABSENT or kind not in ("unscored", "batch") else {*EXTREMES, "reward", "reward_std", "frac_reward_zero_std"}
        for key in theirs - unlike:
            assert row[f"grpo_metrics/{key}"] == pytest.approx(row[key], rel=2e-5, abs=1e-6), (row["step"], key)


@pytest.mark.parametrize("part", LACKS)
def test_what_a_trainer_of_another_trl_lacks_is_named_in_one_warning_and_all_else_is_counted_as_ever(cases, part):
    case, whole = cases[f"lacks-{part}"], cases["loss-token"].stored()
    said, without = LACKS[part]
    assert (case.error, case.step, case.run["status"]) == (None, 4, "completed")
    [warned] = case.warned
    assert said in warned
    stored = case.stored()
    if without is None:
        for row in case.log:
            numbers = {key: value for key, value in row.items() if key != "step" and isinstance(value, (int, float))}
            theirs = {key: value for key, value in numbers.items() if not key.startswith("grpo_metrics/")}
            assert {(row["step"], name): value for name, value in NAMED(theirs).items()}.items() <= stored.items()
        assert not any(name in {"kl", "reward", "entropy"} for _, name in stored)
        return
    timed = ("step_time", "train/runtime", "train/samples_per_second", "train/steps_per_second")
    lost = whole.keys() - stored.keys()
    assert {name for _, name in lost} == without
    # Older log-probabilities are not asked for where a batch is trained on at once.
    assert {step for step, _ in lost} <= ({2, 4} if part == "old" else {1, 2, 3, 4})
    kept = {at: value for at, value in whole.items() if at not in lost and at[1] not in timed}
    assert {at: value for at, value in stored.items() if at[1] not in timed} == kept


def test_the_losses_clip_so_that_their_numbers_are_told_apart(cases):
    regions = {kind: [row.get("clip_ratio/region_mean") for row in cases[f"loss-{kind}"].log] for kind in LOSSES}
    clipped = {kind: sum(share or 0 for share in shares) for kind, shares in regions.items()}
    assert clipped["cispo"] == 0
    assert len({clipped[kind] for kind in ("token", "sequence", "delta")}) == 3, clipped
    if ABSENT:
        assert {row.get("frac_reward_zero_std") for row in cases["loss-unscored"].log} > {0.5}
        assert {row.get("frac_reward_zero_std") for row in cases["loss-batch"].log} > {1.0}


def test_two_reward_functions_of_one_name_have_numbers_each(cases):
    case = cases["same-name"]
    assert case.error is None
    [warned] = [line for line in case.warned if "reward functions are named" in line]
    assert warned.endswith("two reward functions are named evens: the later one is evens_2")
    stored = case.stored()
    assert stored[1, "rewards/evens_2/mean"] == stored[1, "rewards/evens/mean"]


def theirs(case):
    return [{key: value for key, value in row.items() if "step_time" not in key and not key.startswith("train_")} for row in case.log]


def test_an_audit_tells_each_key_that_trl_averages_wrongly_once_and_by_what_and_changes_nothing(cases):
    case = cases["audit"]
    assert (case.error, case.step) == (None, 4)
    assert sorted(said.split("`")[1] for said in case.warned) == ["entropy", "kl"]
    for said in case.warned:
        assert said.endswith("): the mean of micro-batches' numbers")
        step, key = int(said.split("step ")[1].split(":")[0]), said.split("`")[1]
        [row] = [row for row in case.log if row["step"] == step and key in row]
        assert f"logs `{key}` as {row[key]:.6g}, it is {row[f'grpo_metrics/{key}']:.6g} (" in said
    assert theirs(case) == theirs(cases["audit-plain"])


def test_an_audit_is_silent_where_trl_is_right_and_tells_what_it_cannot_explain(cases):
    assert (cases["audit-right"].error, cases["audit-right"].warned) == (None, [])
    told, how = cases["audit-double"].warned
    assert told.startswith("grpo_metrics: step 1: the trainer logs `reward` as ") and told.endswith(")")
    assert how.startswith("grpo_metrics: how these came about, `grpo-metrics audit RECORDING --log LOG` tells of a training")


def test_an_audit_that_cannot_be_or_fails_says_so_and_the_training_goes_on(cases):
    assert cases["audit-maxent"].warned == ["grpo_metrics: no audit: expected rows that go out with the trainer's log, in the dialect trl"]
    failing = cases["audit-failing"]
    assert (failing.error, failing.step, failing.run["status"]) == (None, 4, "completed")
    assert failing.warned and all("ValueError: no audit today" in said for said in failing.warned)
    assert theirs(failing) == theirs(cases["audit"])
