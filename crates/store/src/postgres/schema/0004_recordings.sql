-- Recordings of controllers' runs: of each stage of a task the last.

ALTER TABLE tasks ADD COLUMN record boolean NOT NULL DEFAULT false;

CREATE TABLE recordings (
    task     bytea NOT NULL,
    stage    smallint NOT NULL,                     -- as in tasks
    digest   bytea NOT NULL REFERENCES blobs (digest),
    made_at  bigint NOT NULL,
    PRIMARY KEY (task, stage)
);
CREATE INDEX recordings_by_digest ON recordings (digest);
