"""SIGTERM, by which schedulers end a training: the runs of the engines that are open end as `cancelled`, and their rows are delivered,
before the process dies of it as it would have.

There is a handler of ours only while an engine is open, in the place of the system's own and of no other: a program that has one says
itself what becomes of its runs.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import weakref
from types import FrameType
from typing import Any

from . import _core

_log = logging.getLogger("grpo_metrics")

REASON = "SIGTERM"

beside: weakref.WeakSet[Any] = weakref.WeakSet()
"""What writes runs without an engine, or keeps something back from one, and has a `cancelled(reason)`."""


def listen() -> None:
    """An engine is open. Python lets the main thread alone listen."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        _handle_by(_terminated)


def let_go() -> None:
    """Something was ended. Where it was the last of all that is open, and the main thread says so, nobody listens any more."""
    if not beside and not _core._is_any_open() and threading.current_thread() is threading.main_thread():
        _give_back()


def resume() -> None:
    """The call is over that SIGTERM came into the middle of."""
    _terminated(signal.SIGTERM, None)


def _terminated(number: int, frame: FrameType | None) -> None:
    if _core._postponed():
        return  # and resumed
    for writer in list(beside):
        try:
            writer.cancelled(REASON)
        except Exception as error:
            _log.warning("a run could not be ended: %s", error)
    _core._cancel_open(REASON)
    _handle_by(signal.SIG_DFL)
    signal.raise_signal(number)


def _give_back() -> None:
    if signal.getsignal(signal.SIGTERM) is _terminated:
        _handle_by(signal.SIG_DFL)


def _handle_by(handler: Any) -> None:
    try:
        signal.signal(signal.SIGTERM, handler)
    except ValueError:  # the main thread, but of an interpreter that is not the main one
        _log.debug("SIGTERM is not listened to here")


_before = threading.local()
"""The signals that a thread had blocked before it forked."""


def _forks() -> None:
    # Python forgets a signal that comes to a child before it has set itself up: it is to wait at the door.
    if signal.getsignal(signal.SIGTERM) is _terminated:
        _before.blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _has_forked() -> None:
    blocked = _before.__dict__.pop("blocked", None)
    if blocked is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _is_forked() -> None:
    # What is open is the parent's, and a child that is told to end is to end at once, whatever it is doing.
    _give_back()
    _has_forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forks, after_in_parent=_has_forked, after_in_child=_is_forked)
