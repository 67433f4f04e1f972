-- What is on record stays: SQLite's triggers; another database has its own file of this number. They keep
-- mistakes out, not somebody who may write the file: for that, entries are chained by their hashes.

-- +goose Up
-- +goose StatementBegin
CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries
BEGIN
    SELECT RAISE(ABORT, 'entries of the journal are never changed');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries
BEGIN
    SELECT RAISE(ABORT, 'entries of the journal are never deleted');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER steps_no_update BEFORE UPDATE ON steps
BEGIN
    SELECT RAISE(ABORT, 'steps of the journal are never changed');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER steps_no_delete BEFORE DELETE ON steps
BEGIN
    SELECT RAISE(ABORT, 'steps of the journal are never deleted');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER runs_only_end BEFORE UPDATE ON runs
WHEN OLD.ended_at IS NOT NULL OR NEW.ended_at IS NULL
    OR NEW.id IS NOT OLD.id OR NEW.begun IS NOT OLD.begun OR NEW.kind IS NOT OLD.kind
    OR NEW.account IS NOT OLD.account OR NEW.caller IS NOT OLD.caller OR NEW.plan IS NOT OLD.plan
    OR NEW.undoes IS NOT OLD.undoes OR NEW.rotation IS NOT OLD.rotation OR NEW.version IS NOT OLD.version OR NEW.host IS NOT OLD.host
    OR NEW.pid IS NOT OLD.pid OR NEW.started_at IS NOT OLD.started_at
BEGIN
    SELECT RAISE(ABORT, 'a run of the journal is never changed, it only ends, once');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER runs_no_delete BEFORE DELETE ON runs
BEGIN
    SELECT RAISE(ABORT, 'runs of the journal are never deleted');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER journal_head_grows BEFORE UPDATE ON journal_head
WHEN NEW.seq NOT IN (OLD.seq, OLD.seq + 1) OR (NEW.seq = OLD.seq AND NEW.hash <> OLD.hash)
BEGIN
    SELECT RAISE(ABORT, 'the head of the journal moves on by one entry');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER journal_head_stays BEFORE DELETE ON journal_head
BEGIN
    SELECT RAISE(ABORT, 'the head of the journal is never deleted');
END;
-- +goose StatementEnd
