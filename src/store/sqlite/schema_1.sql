CREATE TABLE experiments (
    id              TEXT NOT NULL PRIMARY KEY,
    experiment_name TEXT NOT NULL,
    project_id      TEXT,
    hypothesis      TEXT,
    tags            TEXT NOT NULL, -- a JSON list
    status          TEXT NOT NULL,
    conclusion      TEXT,
    error_message   TEXT,
    created_at      TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE TABLE groups (
    id            TEXT NOT NULL PRIMARY KEY,
    experiment_id TEXT NOT NULL REFERENCES experiments (id),
    name          TEXT NOT NULL,
    description   TEXT,
    created_at    TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE TABLE runs (
    id            TEXT NOT NULL PRIMARY KEY, -- the run's name, where it was given one
    experiment_id TEXT NOT NULL REFERENCES experiments (id),
    group_id      TEXT REFERENCES groups (id),
    dataset_id    TEXT,
    seed          INTEGER,
    recipe_kind   TEXT,
    run_config    TEXT, -- JSON
    status        TEXT NOT NULL,
    error_message TEXT,
    wandb_run_url TEXT,
    created_at    TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

-- Step before name: a step's numbers lie side by side, and writing one touches few pages.
CREATE TABLE metrics (
    run_id TEXT    NOT NULL REFERENCES runs (id),
    step   INTEGER NOT NULL,
    split  TEXT    NOT NULL, -- train or val
    name   TEXT    NOT NULL,
    value  REAL    NOT NULL, -- may be infinite; what is undefined has no row
    PRIMARY KEY (run_id, step, split, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
    id         TEXT    NOT NULL PRIMARY KEY,
    run_id     TEXT    NOT NULL REFERENCES runs (id),
    uri        TEXT    NOT NULL,
    label      TEXT,
    step       INTEGER,
    base_model TEXT,
    is_final   INTEGER NOT NULL, -- 0 or 1
    created_at TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE TABLE evals (
    id            TEXT NOT NULL PRIMARY KEY,
    run_id        TEXT NOT NULL REFERENCES runs (id),
    benchmark_id  TEXT NOT NULL,
    checkpoint_id TEXT REFERENCES checkpoints (id),
    model_ref     TEXT,
    step          INTEGER,
    metrics       TEXT, -- JSON
    breakdowns    TEXT, -- JSON
    sdk_version   TEXT,
    created_at    TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE TABLE predictions (
    id           TEXT NOT NULL PRIMARY KEY,
    run_id       TEXT NOT NULL REFERENCES runs (id),
    kind         TEXT NOT NULL,
    eval_id      TEXT REFERENCES evals (id),
    task_id      TEXT,
    instruction  TEXT,
    model_output TEXT,
    expected     TEXT,
    reward       REAL,
    advantage    REAL,
    step         INTEGER,
    sample_idx   INTEGER,
    metadata     TEXT, -- JSON
    created_at   TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

CREATE INDEX groups_by_experiment ON groups (experiment_id);
CREATE INDEX runs_by_experiment ON runs (experiment_id);
CREATE INDEX checkpoints_by_run ON checkpoints (run_id);
CREATE INDEX evals_by_run ON evals (run_id);
CREATE INDEX predictions_by_run ON predictions (run_id, kind);
