package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/internal/journal"
)

// ErrNoToken says that there is no token of that id.
var ErrNoToken = errors.New("there is no such token")

// Token is what is kept of a bearer token of the API. The token itself is in no database. Instants are kept to the microsecond.
type Token struct {
	ID        string   // twelve hex digits
	Name      string   // for people
	Hash      [32]byte // SHA-256 of the whole token
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	RevokedAt time.Time // zero: it is not
}

// AddToken keeps a new token. It is an error if there is one of that id, or it makes no sense.
func (d *DB) AddToken(ctx context.Context, t *Token) error {
	if err := t.check(); err != nil {
		return fmt.Errorf("add token %q: %w", t.ID, err)
	}
	err := d.write(ctx, "token", func(ctx context.Context, tx *sql.Tx) error {
		var expires *string
		if !t.ExpiresAt.IsZero() {
			at := journal.Stamp(t.ExpiresAt)
			expires = &at
		}
		res, err := tx.ExecContext(ctx, `
			INSERT INTO tokens (id, name, hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING`,
			t.ID, clean(t.Name), t.Hash[:], journal.Stamp(t.CreatedAt), expires)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n != 1 {
			return errors.Join(errors.New("there is a token of that id"), err)
		}
		return nil
	}, leaves(`SELECT 1 FROM tokens WHERE id = $1`, t.ID)) // it was new within the transaction
	if err != nil {
		return fmt.Errorf("add token %q: %w", t.ID, err)
	}
	return nil
}

func (t *Token) check() error {
	digits, err := hex.DecodeString(t.ID)
	switch {
	case err != nil || len(digits) != 6:
		return errors.New("its id is not twelve hex digits")
	case t.Name == "" || t.Hash == [32]byte{} || t.CreatedAt.IsZero():
		return errors.New("it lacks a name, a hash, or when it was made")
	case !t.ExpiresAt.IsZero() && journal.Stamp(t.ExpiresAt) <= journal.Stamp(t.CreatedAt):
		return fmt.Errorf("it would end at %s, before it begins", journal.Stamp(t.ExpiresAt))
	case !t.RevokedAt.IsZero():
		return errors.New("it is revoked already")
	default:
		return nil
	}
}

// RevokeToken ends a token for good, and gives it. One that was revoked before stays so, since then. An error wraps ErrNoToken if there
// is none of that id.
func (d *DB) RevokeToken(ctx context.Context, id string, at time.Time) (Token, error) {
	var found []Token
	err := d.write(ctx, "token", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE tokens SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL`, journal.Stamp(at), id)
		if err != nil {
			return err
		}
		if found, err = tokens(ctx, tx, selectTokens+`WHERE id = $1`, id); err == nil && len(found) == 0 {
			return ErrNoToken
		}
		return err
	}, leaves(`SELECT 1 FROM tokens WHERE id = $1 AND revoked_at IS NOT NULL`, id))
	if err != nil {
		return Token{}, fmt.Errorf("revoke token %q: %w", id, err)
	}
	return found[0], nil
}

// Token is the token of that id, revoked or not. An error wraps ErrNoToken if there is none.
func (d *DB) Token(ctx context.Context, id string) (Token, error) {
	var found []Token
	err := d.read(ctx, func(tx *sql.Tx) (err error) {
		found, err = tokens(ctx, tx, selectTokens+`WHERE id = $1`, id)
		return err
	})
	if err != nil {
		return Token{}, err
	}
	if len(found) == 0 {
		return Token{}, fmt.Errorf("token %q: %w", id, ErrNoToken)
	}
	return found[0], nil
}

// Tokens lists all tokens, also those that are over or revoked, the oldest first.
func (d *DB) Tokens(ctx context.Context) ([]Token, error) {
	var found []Token
	err := d.read(ctx, func(tx *sql.Tx) (err error) {
		found, err = tokens(ctx, tx, selectTokens+`ORDER BY created_at, id`)
		return err
	})
	return found, err
}

const selectTokens = `SELECT id, name, hash, created_at, expires_at, revoked_at FROM tokens ` //nolint:gosec // names of columns, no credentials

func tokens(ctx context.Context, tx *sql.Tx, query string, args ...any) ([]Token, error) {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // Err tells
	var found []Token
	for rows.Next() {
		var (
			t                Token
			hash             []byte
			created          string
			expires, revoked sql.NullString
		)
		if err := rows.Scan(&t.ID, &t.Name, &hash, &created, &expires, &revoked); err != nil {
			return nil, err
		}
		var rd reading
		t.CreatedAt, t.ExpiresAt, t.RevokedAt = rd.at(created), rd.at(expires.String), rd.at(revoked.String)
		if rd.err != nil {
			return nil, fmt.Errorf("token %s: %w", t.ID, rd.err)
		}
		if copy(t.Hash[:], hash) != len(t.Hash) {
			return nil, fmt.Errorf("token %s: its hash has %d bytes", t.ID, len(hash))
		}
		found = append(found, t)
	}
	return found, rows.Err()
}
