"""The metrax backend: by its protocol, and behind the real loggers where they are installed."""

from __future__ import annotations

import copy
import inspect
import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import grpo_metrics as gm
from grpo_metrics.tunix import GrpoMetricsBackend, backend_factory, with_backend

README = Path(__file__).parents[1] / "README.md"


def stored(tmp_path, run="r"):
    return [(m["step"], m["name"], m["value"]) for m in gm.Store(tmp_path / "runs.db", read_only=True).get_metrics(run)]


def kept(**options):
    """A backend and the rows that its sink gets, but for when they came."""
    rows = []
    return GrpoMetricsBackend(sinks=[keeping(rows)], **options), rows


def keeping(rows):
    return SimpleNamespace(write=lambda row: rows.append({"step": row["step"], "metrics": row["metrics"]}))


def test_scalars_of_a_step_are_one_row(tmp_path):
    backend, rows = kept(store=tmp_path / "runs.db", run="r")
    for step in (1, 2):
        backend.log_scalar("loss", 0.5 * step, step=step)
        backend.log_scalar("rewards/mean", step, step=step)
    backend.close()
    backend.close()
    assert rows == [
        {"step": 1, "metrics": {"loss": 0.5, "rewards/mean": 1.0}},
        {"step": 2, "metrics": {"loss": 1.0, "rewards/mean": 2.0}},
    ]
    assert [row for row in stored(tmp_path) if row[1] == "loss"] == [(1, "loss", 0.5), (2, "loss", 1.0)]
    assert gm.Store(tmp_path / "runs.db", read_only=True).get_run("r")["status"] == "completed"


def test_a_sink_that_fails_stops_nothing(caplog):
    def broken(row):
        raise OSError("disk full")

    backend = backend_factory(sinks=[SimpleNamespace(write=broken)])()
    backend.log_scalar("loss", 1.0, step=1)
    backend.close()
    assert "disk full" in caplog.text


def test_an_array_counts_as_its_mean_and_what_is_no_number_is_left_out_and_said_once(caplog):
    backend, rows = kept()
    for name, value in {"one": np.array([1.0]), "none": np.array(0.5), "many": np.array([[1.0, 2.0], [3.0, 6.0]])}.items():
        backend.log_scalar(name, value, step=np.int32(1))
    for odd in ("text", None, [], [[1.0], [2.0, 3.0]], object(), "text"):
        backend.log_scalar("odd", odd, step=1)
    backend.log_scalar("late", 1.0, step="no step")
    backend.close()
    assert rows == [{"step": 1, "metrics": {"one": 1.0, "none": 0.5, "many": 3.0}}]
    assert caplog.text.count("`odd` is left out") == 1 and "no step" in caplog.text


def test_a_leading_slash_is_not_part_of_a_name():
    backend, rows = kept()
    backend.log_scalar("/train/loss", 1.0, step=1)
    backend.close()
    assert rows == [{"step": 1, "metrics": {"train/loss": 1.0}}]


def test_what_jax_and_orbax_say_of_themselves_is_not_stored():
    jax = pytest.importorskip("jax")
    backend, rows = kept()
    heard = []
    listeners = (backend.log_scalar, lambda event, value, **_: heard.append(event))
    for listener in listeners:
        jax.monitoring.register_scalar_listener(listener)
    jax.monitoring.record_scalar("actor/train/loss", 1.0, step=1)
    jax.jit(lambda x: x * 3 + 1)(jax.numpy.ones(7))
    jax.monitoring.record_scalar("/jax/orbax/write/blocking_end_time", 5.0, storage_type="local")
    for listener in listeners:
        jax.monitoring.unregister_scalar_listener(listener)
    backend.close()
    assert any(event.startswith("/jax/core/compile/") for event in heard)
    assert rows == [{"step": 1, "metrics": {"actor/train/loss": 1.0}}]


def test_loggers_of_the_same_options_give_each_row_once():
    rows = []
    options = SimpleNamespace(factories=[backend_factory(sinks=[SimpleNamespace(write=rows.append)])])
    first, second = (copied.factories[0]() for copied in (copy.deepcopy(options), options))
    for step in (1, 2):
        for listener in (first, second):  # one channel, which both listen to
            listener.log_scalar("loss", float(step), step=step)
    second.close()
    second.close()
    first.log_scalar("loss", 3.0, step=3)
    first.close()
    assert [(row["step"], row["metrics"]["loss"]) for row in rows] == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_logger_that_was_never_closed_keeps_no_row_from_the_next():
    rows = []
    factory = backend_factory(sinks=[SimpleNamespace(write=rows.append)])
    factory()  # and made deaf by another's end
    heard = factory()
    heard.log_scalar("loss", 1.0, step=1)
    heard.close()
    until = time.monotonic() + 60
    while not rows and time.monotonic() < until:
        time.sleep(0.01)  # the sink has a thread of its own
    assert [row["step"] for row in rows] == [1]


def test_a_store_that_cannot_be_opened_is_a_log_line_in_a_training(tmp_path, caplog):
    rows = []
    backend = backend_factory(tmp_path, run="r", sinks=[SimpleNamespace(write=rows.append)])()
    backend.log_scalar("loss", 1.0, step=1)
    backend.close()
    assert "rows go to no store" in caplog.text and [row["step"] for row in rows] == [1]
    with pytest.raises(ValueError, match="`run` is missing"):
        backend_factory(object())


