-- Whether a task may be pinned to a root: that it was not pruned, or is none of this store's. Until the transaction ends nothing is
-- pruned that it may be pinned to: pruning takes the same lock, alone, before it looks for the last time at what is pinned.
CREATE FUNCTION pin(wanted bytea, is_first boolean) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7165068321902031974);
    -- A statement of its own: it sees what was committed while the lock was waited for.
    RETURN coalesce(
        (SELECT coalesce((SELECT version FROM roots WHERE root = wanted), CASE WHEN is_first THEN 0 END) >= oldest_root FROM line),
        true);
END $$;
