-- Owners and keys, webhooks, priorities and deadlines, and what ageing out needs.

-- Programs that others may use, and every blob a program ever named: admitted tasks keep their controller.
ALTER TABLE programs ADD COLUMN public INTEGER NOT NULL DEFAULT 0;
CREATE INDEX programs_by_owner ON programs (owner);
CREATE INDEX programs_public ON programs (public) WHERE public = 1;
-- SQLite looks into these whenever a blob is removed, as programs refer to blobs.
CREATE INDEX programs_by_controller ON programs (controller);
CREATE INDEX programs_by_circuit ON programs (circuit);
CREATE INDEX programs_by_verifying_key ON programs (verifying_key) WHERE verifying_key IS NOT NULL;

CREATE TABLE program_blobs (
    program  INTEGER NOT NULL REFERENCES programs (seq),
    digest   BLOB NOT NULL,
    PRIMARY KEY (program, digest)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO program_blobs (program, digest) SELECT seq, controller FROM programs;
INSERT OR IGNORE INTO program_blobs (program, digest) SELECT seq, circuit FROM programs;
INSERT OR IGNORE INTO program_blobs (program, digest)
    SELECT seq, verifying_key FROM programs WHERE verifying_key IS NOT NULL;
INSERT OR IGNORE INTO program_blobs (program, digest)
    SELECT programs.seq, tasks.controller FROM tasks JOIN programs ON programs.id = tasks.program;
INSERT OR IGNORE INTO program_blobs (program, digest)
    SELECT programs.seq, tasks.circuit FROM tasks JOIN programs ON programs.id = tasks.program;

-- How many rows name a blob: those of program_blobs, and tasks' witness and proof, each for itself. Counted instead of
-- looked up: an index of witnesses and of proofs would be two more pages to write, at random places, for every task.
ALTER TABLE blobs ADD COLUMN names INTEGER NOT NULL DEFAULT 0;
ALTER TABLE blobs ADD COLUMN put_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE blobs ADD COLUMN file TEXT;             -- below blobs/; NULL: the content is in the row
UPDATE blobs SET file = lower(substr(hex(digest), 1, 2)) || '/' || lower(substr(hex(digest), 3))
    WHERE content IS NULL;
CREATE TABLE named AS
    SELECT digest, count(*) AS names FROM (
        SELECT digest FROM program_blobs
        UNION ALL SELECT witness FROM tasks WHERE witness IS NOT NULL
        UNION ALL SELECT proof FROM tasks WHERE proof IS NOT NULL
    ) GROUP BY digest;
UPDATE blobs SET names = named.names FROM named WHERE named.digest = blobs.digest;
DROP TABLE named;
CREATE INDEX blobs_unnamed ON blobs (put_at) WHERE names = 0;

CREATE TABLE blob_totals (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    blobs  INTEGER NOT NULL,
    bytes  INTEGER NOT NULL
) STRICT;
INSERT INTO blob_totals (one, blobs, bytes) SELECT 1, count(*), coalesce(sum(size), 0) FROM blobs;
CREATE TRIGGER blob_totals_insert AFTER INSERT ON blobs BEGIN
    UPDATE blob_totals SET blobs = blobs + 1, bytes = bytes + new.size;
END;
CREATE TRIGGER blob_totals_delete AFTER DELETE ON blobs BEGIN
    UPDATE blob_totals SET blobs = blobs - 1, bytes = bytes - old.size;
END;

ALTER TABLE tasks ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN deadline INTEGER;
ALTER TABLE tasks ADD COLUMN node TEXT;

-- The queue by owner, so that the next owner's next task is one look into an index, however many wait. Who holds a task
-- is among the waiting ones: its lease's end is what it waits for.
DROP INDEX tasks_ready;
DROP INDEX tasks_held;
CREATE INDEX tasks_ready ON tasks (stage, owner, priority DESC, id) WHERE ready_at = 0;
CREATE INDEX tasks_by_deadline ON tasks (deadline) WHERE stage IS NOT NULL AND deadline IS NOT NULL;

CREATE TABLE unfinished_tasks (
    owner  TEXT PRIMARY KEY,
    tasks  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO unfinished_tasks (owner, tasks) SELECT owner, count(*) FROM tasks WHERE stage IS NOT NULL GROUP BY owner;
CREATE TRIGGER unfinished_tasks_insert AFTER INSERT ON tasks WHEN new.stage IS NOT NULL BEGIN
    INSERT INTO unfinished_tasks (owner, tasks) VALUES (new.owner, 1)
        ON CONFLICT (owner) DO UPDATE SET tasks = tasks + 1;
END;
CREATE TRIGGER unfinished_tasks_delete AFTER DELETE ON tasks WHEN old.stage IS NOT NULL BEGIN
    UPDATE unfinished_tasks SET tasks = tasks - 1 WHERE owner = old.owner;
END;
CREATE TRIGGER unfinished_tasks_finish AFTER UPDATE OF stage ON tasks
    WHEN old.stage IS NOT NULL AND new.stage IS NULL BEGIN
    UPDATE unfinished_tasks SET tasks = tasks - 1 WHERE owner = old.owner;
END;
CREATE TRIGGER unfinished_tasks_retry AFTER UPDATE OF stage ON tasks
    WHEN old.stage IS NULL AND new.stage IS NOT NULL BEGIN
    INSERT INTO unfinished_tasks (owner, tasks) VALUES (new.owner, 1)
        ON CONFLICT (owner) DO UPDATE SET tasks = tasks + 1;
END;

-- Ageing out, oldest first. A finished task's updated_at is when it finished.
CREATE INDEX tasks_finished ON tasks (updated_at) WHERE stage IS NULL;
CREATE INDEX tasks_with_witness ON tasks (updated_at)
    WHERE stage IS NULL AND witness IS NOT NULL AND state <> 'failed';
CREATE INDEX tasks_with_proof ON tasks (updated_at) WHERE stage IS NULL AND proof IS NOT NULL;
CREATE INDEX idempotency_by_task ON idempotency (task);

-- An index ends with the row's seq by itself.
ALTER TABLE events ADD COLUMN owner TEXT NOT NULL DEFAULT 'anonymous';
UPDATE events SET owner = (SELECT tasks.owner FROM tasks WHERE tasks.id = events.task);
DROP INDEX events_by_task;
CREATE INDEX events_by_task ON events (task);
CREATE INDEX events_by_owner ON events (owner);

-- Nodes registered before there were owners prove for everybody, as they did, and are reached wherever they are.
ALTER TABLE provers ADD COLUMN shared INTEGER NOT NULL DEFAULT 1;
ALTER TABLE provers ADD COLUMN trusted INTEGER NOT NULL DEFAULT 1;

CREATE TABLE owners (
    owner                TEXT PRIMARY KEY,
    weight               INTEGER NOT NULL,
    unfinished_tasks     INTEGER,                   -- the 64 bits of a u64
    programs             INTEGER,                   -- the 64 bits of a u64
    requests_per_second  INTEGER,
    burst                INTEGER,
    created_at           INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    id          BLOB PRIMARY KEY CHECK (length(id) = 8),
    owner       TEXT NOT NULL,
    name        TEXT NOT NULL,
    hash        BLOB NOT NULL CHECK (length(hash) = 32),
    scopes      TEXT NOT NULL,                      -- a JSON array of names
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    revoked_at  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_by_age ON api_keys (created_at, id);
CREATE INDEX api_keys_by_owner ON api_keys (owner, created_at, id);

CREATE TABLE webhooks (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    owner       TEXT NOT NULL,
    url         TEXT NOT NULL,
    events      TEXT NOT NULL,                      -- a JSON array of names
    secret      TEXT NOT NULL,
    after       INTEGER NOT NULL,                   -- it gets the events above this one
    created_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX webhooks_by_owner ON webhooks (owner);

-- The last event that was looked at for webhooks. While there are none, it stays behind.
ALTER TABLE instance ADD COLUMN looked_at INTEGER NOT NULL DEFAULT 0;

-- With the event itself, which may age out before it is delivered.
CREATE TABLE deliveries (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    id            BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    webhook       BLOB NOT NULL REFERENCES webhooks (id),
    event         INTEGER NOT NULL,
    task          BLOB NOT NULL,
    event_at      INTEGER NOT NULL,
    event_state   TEXT NOT NULL,
    event_name    TEXT NOT NULL,
    event_detail  TEXT NOT NULL,
    state         TEXT NOT NULL,
    attempts      INTEGER NOT NULL DEFAULT 0,
    fence         INTEGER NOT NULL DEFAULT 0,
    claimed       INTEGER NOT NULL DEFAULT 0,
    next_at       INTEGER,                          -- of a claimed one, when its lease ends; NULL: nothing more is tried
    last_at       INTEGER,
    last_status   INTEGER,
    last_error    TEXT,
    last_took     INTEGER,                          -- microseconds
    created_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX deliveries_by_webhook ON deliveries (webhook);
CREATE INDEX deliveries_waiting ON deliveries (webhook, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_by_time ON deliveries (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_ended ON deliveries (created_at) WHERE next_at IS NULL;
