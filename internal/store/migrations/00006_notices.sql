-- The outbox: messages until they are delivered, what they tell, and the receipts. Both SQLite and PostgreSQL understand
-- this file; SQLite keeps bytes as they are in a column of any type.

-- +goose Up
CREATE TABLE notices (
    id        TEXT   NOT NULL PRIMARY KEY CHECK (length(id) >= 1),
    channel   TEXT   NOT NULL CHECK (length(channel) >= 1),
    body      BYTEA  NOT NULL CHECK (length(body) >= 1),
    added_at  TEXT   NOT NULL CHECK (length(added_at) = 27),
    tries     BIGINT NOT NULL CHECK (tries >= 0),
    next_at   TEXT   NOT NULL CHECK (length(next_at) = 27),
    token     TEXT   NOT NULL, -- of who took it last; empty: nobody has
    closed_at TEXT   CHECK (length(closed_at) = 27), -- null: it is to be delivered
    state     TEXT   CHECK (state IN ('sent', 'given up')),
    CHECK ((closed_at IS NULL) = (state IS NULL))
);

CREATE INDEX notices_due ON notices (channel, next_at, id) WHERE closed_at IS NULL;
CREATE INDEX notices_closed ON notices (closed_at) WHERE closed_at IS NOT NULL;

CREATE TABLE notice_covers (
    id     TEXT NOT NULL PRIMARY KEY CHECK (length(id) >= 1), -- of a change
    notice TEXT NOT NULL REFERENCES notices (id)
);

CREATE INDEX notice_covers_notice ON notice_covers (notice);

CREATE TABLE notice_attempts (
    notice TEXT   NOT NULL REFERENCES notices (id),
    n      BIGINT NOT NULL CHECK (n >= 1),
    at     TEXT   NOT NULL CHECK (length(at) = 27),
    state  TEXT   NOT NULL CHECK (state IN ('sent', 'failed', 'given up')),
    answer TEXT   NOT NULL,
    why    TEXT   NOT NULL,
    PRIMARY KEY (notice, n)
);
