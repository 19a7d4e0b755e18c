-- Answers of upstreams, written behind. The lowest id is the oldest; an account that is not there is everybody.
CREATE TABLE proxied_answers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    entry_key BLOB NOT NULL,
    form TEXT NOT NULL,
    account TEXT,
    route TEXT NOT NULL,
    model TEXT,
    bytes INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    payload BLOB NOT NULL
);
CREATE UNIQUE INDEX proxied_answers_by_key ON proxied_answers (entry_key, form);
CREATE INDEX proxied_answers_by_age ON proxied_answers (account, created_at);
CREATE INDEX proxied_answers_by_route ON proxied_answers (route);
CREATE INDEX proxied_answers_by_end ON proxied_answers (expires_at);

-- What all of them take, in one row.
CREATE TABLE proxied_total (
    id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    bytes INTEGER NOT NULL
);
INSERT INTO proxied_total (id, bytes) VALUES (1, 0);
CREATE TRIGGER proxied_answers_put AFTER INSERT ON proxied_answers BEGIN
    UPDATE proxied_total SET bytes = bytes + new.bytes;
END;
CREATE TRIGGER proxied_answers_gone AFTER DELETE ON proxied_answers BEGIN
    UPDATE proxied_total SET bytes = bytes - old.bytes;
END;
