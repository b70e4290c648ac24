-- Times are microseconds since 1970. Ids and digests are their bytes, a u64 is the bigint with the same bits. JSON is text. A
-- text that may hold any character, NUL too, is the bytes of its UTF-8. Owners' names are compared byte by byte.

CREATE TABLE instance (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    id     bytea NOT NULL CHECK (length(id) = 32),
    epoch  bigint NOT NULL DEFAULT 0                -- grows with every crash of the database
);
INSERT INTO instance (id) VALUES (sha256((gen_random_uuid()::text || gen_random_uuid()::text)::bytea));

-- Counts health checks, so that each of them writes.
CREATE TABLE health (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    probes  bigint NOT NULL DEFAULT 0
);
INSERT INTO health DEFAULT VALUES;

-- The epoch, in a table that a crash empties: what is unlogged is reset by recovery. A crash may have taken back the last steps,
-- and with them fences and event numbers that somebody has seen; in a new epoch none of those is given again.
CREATE UNLOGGED TABLE uncrashed (
    epoch  bigint NOT NULL
);
INSERT INTO uncrashed (epoch) SELECT epoch FROM instance;

CREATE SEQUENCE events_seq;

CREATE FUNCTION begin_epoch() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    PERFORM FROM instance FOR UPDATE;
    IF NOT EXISTS (SELECT FROM uncrashed) THEN
        UPDATE instance SET epoch = epoch + 1;
        INSERT INTO uncrashed (epoch) SELECT epoch FROM instance;
        -- Further than events can have been numbered in the moment that a crash takes back.
        PERFORM setval('events_seq', last_value + 1000000) FROM events_seq;
    END IF;
END $$;

CREATE FUNCTION micros() RETURNS bigint LANGUAGE sql STABLE
    RETURN (extract(epoch FROM transaction_timestamp()) * 1000000)::bigint;

