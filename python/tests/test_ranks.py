"""The engine on every rank, each a process of its own: what they share is rank 0's to open, to write and to end."""

import subprocess
import sys
import textwrap

import grpo_metrics as gm
import pytest

RANK = """
    import os, sys, time
    from multiprocessing.connection import Client, Listener
    import grpo_metrics as gm

    class Sockets:
        world_size = 2

        def __init__(self, rank):
            self.rank = rank
            if rank == 0:
                with Listener("gather.socket", "AF_UNIX") as listener:
                    self.other = listener.accept()
            else:
                while not os.path.exists("gather.socket"):
                    time.sleep(0.01)
                self.other = Client("gather.socket", "AF_UNIX")

        def gather(self, payload):
            if self.rank == 0:
                return [payload, self.other.recv_bytes()]
            self.other.send_bytes(payload)

    os.chdir(sys.argv[2])
    rank = int(sys.argv[1])
    gather = Sockets(rank)
    with gm.Engine(gather=gather, **OPTIONS) as engine:
        for step in range(1, 6):
            engine.observe(group_sizes=[2], rewards=[0.0, 1.0])
            engine.step(step)
        engine.log(5, {"eval/own": 1.0})
        if rank == 0:
            gather.other.recv_bytes()  # the other has finished
            print(gm.Store("runs.db", read_only=True).get_run("r")["status"] if "store" in OPTIONS else "-")
    print([(each["sink"], each["written"], each["dropped"], each["pending"]) for each in engine.finish()])
    if rank == 1:
        gather.other.send_bytes(b"over")
"""

STORE = [("store", 6, 0, 0)]
OUTPUTS = [
    ({"store": "runs.db", "run": "r"}, STORE, "running"),
    ({"store": "runs.db", "run": "r", "journal": "journal"}, [("durable", 6, 0, 0)], "running"),
    ({"sinks": ["rows.jsonl"]}, [("jsonl", 6, 0, 0)], "-"),
    ({"sinks": ["rows.jsonl"], "journal": "journal"}, [("durable", 6, 0, 0)], "-"),
]


@pytest.mark.skipif(sys.platform == "win32", reason="the ranks talk over a Unix socket")
@pytest.mark.parametrize(("options", "written", "status"), OUTPUTS, ids=lambda given: " ".join(given) if isinstance(given, dict) else "")
def test_two_ranks_share_an_output_that_rank_0_alone_opens_writes_and_ends(tmp_path, options, written, status):
    program = f"OPTIONS = {options!r}\n" + textwrap.dedent(RANK)
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(rank), str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for rank in (0, 1)
    ]
    said = [rank.communicate(timeout=60) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    assert said[1][0] == "[]\n"
    assert said[0][0] == f"{status}\n{written}\n"
    if "store" in options:
        store = gm.Store(tmp_path / "runs.db", read_only=True)
        assert store.get_run("r")["status"] == "completed"
        assert sorted({m["step"] for m in store.get_metrics("r", split="train")}) == [1, 2, 3, 4, 5]
    else:
        assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 6
