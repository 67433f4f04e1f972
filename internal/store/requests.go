package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/rotate"
)

const (
	selectRequests = `SELECT id, version, account, user_name, user_id, reason, second_reason, destination, asked_by, asked_at, state,
		decided_by, decided_at, why, key_id FROM requests `
	requestIDs = `SELECT id FROM requests WHERE substr(id, 1, $1) = $2 ORDER BY asked_at DESC, id DESC LIMIT 100`
)

// AskKey records a new request, which must be pending, and sets its version to 1.
func (l *Ledger) AskKey(ctx context.Context, q *rotate.Request) error {
	switch {
	case q.State != rotate.RequestPending || q.Version > 1 || q.DecidedBy != "" || q.KeyID != "":
		return fmt.Errorf("request %s: it is %s already", q.ID, q.State)
	case q.ID == "" || !fact.IsAccountID(q.Account) || q.User == "" || q.UserID == "" || q.Reason == "" || q.Destination == "" ||
		q.AskedBy == "" || q.AskedAt.IsZero():
		return fmt.Errorf("request %q for a key of user %q: it lacks an id, an account, a user with its id, a reason, a destination, or who asks and when", q.ID, q.User)
	}
	err := l.d.write(ctx, "request", func(ctx context.Context, tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, `
			INSERT INTO requests (id, version, account, user_name, user_id, reason, second_reason, destination, asked_by, asked_at, state, why)
			VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $8, $9, 'pending', '') ON CONFLICT (id) DO NOTHING`,
			q.ID, q.Account, q.User, q.UserID, clean(q.Reason), clean(q.SecondReason), q.Destination, q.AskedBy, journal.Stamp(q.AskedAt))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n != 1 {
			return errors.Join(errors.New("there is a request of that id"), err)
		}
		return nil
	}, leaves(`SELECT 1 FROM requests WHERE id = $1`, q.ID)) // it was new within the transaction
	if err != nil {
		return fmt.Errorf("request %s: %w", q.ID, err)
	}
	q.Version = 1
	return nil
}

// Request is the request of that id, or the only one whose id begins so; of four characters or more. An error wraps
// rotate.ErrNoRequest if there is none; several are a journal.InputError.
func (l *Ledger) Request(ctx context.Context, id string) (*rotate.Request, error) {
	var found []rotate.Request
	err := l.d.read(ctx, func(tx *sql.Tx) error {
		full, err := resolve(ctx, tx, requestIDs, "requests", id)
		if err != nil || full == "" {
			return err
		}
		found, err = requests(ctx, tx, selectRequests+`WHERE id = $1`, full)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("request %q: %w", id, rotate.ErrNoRequest)
	}
	return &found[0], nil
}

// Requests are those in the state, oldest first; all of them if it is empty.
func (l *Ledger) Requests(ctx context.Context, state rotate.RequestState) ([]rotate.Request, error) {
	var found []rotate.Request
	err := l.d.read(ctx, func(tx *sql.Tx) (err error) {
		found, err = requests(ctx, tx, selectRequests+`WHERE $1 = '' OR state = $1 ORDER BY asked_at, id`, string(state))
		return err
	})
	return found, err
}

func requests(ctx context.Context, tx *sql.Tx, query, arg string) ([]rotate.Request, error) {
	rows, err := tx.QueryContext(ctx, query, arg)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	var found []rotate.Request
	for rows.Next() {
		var (
			q                rotate.Request
			asked            string
			by, decided, key sql.NullString
		)
		err := rows.Scan(&q.ID, &q.Version, &q.Account, &q.User, &q.UserID, &q.Reason, &q.SecondReason, &q.Destination, &q.AskedBy, &asked, &q.State,
			&by, &decided, &q.Why, &key)
		if err != nil {
			return nil, err
		}
		var rd reading
		q.AskedAt, q.DecidedAt, q.DecidedBy, q.KeyID = rd.at(asked), rd.at(decided.String), by.String, key.String
		if rd.err != nil {
			return nil, fmt.Errorf("request %s: %w", q.ID, rd.err)
		}
		found = append(found, q)
	}
	return found, rows.Err()
}

// DecideRequest records State (approved or denied), DecidedBy, DecidedAt and Why, where the request is still pending in
// the version that was loaded; then its version is one more. Otherwise the error wraps rotate.ErrLost. It wraps
// rotate.ErrSameEyes when the one who asked decides: what counts is who asked by the database, not by q.
func (l *Ledger) DecideRequest(ctx context.Context, q *rotate.Request) error {
	if q.State != rotate.RequestApproved && q.State != rotate.RequestDenied || q.DecidedBy == "" || q.DecidedAt.IsZero() {
		return fmt.Errorf("request %s: decided as %q by %q: incomplete", q.ID, q.State, q.DecidedBy)
	}
	return l.moveRequest(ctx, q, rotate.RequestPending)
}

// SaveRequest records what became of an approved request: State (approved as yet, made or failed), KeyID and Why, where
// it has the version that was loaded; then its version is one more. Otherwise the error wraps rotate.ErrLost.
func (l *Ledger) SaveRequest(ctx context.Context, q *rotate.Request) error {
	switch {
	case q.State != rotate.RequestApproved && q.State != rotate.RequestMade && q.State != rotate.RequestFailed:
		return fmt.Errorf("request %s: saved as %q", q.ID, q.State)
	case q.State == rotate.RequestMade && q.KeyID == "":
		return fmt.Errorf("request %s: made, without a key", q.ID)
	}
	return l.moveRequest(ctx, q, rotate.RequestApproved)
}

// moveRequest takes the request on from a state. The decision is written with it, once.
func (l *Ledger) moveRequest(ctx context.Context, q *rotate.Request, from rotate.RequestState) error {
	err := l.d.write(ctx, "request", func(ctx context.Context, tx *sql.Tx) error {
		found, err := requests(ctx, tx, selectRequests+`WHERE id = $1`, q.ID)
		switch {
		case err != nil:
			return err
		case len(found) == 0:
			return rotate.ErrNoRequest
		}
		was := &found[0]
		switch {
		case was.Version != q.Version || was.State != from:
			return fmt.Errorf("%w: it is %s in version %d", rotate.ErrLost, was.State, was.Version)
		case from == rotate.RequestPending && was.AskedBy == q.DecidedBy:
			return fmt.Errorf("%w: %s", rotate.ErrSameEyes, was.AskedBy)
		case from != rotate.RequestPending:
			q.DecidedBy, q.DecidedAt = was.DecidedBy, was.DecidedAt
		}
		var key *string
		if q.KeyID != "" {
			key = &q.KeyID
		}
		res, err := tx.ExecContext(ctx, `
			UPDATE requests SET version = version + 1, state = $1, decided_by = $2, decided_at = $3, why = $4, key_id = $5
			WHERE id = $6 AND version = $7 AND state = $8`,
			string(q.State), q.DecidedBy, journal.Stamp(q.DecidedAt), clean(q.Why), key, q.ID, q.Version, string(from))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n != 1 {
			return errors.Join(rotate.ErrLost, err)
		}
		return nil
	}, func() (string, []any) {
		return `SELECT 1 FROM requests WHERE id = $1 AND version = $2 AND state = $3 AND decided_by = $4 AND decided_at = $5`,
			[]any{q.ID, q.Version + 1, string(q.State), q.DecidedBy, journal.Stamp(q.DecidedAt)}
	})
	if err != nil {
		return fmt.Errorf("request %s: %w", q.ID, err)
	}
	q.Version++
	return nil
}
