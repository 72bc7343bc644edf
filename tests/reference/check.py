"""Checks reference.py against the vectors of the system that defined the dictionary and against TRL's own log."""

import json
import sys
from pathlib import Path

from reference import dictionary, slim

DATA = Path(__file__).resolve().parents[1] / "data"
LOOSE = ("train/kl", "train/clip_ratio", "train/policy_entropy", "train/completions/diversity/")


def equal(one, other, relative):
    return abs(one - other) <= 1e-15 + relative * max(abs(one), abs(other))


def vectors():
    faults = []
    cases = [json.loads(line) for line in (DATA / "vectors/maxent.jsonl").open()]
    for case in cases:
        row, expected = dictionary(case["records"], "maxent", case.get("options")), case["expected"]
        faults += [(case["name"], "missing", key) for key in expected.keys() - row.keys()]
        faults += [(case["name"], "extra", key) for key in row.keys() - expected.keys()]
        for key in row.keys() & expected.keys():
            if not equal(row[key], expected[key], 1e-6 if key.startswith(LOOSE) else 1e-12):
                faults.append((case["name"], key, row[key], expected[key]))
        kept = set(slim(row))
        faults += [(case["name"], "slim", key) for key in kept ^ set(case["slim"])]
    return len(cases), faults


def recordings():
    faults, compared, unmatched = [], 0, set()
    for folder in sorted((DATA / "recordings").iterdir()):
        steps = {}
        for file in sorted(folder.glob("*.jsonl")):
            for line in file.open():
                record = json.loads(line)
                steps.setdefault(record["step"], []).append(record)
        for logged in json.loads((folder / "trl_log_history.json").read_text()):
            if logged.get("step") not in steps:
                continue
            row = dictionary(steps[logged["step"]], "trl")
            for key, value in logged.items():
                if key not in row:
                    unmatched.add(key)
                    continue
                compared += 1
                if abs(row[key] - value) > 1e-6 * max(1.0, abs(value)):
                    faults.append((folder.name, logged["step"], key, row[key], value))
    return compared, faults, unmatched


if __name__ == "__main__":
    count, faults = vectors()
    print(f"{count} vectors, {len(faults)} faults", *faults[:20], sep="\n  ")
    compared, more, unmatched = recordings()
    print(f"{compared} logged values, {len(more)} faults; not in the row: {sorted(unmatched)}", *more[:20], sep="\n  ")
    sys.exit(bool(faults or more))
