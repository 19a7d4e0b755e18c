-- Answers that clients put. Times are milliseconds since 1970. The ids rise with each put: the highest is the newest.
CREATE TABLE stored_answers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    prompt_hash BLOB NOT NULL,
    model TEXT,
    tokens INTEGER,
    bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    metadata TEXT,
    answer TEXT NOT NULL
);
CREATE INDEX stored_answers_by_prompt ON stored_answers (account, prompt_hash);
CREATE INDEX stored_answers_by_age ON stored_answers (account, created_at);
CREATE INDEX stored_answers_by_end ON stored_answers (expires_at);

-- How often each was given: apart, so that counting one writes a few bytes and not the answer.
CREATE TABLE stored_uses (
    answer INTEGER PRIMARY KEY NOT NULL,
    uses INTEGER NOT NULL
);

-- What an account's answers take: kept with each change, because adding them up would take long.
CREATE TABLE stored_totals (
    account TEXT PRIMARY KEY NOT NULL,
    bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER stored_answers_put AFTER INSERT ON stored_answers BEGIN
    INSERT INTO stored_totals (account, bytes) VALUES (new.account, new.bytes)
        ON CONFLICT (account) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER stored_answers_gone AFTER DELETE ON stored_answers BEGIN
    UPDATE stored_totals SET bytes = bytes - old.bytes WHERE account = old.account;
    DELETE FROM stored_totals WHERE account = old.account AND bytes = 0;
    DELETE FROM stored_uses WHERE answer = old.id;
END;
