-- What the ledger never does: PostgreSQL's triggers; another database has its own file of this number.

-- +goose Up
CREATE TRIGGER rotations_go_on BEFORE UPDATE ON rotations
    FOR EACH ROW WHEN (OLD.live = 0 OR NEW.version <> OLD.version + 1
        OR (NEW.id, NEW.account, NEW.user_id, NEW.user_name, NEW.started_at)
        IS DISTINCT FROM (OLD.id, OLD.account, OLD.user_id, OLD.user_name, OLD.started_at))
    EXECUTE FUNCTION keyreeve_refuse('a rotation keeps its user and goes on by one version until it is over');
CREATE TRIGGER rotations_no_delete BEFORE DELETE ON rotations
    FOR EACH ROW EXECUTE FUNCTION keyreeve_refuse('rotations are never deleted');
CREATE TRIGGER rotations_no_truncate BEFORE TRUNCATE ON rotations
    EXECUTE FUNCTION keyreeve_refuse('rotations are never deleted');

CREATE TRIGGER key_uses_no_update BEFORE UPDATE ON key_uses
    FOR EACH ROW EXECUTE FUNCTION keyreeve_refuse('uses that were seen are never changed');

CREATE TRIGGER requests_go_on BEFORE UPDATE ON requests
    FOR EACH ROW WHEN (NEW.version <> OLD.version + 1
        OR (NEW.id, NEW.account, NEW.user_id, NEW.user_name, NEW.reason, NEW.second_reason, NEW.destination, NEW.asked_by, NEW.asked_at)
        IS DISTINCT FROM (OLD.id, OLD.account, OLD.user_id, OLD.user_name, OLD.reason, OLD.second_reason, OLD.destination, OLD.asked_by,
            OLD.asked_at)
        OR (OLD.decided_by IS NOT NULL AND (NEW.decided_by, NEW.decided_at) IS DISTINCT FROM (OLD.decided_by, OLD.decided_at))
        OR NOT ((OLD.state = 'pending' AND NEW.state IN ('approved', 'denied'))
            OR (OLD.state = 'approved' AND NEW.state IN ('approved', 'made', 'failed'))))
    EXECUTE FUNCTION keyreeve_refuse('what was asked and decided stays, and a request goes on by one version');
CREATE TRIGGER requests_no_delete BEFORE DELETE ON requests
    FOR EACH ROW EXECUTE FUNCTION keyreeve_refuse('requests are never deleted');
CREATE TRIGGER requests_no_truncate BEFORE TRUNCATE ON requests
    EXECUTE FUNCTION keyreeve_refuse('requests are never deleted');
