-- A program's controllers by number, so that they can be listed and gone back to. Which is current says programs.controller.

ALTER TABLE programs ADD COLUMN versions bigint NOT NULL DEFAULT 0;     -- how many it ever had: no number is used twice

CREATE TABLE controller_versions (
    program  bytea NOT NULL REFERENCES programs (id),
    number   bigint NOT NULL,
    digest   bytea NOT NULL,
    set_at   bigint NOT NULL,                       -- when it was last made the current one
    owner    text COLLATE "C" NOT NULL,             -- by whom
    key      bytea CHECK (length(key) = 8),         -- with which key, if with one
    PRIMARY KEY (program, number),
    UNIQUE (program, digest)
);

-- Those of before: whatever a program names that is neither its circuit nor its key.
INSERT INTO controller_versions (program, number, digest, set_at, owner)
    SELECT id, row_number() OVER (PARTITION BY id ORDER BY (digest = controller), put_at, digest), digest,
        CASE WHEN digest = controller THEN updated_at ELSE least(greatest(put_at, created_at), updated_at) END, owner
    FROM programs JOIN program_blobs ON program_blobs.program = programs.id JOIN blobs USING (digest)
    WHERE digest = controller OR (digest <> circuit AND digest IS DISTINCT FROM verifying_key);
UPDATE programs SET versions = (SELECT count(*) FROM controller_versions WHERE program = programs.id);

-- Which controllers failed tasks would be retried with.
CREATE INDEX tasks_failed ON tasks (program, controller) WHERE state = 'failed';
