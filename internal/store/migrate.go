package store

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"github.com/pressly/goose/v3"
)

// A migration that both databases understand is one file, NNNNN_what.sql; one that each has to say in its own way is
// two, NNNNN_what.sqlite.sql and NNNNN_what.postgres.sql.
//
//go:embed migrations/*.sql
var migrations embed.FS

// versionTable is where goose notes which migrations a database has seen.
const versionTable = "schema_version"

// dialect is how an engine's SQL differs where it makes tables and not where it uses them.
type dialect struct {
	name   string // as in the names of its own migrations
	goose  goose.Dialect
	tables string // asks how many tables there are, and how many of them are called $1
	text   string // the type of a column that a migration calls TEXT
	// headFree lets the head of the journal move on by more than one entry, as only a copy does; headKept asks, before
	// that, for the statement that forbids it again.
	headFree, headKept string
	elsewhere          string // a hint: another database
}

// newest is the version of the tables that this program knows: that of the last migration, in both databases.
func newest() int64 { return int64(len(dialectSQLite.files())) } // a test keeps the numbers without gaps

// files are the migrations of the dialect, in order.
func (k *dialect) files() []string {
	other := "." + dialectPostgres.name + ".sql"
	if k.name == dialectPostgres.name {
		other = "." + dialectSQLite.name + ".sql"
	}
	names, _ := fs.Glob(migrations, "migrations/*.sql") // the pattern is right
	var own []string
	for _, name := range names {
		if !strings.HasSuffix(name, other) {
			own = append(own, name)
		}
	}
	return own
}

// typeText is found in comments of migrations too, where it does no harm.
var typeText = regexp.MustCompile(`\bTEXT\b`)

// steps are the migrations as goose runs them, each in a transaction.
func (k *dialect) steps() ([]*goose.Migration, error) {
	var steps []*goose.Migration
	for _, name := range k.files() {
		body, err := fs.ReadFile(migrations, name)
		if err != nil {
			return nil, err
		}
		version, err := goose.NumericComponent(name)
		if err != nil {
			return nil, err
		}
		text := typeText.ReplaceAllLiteralString(string(body), k.text)
		steps = append(steps, goose.NewGoMigration(version, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, text)
			return err
		}}, nil))
	}
	return steps, nil
}

// migrate brings the tables up to date. Only who keeps others off doing the same may call it.
func (d *DB) migrate(ctx context.Context) error {
	version, err := d.version(ctx)
	if err != nil || version == newest() {
		return err
	}
	steps, err := d.kind.steps()
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(d.kind.goose, d.db, nil, goose.WithGoMigrations(steps...),
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	if _, err := p.UpTo(ctx, cmp.Or(d.o.version, newest())); err != nil {
		return d.e.explain("bring up to date", err)
	}
	return nil
}

// version is that of the database, -1 for an empty one. A database of another program, or of a newer version of
// this one, is an Error.
func (d *DB) version(ctx context.Context) (int64, error) {
	var tables, ours int
	err := d.db.QueryRowContext(ctx, d.kind.tables, versionTable).Scan(&tables, &ours)
	var last sql.NullInt64
	if err == nil && ours > 0 {
		err = d.db.QueryRowContext(ctx, `SELECT max(version_id) FROM schema_version`).Scan(&last)
	}
	switch {
	case err != nil:
		return 0, d.e.explain("open", err)
	case ours == 0 && tables > 0:
		return 0, &Error{Problem: fmt.Sprintf("%s is a database of another program", d.name), Hint: d.kind.elsewhere}
	case ours == 0:
		return -1, nil
	case last.Int64 > newest():
		return 0, &Error{
			Problem: fmt.Sprintf("a newer keyreeve wrote the journal %s: its schema is %d, this program knows %d", d.name, last.Int64, newest()),
			Hint:    "use that version, or a newer one",
		}
	default:
		return last.Int64, nil
	}
}

// current refuses what this program cannot read as it stands.
func (d *DB) current(ctx context.Context) error {
	version, err := d.version(ctx)
	d.was = version
	switch {
	case err != nil:
		return err
	case version < 0:
		return &Error{Problem: fmt.Sprintf("%s is empty, and no journal yet", d.name), Hint: d.kind.elsewhere}
	case version < newest():
		return &Error{
			Problem: fmt.Sprintf("an older keyreeve wrote the journal %s: its schema is %d, this program reads %d", d.name, version, newest()),
			Hint: "read it with that version, or copy it, a file with what is beside it, to where you may write: " +
				"this program brings a journal up to date when it opens one that it may write",
		}
	default:
		return nil
	}
}
