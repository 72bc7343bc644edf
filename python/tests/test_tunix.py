"""The metrax backend: by its protocol, and behind the real loggers where they are installed."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest

import grpo_metrics as gm
from grpo_metrics.tunix import GrpoMetricsBackend, backend_factory


def test_scalars_of_a_step_are_one_row(tmp_path):
    rows = []
    backend = GrpoMetricsBackend(tmp_path / "runs.db", run="r", sinks=[SimpleNamespace(write=rows.append)])
    for step in (1, 2):
        backend.log_scalar("loss", 0.5 * step, step=step)
        backend.log_scalar("rewards/mean", step, step=step)
    assert rows == [{"step": 1, "metrics": {"loss": 0.5, "rewards/mean": 1.0}}]
    backend.close()
    backend.close()
    assert rows[1:] == [{"step": 2, "metrics": {"loss": 1.0, "rewards/mean": 2.0}}]
    store = gm.Store(tmp_path / "runs.db", read_only=True)
    assert [(m["step"], m["name"], m["value"]) for m in store.get_metrics("r", name="loss")] == [(1, "loss", 0.5), (2, "loss", 1.0)]
    assert store.get_run("r")["status"] == "completed"


def test_a_sink_that_fails_stops_nothing(caplog):
    def broken(row):
        raise OSError("disk full")

    backend = backend_factory(sinks=[SimpleNamespace(write=broken)])()
    backend.log_scalar("loss", 1.0, step=1)
    backend.close()
    assert "disk full" in caplog.text


def test_it_is_a_logging_backend_of_metrax():
    protocol = pytest.importorskip("metrax.logging").LoggingBackend
    for name in ("log_scalar", "close"):
        ours, theirs = (inspect.signature(getattr(kind, name)).parameters for kind in (GrpoMetricsBackend, protocol))
        assert list(ours) == list(theirs)


def test_tunix_logs_through_it(tmp_path):
    metrics_logger = pytest.importorskip("tunix.sft.metrics_logger")
    options = metrics_logger.MetricsLoggerOptions(
        log_dir=str(tmp_path / "log"), backend_factories=[backend_factory(tmp_path / "runs.db", run="r")]
    )
    logger = metrics_logger.MetricsLogger(options)
    logger.log("", "loss", 0.25, metrics_logger.Mode.TRAIN, 1)
    logger.close()
    [metric] = gm.Store(tmp_path / "runs.db", read_only=True).get_metrics("r")
    assert (metric["step"], metric["value"]) == (1, 0.25) and "loss" in metric["name"]
