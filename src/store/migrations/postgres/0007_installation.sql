-- What tells this installation from others that use the same Redis.
INSERT INTO meta (name, value)
VALUES ('installation', left(replace(gen_random_uuid()::text, '-', ''), 12));
