"""The engine of a training that has to go on: without the outputs that cannot be opened, and with a configuration without secrets."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ._core import SinkError, StoreError
from .engine import Engine

_log = logging.getLogger("grpo_metrics")


def opened(options: dict[str, Any], asked: str | None) -> Engine:
    """An engine with these options; where a store or sink cannot be opened, one without, for the other ranks wait for its part. A run
    that nobody `asked` to go on with, and that cannot be gone on with, is left alone: there is a new one."""
    try:
        try:
            return Engine(**options)
        except StoreError as error:
            if asked is not None or options.get("resume") != "allow":
                raise
            _log.warning("grpo_metrics: the training has a run of its own: %s", error)
            return Engine(**options | {"resume": "never"})
    except (StoreError, SinkError) as error:
        _log.warning("grpo_metrics: rows go to the trainer's log alone: %s", error)
        return Engine(**without_outputs(options))


def without_outputs(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, but for those that say where rows go."""
    return {name: value for name, value in options.items() if name not in ("store", "sinks", "journal", "recorder", "samples")}


def without_secrets(value: Any) -> Any:
    """`to_dict` hides its own tokens, but not those in the keyword arguments for others that it holds."""
    if isinstance(value, list):
        return [without_secrets(member) for member in value]
    if not isinstance(value, dict):
        return value
    hidden = ("token", "api_key", "password", "secret")
    return {
        name: f"<{name.upper()}>" if isinstance(member, str) and name.lower().endswith(hidden) else without_secrets(member)
        for name, member in value.items()
    }
