-- Money, in millionths of a millionth of the currency that the prices were in; rows of before have none.
ALTER TABLE usage_hours ADD COLUMN cost INTEGER;
ALTER TABLE usage_hours ADD COLUMN cost_saved INTEGER;
ALTER TABLE usage_hours ADD COLUMN saved_cached_tokens INTEGER;

-- The same in sums of a day, for spans of many of them; days since 1970.
CREATE TABLE usage_days (
    account TEXT NOT NULL,
    day INTEGER NOT NULL,
    key TEXT NOT NULL,
    model TEXT NOT NULL,
    class TEXT NOT NULL,
    requests INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    saved_prompt_tokens INTEGER NOT NULL,
    saved_completion_tokens INTEGER NOT NULL,
    cost INTEGER,
    cost_saved INTEGER,
    saved_cached_tokens INTEGER,
    PRIMARY KEY (account, day, key, model, class)
) WITHOUT ROWID;
INSERT INTO usage_days (account, day, key, model, class, requests, prompt_tokens, cached_tokens, completion_tokens,
    saved_prompt_tokens, saved_completion_tokens)
    SELECT account, hour / 24, key, model, class, sum(requests), sum(prompt_tokens), sum(cached_tokens),
    sum(completion_tokens), sum(saved_prompt_tokens), sum(saved_completion_tokens)
    FROM usage_hours GROUP BY account, hour / 24, key, model, class;
CREATE INDEX usage_days_by_day ON usage_days (day);
CREATE INDEX usage_days_by_key ON usage_days (account, key, day);

-- How people know a key, as of its last use.
ALTER TABLE key_uses ADD COLUMN name TEXT;
ALTER TABLE key_uses ADD COLUMN environment TEXT;

-- The models of an account that are told apart, and the last hour in which each was counted.
CREATE TABLE usage_models (
    account TEXT NOT NULL,
    model TEXT NOT NULL,
    last_hour INTEGER NOT NULL,
    PRIMARY KEY (account, model)
) WITHOUT ROWID;
INSERT INTO usage_models (account, model, last_hour)
    SELECT account, model, max(hour) FROM usage_hours WHERE model <> '' GROUP BY account, model;

-- What is deleted of one account alone is found without a look at the rest of it.
CREATE INDEX stored_answers_by_owners_end ON stored_answers (account, expires_at);
CREATE INDEX stored_answers_by_model ON stored_answers (account, model);
CREATE INDEX proxied_answers_by_model ON proxied_answers (account, model);

-- Of an answer and what came with it; those of before have none.
ALTER TABLE stored_answers ADD COLUMN crc INTEGER;

-- How often proxied answers were purged: two processes may share the file, and one does not see the other's purges.
ALTER TABLE proxied_total ADD COLUMN purges INTEGER;
