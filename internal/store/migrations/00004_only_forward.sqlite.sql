-- What the ledger never does: SQLite's triggers; another database has its own file of this number.

-- +goose Up
-- +goose StatementBegin
CREATE TRIGGER rotations_go_on BEFORE UPDATE ON rotations
WHEN OLD.live = 0 OR NEW.version <> OLD.version + 1 OR NEW.id IS NOT OLD.id OR NEW.account IS NOT OLD.account
    OR NEW.user_id IS NOT OLD.user_id OR NEW.user_name IS NOT OLD.user_name OR NEW.started_at IS NOT OLD.started_at
BEGIN
    SELECT RAISE(ABORT, 'a rotation keeps its user and goes on by one version until it is over');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER rotations_no_delete BEFORE DELETE ON rotations
BEGIN
    SELECT RAISE(ABORT, 'rotations are never deleted');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER key_uses_no_update BEFORE UPDATE ON key_uses
BEGIN
    SELECT RAISE(ABORT, 'uses that were seen are never changed');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER requests_go_on BEFORE UPDATE ON requests
WHEN NEW.version <> OLD.version + 1 OR NEW.id IS NOT OLD.id OR NEW.account IS NOT OLD.account
    OR NEW.user_id IS NOT OLD.user_id OR NEW.user_name IS NOT OLD.user_name OR NEW.reason IS NOT OLD.reason
    OR NEW.second_reason IS NOT OLD.second_reason OR NEW.destination IS NOT OLD.destination
    OR NEW.asked_by IS NOT OLD.asked_by OR NEW.asked_at IS NOT OLD.asked_at
    OR (OLD.decided_by IS NOT NULL AND (NEW.decided_by IS NOT OLD.decided_by OR NEW.decided_at IS NOT OLD.decided_at))
    OR NOT ((OLD.state = 'pending' AND NEW.state IN ('approved', 'denied'))
        OR (OLD.state = 'approved' AND NEW.state IN ('approved', 'made', 'failed')))
BEGIN
    SELECT RAISE(ABORT, 'what was asked and decided stays, and a request goes on by one version');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER requests_no_delete BEFORE DELETE ON requests
BEGIN
    SELECT RAISE(ABORT, 'requests are never deleted');
END;
-- +goose StatementEnd
