"""The command within a Python process: what it must not notice of that. `.ci/wheel` runs the crate's tests of the command on it, too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import DATA

import grpo_metrics as gm

COMMAND = [sys.executable, "-m", "grpo_metrics"]
RECORDING = str(DATA / "recordings" / "trl-2rank")


def said(*args, **given):
    return subprocess.run([*COMMAND, *args], capture_output=True, text=True, **given)


def test_it_says_the_packages_version_and_names_itself_as_the_command_does():
    assert (said("--version").stdout, said("--version").returncode) == (f"grpo-metrics {gm.__version__}\n", 0)
    shown = said("keys", "--help").stdout
    assert "Usage: grpo-metrics keys [OPTIONS]" in shown and "__main__" not in shown


def test_what_cannot_be_used_is_exit_code_2_and_what_cannot_be_written_1(tmp_path):
    wrong = said("replai")
    assert (wrong.returncode, wrong.stdout) == (2, "") and "unrecognized subcommand 'replai'" in wrong.stderr
    missing = said("replay", "nothing", cwd=tmp_path)
    assert missing.returncode == 2 and missing.stderr.startswith("error: ") and len(missing.stderr.splitlines()) == 1
    unwritten = said("replay", RECORDING, "--jsonl", str(tmp_path / "no" / "rows.jsonl"))
    assert unwritten.returncode == 1 and unwritten.stderr.startswith("error: ")


def test_a_reader_that_goes_away_ends_it_without_a_word():
    running = subprocess.Popen([*COMMAND, "keys", "--extended"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout.readline() != ""
    running.stdout.close()
    assert (running.stderr.read(), running.wait()) == ("", 0)


def test_the_crates_warnings_are_its_own_messages_and_no_log_lines(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import logging; logging.basicConfig(format='LOGGED %(message)s')")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    flagged = said("replay", RECORDING, "--jsonl", "rows.jsonl", "--extended", "--limit", "kl=9", cwd=tmp_path, env=environment)
    assert flagged.returncode == 0
    assert "\nwarning: step " in "\n" + flagged.stderr and "LOGGED" not in flagged.stderr


def test_an_argument_that_is_no_text_reaches_it_byte_for_byte(tmp_path):
    name = b"rec\xff.jsonl"
    with open(os.path.join(os.fsencode(tmp_path), name), "w") as record:
        record.write('{"step": 1, "rank": 0, "world_size": 1, "batch": {"group_sizes": [2], "rewards": [0.0, 1.0]}}\n')
    done = subprocess.run([*COMMAND, "replay", name, "--jsonl", "-", "--quiet"], cwd=tmp_path, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"") and b'"step":1' in done.stdout


def follower(tmp_path, **given):
    """A verb that never ends by itself, once it listens."""
    gm.Store(tmp_path / "runs.db").open_run("r")
    running = subprocess.Popen(
        [*COMMAND, "forward", "later", "--run", "r", "--follow"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **given
    )
    caught = 1 << (signal.SIGTERM - 1)
    for _ in range(6000):
        status = Path(f"/proc/{running.pid}/status").read_text()
        if int(status.split("SigCgt:")[1].split()[0], 16) & caught:
            return running
        time.sleep(0.01)
    raise AssertionError(running.communicate(timeout=1))


@pytest.mark.parametrize(("sent", "by"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_ends_a_verb_that_listens_with_its_own_words_and_130(tmp_path, sent, by):
    running = follower(tmp_path)
    running.send_signal(sent)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert f"stopped by {by}" in err and "Traceback" not in err and "KeyboardInterrupt" not in err


def test_ctrl_c_ends_a_verb_that_does_not_listen_at_once():
    running = subprocess.Popen([*COMMAND, "keys", "--extended", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout.read(1)  # and waits for the pipe to have room for more
    running.send_signal(signal.SIGINT)
    assert (running.wait(60), running.stderr.read()) == (-signal.SIGINT, b"")


def test_ctrl_c_that_is_ignored_as_nohup_has_it_stays_so_for_a_verb_that_does_not_listen(tmp_path):
    ignoring = "import signal, os, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    code = "import signal, sys, grpo_metrics.__main__ as m; m._command = lambda _: print(signal.getsignal(signal.SIGINT).name) or 0; m.main()"
    done = subprocess.run([sys.executable, "-c", ignoring, sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "SIG_IGN\n", done.stderr


def test_what_is_said_to_a_stream_that_is_closed_goes_into_no_file(tmp_path):
    warning = f"{' '.join(COMMAND)} replay {RECORDING} --jsonl rows.jsonl --extended --limit kl=9 2>&-"
    assert subprocess.run(["sh", "-c", warning], cwd=tmp_path).returncode == 0
    rows = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert len(rows) == 24 and all(row.startswith("{") for row in rows)


def test_numpy_is_not_loaded_for_it_nor_with_the_package():
    code = "import sys, grpo_metrics, grpo_metrics.__main__; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
