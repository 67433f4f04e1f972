package cli

import (
	"context"
	"errors"
	"net/http"

	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/store"
	"github.com/keyreeve/keyreeve/internal/web"
)

// api is the HTTP surface over a database: /healthz, /readyz, /api/v1/ and, where metrics is not nil, /metrics. ready tells what
// has to be well; nil: nothing has.
func (a *app) api(db *store.DB, ready func(ctx context.Context) []web.Check, metrics http.Handler) (http.Handler, error) {
	r := &shown{db, db.Ledger(store.Origin{})}
	return web.New(web.Settings{
		Accounts: r, Verdicts: r, Rotations: r, Runs: r, Tokens: r, Ready: ready, Metrics: metrics,
		MaskKeys: a.global.maskKeys, Now: a.sys.Now, Log: a.log(),
	})
}

// shown is what the API shows of a database: the readers of package web.
type shown struct {
	db     *store.DB
	ledger *store.Ledger // only read
}

func (s *shown) Accounts(ctx context.Context, q web.Query) ([]web.Account, error) {
	var found []store.Account
	if q.Account != "" {
		one, ok, err := s.db.AccountOf(ctx, q.Account)
		if err != nil {
			return nil, err
		}
		if ok && q.Account > q.After {
			found = []store.Account{one}
		}
	} else {
		var err error
		if found, err = s.db.Accounts(ctx, q.After, q.Limit); err != nil {
			return nil, err
		}
	}
	out := make([]web.Account, len(found))
	for i := range found {
		f := &found[i]
		out[i] = web.Account{
			Account: f.Account, Users: f.Users, Keys: f.Keys, ActiveKeys: f.ActiveKeys, Failing: f.Failing, FailingKeys: f.FailingKeys,
			Complete: f.Complete, JudgedAt: f.JudgedAt, UnreadSince: f.UnreadSince, GoneAt: f.GoneAt,
		}
	}
	return out, nil
}

func (s *shown) Verdicts(ctx context.Context, q web.Query) ([]history.Entry, error) {
	f := store.HistoryFilter{Account: q.Account, User: q.User, Open: q.Status == web.Open, Closed: q.Status == web.Closed, Limit: q.Limit}
	if q.Rule != "" {
		f.Rules = []string{q.Rule}
	}
	if q.After != "" {
		at, id, ok := web.ParsePlace(q.After)
		if !ok {
			return nil, errors.New("a place in the history that web had checked is none")
		}
		f.After = &store.Place{OpenedAt: at, ID: id}
	}
	return s.db.History(ctx, f)
}

func (s *shown) Rotations(ctx context.Context, q web.Query) ([]rotate.Rotation, error) {
	return s.ledger.Rotations(ctx, store.RotationFilter{Account: q.Account, User: q.User, State: rotate.State(q.Status), Before: q.After, Limit: q.Limit})
}

func (s *shown) Rotation(ctx context.Context, id string) (*rotate.Rotation, error) {
	r, err := s.ledger.Load(ctx, id)
	if err == nil && r.ID != id {
		return nil, web.ErrNone
	}
	return r, asNone(err)
}

func (s *shown) Runs(ctx context.Context, q web.Query) ([]journal.Run, error) {
	return s.db.Runs(ctx, store.RunFilter{Account: q.Account, Before: q.After, Limit: q.Limit})
}

func (s *shown) Run(ctx context.Context, id string) (*journal.Run, error) {
	r, err := s.db.Run(ctx, id)
	if err == nil && r.ID != id {
		return nil, web.ErrNone
	}
	return r, asNone(err)
}

func (s *shown) Token(ctx context.Context, id string) (web.Token, error) {
	t, err := s.db.Token(ctx, id)
	return web.Token(t), asNone(err)
}

// asNone tells that there is nothing of an id. The store completes ids that are cut off, the API does not: of several that begin
// so, none is meant.
func asNone(err error) error {
	var several *journal.InputError
	if errors.Is(err, journal.ErrNoRun) || errors.Is(err, rotate.ErrNoRotation) || errors.Is(err, store.ErrNoToken) || errors.As(err, &several) {
		return web.ErrNone
	}
	return err
}