def test_no_scalar_waits_for_the_store():
    held, written = threading.Event(), []

    class Slow:
        def log_metrics(self, step, **_):
            assert held.wait(30)
            written.append(step)

    backend = GrpoMetricsBackend(Slow(), run="r")
    for step in (1, 2, 3):  # would never come back
        backend.log_scalar("loss", 1.0, step=step)
    assert written == []
    held.set()
    backend.close()
    assert written == [1, 2, 3]


def test_a_tunix_without_backends_is_told_another_way():
    from dataclasses import dataclass

    @dataclass
    class MetricsLoggerOptions:
        log_dir: str

    with pytest.raises(TypeError, match="register_scalar_listener"):
        with_backend(MetricsLoggerOptions("log"))


def test_it_is_a_logging_backend_of_metrax():
    protocol = pytest.importorskip("metrax.logging").LoggingBackend
    for name in ("log_scalar", "close"):
        theirs = inspect.signature(getattr(protocol, name)).parameters
        for kind in (GrpoMetricsBackend, type(backend_factory()())):
            assert list(inspect.signature(getattr(kind, name)).parameters) == list(theirs)


@pytest.fixture
def tunix(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")  # one of its defaults, where it is installed
    return pytest.importorskip("tunix.sft.metrics_logger")


def test_tunix_logs_through_it_beside_its_defaults(tunix, tmp_path):
    """The README's lines as they stand."""
    [lines] = [code for code in re.findall(r"```python\n(.*?)```", README.read_text(), re.S) if "MetricsLoggerOptions" in code]
    assert '"runs.db"' in lines
    names = {"MetricsLoggerOptions": tunix.MetricsLoggerOptions, "path": str(tmp_path / "log")}
    exec(lines.replace('"runs.db"', repr(str(tmp_path / "runs.db"))), names)
    logger, other = (tunix.MetricsLogger(options) for options in (names["options"], copy.deepcopy(names["options"])))
    for step in (1, 2):
        logger.log("actor", "loss", np.array([0.25 * step]), tunix.Mode.TRAIN, step)
        logger.log("", "loss", 0.5 * step, tunix.Mode.EVAL, step)
    logger.close()
    other.close()
    assert stored(tmp_path, "seed-0") == [
        (step, name, value * step) for step in (1, 2) for name, value in (("actor/train/loss", 0.25), ("eval/loss", 0.5))
    ]
    assert [*(tmp_path / "log").glob("events.out.tfevents.*")], "TensorBoard, Tunix's default, is still there"


def test_backends_that_were_asked_for_stay(tunix, tmp_path):
    seen, options = [], tunix.MetricsLoggerOptions(log_dir=str(tmp_path / "log"))
    mine = [lambda: SimpleNamespace(log_scalar=lambda event, value, **_: seen.append(event), close=lambda: seen.append("closed"))]
    if hasattr(options, "backend_kwargs"):
        options.backend_kwargs = {"custom_backend": mine}
    else:
        options.backend_factories = mine
    logger = tunix.MetricsLogger(with_backend(options, tmp_path / "runs.db", run="r"))
    logger.log("", "loss", 1.0, tunix.Mode.TRAIN, 1)
    logger.close()
    assert seen == ["/train/loss", "closed"] and stored(tmp_path) == [(1, "train/loss", 1.0)]
    assert not (tmp_path / "log").exists()


def test_a_training_of_tunix_stores_what_its_trainer_logs_and_nothing_else(tunix, tmp_path):
    from flax import nnx
    import jax
    import optax
    from tunix.sft import peft_trainer

    class Model(nnx.Module):
        def __init__(self):
            self.linear = nnx.Linear(3, 1, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.linear(x)

    rows = []
    options = tunix.MetricsLoggerOptions(log_dir=str(tmp_path / "log"))
    options = with_backend(options, tmp_path / "runs.db", run="r", sinks=[SimpleNamespace(write=rows.append)])
    config = peft_trainer.TrainingConfig(eval_every_n_steps=2, max_steps=4, metrics_logging_options=options, data_sharding_axis=())
    trainer = peft_trainer.PeftTrainer(Model(), optax.sgd(0.1), config)
    trainer.loss_fn = trainer.eval_loss_fn = lambda model, x: (model(x) ** 2).mean()
    trainer.gen_model_input_fn = lambda x: {"x": x}
    batches = [jax.random.normal(jax.random.key(i), (4, 3)) for i in range(4)]
    with jax.sharding.Mesh(np.array(jax.devices()[:1]), ("fsdp",)):
        trainer.train(batches, batches[:1])
    trainer.close()
    names = {name for _, name, _ in stored(tmp_path)}
    assert {"train/loss", "eval/loss"} <= names and not any("jax" in name or name.startswith("/") for name in names)
    held = {step: value for step, name, value in stored(tmp_path) if name == "train/loss"}
    theirs = trainer.metrics_logger.get_metric_history("", "loss", "train")
    assert [float(value) for value in theirs] == pytest.approx([held[step] for step in sorted(held)]) and len(held) == 4
    assert len([row for row in rows if "train/loss" in row["metrics"]]) == 4
