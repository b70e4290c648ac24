-- Domains, their blocks, and the roots that commit to them. Each block makes one root.

-- The one line that all roots are in. Whoever appends, registers or prunes holds the row's lock.
CREATE TABLE line (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    made_at      bigint NOT NULL,                   -- of the store, or of its being brought to this version
    oldest_root  bigint NOT NULL DEFAULT 0          -- the oldest that can still be opened
);
INSERT INTO line (made_at) VALUES (micros());

CREATE TABLE domains (
    seq         bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    id          bytea PRIMARY KEY CHECK (length(id) = 32),
    name        bytea NOT NULL,
    owner       text COLLATE "C" NOT NULL,
    controller  bytea NOT NULL,
    settings    text NOT NULL,                      -- JSON
    policy      text NOT NULL,
    created_at  bigint NOT NULL,
    updated_at  bigint NOT NULL
);

-- Every controller a domain ever had: each has checked some of its blocks.
CREATE TABLE domain_blobs (
    domain  bytea NOT NULL REFERENCES domains (id),
    digest  bytea NOT NULL REFERENCES blobs (digest),
    PRIMARY KEY (digest, domain)
);

-- A row is one write of the domain's tree.
CREATE TABLE blocks (
    domain      bigint NOT NULL,                    -- its seq
    version     bigint NOT NULL,                    -- of its tree
    number      bigint NOT NULL,                    -- a u64 less 2^63, so that it sorts
    made        bigint NOT NULL,                    -- version of the root that it made
    latest      bigint NOT NULL,                    -- the highest number of the domain up to here
    depth       smallint NOT NULL,                  -- of its leaf, when it was put
    value       bytea NOT NULL,                     -- of its leaf
    siblings    bytea NOT NULL,                     -- 40 bytes each, from the leaf up; the upper ones are pruned
    state_root  bytea NOT NULL,
    trust       bytea NOT NULL,
    payload     bytea NOT NULL,
    PRIMARY KEY (domain, version)
);
CREATE UNIQUE INDEX blocks_by_number ON blocks (domain, number);
-- Hashes can't be compressed.
ALTER TABLE blocks ALTER COLUMN siblings SET STORAGE EXTERNAL;

-- A row is one write of the root tree. Version 0, the root without blocks, has none.
CREATE TABLE roots (
    version         bigint PRIMARY KEY,
    root            bytea NOT NULL,
    domain          bigint NOT NULL,                -- of the block that made it
    domain_version  bigint NOT NULL,
    at              bigint NOT NULL,                -- never before the version before
    depth           smallint NOT NULL,
    value           bytea NOT NULL,
    siblings        bytea NOT NULL
);
CREATE UNIQUE INDEX roots_by_root ON roots (root);
ALTER TABLE roots ALTER COLUMN siblings SET STORAGE EXTERNAL;
