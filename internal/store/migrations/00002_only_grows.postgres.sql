-- What is on record stays: PostgreSQL's triggers; another database has its own file of this number. They keep
-- mistakes out, not the owner of the tables: for that, entries are chained by their hashes.

-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION keyreeve_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation';
END;
$$;
-- +goose StatementEnd

CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries
    FOR EACH ROW EXECUTE FUNCTION keyreeve_refuse('entries of the journal are never changed');
CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries
    FOR EACH ROW EXECUTE FUNCTION keyreeve_refuse('entries of the journal are never deleted');
CREATE TRIGGER entries_no_truncate BEFORE TRUNCATE ON entries
    EXECUTE FUNCTION keyreeve_refuse('entries of the journal are never deleted');

CREATE TRIGGER steps_no_update BEFORE UPDATE ON steps
    FOR EACH ROW EXECUTE FUNCTION keyreeve_refuse('steps of the journal are never changed');
CREATE TRIGGER steps_no_delete BEFORE DELETE ON steps
    FOR EACH ROW EXECUTE FUNCTION keyreeve_refuse('steps of the journal are never deleted');
CREATE TRIGGER steps_no_truncate BEFORE TRUNCATE ON steps
    EXECUTE FUNCTION keyreeve_refuse('steps of the journal are never deleted');

CREATE TRIGGER runs_only_end BEFORE UPDATE ON runs
    FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL OR NEW.ended_at IS NULL
        OR (NEW.id, NEW.begun, NEW.kind, NEW.account, NEW.caller, NEW.plan, NEW.undoes, NEW.rotation, NEW.version, NEW.host,
            NEW.pid, NEW.started_at)
        IS DISTINCT FROM (OLD.id, OLD.begun, OLD.kind, OLD.account, OLD.caller, OLD.plan, OLD.undoes, OLD.rotation, OLD.version, OLD.host,
            OLD.pid, OLD.started_at))
    EXECUTE FUNCTION keyreeve_refuse('a run of the journal is never changed, it only ends, once');
CREATE TRIGGER runs_no_delete BEFORE DELETE ON runs
    FOR EACH ROW EXECUTE FUNCTION keyreeve_refuse('runs of the journal are never deleted');
CREATE TRIGGER runs_no_truncate BEFORE TRUNCATE ON runs
    EXECUTE FUNCTION keyreeve_refuse('runs of the journal are never deleted');

CREATE TRIGGER journal_head_grows BEFORE UPDATE ON journal_head
    FOR EACH ROW WHEN (NEW.seq NOT IN (OLD.seq, OLD.seq + 1) OR (NEW.seq = OLD.seq AND NEW.hash <> OLD.hash))
    EXECUTE FUNCTION keyreeve_refuse('the head of the journal moves on by one entry');
CREATE TRIGGER journal_head_stays BEFORE DELETE ON journal_head
    FOR EACH ROW EXECUTE FUNCTION keyreeve_refuse('the head of the journal is never deleted');
CREATE TRIGGER journal_head_no_truncate BEFORE TRUNCATE ON journal_head
    EXECUTE FUNCTION keyreeve_refuse('the head of the journal is never deleted');
