-- What usage was added, by the ids of the batches that it came in, and when those were made: one that comes again is not
-- added again. Milliseconds since 1970.
CREATE TABLE usage_batches (
    id BLOB PRIMARY KEY NOT NULL,
    at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX usage_batches_by_time ON usage_batches (at);
