-- Which gateways are there, by when each has last said so.
CREATE TABLE replicas (
    id TEXT COLLATE "C" PRIMARY KEY,
    seen_at TIMESTAMPTZ NOT NULL
);
