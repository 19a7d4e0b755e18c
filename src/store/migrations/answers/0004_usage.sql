-- What requests cost, in sums of an hour; hours since 1970. An empty model is none.
CREATE TABLE usage_hours (
    account TEXT NOT NULL,
    hour INTEGER NOT NULL,
    key TEXT NOT NULL,
    model TEXT NOT NULL,
    class TEXT NOT NULL,
    requests INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    saved_prompt_tokens INTEGER NOT NULL,
    saved_completion_tokens INTEGER NOT NULL,
    PRIMARY KEY (account, hour, key, model, class)
) WITHOUT ROWID;
CREATE INDEX usage_hours_by_hour ON usage_hours (hour);

-- When each key was used last; milliseconds since 1970.
CREATE TABLE key_uses (
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (account, key)
) WITHOUT ROWID;
