"""The command `grpo-metrics`: the crate's own, in this process instead of one of its own."""

from __future__ import annotations

import os
import signal
import sys

from ._core import _command


def main() -> int:
    """Runs the command with the arguments of the process; its exit code."""
    # Python's handler would only note a Ctrl-C until the command comes back. One that is ignored stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # What is written to a stream that is closed must not go to the next file that is opened, which would have its number.
    for stream in range(3):
        try:
            os.fstat(stream)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    return _command(["grpo-metrics", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
