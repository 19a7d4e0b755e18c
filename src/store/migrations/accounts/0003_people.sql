-- Who may log in. Somebody has a role in an account, or is an operator, or both. Names to log in with are in lower case,
-- passwords are PHC strings of argon2id; times are milliseconds since 1970.
CREATE TABLE people (
    id TEXT PRIMARY KEY NOT NULL,
    login TEXT NOT NULL,
    name TEXT NOT NULL,
    account TEXT,
    role TEXT,
    is_operator INTEGER NOT NULL,
    password TEXT NOT NULL,
    password_changed_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    disabled_at INTEGER
) WITHOUT ROWID;
CREATE UNIQUE INDEX people_by_login ON people (login);
CREATE INDEX people_by_account ON people (account, id);
CREATE INDEX people_operators ON people (id) WHERE is_operator = 1;

-- Who is logged in, recognised by SHA-256 of what their browser shows. The id is for lists.
CREATE TABLE sessions (
    digest BLOB PRIMARY KEY NOT NULL,
    id TEXT NOT NULL,
    person TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    address TEXT NOT NULL,
    agent TEXT
) WITHOUT ROWID;
CREATE INDEX sessions_by_person ON sessions (person, created_at);
CREATE INDEX sessions_by_end ON sessions (ends_at);

-- One-time links, recognised by SHA-256 of what stands in them. What one is for is in `kind`; account and role are those
-- of whom it lets in, the person is whose password it sets.
CREATE TABLE links (
    digest BLOB PRIMARY KEY NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    account TEXT,
    role TEXT,
    person TEXT,
    made_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    used_at INTEGER
) WITHOUT ROWID;
CREATE INDEX links_by_maker ON links (made_by, created_at);
CREATE INDEX links_by_account ON links (account);
CREATE INDEX links_by_person ON links (person);
CREATE INDEX links_by_end ON links (ends_at);
