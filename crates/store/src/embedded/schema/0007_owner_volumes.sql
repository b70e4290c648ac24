-- What volumes hold: the bytes of their pages and of raw storage, of each and of an owner's together.

ALTER TABLE owners ADD COLUMN volume_bytes INTEGER;             -- the most; the 64 bits of a u64

ALTER TABLE programs ADD COLUMN volume_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE programs SET volume_bytes =
    coalesce((SELECT sum(length(content)) FROM pages WHERE key BETWEEN seq << 32 AND seq << 32 | 0xFFFFFFFF), 0)
    + coalesce((SELECT length(content) FROM raw_storage WHERE program = seq), 0);

CREATE TABLE owner_volumes (
    owner  TEXT PRIMARY KEY,
    bytes  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO owner_volumes (owner, bytes) SELECT owner, sum(volume_bytes) FROM programs GROUP BY owner;
