-- Which organisation listed an account, and where in it the account stood on each day: it may move, and may leave that one only.
-- Both SQLite and PostgreSQL understand this file.

-- +goose Up
ALTER TABLE accounts ADD COLUMN organization TEXT NOT NULL DEFAULT ''; -- empty: none did
ALTER TABLE days ADD COLUMN ou TEXT NOT NULL DEFAULT '';
UPDATE days SET ou = (SELECT ou FROM accounts WHERE id = days.account);
