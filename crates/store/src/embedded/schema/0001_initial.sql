-- Times are microseconds since 1970. Ids and digests are their bytes. JSON is text.

CREATE TABLE instance (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    id       BLOB NOT NULL CHECK (length(id) = 32),
    probes   INTEGER NOT NULL DEFAULT 0             -- counts health checks, so that each of them writes
) STRICT;
INSERT INTO instance (one, id) VALUES (1, randomblob(32));

CREATE TABLE blobs (
    digest   BLOB PRIMARY KEY CHECK (length(digest) = 32),
    size     INTEGER NOT NULL,
    content  BLOB                                   -- NULL: the content is a file
) STRICT;

CREATE TABLE programs (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              BLOB NOT NULL UNIQUE CHECK (length(id) = 32),
    owner           TEXT NOT NULL,
    name            TEXT NOT NULL,
    backend         TEXT NOT NULL,
    controller      BLOB NOT NULL REFERENCES blobs (digest),
    circuit         BLOB NOT NULL REFERENCES blobs (digest),
    verifying_key   BLOB REFERENCES blobs (digest),
    nonce           INTEGER NOT NULL,               -- the 64 bits of a u64
    volume_size     INTEGER NOT NULL,               -- the 64 bits of a u64
    volume_version  INTEGER NOT NULL DEFAULT 0,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;

CREATE TABLE raw_storage (
    program  INTEGER PRIMARY KEY REFERENCES programs (seq),
    content  BLOB NOT NULL
) STRICT;

-- The key is the program's seq (31 bits), then the page's index (32 bits): one B-tree, no second index to keep.
CREATE TABLE pages (
    key      INTEGER PRIMARY KEY,
    content  BLOB NOT NULL
) STRICT;

-- What changes with every step. What may be large is in task_content, so that a step doesn't rewrite it.
CREATE TABLE tasks (
    id          BLOB PRIMARY KEY CHECK (length(id) = 16),
    program     BLOB NOT NULL REFERENCES programs (id),
    owner       TEXT NOT NULL,
    controller  BLOB NOT NULL,
    circuit     BLOB NOT NULL,
    kind        TEXT NOT NULL,
    root        BLOB NOT NULL,
    state       TEXT NOT NULL,
    stage       INTEGER,                            -- 0 execute, 1 prove, 2 deliver; NULL when finished
    ready_at    INTEGER,                            -- 0: may be claimed; else not before then; NULL when finished
    worker      TEXT,                               -- who holds it; NULL: nobody
    fence       INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    not_before  INTEGER,
    witness     BLOB,
    proof       BLOB,
    CHECK ((stage IS NULL) = (ready_at IS NULL))
) STRICT, WITHOUT ROWID;

-- The queue. Finished tasks are in none of these, however many there are.
CREATE INDEX tasks_ready ON tasks (stage, id) WHERE ready_at = 0;
CREATE INDEX tasks_waiting ON tasks (stage, ready_at) WHERE ready_at > 0;
CREATE INDEX tasks_held ON tasks (id) WHERE worker IS NOT NULL;
CREATE INDEX tasks_unfinished ON tasks (program) WHERE stage IS NOT NULL;

-- Lists.
CREATE INDEX tasks_by_program ON tasks (program, id);
CREATE INDEX tasks_by_owner ON tasks (owner, id);
CREATE INDEX tasks_by_state ON tasks (state, id);

CREATE TABLE task_content (
    task     BLOB PRIMARY KEY REFERENCES tasks (id),
    args     TEXT NOT NULL,
    payload  TEXT NOT NULL,
    output   BLOB,
    result   TEXT,
    failure  TEXT
) STRICT;

CREATE TABLE idempotency (
    program  BLOB NOT NULL REFERENCES programs (id),
    owner    TEXT NOT NULL,
    key      TEXT NOT NULL,
    request  BLOB NOT NULL,
    task     BLOB NOT NULL,
    PRIMARY KEY (program, owner, key)
) STRICT, WITHOUT ROWID;

-- A sequence number is never used twice, not even after a program and its events are gone: readers resume by it.
CREATE TABLE events (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    task    BLOB NOT NULL REFERENCES tasks (id),
    at      INTEGER NOT NULL,
    state   TEXT NOT NULL,
    name    TEXT NOT NULL,
    detail  TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_task ON events (task, seq);

CREATE TABLE task_counts (
    state  TEXT PRIMARY KEY,
    tasks  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER task_counts_insert AFTER INSERT ON tasks BEGIN
    INSERT INTO task_counts (state, tasks) VALUES (new.state, 1) ON CONFLICT (state) DO UPDATE SET tasks = tasks + 1;
END;
CREATE TRIGGER task_counts_delete AFTER DELETE ON tasks BEGIN
    UPDATE task_counts SET tasks = tasks - 1 WHERE state = old.state;
END;
CREATE TRIGGER task_counts_update AFTER UPDATE OF state ON tasks WHEN old.state <> new.state BEGIN
    UPDATE task_counts SET tasks = tasks - 1 WHERE state = old.state;
    INSERT INTO task_counts (state, tasks) VALUES (new.state, 1) ON CONFLICT (state) DO UPDATE SET tasks = tasks + 1;
END;

CREATE TABLE provers (
    owner     TEXT NOT NULL,
    address   TEXT NOT NULL,
    secret    TEXT,
    added_at  INTEGER NOT NULL,
    PRIMARY KEY (owner, address)
) STRICT, WITHOUT ROWID;
