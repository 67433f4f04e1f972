package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/keyreeve/keyreeve/internal/journal"
)

// place is what a URL means.
type place interface {
	open(ctx context.Context, o Options) (*DB, error)
	openReader(ctx context.Context) (*DB, error)
	exists(ctx context.Context) (bool, error)
	called() string
}

// NameOf is what messages may call a URL: without a password. Empty for one that cannot be meant.
func NameOf(at string) string {
	p, err := parse(at)
	if err != nil {
		return ""
	}
	return p.called()
}

// urlForms are the databases that can be meant.
const urlForms = "--db sqlite:PATH, or --db postgres://USER@HOST/DATABASE"

// parse gives the place of a URL. It never repeats a URL that may hold a password.
func parse(at string) (place, error) {
	scheme, rest, found := strings.Cut(at, ":")
	switch {
	case at == "":
		return nil, &journal.InputError{Problem: "no database is named", Hint: urlForms}
	case found && scheme == "sqlite" && strings.HasPrefix(rest, "//"):
		return nil, &journal.InputError{Problem: "a database sqlite: with //", Hint: "--db sqlite:PATH, such as sqlite:/var/lib/keyreeve/keyreeve.db"}
	case found && scheme == "sqlite" && rest != "" && !strings.HasPrefix(rest, ":memory:"):
		return file(rest), nil
	case found && scheme == "sqlite":
		return nil, &journal.InputError{Problem: "the database sqlite: names no file", Hint: "--db sqlite:PATH"}
	case found && (scheme == "postgres" || scheme == "postgresql"):
		return parseServer(at)
	case found && strings.HasPrefix(rest, "//"):
		return nil, &journal.InputError{Problem: fmt.Sprintf("a database of the unknown kind %q", scheme), Hint: urlForms}
	default:
		return nil, &journal.InputError{Problem: fmt.Sprintf("%q is no URL of a database", at), Hint: "if it is a file: --db sqlite:" + at}
	}
}
