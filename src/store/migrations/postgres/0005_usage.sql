-- What requests cost, in sums of an hour; hours since 1970. An empty model is none. Money is in millionths of a millionth
-- of the currency that the prices were in.
CREATE TABLE usage_hours (
    account TEXT COLLATE "C" NOT NULL,
    hour BIGINT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    model BYTEA NOT NULL,
    class TEXT COLLATE "C" NOT NULL,
    requests BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    saved_prompt_tokens BIGINT NOT NULL,
    saved_cached_tokens BIGINT NOT NULL,
    saved_completion_tokens BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    cost_saved BIGINT NOT NULL,
    PRIMARY KEY (account, hour, key, model, class)
);
CREATE INDEX usage_hours_by_hour ON usage_hours (hour);

-- The same in sums of a day, for spans of many of them; days since 1970.
CREATE TABLE usage_days (
    account TEXT COLLATE "C" NOT NULL,
    day BIGINT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    model BYTEA NOT NULL,
    class TEXT COLLATE "C" NOT NULL,
    requests BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    saved_prompt_tokens BIGINT NOT NULL,
    saved_cached_tokens BIGINT NOT NULL,
    saved_completion_tokens BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    cost_saved BIGINT NOT NULL,
    PRIMARY KEY (account, day, key, model, class)
);
CREATE INDEX usage_days_by_day ON usage_days (day);
CREATE INDEX usage_days_by_key ON usage_days (account, key, day);

-- When each key was used last, in milliseconds since 1970, and how people know it, as of then.
CREATE TABLE key_uses (
    account TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    last_at BIGINT NOT NULL,
    name TEXT,
    environment TEXT,
    PRIMARY KEY (account, key)
);

-- The models of an account that are told apart, and the last hour in which each was counted.
CREATE TABLE usage_models (
    account TEXT COLLATE "C" NOT NULL,
    model BYTEA NOT NULL,
    last_hour BIGINT NOT NULL,
    PRIMARY KEY (account, model)
);

-- What was added, by the ids of the batches that it came in: one that comes again is not added again.
CREATE TABLE usage_batches (
    id BYTEA PRIMARY KEY,
    at BIGINT NOT NULL
);
CREATE INDEX usage_batches_by_time ON usage_batches (at);
