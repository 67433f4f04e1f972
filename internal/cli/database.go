package cli

import (
	"context"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/report"
	"github.com/keyreeve/keyreeve/internal/store"
)

// sealKey is the file of the key that secrets are sealed with, beside the journal.
const sealKey = "seal.key"

// database is the URL of the journal: --db, else a file under the XDG state directory.
func (a *app) database() (string, error) {
	if a.global.db != "" {
		return a.global.db, nil
	}
	dir, err := a.stateDir()
	if err != nil {
		return "", err
	}
	return "sqlite:" + filepath.Join(dir, "keyreeve.db"), nil
}

// stateDir is where the program keeps what it needs from run to run: below the XDG state directory.
func (a *app) stateDir() (string, error) {
	dir := a.sys.Getenv("XDG_STATE_HOME")
	if dir == "" {
		home := a.sys.Getenv("HOME")
		if home == "" {
			return "", misuse("name a file: --db sqlite:PATH", "no place for the journal: neither XDG_STATE_HOME nor HOME is set")
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "keyreeve"), nil
}

// besideJournal is the directory of what belongs to the journal and must not be in it: the seal key, and what targets held
// before. That of a file, or the state directory where the journal is on a server.
func (a *app) besideJournal(db *store.DB) (string, error) {
	if db.Path() != "" {
		return filepath.Dir(db.Path()), nil
	}
	return a.stateDir()
}

// openStore opens the journal, and makes it when it is not there.
func (a *app) openStore(ctx context.Context) (*store.DB, error) {
	url, err := a.database()
	if err != nil {
		return nil, err
	}
	return store.Open(ctx, url, store.Options{OnWrite: a.sys.OnWrite})
}

// openExisting opens the journal for commands that only look: nil where there is none yet. One that may not be written,
// somebody else's or a copy, is read as it stands.
func (a *app) openExisting(ctx context.Context) (*store.DB, error) {
	url, err := a.database()
	if err != nil {
		return nil, err
	}
	if there, err := store.Exists(ctx, url); err != nil || !there {
		return nil, err
	}
	db, err := a.openStore(ctx)
	if err == nil {
		return db, nil
	}
	if reader, readErr := store.OpenReader(ctx, url); readErr == nil {
		return reader, nil
	}
	return nil, err
}

// openWritten opens the journal where there is one, as apply would: nil where there is none yet.
func (a *app) openWritten(ctx context.Context) (*store.DB, error) {
	url, err := a.database()
	if err != nil {
		return nil, err
	}
	if there, err := store.Exists(ctx, url); err != nil || !there {
		return nil, err
	}
	return a.openStore(ctx)
}

// openNamed is openExisting for commands whose answer may be empty: none where --db names one is a mistake, not an answer.
func (a *app) openNamed(ctx context.Context) (*store.DB, error) {
	if a.global.db != "" {
		return a.mustExist(ctx)
	}
	return a.openExisting(ctx)
}

// mustExist is openExisting for commands that make no sense without a journal.
func (a *app) mustExist(ctx context.Context) (*store.DB, error) {
	db, err := a.openExisting(ctx)
	if err == nil && db == nil {
		url, _ := a.database()
		return nil, misuse("keyreeve apply, serve and audit --record make one; --db names another", "no journal at %s", store.NameOf(url))
	}
	return db, err
}

// book is what the journal knows of the account; empty where there is none.
func (a *app) book(ctx context.Context, account string) (journal.Book, error) {
	db, err := a.openWritten(ctx) // what others may write is no ground for a plan
	if err != nil || db == nil {
		return journal.Book{}, err
	}
	defer func() { _ = db.Close() }()
	return db.Book(ctx, account)
}

func (a *app) reportOptions() report.Options {
	return report.Options{MaskKeys: a.global.maskKeys, Color: a.color(a.sys.Stdout), Width: a.width()}
}

func textOrJSON(format string) (report.Format, error) {
	if f := report.Format(format); f == report.Text || f == report.JSON {
		return f, nil
	}
	return "", misuse("use text or json", "unknown output format %q", format)
}

// oneArg wants exactly one argument.
func oneArg(name, hint string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 1 {
			return misuse(hint, "%s takes one %s, not %d", c.CommandPath(), name, len(args))
		}
		return nil
	}
}
