-- Which gateways are there, by when each has last said so. Of no worth after a crash.
CREATE UNLOGGED TABLE replicas (
    id TEXT COLLATE "C" PRIMARY KEY,
    seen_at TIMESTAMPTZ NOT NULL
);
