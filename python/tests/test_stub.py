"""The types say what is there: the stub of what is compiled, the adapters', and what programs see of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import grpo_metrics as gm
import pytest

pytest.importorskip("mypy")

FOLDER = Path(__file__).parents[1]
INSTALLED = Path(gm.__file__).parents[1]


def mypy(module, *given, cwd):
    # From elsewhere: in the sources' folder Python would import those, which hold no compiled core.
    environment = os.environ | {"PYTHONPATH": str(INSTALLED)}
    if INSTALLED == FOLDER:
        environment["MYPYPATH"] = str(INSTALLED)
    command = [sys.executable, "-m", module, *map(str, given)]
    said = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)
    return said.returncode, said.stdout + said.stderr


def test_the_stub_and_the_adapters_types_agree_with_the_package(tmp_path):
    given = ["--mypy-config-file", FOLDER / "pyproject.toml", "--allowlist", FOLDER / "stubtest-allowlist"]
    code, said = mypy("mypy.stubtest", "grpo_metrics", *given, cwd=tmp_path)
    assert code == 0, said


def test_the_examples_types_are_right_and_a_misspelt_option_column_or_scalar_is_none(tmp_path):
    examples = sorted((FOLDER / "examples").glob("*.py"))
    code, said = mypy("mypy", "--strict", *examples, cwd=tmp_path)
    assert code == 0, said
    loop = (FOLDER / "examples" / "training_loop.py").read_text()
    for right, wrong in [
        ('dialect="trl"', 'dialekt="trl"'),
        ("rewards=rewards,", "reward=rewards,"),
        ('{"learning_rate"', '{"learning_rat"'),
        ("logging_steps=4", 'logging_steps="4"'),
    ]:
        assert right in loop
        program = tmp_path / "program.py"
        program.write_text(loop.replace(right, wrong))
        code, said = mypy("mypy", "--strict", program, cwd=tmp_path)
        assert code == 1 and "program.py" in said, (wrong, said)


def test_pyright_finds_nothing_in_the_examples_and_something_in_a_misspelt_one(tmp_path):
    pytest.importorskip("pyright")
    site = {"extraPaths": [str(INSTALLED)], "typeCheckingMode": "strict"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(site))
    for example in (FOLDER / "examples").glob("*.py"):
        (tmp_path / example.name).write_text(example.read_text())

    def pyright():
        command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, str(tmp_path)]
        said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        return said.returncode, said.stdout + said.stderr

    assert pyright() == (0, "0 errors, 0 warnings, 0 informations\n")
    loop = tmp_path / "training_loop.py"
    loop.write_text(loop.read_text().replace("rewards=rewards,", "reward=rewards,"))
    code, said = pyright()
    assert code == 1 and 'No parameter named "reward"' in said, said
