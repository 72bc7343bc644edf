-- From schema 1, whose rows over several steps have a table of their own where there are any.
CREATE TABLE IF NOT EXISTS windows (
    run_id TEXT    NOT NULL REFERENCES runs (id),
    step   INTEGER NOT NULL,
    split  TEXT    NOT NULL,
    steps  INTEGER NOT NULL,
    PRIMARY KEY (run_id, step, split)
) STRICT, WITHOUT ROWID;
ALTER TABLE metrics RENAME TO metrics_1;

CREATE TABLE runs_2 (
    key           INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, -- never given twice
    id            TEXT    NOT NULL UNIQUE,
    name          TEXT    NOT NULL, -- a label, which several runs may have
    experiment_id TEXT    NOT NULL REFERENCES experiments (id),
    group_id      TEXT REFERENCES groups (id),
    dataset_id    TEXT,
    seed          INTEGER,
    recipe_kind   TEXT,
    run_config    TEXT, -- JSON
    tags          TEXT    NOT NULL DEFAULT '[]', -- a JSON list
    note          TEXT,
    status        TEXT    NOT NULL,
    error_message TEXT,
    wandb_run_url TEXT,
    created_at    TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    seen_at       TEXT, -- its writer's last sign of life, where it gives any
    ended_at      TEXT
) STRICT;
INSERT INTO runs_2 (id, name, experiment_id, group_id, dataset_id, seed, recipe_kind, run_config, status, error_message, wandb_run_url, created_at)
SELECT id, id, experiment_id, group_id, dataset_id, seed, recipe_kind, run_config, status, error_message, wandb_run_url, created_at
FROM runs ORDER BY rowid;
DROP TABLE runs;
ALTER TABLE runs_2 RENAME TO runs;
CREATE INDEX runs_by_experiment ON runs (experiment_id);

-- The names of a run's numbers.
CREATE TABLE series (
    run   INTEGER NOT NULL REFERENCES runs (key),
    split TEXT    NOT NULL, -- train or val
    name  TEXT    NOT NULL,
    place INTEGER NOT NULL, -- a multiple of 4
    PRIMARY KEY (run, split, name)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX series_by_place ON series (run, place);

-- What is written at once: the numbers of a step.
CREATE TABLE rows (
    id      INTEGER NOT NULL PRIMARY KEY, -- see `numbers`
    run     INTEGER NOT NULL REFERENCES runs (key),
    step    INTEGER NOT NULL,
    split   TEXT    NOT NULL, -- train or val
    time    INTEGER, -- of the step's end: milliseconds since 1970, UTC; null where it is not known
    steps   INTEGER NOT NULL, -- how many steps the row is over
    count   INTEGER NOT NULL, -- how many numbers it has
    written INTEGER NOT NULL, -- counts the run's writes: of a row that was written again, the last
    UNIQUE (run, step, split)
) STRICT;
CREATE INDEX rows_by_writing ON rows (run, written);

-- A number's id is its row's id + its series' place. Four rows stand together, series by series: (row / 4, series, row % 4), with room
-- for 2^20 series between two fours of rows. So a step touches few pages, and a series is read from few.
CREATE TABLE numbers (
    id    INTEGER NOT NULL PRIMARY KEY,
    value REAL    NOT NULL -- may be infinite; what is undefined has no row
) STRICT;

-- The numbers with their names, as schema 1 had them in a table. The order of the joins is the order in which they are looked up.
CREATE VIEW metrics (run_id, step, split, name, value) AS
SELECT runs.id, rows.step, rows.split, series.name, numbers.value
FROM runs
CROSS JOIN rows ON rows.run = runs.key
CROSS JOIN series ON series.run = runs.key AND series.split = rows.split
CROSS JOIN numbers ON numbers.id = rows.id + series.place;

INSERT INTO rows (id, run, step, split, steps, count, written)
SELECT (n >> 2 << 22) | (n & 3), run, step, split, coalesce(steps, 1), count, written
FROM (
    SELECT runs.key AS run, old.step, old.split, windows.steps, count,
        row_number() OVER (ORDER BY runs.key, old.step, old.split) - 1 AS n,
        row_number() OVER (PARTITION BY runs.key ORDER BY old.step, old.split) AS written
    FROM (SELECT run_id, step, split, count(*) AS count FROM metrics_1 GROUP BY run_id, step, split) AS old
    JOIN runs ON runs.id = old.run_id
    LEFT JOIN windows ON (windows.run_id, windows.step, windows.split) = (old.run_id, old.step, old.split)
);

INSERT INTO series (run, split, name, place)
SELECT runs.key, split, old.name, (row_number() OVER (PARTITION BY runs.key ORDER BY split, old.name) - 1) << 2
FROM (SELECT DISTINCT run_id, split, name FROM metrics_1) AS old
JOIN runs ON runs.id = old.run_id;

INSERT INTO numbers (id, value)
SELECT rows.id + series.place, value
FROM metrics_1
CROSS JOIN runs ON runs.id = metrics_1.run_id
CROSS JOIN rows ON (rows.run, rows.step, rows.split) = (runs.key, metrics_1.step, metrics_1.split)
CROSS JOIN series ON (series.run, series.split, series.name) = (runs.key, metrics_1.split, metrics_1.name);

DROP TABLE windows;
DROP TABLE metrics_1;
DROP INDEX predictions_by_run;
CREATE INDEX predictions_by_run ON predictions (run_id, kind, step);
