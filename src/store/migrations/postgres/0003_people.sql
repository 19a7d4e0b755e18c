-- Who may log in. Somebody has a role in an account, or is an operator, or both. Names to log in with are in lower case,
-- passwords are PHC strings of argon2id; times are milliseconds since 1970.
CREATE TABLE people (
    id TEXT COLLATE "C" PRIMARY KEY,
    login TEXT COLLATE "C" NOT NULL,
    name TEXT NOT NULL,
    account TEXT COLLATE "C",
    role TEXT COLLATE "C",
    is_operator BOOLEAN NOT NULL,
    password TEXT NOT NULL,
    password_changed_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    disabled_at BIGINT
);
CREATE UNIQUE INDEX people_by_login ON people (login);
CREATE INDEX people_by_account ON people (account, id);
CREATE INDEX people_operators ON people (id) WHERE is_operator;

-- Who is logged in, recognised by SHA-256 of what their browser shows. The id is for lists.
CREATE TABLE sessions (
    digest BYTEA PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL,
    person TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    address TEXT NOT NULL,
    agent TEXT
);
CREATE INDEX sessions_by_person ON sessions (person, created_at);
CREATE INDEX sessions_by_end ON sessions (ends_at);

-- One-time links, recognised by SHA-256 of what stands in them. What one is for is in `kind`; account and role are those
-- of whom it lets in, the person is whose password it sets.
CREATE TABLE links (
    digest BYTEA PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    account TEXT COLLATE "C",
    role TEXT COLLATE "C",
    person TEXT COLLATE "C",
    made_by TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX links_by_maker ON links (made_by, created_at);
CREATE INDEX links_by_account ON links (account);
CREATE INDEX links_by_person ON links (person);
CREATE INDEX links_by_end ON links (ends_at);