-- How many there are of what, so that nobody has to count. Each connection has a row of its own, as long as there are no more
-- connections than rows: a row that many write is a queue. The sum over all rows is the number.
CREATE TABLE tallies (
    shard       integer PRIMARY KEY,
    unfinished  bigint NOT NULL DEFAULT 0,
    delivered   bigint NOT NULL DEFAULT 0,
    failed      bigint NOT NULL DEFAULT 0,
    cancelled   bigint NOT NULL DEFAULT 0,
    blobs       bigint NOT NULL DEFAULT 0,
    blob_bytes  bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
INSERT INTO tallies (shard) SELECT generate_series(0, 63);

CREATE TABLE owner_tallies (
    owner       text COLLATE "C" NOT NULL,
    shard       integer NOT NULL,
    unfinished  bigint NOT NULL,
    PRIMARY KEY (owner, shard)
) WITH (fillfactor = 25);

CREATE FUNCTION shard() RETURNS integer LANGUAGE sql STABLE
    RETURN coalesce(nullif(current_setting('coprocessor.shard', true), '')::integer, pg_backend_pid() % 64);

CREATE TABLE blobs (
    digest   bytea PRIMARY KEY,
    size     bigint NOT NULL,
    content  bytea,                                 -- NULL: the content is an object
    object   text,                                  -- its name; no two puts ever use the same
    put_at   bigint NOT NULL,                       -- last
    suspect  boolean NOT NULL                       -- whether it may be that nothing names it
);
-- Most can't be compressed: proofs, ELFs, WebAssembly.
ALTER TABLE blobs ALTER COLUMN content SET STORAGE EXTERNAL;
CREATE INDEX blobs_suspect ON blobs (put_at) WHERE suspect;

CREATE FUNCTION tally_blobs() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    more_blobs  bigint;
    more_bytes  bigint;
BEGIN
    SELECT count(*), coalesce(sum(size), 0) INTO more_blobs, more_bytes FROM changed;
    IF TG_OP = 'DELETE' THEN
        more_blobs := -more_blobs;
        more_bytes := -more_bytes;
    END IF;
    IF more_blobs <> 0 THEN
        UPDATE tallies SET blobs = blobs + more_blobs, blob_bytes = blob_bytes + more_bytes WHERE shard = shard();
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER tally_added AFTER INSERT ON blobs REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tally_blobs();
CREATE TRIGGER tally_removed AFTER DELETE ON blobs REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tally_blobs();

CREATE TABLE programs (
    seq            bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    id             bytea PRIMARY KEY CHECK (length(id) = 32),
    owner          text COLLATE "C" NOT NULL,
    name           bytea NOT NULL,
    public         boolean NOT NULL,
    backend        text NOT NULL,
    controller     bytea NOT NULL,
    circuit        bytea NOT NULL,
    verifying_key  bytea,
    nonce          bigint NOT NULL,
    volume_size    bigint NOT NULL,
    created_at     bigint NOT NULL,
    updated_at     bigint NOT NULL
);
CREATE INDEX programs_by_owner ON programs (owner, seq);
CREATE INDEX programs_public ON programs (seq) WHERE public;

-- Every blob a program names or ever named: admitted tasks keep their controller.
CREATE TABLE program_blobs (
    program  bytea NOT NULL REFERENCES programs (id),
    digest   bytea NOT NULL REFERENCES blobs (digest),
    PRIMARY KEY (digest, program)
);
CREATE INDEX program_blobs_by_program ON program_blobs (program);

-- Apart from programs, whose rows every admission locks.
CREATE TABLE volumes (
    number   bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    program  bytea PRIMARY KEY REFERENCES programs (id),
    size     bigint NOT NULL,
    version  bigint NOT NULL DEFAULT 0,
    raw      bytea
) WITH (fillfactor = 50);

CREATE TABLE pages (
    volume   bigint NOT NULL,
    index    bigint NOT NULL,
    content  bytea NOT NULL,
    PRIMARY KEY (volume, index)
);
-- Compressed, and out of the row only when it does not fit otherwise.
ALTER TABLE pages ALTER COLUMN content SET STORAGE MAIN;

-- What changes with every step. What may be large is in task_content, so that a step doesn't rewrite it; and so are the indexes
-- of what never changes, as each new version of a row has to be entered in every index of its table.
CREATE TABLE tasks (
    id          bytea PRIMARY KEY,
    program     bytea NOT NULL,
    owner       text COLLATE "C" NOT NULL,
    controller  bytea NOT NULL,
    circuit     bytea NOT NULL,
    kind        text NOT NULL,
    root        bytea NOT NULL,
    state       text NOT NULL,
    stage       smallint,                           -- 0 execute, 1 prove, 2 deliver; NULL when finished
    ready_at    bigint,                             -- 0: may be claimed; else not before then; NULL when finished
    worker      text,                               -- who holds it; NULL: nobody
    node        text,
    fence       bigint NOT NULL,
    attempts    bigint NOT NULL,
    priority    smallint NOT NULL,
    deadline    bigint,
    created_at  bigint NOT NULL,
    updated_at  bigint NOT NULL,                    -- of a finished one: when it finished
    not_before  bigint,
    witness     bytea,
    proof       bytea
);

-- The queue. Finished tasks are in none of these, however many there are.
CREATE INDEX tasks_ready ON tasks (stage, owner, priority DESC, id) WHERE ready_at = 0;
CREATE INDEX tasks_waiting ON tasks (stage, ready_at) WHERE ready_at > 0;
CREATE INDEX tasks_by_deadline ON tasks (deadline) WHERE stage IS NOT NULL AND deadline IS NOT NULL;

-- Lists of those that change no more.
CREATE INDEX tasks_by_state ON tasks (state, id) WHERE stage IS NULL;

-- Ageing out, oldest first.
CREATE INDEX tasks_finished ON tasks (updated_at) WHERE stage IS NULL;
CREATE INDEX tasks_with_witness ON tasks (updated_at)
    WHERE stage IS NULL AND witness IS NOT NULL AND state <> 'failed';
CREATE INDEX tasks_with_proof ON tasks (updated_at)
    WHERE stage IS NULL AND proof IS NOT NULL AND state <> 'failed';

-- The blobs that tasks name.
CREATE TABLE task_blobs (
    digest  bytea NOT NULL REFERENCES blobs (digest),
    task    bytea NOT NULL,
    proof   boolean NOT NULL,                       -- or its witness
    PRIMARY KEY (digest, task, proof)
);

-- A connection's row of tallies is always locked before any of owner_tallies, so two that share a shard can't wait for
-- each other.
CREATE FUNCTION tally_tasks() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    here    integer := shard();
    was     text := '';
    is_now  text := '';
    change  integer := 0;
    of      text;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        was := OLD.state;
        of := OLD.owner;
        change := change - (OLD.stage IS NOT NULL)::integer;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        is_now := NEW.state;
        of := NEW.owner;
        change := change + (NEW.stage IS NOT NULL)::integer;
    END IF;
    UPDATE tallies SET
        unfinished = unfinished + change,
        delivered  = delivered  + (is_now = 'delivered')::integer  - (was = 'delivered')::integer,
        failed     = failed     + (is_now = 'failed')::integer     - (was = 'failed')::integer,
        cancelled  = cancelled  + (is_now = 'cancelled')::integer  - (was = 'cancelled')::integer
        WHERE shard = here;
    IF change <> 0 THEN
        INSERT INTO owner_tallies (owner, shard, unfinished) VALUES (of, here, change)
            ON CONFLICT (owner, shard) DO UPDATE SET unfinished = owner_tallies.unfinished + excluded.unfinished;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER tally_added AFTER INSERT OR DELETE ON tasks FOR EACH ROW EXECUTE FUNCTION tally_tasks();
-- The states on the way are counted by whoever asks: a task goes through them and is gone.
CREATE TRIGGER tally_moved AFTER UPDATE OF stage ON tasks FOR EACH ROW
    WHEN ((OLD.stage IS NULL) <> (NEW.stage IS NULL)) EXECUTE FUNCTION tally_tasks();

CREATE TABLE task_content (
    task     bytea PRIMARY KEY,
    program  bytea NOT NULL REFERENCES programs (id),
    owner    text COLLATE "C" NOT NULL,
    args     text NOT NULL,
    payload  text NOT NULL,
    output   bytea,
    result   text,
    failure  text
) WITH (fillfactor = 70);
CREATE INDEX task_content_by_program ON task_content (program, task);
CREATE INDEX task_content_by_owner ON task_content (owner, task);

CREATE TABLE idempotency (
    program  bytea NOT NULL,
    owner    text COLLATE "C" NOT NULL,
    key      bytea NOT NULL,
    request  bytea NOT NULL,
    task     bytea NOT NULL,
    PRIMARY KEY (program, owner, key)
);
CREATE INDEX idempotency_by_task ON idempotency (task);

-- Whoever draws a number holds this table's lock by then: readers wait for those who do.
CREATE TABLE events (
    seq     bigint PRIMARY KEY DEFAULT nextval('events_seq'),
    task    bytea NOT NULL,
    owner   text COLLATE "C" NOT NULL,
    at      bigint NOT NULL,
    state   text NOT NULL,
    name    text NOT NULL,
    detail  text NOT NULL
);
CREATE INDEX events_by_task ON events (task, seq);
CREATE INDEX events_by_owner ON events (owner, seq);

CREATE TABLE provers (
    owner     text COLLATE "C" NOT NULL,
    address   text COLLATE "C" NOT NULL,
    shared    boolean NOT NULL,
    trusted   boolean NOT NULL,
    secret    text,
    added_at  bigint NOT NULL,
    PRIMARY KEY (owner, address)
);

CREATE TABLE owners (
    owner                text COLLATE "C" PRIMARY KEY,
    weight               integer NOT NULL,
    unfinished_tasks     bigint,
    programs             bigint,
    requests_per_second  bigint,
    burst                bigint,
    created_at           bigint NOT NULL
);

CREATE TABLE api_keys (
    id          bytea PRIMARY KEY CHECK (length(id) = 8),
    owner       text COLLATE "C" NOT NULL,
    name        bytea NOT NULL,
    hash        bytea NOT NULL CHECK (length(hash) = 32),
    scopes      text[] NOT NULL,
    created_at  bigint NOT NULL,
    expires_at  bigint,
    revoked_at  bigint
);
CREATE INDEX api_keys_by_age ON api_keys (created_at, id);
CREATE INDEX api_keys_by_owner ON api_keys (owner, created_at, id);

CREATE TABLE webhooks (
    seq         bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    id          bytea PRIMARY KEY CHECK (length(id) = 16),
    owner       text COLLATE "C" NOT NULL,
    url         text NOT NULL,
    events      text[] NOT NULL,
    secret      text NOT NULL,
    after       bigint NOT NULL,                    -- it gets the events above this one
    created_at  bigint NOT NULL
);
CREATE INDEX webhooks_by_owner ON webhooks (owner, seq);

-- The last event that was looked at for webhooks.
CREATE TABLE looked_at (
    one  boolean PRIMARY KEY DEFAULT true CHECK (one),
    seq  bigint NOT NULL DEFAULT 0
);
INSERT INTO looked_at DEFAULT VALUES;

-- With the event itself, which may age out before it is delivered.
CREATE TABLE deliveries (
    seq           bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    id            bytea PRIMARY KEY CHECK (length(id) = 16),
    webhook       bytea NOT NULL REFERENCES webhooks (id),
    event         bigint NOT NULL,
    task          bytea NOT NULL,
    event_at      bigint NOT NULL,
    event_state   text NOT NULL,
    event_name    text NOT NULL,
    event_detail  text NOT NULL,
    state         text NOT NULL DEFAULT 'pending',
    attempts      bigint NOT NULL DEFAULT 0,
    fence         bigint NOT NULL DEFAULT 0,
    claimed       boolean NOT NULL DEFAULT false,
    next_at       bigint,                           -- of a claimed one, when its lease ends; NULL: nothing more is tried
    last_at       bigint,
    last_status   integer,
    last_error    bytea,
    last_took     bigint,                           -- microseconds
    created_at    bigint NOT NULL
);
CREATE INDEX deliveries_by_webhook ON deliveries (webhook, seq);
CREATE INDEX deliveries_waiting ON deliveries (webhook, next_at, seq) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_by_time ON deliveries (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX deliveries_ended ON deliveries (created_at) WHERE next_at IS NULL;
