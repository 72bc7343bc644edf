"""An instrumented training of TRL that is ended by `sys.argv[1]` in its third step, for test_termination.py; its store is `runs.db` here."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import trl
from trl_cases import Out
from trl_worker import evens


def ending(completions, trainer_state, **_):
    if trainer_state.global_step == 2:
        if sys.argv[1] == "exit":
            os._exit(0)
        if sys.argv[1] == "error":
            raise ValueError("no reward today")
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        time.sleep(60)
    return evens(completions)


out = Out(Path.cwd(), "killed")
out.store = Path("runs.db")
out.grpo(rewards=[ending], trainer=trl.GRPOTrainer, options={"sinks": ["rows.jsonl"]}).train()
