"""Calls on a thread of their own: in order, tried again, counted, and the parent's alone."""

import os
import threading
import time

from grpo_metrics._core import CallQueue


def test_calls_are_made_in_order_and_one_that_raises_is_made_again_before_the_others():
    made, down = [], threading.Event()

    def call(n):
        if n == 1 and not down.is_set():
            raise ConnectionError("down")
        made.append(n)

    queue = CallQueue()
    queue.push([lambda n=n: call(n) for n in range(3)])
    assert not queue.attempt(60.0)  # ends with the attempt that fails, not with the minute
    assert (made, queue.pending, queue.dropped) == ([0], 2, 0)
    assert "ConnectionError: down" in queue.error
    down.set()
    assert queue.attempt(60.0)
    assert (made, queue.pending, queue.dropped) == ([0, 1, 2], 0, 0)


def test_a_call_whose_error_is_final_is_dropped_and_one_that_cannot_be_judged_is_kept():
    made = []

    def refused():
        raise ValueError("no")

    def judged(error):
        if str(error) == "odd":
            raise RuntimeError("who knows")
        return isinstance(error, ValueError)

    queue = CallQueue(judged)
    queue.push([refused, lambda: made.append(1)])
    assert queue.attempt(60.0)
    assert (made, queue.pending, queue.dropped) == ([1], 0, 1)

    def odd():
        if len(made) == 1:
            raise ValueError("odd")

    queue.push([odd])
    assert not queue.attempt(60.0)
    assert (queue.pending, queue.dropped) == (1, 1)
    made.append(2)
    assert queue.attempt(60.0)


def test_nobody_waits_longer_than_told_for_a_call_that_hangs():
    go_on = threading.Event()
    queue = CallQueue()
    queue.push([go_on.wait])
    since = time.monotonic()
    assert not queue.attempt(0.2)
    assert time.monotonic() - since < 30 and queue.pending == 1 and queue.error is None
    go_on.set()
    assert queue.attempt(60.0)


def test_a_child_takes_no_call_and_waits_for_none():
    made = []
    queue = CallQueue()
    queue.push([lambda: made.append(1)])
    assert queue.attempt(60.0) and not queue.is_inherited
    child = os.fork()
    if child == 0:
        since = time.monotonic()
        queue.push([lambda: made.append(2)])
        fine = queue.is_inherited and not queue.attempt(60.0) and queue.pending == 0
        os._exit(0 if fine and time.monotonic() - since < 10 else 1)
    assert os.waitpid(child, 0)[1] == 0
    queue.push([lambda: made.append(3)])
    assert queue.attempt(60.0)
    assert made == [1, 3]
