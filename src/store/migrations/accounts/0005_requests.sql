-- Requests by the names that their makers gave them, so that one that is sent again is done once: what each asked for, as
-- SHA-256, and the key that it was about. Those of before stand in `keys.request`.
CREATE TABLE requests (
    maker TEXT NOT NULL,
    name TEXT NOT NULL,
    content BLOB NOT NULL,
    key TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (maker, name)
) WITHOUT ROWID;
CREATE INDEX requests_by_key ON requests (key);
CREATE INDEX requests_by_time ON requests (at);
