package web

import (
	"context"
	"errors"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/rotate"
)

// Query is which rows of a list are asked for. An empty filter is for all.
type Query struct {
	Account string // twelve digits
	User    string // the whole name
	Rule    string // its id
	Status  string // of the list's own kind

	After string // the position of the last row seen, as the list is ordered; empty: from the beginning
	Limit int    // most rows to give, at least 1
}

// ErrNone is the answer of a reader to a question for one thing that is not there.
var ErrNone = errors.New("there is none")

// Account is an account as it was read last.
type Account struct {
	fact.Account
	Users, Keys, ActiveKeys int
	Failing, Unknown        int       // open verdicts
	Complete                bool      // all evidence could be read
	ReadAt                  time.Time // zero: never
}

// Accounts reads the accounts in the order of their ids, from after Query.After on. Of the filters it knows Account.
type Accounts interface {
	Accounts(ctx context.Context, q Query) ([]Account, error)
}

// Verdict is a verdict that stands.
type Verdict struct {
	finding.Verdict
	OpenedAt time.Time // first seen
	SeenAt   time.Time // last seen
}

// Verdicts reads the verdicts that stand in the order of their ids, from after Query.After on. It knows all filters;
// Status is a finding.Status.
type Verdicts interface {
	Verdicts(ctx context.Context, q Query) ([]Verdict, error)
}

// Rotations reads rotations, newest first, which is by descending ids, from after Query.After on. Of the filters it knows
// Account, User and Status, a rotate.State. Rotation finds one by its whole id; ErrNone where there is none.
type Rotations interface {
	Rotations(ctx context.Context, q Query) ([]rotate.Rotation, error)
	Rotation(ctx context.Context, id string) (*rotate.Rotation, error)
}

// Runs reads runs, newest first, which is by descending ids, from after Query.After on. Of the filters it knows Account.
// Run finds one by its whole id; ErrNone where there is none.
type Runs interface {
	Runs(ctx context.Context, q Query) ([]journal.Run, error)
	Run(ctx context.Context, id string) (*journal.Run, error)
}
