-- What was judged: accounts as they were last read, verdicts while they are open and after, a row a day for trends.
-- Both SQLite and PostgreSQL understand this file. Unlike the journal these rows are not evidence of what was done: they
-- may be pruned, and read anew from the accounts.

-- +goose Up
CREATE TABLE accounts (
    id            TEXT   NOT NULL PRIMARY KEY CHECK (length(id) = 12),
    aws_partition TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    ou            TEXT   NOT NULL,
    tags          TEXT   CHECK (tags LIKE '{%}'), -- null: not read
    first_at      TEXT   NOT NULL CHECK (length(first_at) = 27),
    judged_at     TEXT   NOT NULL CHECK (judged_at = '' OR length(judged_at) = 27), -- empty while it is being made
    source        TEXT   NOT NULL,
    made_at       TEXT   CHECK (length(made_at) = 27), -- of the evidence; null: unknown
    ruleset       TEXT   NOT NULL,
    complete      BIGINT NOT NULL CHECK (complete IN (0, 1)),
    gaps          TEXT   NOT NULL CHECK (gaps LIKE '[%]'),
    unread_since  TEXT   CHECK (length(unread_since) = 27), -- null: its users were read
    users         BIGINT NOT NULL CHECK (users >= 0),
    keys          BIGINT NOT NULL CHECK (keys >= 0),
    active_keys   BIGINT NOT NULL CHECK (active_keys >= 0),
    ages          TEXT   NOT NULL CHECK (ages LIKE '{%}'),
    failing       BIGINT NOT NULL CHECK (failing >= 0),
    failing_keys  BIGINT NOT NULL CHECK (failing_keys >= 0),
    due           TEXT   NOT NULL CHECK (due LIKE '[%]'), -- what passes and fails soon
    posted_at     TEXT   NOT NULL CHECK (posted_at = '' OR length(posted_at) = 27), -- what changed until then has been told
    gone_at       TEXT   CHECK (length(gone_at) = 27) -- null: it is there
);

CREATE TABLE verdicts (
    id          TEXT NOT NULL CHECK (length(id) >= 1),
    opened_at   TEXT NOT NULL CHECK (length(opened_at) = 27),
    account     TEXT NOT NULL REFERENCES accounts (id),
    user_name   TEXT NOT NULL,
    rule        TEXT NOT NULL CHECK (length(rule) >= 1),
    kind        TEXT NOT NULL,
    title       TEXT NOT NULL,
    severity    TEXT NOT NULL CHECK (severity IN ('low', 'medium', 'high', 'critical')),
    remedy      TEXT NOT NULL,
    message     TEXT NOT NULL,
    key_id      TEXT NOT NULL,
    key_created TEXT CHECK (length(key_created) = 27),
    since       TEXT CHECK (length(since) = 27),
    tags        TEXT CHECK (tags LIKE '{%}'),
    terms       TEXT NOT NULL,
    seen_at     TEXT CHECK (length(seen_at) = 27), -- null: whenever its account was last judged
    closed_at   TEXT CHECK (length(closed_at) = 27), -- null: it is open
    why         TEXT CHECK (why IN ('fixed', 'excepted', 'user-gone', 'rule-changed', 'account-gone')),
    PRIMARY KEY (id, opened_at),
    CHECK ((closed_at IS NULL) = (why IS NULL)),
    CHECK (closed_at IS NULL OR (seen_at IS NOT NULL AND closed_at >= opened_at AND seen_at >= opened_at))
);

CREATE UNIQUE INDEX verdicts_one_open ON verdicts (id) WHERE closed_at IS NULL;
CREATE INDEX verdicts_open ON verdicts (account) WHERE closed_at IS NULL;
CREATE INDEX verdicts_account ON verdicts (account, opened_at, id);
CREATE INDEX verdicts_user ON verdicts (user_name, opened_at, id);
CREATE INDEX verdicts_rule ON verdicts (rule, opened_at, id);
CREATE INDEX verdicts_opened ON verdicts (opened_at, id);
CREATE INDEX verdicts_closed ON verdicts (closed_at) WHERE closed_at IS NOT NULL;

CREATE TABLE days (
    account      TEXT   NOT NULL REFERENCES accounts (id),
    day          TEXT   NOT NULL CHECK (length(day) = 10),
    complete     BIGINT NOT NULL CHECK (complete IN (0, 1)),
    users        BIGINT NOT NULL,
    keys         BIGINT NOT NULL,
    active_keys  BIGINT NOT NULL,
    ages         TEXT   NOT NULL CHECK (ages LIKE '{%}'),
    failing      BIGINT NOT NULL,
    failing_keys BIGINT NOT NULL,
    PRIMARY KEY (account, day)
);

CREATE INDEX days_day ON days (day);
