-- The journal. Both SQLite and PostgreSQL understand this file. Instants are texts as journal.Stamp writes
-- them, so that they sort; lists are texts of JSON. It is never edited after a release: write a new file.

-- +goose Up
CREATE TABLE runs (
    id         TEXT   NOT NULL PRIMARY KEY CHECK (length(id) >= 1),
    begun      BIGINT NOT NULL UNIQUE CHECK (begun >= 1), -- seq of its begin entry
    kind       TEXT   NOT NULL CHECK (kind IN ('apply', 'undo', 'rotate')),
    account    TEXT   NOT NULL CHECK (length(account) = 12),
    caller     TEXT   NOT NULL,
    plan       TEXT   NOT NULL,
    undoes     TEXT   REFERENCES runs (id),
    rotation   TEXT   CHECK (rotation LIKE '{%}'), -- what a rotation is about, in JSON
    version    TEXT   NOT NULL,
    host       TEXT   NOT NULL,
    pid        BIGINT NOT NULL,
    started_at TEXT   NOT NULL CHECK (length(started_at) = 27),
    ended_at   TEXT   CHECK (length(ended_at) = 27), -- null: under way, or it died
    CHECK ((kind = 'undo') = (undoes IS NOT NULL)),
    CHECK ((kind = 'rotate') = (rotation IS NOT NULL)),
    CHECK (undoes <> id)
);

CREATE INDEX runs_account ON runs (account, begun);

CREATE TABLE steps (
    run_id      TEXT   NOT NULL REFERENCES runs (id),
    id          TEXT   NOT NULL CHECK (length(id) >= 1),
    position    BIGINT NOT NULL CHECK (position >= 1),
    action      TEXT   NOT NULL CHECK (action IN ('deactivate', 'activate', 'delete')),
    user_name   TEXT   NOT NULL CHECK (length(user_name) >= 1),
    user_id     TEXT   NOT NULL CHECK (length(user_id) >= 1),
    key_id      TEXT   NOT NULL CHECK (length(key_id) >= 1),
    key_created TEXT   NOT NULL CHECK (length(key_created) = 27),
    last_used   TEXT   CHECK (length(last_used) = 27), -- null: never
    from_state  TEXT   NOT NULL CHECK (from_state IN ('active', 'inactive', 'absent')),
    because     TEXT   NOT NULL CHECK (because LIKE '[%]'),
    rules       TEXT   NOT NULL CHECK (rules LIKE '[%]'),
    then_action TEXT   NOT NULL CHECK (then_action IN ('', 'delete')),
    PRIMARY KEY (run_id, id),
    UNIQUE (run_id, position)
);

CREATE TABLE entries (
    seq     BIGINT NOT NULL PRIMARY KEY CHECK (seq >= 1),
    run_id  TEXT   NOT NULL REFERENCES runs (id),
    step_id TEXT,
    kind    TEXT   NOT NULL CHECK (kind IN ('begin', 'left', 'intent', 'outcome', 'verification', 'event', 'end')),
    at      TEXT   NOT NULL CHECK (length(at) = 27),
    result  TEXT   NOT NULL,
    note    TEXT   NOT NULL,
    data    TEXT,
    prev    TEXT   NOT NULL,
    hash    TEXT   NOT NULL UNIQUE CHECK (length(hash) = 64),
    FOREIGN KEY (run_id, step_id) REFERENCES steps (run_id, id),
    CHECK ((step_id IS NULL) = (kind IN ('begin', 'event', 'end'))),
    CHECK ((data IS NOT NULL) = (kind IN ('begin', 'event'))),
    CHECK ((seq = 1 AND prev = '') OR (seq > 1 AND length(prev) = 64)),
    CHECK (
        (kind IN ('begin', 'intent', 'event', 'end') AND result = '')
        OR (kind = 'outcome' AND result IN ('ok', 'refused', 'unclear'))
        OR (kind = 'verification' AND result IN ('shows', 'unmoved', 'other', 'unseen'))
        OR (kind = 'left'
            AND result IN ('refused', 'stale', 'unread', 'dependent', 'not-due', 'already', 'beyond'))
    )
);

CREATE INDEX entries_step ON entries (run_id, step_id, seq);
CREATE UNIQUE INDEX entries_one_begin ON entries (run_id) WHERE kind = 'begin';
CREATE UNIQUE INDEX entries_one_end ON entries (run_id) WHERE kind = 'end';

-- One row: the last entry. Writers take it first, so that the chain has one end.
CREATE TABLE journal_head (
    one  BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    seq  BIGINT NOT NULL CHECK (seq >= 0),
    hash TEXT   NOT NULL,
    CHECK ((seq = 0 AND hash = '') OR (seq > 0 AND length(hash) = 64))
);

INSERT INTO journal_head (one, seq, hash) VALUES (1, 0, '');
