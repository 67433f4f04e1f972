package cli

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"

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
