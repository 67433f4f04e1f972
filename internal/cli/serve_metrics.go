package cli

import (
	"net/http"

	"github.com/keyreeve/keyreeve/internal/daemon"
	"github.com/keyreeve/keyreeve/internal/metric"
	"github.com/keyreeve/keyreeve/internal/store"
)

// metrics is the page /metrics over a database. health and due, of the work that this process does, may be nil: it does none.
// channels are those of the settings. sums leaves accounts out.
func (a *app) metrics(db *store.DB, health *daemon.Health, due func() int, channels []string, sums bool) (http.Handler, error) {
	s := metric.Settings{
		Store: db, Version: a.version, Now: a.sys.Now, Log: a.log(), Calls: a.calls.Read, Due: due, Channels: channels, Sums: sums,
	}
	if health != nil {
		s.Parts = func() map[string]metric.Part {
			out := map[string]metric.Part{}
			for name, c := range health.Checks() {
				out[name] = metric.Part{OK: c.Err == nil, At: c.At, Since: c.Since}
			}
			return out
		}
	}
	return metric.New(s)
}
