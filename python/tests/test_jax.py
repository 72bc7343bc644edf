"""Jax arrays as columns."""

from __future__ import annotations

import numpy as np
import pytest
from test_columns import LOGPS, REFS, row

jnp = pytest.importorskip("jax.numpy")


def test_jax_arrays_are_columns():
    expected = row(token_logps=np.float32(LOGPS), ref_token_logps=np.float32(REFS))
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        assert row(token_logps=jnp.array(LOGPS, dtype), ref_token_logps=jnp.array(REFS, dtype)) == expected
    assert row(rewards=jnp.arange(4.0), completion_lengths=jnp.array([1, 2, 3, 2])) == row()
