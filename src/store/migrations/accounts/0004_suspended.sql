-- Who is suspended is followed as keys are: keys of the list are refused as well then. Counts every change of it.
INSERT INTO revisions (of, revision) VALUES ('suspended', 0);
CREATE INDEX accounts_suspended ON accounts (id) WHERE suspended_at IS NOT NULL;
