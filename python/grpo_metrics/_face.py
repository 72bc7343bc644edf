"""What stands in Python, with a signature and a docstring, for what is compiled."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from ._core import GrpoMetricsError, _unknown_name

P = ParamSpec("P")
R = TypeVar("R")


def stands_for(core: Callable[..., Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Gives a function without a body the work of `core`, which takes the same arguments and looks at them itself: it knows the
    names that are taken for others, and the closest to one that is unknown. A call that cannot be is a `GrpoMetricsError`."""

    def faced(face: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(face)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return core(*args, **kwargs)  # type: ignore[no-any-return]
            except (TypeError, OverflowError) as error:
                if _is_of_others(error.__traceback__):
                    raise
                raise _refused(face, kwargs, error) from None

        return call

    return faced


def _is_of_others(traceback: TracebackType | None) -> bool:
    """Whether an error comes out of Python code that the compiled part has called: a sink's, an array's."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is not None and traceback.tb_frame.f_globals.get("__package__") != __package__


def _refused(face: Callable[..., Any], given: dict[str, Any], error: Exception) -> GrpoMetricsError:
    parameters = inspect.signature(face).parameters
    for unknown in given:
        if unknown not in parameters:
            return GrpoMetricsError(f"{face.__qualname__}: " + _unknown_name("argument", unknown, [*parameters]))
    why = ", ".join([str(error), *getattr(error, "__notes__", ())])  # which argument it is stands in a note
    if "positional argument" in why and "missing" not in why:
        why += ": the others have names"
    return GrpoMetricsError(f"{face.__qualname__}: {why}")
