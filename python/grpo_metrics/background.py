"""A thread that makes calls in order, and keeps what fails until it succeeds."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable

_log = logging.getLogger("grpo_metrics")


class Worker:
    """Makes calls one after the other, off the training's thread.

    A call that raises stays at the head of the queue, and is tried again when the worker is next woken; but one whose error
    `is_final` is told, counted and dropped, as it would only hold up the others. A
    process that was forked from the worker's own has no such thread: there, calls are not taken and nothing is waited for.
    """

    def __init__(self, name: str, *, is_final: Callable[[BaseException], bool] = lambda error: False) -> None:
        self.error: BaseException | None = None
        self.dropped = 0
        self._is_final = is_final
        self._process = os.getpid()
        self._calls: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._awake = False
        self._thread = threading.Thread(target=self._run, name=f"grpo-metrics-{name}", daemon=True)
        self._thread.start()

    @property
    def is_inherited(self) -> bool:
        """Whether this process was forked from the worker's own."""
        return os.getpid() != self._process

    @property
    def pending(self) -> int:
        """Calls that have not succeeded yet."""
        return len(self._calls)

    def add(self, call: Callable[[], None]) -> None:
        """Queues a call for when the worker is next woken."""
        if self.is_inherited:
            return
        with self._changed:
            self._calls.append(call)

    def wake(self) -> None:
        """Lets the queued calls be made; does not wait for them."""
        if self.is_inherited:
            return
        with self._changed:
            self._awake = True
            self._changed.notify_all()

    def drain(self, seconds: float = 60.0) -> bool:
        """Waits until every queued call was tried, or a call has not come back for this long; whether all succeeded."""
        if self.is_inherited:
            return False
        self.wake()
        with self._changed:
            self._changed.wait_for(lambda: not self._awake, seconds)
            return not self._calls

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._awake)
            self._make_calls()
            with self._changed:
                if not self._calls or self.error is not None:
                    self._awake = False
                self._changed.notify_all()

    def _make_calls(self) -> None:
        self.error = None
        while self._calls:
            try:
                self._calls[0]()
            except BaseException as error:  # a store may raise anything, and here nobody can be told of an exit
                if not self._is_final(error):
                    self.error = error
                    _log.warning("could not send, keeping it: %s", error)
                    return
                self.dropped += 1
                _log.warning("dropped, as it would be refused again: %s", error)
            self._calls.popleft()
