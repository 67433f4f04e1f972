package cli

import (
	"context"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/daemon"
	"github.com/keyreeve/keyreeve/internal/notice"
	"github.com/keyreeve/keyreeve/internal/store"
	"github.com/keyreeve/keyreeve/internal/web"
)

// ServeToken runs serve token with these arguments.
func ServeToken(ctx context.Context, sys System, args ...string) int {
	a := &app{sys: sys}
	root := &cobra.Command{Use: "keyreeve", SilenceErrors: true, SilenceUsage: true}
	a.global.register(root.PersistentFlags())
	root.AddCommand(a.serveTokenCommand())
	root.SetArgs(append([]string{"token"}, args...))
	root.SetOut(sys.Stdout)
	return a.report(root.ExecuteContext(ctx))
}

// API is the HTTP surface over a database.
func API(sys System, db *store.DB, ready func(context.Context) []web.Check, metrics http.Handler) (http.Handler, error) {
	a := &app{sys: sys}
	return a.api(db, ready, metrics)
}

// Metrics is the page /metrics over a database, of a process that has asked AWS who it is.
func Metrics(ctx context.Context, sys System, db *store.DB, health *daemon.Health, due func() int, sums bool) (http.Handler, error) {
	a := &app{sys: sys, version: "1.2.3"}
	r, err := awsiam.Open(ctx, a.settings(0, 0))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if _, err := r.Caller(ctx); err != nil {
		return nil, err
	}
	return a.metrics(db, health, due, []string{"team"}, sums)
}

// Channels gives the channels that serve sends to, by the settings file at that path.
func Channels(sys System, path string) func(ctx context.Context, now time.Time) ([]notice.Channel, time.Duration, error) {
	a := &app{sys: sys}
	a.global.config = path
	return (&openChannels{app: a}).now
}
