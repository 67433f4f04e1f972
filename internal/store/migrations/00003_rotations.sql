-- The ledger: rotations, when keys were seen used, requests for keys. Both SQLite and PostgreSQL understand this
-- file; SQLite keeps bytes as they are in a column of any type.

-- +goose Up
-- The row is where a rotation stands; its run in the journal is how it came there.
CREATE TABLE rotations (
    id         TEXT   NOT NULL PRIMARY KEY REFERENCES runs (id),
    version    BIGINT NOT NULL CHECK (version >= 1),
    account    TEXT   NOT NULL CHECK (length(account) = 12),
    user_id    TEXT   NOT NULL CHECK (length(user_id) >= 1),
    user_name  TEXT   NOT NULL CHECK (length(user_name) >= 1),
    state      TEXT   NOT NULL CHECK (state IN (
        'requested', 'creating', 'delivering', 'probing', 'proving', 'deactivating', 'quiet', 'deleting', 'done',
        'backing-out', 'cancelled', 'blocked', 'held', 'conflict', 'gone')),
    live       BIGINT NOT NULL CHECK (live IN (0, 1)),
    next_at    TEXT   CHECK (next_at = '' OR length(next_at) = 27), -- empty: at once; null: it is over
    started_at TEXT   NOT NULL CHECK (length(started_at) = 27),
    changed_at TEXT   NOT NULL CHECK (length(changed_at) = 27),
    body       TEXT   NOT NULL CHECK (body LIKE '{%}'), -- the rest, in JSON
    sealed     BYTEA, -- the new secret, sealed; null until there is one and once every target has read back
    CHECK ((live = 0) = (state IN ('done', 'cancelled', 'gone'))),
    CHECK ((live = 1) = (next_at IS NOT NULL)),
    CHECK (sealed IS NULL OR (length(sealed) >= 1
        AND state NOT IN ('proving', 'deactivating', 'quiet', 'deleting', 'done', 'cancelled', 'gone')))
);

CREATE UNIQUE INDEX rotations_one_live ON rotations (account, user_id) WHERE live = 1;
CREATE INDEX rotations_due ON rotations (next_at, id) WHERE live = 1;

CREATE TABLE key_uses (
    account TEXT NOT NULL CHECK (length(account) = 12),
    key_id  TEXT NOT NULL CHECK (length(key_id) >= 1),
    used_at TEXT NOT NULL CHECK (length(used_at) = 27), -- AWS's
    service TEXT NOT NULL,
    region  TEXT NOT NULL,
    seen_at TEXT NOT NULL CHECK (length(seen_at) = 27), -- ours
    PRIMARY KEY (account, key_id, used_at)
);

CREATE TABLE requests (
    id            TEXT   NOT NULL PRIMARY KEY CHECK (length(id) >= 1),
    version       BIGINT NOT NULL CHECK (version >= 1),
    account       TEXT   NOT NULL CHECK (length(account) = 12),
    user_name     TEXT   NOT NULL CHECK (length(user_name) >= 1),
    user_id       TEXT   NOT NULL CHECK (length(user_id) >= 1),
    reason        TEXT   NOT NULL CHECK (length(reason) >= 1),
    second_reason TEXT   NOT NULL,
    destination   TEXT   NOT NULL CHECK (length(destination) >= 1),
    asked_by      TEXT   NOT NULL CHECK (length(asked_by) >= 1),
    asked_at      TEXT   NOT NULL CHECK (length(asked_at) = 27),
    state         TEXT   NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'made', 'failed')),
    decided_by    TEXT   CHECK (length(decided_by) >= 1), -- null: nobody yet
    decided_at    TEXT   CHECK (length(decided_at) = 27),
    why           TEXT   NOT NULL,
    key_id        TEXT   CHECK (length(key_id) >= 1), -- null: none was made
    CHECK (decided_by <> asked_by),
    CHECK ((state = 'pending') = (decided_by IS NULL)),
    CHECK ((state = 'pending') = (decided_at IS NULL)),
    CHECK (key_id IS NULL OR state IN ('approved', 'made', 'failed')),
    CHECK (state <> 'made' OR key_id IS NOT NULL)
);

CREATE INDEX requests_state ON requests (state, asked_at);
