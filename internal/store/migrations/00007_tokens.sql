-- What is kept of the bearer tokens of the API: never a token. Both SQLite and PostgreSQL understand this file; SQLite keeps
-- bytes as they are in a column of any type.

-- +goose Up
CREATE TABLE tokens (
    id         TEXT  NOT NULL PRIMARY KEY CHECK (length(id) = 12), -- a part of the token, not secret
    name       TEXT  NOT NULL CHECK (length(name) >= 1),
    hash       BYTEA NOT NULL CHECK (length(hash) = 32), -- SHA-256 of the whole token
    created_at TEXT  NOT NULL CHECK (length(created_at) = 27),
    expires_at TEXT  CHECK (length(expires_at) = 27 AND expires_at > created_at), -- null: never
    revoked_at TEXT  CHECK (length(revoked_at) = 27) -- null: it is not
);
