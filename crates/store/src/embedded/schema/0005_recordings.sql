-- Recordings of controllers' runs: of each stage of a task the last.

ALTER TABLE tasks ADD COLUMN record INTEGER NOT NULL DEFAULT 0;

CREATE TABLE recordings (
    task     BLOB NOT NULL REFERENCES tasks (id),
    stage    INTEGER NOT NULL,                      -- as in tasks
    digest   BLOB NOT NULL,                         -- of a blob, which counts it
    made_at  INTEGER NOT NULL,
    PRIMARY KEY (task, stage)
) STRICT, WITHOUT ROWID;
