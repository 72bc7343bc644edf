"""Padded matrices of a trainer as the rows of tokens that an engine takes."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np

from .._convert import Array, _array

Span = tuple[int, int]


def spans(mask: Any) -> list[Span]:
    """Where each row's tokens begin and end: from the first that a mask counts to the last, whatever it leaves out between them."""
    found = []
    for row in _array(mask).astype(bool):
        counted = np.flatnonzero(row)
        found.append((int(counted[0]), int(counted[-1]) + 1) if counted.size else (0, 0))
    return found


def cut(matrix: Any, at: list[Span]) -> list[Array] | None:
    """Each row's own part of a padded matrix; `None` where there is no matrix of that many rows, or it is too narrow."""
    if matrix is None:
        return None
    array = _array(matrix)
    if array.ndim != 2 or len(array) < len(at) or array.shape[1] < max((end for _, end in at), default=0):
        return None
    return [row[begin:end] for row, (begin, end) in zip(array, at)]


def advantages(rows: list[Array] | None, masks: list[Array]) -> dict[str, Any]:
    """Advantages by token as the completion's own, where its counted tokens have one in common; else by token."""
    if rows is None:
        return {}
    counted = [row[mask.astype(bool)] for row, mask in zip(rows, masks)]
    if all(row.size == 0 or (row == row[0]).all() for row in counted):
        return {"advantages": [float(row[0]) if row.size else None for row in counted]}
    return {"token_advantages": rows}


def numbered(groups: Iterable[Hashable]) -> list[int]:
    """A number for each, the same for the same, in the order in which they come."""
    seen: dict[Hashable, int] = {}
    return [seen.setdefault(group, len(seen)) for group in groups]
