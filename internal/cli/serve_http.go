package cli

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/internal/web"
)

// pingTime is how long /readyz waits for the database.
const pingTime = 3 * time.Second

// surface is what serve answers over HTTP.
func (a *app) surface(s *service) (http.Handler, error) {
	set, _, err := a.readConfig(a.sys.Now())
	if err != nil {
		return nil, err
	}
	var channels []string
	for _, c := range set.Notices().Channels {
		channels = append(channels, c.Name)
	}
	page, err := a.metrics(s.db, s.work.Health, s.queue, channels, s.sums)
	if err != nil {
		return nil, err
	}
	return a.api(s.db, s.ready, page)
}

// ready tells whether the database answers, and how each part of the work fares.
func (s *service) ready(ctx context.Context) []web.Check {
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	_, _, err := s.db.AccountOf(ctx, "000000000000")
	out := []web.Check{{Name: "database", Err: err}}
	checks := s.work.Health.Checks()
	for _, part := range slices.Sorted(maps.Keys(checks)) {
		out = append(out, web.Check{Name: part, Err: checks[part].Err})
	}
	return out
}
