-- What is known of the store itself: `form`, the major version of all tables, and who opened it last.
CREATE TABLE meta (
    name TEXT COLLATE "C" PRIMARY KEY,
    value TEXT NOT NULL
);
INSERT INTO meta (name, value) VALUES ('form', '1');

-- The steps that were taken, each with SHA-256 of what it did.
CREATE TABLE steps (
    version BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    digest BYTEA NOT NULL
);
