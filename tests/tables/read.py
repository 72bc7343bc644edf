"""Reads tables that `export` wrote with pyarrow, pandas, polars and DuckDB, and holds each against what SQLite itself reads of the store.

    python tests/tables/read.py STORE FOLDER

The folder has wide.parquet, wide.csv, wide.jsonl, long.parquet, long.csv and long.jsonl.
"""

import json
import math
import sqlite3
import sys
from datetime import datetime, timezone
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# Keys that are called as a column of every table is.
COLUMN = {"step": "step_2", "time": "time_2"}


def millis(moment):
    """A time of any reader, in milliseconds since 1970."""
    if moment is None or moment is pd.NaT:
        return None
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return round((moment - EPOCH).total_seconds() * 1000)


def number(value):
    """A number of any reader; None where it is absent."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA:
        return None
    # "Infinity" is a text in JSON; where some cells are texts, DuckDB hands over each cell as it is written.
    return float(value.strip('"') if isinstance(value, str) else value)


def expected(store):
    """The numbers, and the times of rows, as SQLite reads them."""
    db = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    numbers = {
        (run, step, split, name): value
        for run, step, split, name, value in db.execute("select run_id, step, split, name, value from metrics")
    }
    times = dict(
        ((run, step, split), time)
        for run, step, split, time in db.execute(
            "select runs.id, step, split, time from rows join runs on runs.key = rows.run"
        )
    )
    return numbers, times


def of_wide(rows):
    """What a wide table's rows say, as `expected` has it."""
    names = {column: name for name, column in COLUMN.items()}
    numbers, times = {}, {}
    for row in rows:
        at = (row.pop("run"), int(row.pop("step")), row.pop("split"))
        times[at] = millis(row.pop("time"))
        for column, value in row.items():
            if (value := number(value)) is not None:
                numbers[(*at, names.get(column, column))] = value
    return numbers, times


def of_long(rows):
    numbers, times = {}, {}
    for row in rows:
        at = (row["run"], int(row["step"]), row["split"])
        times[at] = millis(row["time"])
        assert (*at, row["name"]) not in numbers, "a number stands there twice"
        numbers[(*at, row["name"])] = number(row["value"])
    return numbers, times


def of_duckdb(sql):
    answer = duckdb.sql(sql)
    return [dict(zip(answer.columns, row)) for row in answer.fetchall()]


def readers(folder, layout):
    """Each reader's rows, as dictionaries."""
    parquet, csv, jsonl = (str(folder / f"{layout}.{ending}") for ending in ("parquet", "csv", "jsonl"))
    table = pq.read_table(parquet)
    compressions = {
        table.column(nth).compression
        for group in range(pq.ParquetFile(parquet).num_row_groups)
        for table in [pq.ParquetFile(parquet).metadata.row_group(group)]
        for nth in range(table.num_columns)
    }
    assert compressions <= {"ZSTD"}, compressions
    assert str(table.schema.field("time").type) == "timestamp[ms, tz=UTC]", table.schema
    yield "pyarrow, Parquet", table.to_pylist()
    records = lambda frame: frame.astype(object).where(frame.notna(), None).to_dict("records")
    yield "pandas, Parquet", records(pd.read_parquet(parquet))
    yield "pandas, CSV", records(pd.read_csv(csv))
    yield "pandas, JSON lines", records(pd.read_json(jsonl, lines=True, precise_float=True, dtype=False))
    yield "polars, Parquet", pl.read_parquet(parquet).to_dicts()
    yield "polars, CSV", pl.read_csv(csv, infer_schema_length=None).to_dicts()
    yield "polars, JSON lines", pl.read_ndjson(jsonl, infer_schema_length=None).to_dicts()
    yield "DuckDB, Parquet", of_duckdb(f"from '{parquet}'")
    yield "DuckDB, CSV", of_duckdb(f"from read_csv('{csv}', sample_size=-1)")
    yield "DuckDB, JSON lines", of_duckdb(f"from read_json('{jsonl}', sample_size=-1)")
    yield "json, JSON lines", [json.loads(line) for line in open(jsonl)]


def main(store, folder):
    numbers, times = expected(store)
    assert math.inf in numbers.values() and -math.inf in numbers.values()
    for layout, understood in (("wide", of_wide), ("long", of_long)):
        for name, rows in readers(Path(folder), layout):
            found = understood(rows)
            for what, wanted, have in zip(("numbers", "times"), (numbers, times), found):
                differs = {at: (wanted.get(at), have.get(at)) for at in wanted.keys() | have.keys() if wanted.get(at) != have.get(at)}
                assert not differs, f"{layout}, {name}, {what}: {len(differs)} differ: {list(differs.items())[:5]}"
            print(f"{layout}: {name}")


main(*sys.argv[1:])
