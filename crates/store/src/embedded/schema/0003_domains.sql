-- Domains, their blocks, and the roots that commit to them. Each block makes one root.

-- When the store was made, or brought to this version; and the oldest root that can still be opened.
ALTER TABLE instance ADD COLUMN made_at INTEGER NOT NULL DEFAULT 0;
UPDATE instance SET made_at = unixepoch() * 1000000;
ALTER TABLE instance ADD COLUMN oldest_root INTEGER NOT NULL DEFAULT 0;

CREATE TABLE domains (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT CHECK (seq < 8388608),
    id          BLOB NOT NULL UNIQUE CHECK (length(id) = 32),
    name        TEXT NOT NULL,
    owner       TEXT NOT NULL,
    controller  BLOB NOT NULL REFERENCES blobs (digest),
    settings    TEXT NOT NULL,                      -- JSON
    policy      TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;
-- SQLite looks into this whenever a blob is removed, as domains refer to blobs.
CREATE INDEX domains_by_controller ON domains (controller);

-- Every controller a domain ever had: each has checked some of its blocks.
CREATE TABLE domain_blobs (
    domain  INTEGER NOT NULL REFERENCES domains (seq),
    digest  BLOB NOT NULL,
    PRIMARY KEY (domain, digest)
) STRICT, WITHOUT ROWID;

-- The key is the domain's seq (23 bits), then the version of its tree (40 bits). A row is one write of the domain's tree.
CREATE TABLE blocks (
    key         INTEGER PRIMARY KEY,
    domain      INTEGER NOT NULL REFERENCES domains (seq),
    number      INTEGER NOT NULL,                   -- a u64 less 2^63, so that it sorts
    made        INTEGER NOT NULL,                   -- version of the root that it made
    latest      INTEGER NOT NULL,                   -- the highest number of the domain up to here
    depth       INTEGER NOT NULL,                   -- of its leaf, when it was put
    value       BLOB NOT NULL,                      -- of its leaf
    siblings    BLOB NOT NULL,                      -- 40 bytes each, from the leaf up; the upper ones are pruned
    state_root  BLOB NOT NULL,
    trust       BLOB NOT NULL,
    payload     BLOB NOT NULL                       -- last, as it may be long, and walks need none
) STRICT;
CREATE UNIQUE INDEX blocks_by_number ON blocks (domain, number);

-- A row is one write of the root tree. Version 0, the root without blocks, has none.
CREATE TABLE roots (
    version   INTEGER PRIMARY KEY,
    root      BLOB NOT NULL,
    block     INTEGER NOT NULL,                     -- key of the block that made it
    at        INTEGER NOT NULL,                     -- never before the version before
    depth     INTEGER NOT NULL,
    value     BLOB NOT NULL,
    siblings  BLOB NOT NULL
) STRICT;
-- Roots are random: whole ones would make the index thrice as large, and each of its pages is written for few of them.
CREATE INDEX roots_by_root ON roots (substr(root, 1, 8));
