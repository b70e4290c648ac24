-- A program's controllers by number, so that they can be listed and gone back to. Which is current says programs.controller.

ALTER TABLE programs ADD COLUMN versions INTEGER NOT NULL DEFAULT 0;    -- how many it ever had: no number is used twice

CREATE TABLE controller_versions (
    program  INTEGER NOT NULL REFERENCES programs (seq),
    number   INTEGER NOT NULL,
    digest   BLOB NOT NULL,
    set_at   INTEGER NOT NULL,                      -- when it was last made the current one
    owner    TEXT NOT NULL,                         -- by whom
    key      BLOB,                                  -- with which key, if with one
    PRIMARY KEY (program, number),
    UNIQUE (program, digest)
) STRICT, WITHOUT ROWID;

-- Those of before: whatever a program names that is neither its circuit nor its key.
INSERT INTO controller_versions (program, number, digest, set_at, owner)
    SELECT seq, row_number() OVER (PARTITION BY seq ORDER BY digest = controller, put_at, digest), digest,
        CASE WHEN digest = controller THEN updated_at ELSE min(max(put_at, created_at), updated_at) END, owner
    FROM (
        SELECT programs.*, program_blobs.digest, coalesce(blobs.put_at, 0) AS put_at
        FROM program_blobs JOIN programs ON programs.seq = program_blobs.program
        LEFT JOIN blobs ON blobs.digest = program_blobs.digest
    ) WHERE digest = controller OR (digest <> circuit AND digest IS NOT verifying_key);
UPDATE programs SET versions = (SELECT count(*) FROM controller_versions WHERE program = seq);

-- Which controllers failed tasks would be retried with.
CREATE INDEX tasks_failed ON tasks (program, controller) WHERE state = 'failed';
