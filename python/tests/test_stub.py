"""The stub says what is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")


def test_the_stub_and_the_adapters_types_agree_with_the_package(tmp_path):
    folder = Path(__file__).parents[1]
    given = ["--mypy-config-file", str(folder / "pyproject.toml"), "--allowlist", str(folder / "stubtest-allowlist")]
    # From elsewhere: in the sources' folder Python would import those, which hold no compiled core.
    said = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "grpo_metrics", *given], capture_output=True, text=True, cwd=tmp_path
    )
    assert said.returncode == 0, said.stdout + said.stderr
