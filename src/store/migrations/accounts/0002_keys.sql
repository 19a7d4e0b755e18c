-- Who may use the gateway. A key without a plan of its own has its account's; times are milliseconds since 1970.
CREATE TABLE accounts (
    id TEXT PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    plan TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    suspended_at INTEGER
) WITHOUT ROWID;

-- A key outlives its secrets. Lists are JSON arrays; an empty one allows all. A deleted key's row stays for a while, so
-- that who follows the keys learns of it.
CREATE TABLE keys (
    id TEXT PRIMARY KEY NOT NULL,
    account TEXT NOT NULL,
    name TEXT,
    environment TEXT,
    plan TEXT,
    expires_at INTEGER,
    allowed_ips TEXT NOT NULL,
    allowed_models TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revoked_at INTEGER,
    deleted_at INTEGER,
    revision INTEGER NOT NULL,
    request TEXT
) WITHOUT ROWID;
CREATE INDEX keys_by_account ON keys (account, id);
CREATE INDEX keys_by_revision ON keys (revision, id);
CREATE UNIQUE INDEX keys_by_request ON keys (account, request);
CREATE INDEX keys_in_force ON keys (account) WHERE revoked_at IS NULL;
CREATE INDEX keys_by_deletion ON keys (deleted_at) WHERE deleted_at IS NOT NULL;

-- What a key is recognised by: SHA-256 of the whole of it. One without an end is the newest.
CREATE TABLE key_secrets (
    digest BLOB PRIMARY KEY NOT NULL,
    key TEXT NOT NULL,
    public_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    ends_at INTEGER
) WITHOUT ROWID;
CREATE INDEX key_secrets_by_key ON key_secrets (key);
CREATE INDEX key_secrets_by_end ON key_secrets (ends_at) WHERE ends_at IS NOT NULL;

-- Counts every change of a key.
CREATE TABLE revisions (
    of TEXT PRIMARY KEY NOT NULL,
    revision INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO revisions (of, revision) VALUES ('keys', 0);

-- Who changed what, written with the change.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    account TEXT,
    subject TEXT,
    detail TEXT
);
CREATE INDEX audit_by_account ON audit (account, id);
CREATE INDEX audit_by_time ON audit (at);
