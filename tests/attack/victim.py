"""The training in Python that attack.py kills: `victim.py KIND FOLDER FROM UNTIL`, with KIND `sqlite` or `forks`, says what examples/victim.rs says.

With `forks` it leaves a child behind at every fifth step: one that steps the engine it inherited and exits, one that leaves the block it
was forked in, one that outlives its parent as an orphaned worker does.
"""

import os
import sys
import time

from grpo_metrics import Engine

kind, folder, first, until = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
parent = os.getpid()


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def fork(step: int) -> None:
    if os.fork():
        return
    os.close(1)  # what a child does is acknowledged to nobody
    os.close(2)
    if step % 3 == 0:
        try:
            engine.step(step + 1_000_000)
        finally:
            os._exit(0)
    if step % 3 == 1:
        sys.exit()  # out of the block
    for _ in range(40):
        time.sleep(0.05)
    os._exit(0)


with Engine(store=f"{folder}/runs.db", journal=f"{folder}/journal", run="run") as engine:
    for step in range(first, until):
        say(f"start {step}")
        engine.observe(group_sizes=[4], rewards=[float(step + more) for more in range(4)])
        engine.step(step)
        say(f"ack {step}")
        if kind == "forks" and step % 5 == 0:
            fork(step // 5)
if os.getpid() == parent:
    for receipt in engine.finish():
        say(f"receipt {receipt['written']} {receipt['dropped']} {receipt['pending']}")
