package web

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/rotate"
)

// Query is which rows of a list are asked for. An empty filter is for all.
type Query struct {
	Account string // twelve digits
	User    string // the whole name
	Rule    string // its id
	Status  string // of the list's own kind

	After string // the place of the last row seen, as the list has it; empty: from the beginning
	Limit int    // most rows to give, at least 1
}

// ErrNone is the answer of a reader to a question for one thing that is not there.
var ErrNone = errors.New("there is none")

// Account is an account as it was judged last.
type Account struct {
	fact.Account
	Users, Keys, ActiveKeys int
	Failing, FailingKeys    int       // open verdicts, and the keys that they are about
	Complete                bool      // all evidence could be read
	JudgedAt                time.Time // zero: never
	UnreadSince             time.Time // zero: its users were read; else the numbers are those of before
	GoneAt                  time.Time // when it left the organisation, or was closed; zero: it is there
}

// Accounts reads the accounts in the order of their ids. The place of one is its id. Of the filters it knows Account.
type Accounts interface {
	Accounts(ctx context.Context, q Query) ([]Account, error)
}

// The statuses of a verdict in the history.
const (
	Open   = "open"
	Closed = "closed"
)

// Verdicts reads the history of verdicts, those that opened last first, and of one instant by descending ids. The place
// of one is what PlaceOf says. It knows all filters; Status is Open or Closed.
type Verdicts interface {
	Verdicts(ctx context.Context, q Query) ([]history.Entry, error)
}

// PlaceOf is the place of an entry in the history.
func PlaceOf(e *history.Entry) string { return journal.Stamp(e.OpenedAt) + " " + e.ID }

// ParsePlace is the other way; ok is false for what is no place.
func ParsePlace(place string) (openedAt time.Time, id string, ok bool) {
	at, id, _ := strings.Cut(place, " ")
	openedAt, err := time.Parse(time.RFC3339Nano, at)
	return openedAt, id, err == nil && fingerprint.MatchString(id)
}

var fingerprint = regexp.MustCompile(`^[0-9a-f]{24}$`)

// Rotations reads rotations, those that began last first, in an order that stays. The place of one is its id. Of the filters it
// knows Account, User and Status, a rotate.State. Rotation finds one by its whole id; ErrNone where there is none.
type Rotations interface {
	Rotations(ctx context.Context, q Query) ([]rotate.Rotation, error)
	Rotation(ctx context.Context, id string) (*rotate.Rotation, error)
}

// Runs reads runs, those that began last first, in an order that stays. The place of one is its id. Of the filters it knows Account.
// Run finds one by its whole id; ErrNone where there is none.
type Runs interface {
	Runs(ctx context.Context, q Query) ([]journal.Run, error)
	Run(ctx context.Context, id string) (*journal.Run, error)
}
