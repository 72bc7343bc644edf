"""The EvSys gateway from Python: a server of our own, over HTTP."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import grpo_metrics as gm

KEY = "a-key-of-nobody"


class Gateway(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.authorized.append(self.headers.get("Authorization", ""))
        said = json.dumps({"result": self.server.answer(asked["op"], asked["args"])}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *args):
        pass


@pytest.fixture
def gateway(tmp_path, monkeypatch):
    """A gateway that keeps what it is sent, in a store of ours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVSYS_API_KEY", KEY)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    server.authorized, server.times, store, lock = [], [], gm.Store(tmp_path / "behind.db"), threading.Lock()

    def answer(op, args):
        with lock:
            if op == "log_metrics":
                server.times.append(args.pop("timestamp", None))
                return store.log_metrics(**args)
            return getattr(store, op)(**args)

    server.answer, server.store = answer, store
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    thread.join()


def run_of(store):
    experiment = store.create_experiment("lengths")
    return store.create_run(experiment["id"], seed=3)["id"]


def test_rows_and_samples_go_to_a_gateway_by_its_address(gateway):
    run, begun = run_of(gm.EvSys(gateway.url)), time.time()
    with gm.Engine(dialect="trl", store=gateway.url, run=run) as engine:
        engine.samples(1, at_most=1)
        for step in (1, 2):
            engine.observe(group_sizes=[2], rewards=[0.0, 1.0], prompts=["p", "p"], completions=["a", "b"])
            engine.step(step)
    assert all(receipt["pending"] == receipt["dropped"] == 0 for receipt in engine.finish()), engine.finish()
    rewards = [row["value"] for row in gateway.store.get_metrics(run, "reward")]
    assert rewards == [0.5, 0.5]
    assert [sample["model_output"] for sample in gateway.store.list_predictions(run, "train")] == ["a", "a"]
    assert gateway.store.get_run(run)["status"] == "completed"
    assert all(begun - 1 <= at <= time.time() for at in gateway.times), gateway.times
    assert set(gateway.authorized) == {f"Bearer {KEY}"}


def test_a_gateway_has_the_operations_of_a_store(gateway):
    store = gm.EvSys(gateway.url, KEY)
    run = run_of(store)
    assert store.get_run(run)["seed"] == 3 and len(store.list_runs()) == 1
    assert store.touch_run(run)
    store.log_metrics(run, 1, {"train/loss": 0.5})
    assert store.get_metrics(run) == [{"step": 1, "name": "train/loss", "value": 0.5, "split": "train"}]
    with gm.Engine(dialect="trl", store=store, run=run) as engine:
        engine.observe(group_sizes=[1], rewards=[1.0])
        engine.step(2)
    assert [row["step"] for row in store.get_metrics(run, "reward")] == [2]
    for refused in (lambda: store.open_run("r"), lambda: store.export("x.csv")):
        with pytest.raises(gm.StoreError):
            refused()
    assert KEY not in repr(store)


def test_what_is_missing_is_said_before_the_training(gateway, monkeypatch):
    with pytest.raises(gm.OptionError, match="`run` is missing"):
        gm.Engine(store=gateway.url)
    with pytest.raises(gm.OptionError, match="resume"):
        gm.Engine(store=gateway.url, run="r", resume="allow")
    monkeypatch.delenv("EVSYS_API_KEY")
    with pytest.raises(gm.StoreError, match="EVSYS_API_KEY"):
        gm.Engine(store=gateway.url, run="r")
    with pytest.raises(gm.StoreError, match="EVSYS_API_URL"):
        gm.EvSys("ftp://host", KEY)


def test_a_password_in_a_gateways_address_is_in_no_journal_and_no_log(gateway, tmp_path, caplog):
    run = run_of(gm.EvSys(gateway.url))
    engine = gm.Engine(store=gateway.url.replace("http://", "http://me:swordfish@"), run=run)
    engine.step(1)
    kept = [path.read_bytes() for path in (tmp_path / ".grpo-metrics").rglob("*") if path.is_file()]
    engine.finish()
    assert kept and b"swordfish" not in b"".join(kept) and "swordfish" not in caplog.text
