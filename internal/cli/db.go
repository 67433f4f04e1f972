package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/fleet"
	"github.com/keyreeve/keyreeve/internal/report"
	"github.com/keyreeve/keyreeve/internal/seal"
	"github.com/keyreeve/keyreeve/internal/store"
)

func (a *app) dbCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "db",
		Short: "The database of the journal: bring it up to date, check it, copy it",
		Long: "The journal and the ledger of rotations are in one SQLite file, or in PostgreSQL, which many machines can\n" +
			"share: --db postgres://USER@HOST/DATABASE. Leave a password out of the URL: PGPASSWORD and ~/.pgpass serve.",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.dbMigrateCommand(), a.dbCheckCommand(), a.dbCopyCommand())
	return c
}

func (a *app) dbMigrateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Bring the tables at --db up to date, and make them where there are none",
		Long: "migrate brings the tables up to date. Every command that opens the journal to write does so too; here it can be\n" +
			"done at a time of your choice, by a user of the database who may. On PostgreSQL that goes for the tables of a fleet's\n" +
			"queue too, whose names begin with river_. Many processes may do it at once.",
		Example: "  keyreeve db migrate --db postgres://keyreeve@db.example.com/keyreeve",
		Args:    noArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return a.dbMigrate(c.Context()) },
	}
}

func (a *app) dbMigrate(ctx context.Context) error {
	db, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // every step was committed
	if db.Path() == "" {              // a server, where the queue of a fleet stands beside the journal
		url, err := a.database()
		if err != nil {
			return err
		}
		if err := fleet.Migrate(ctx, url); err != nil {
			return err
		}
	}
	was, now := db.Schema()
	text := fmt.Sprintf("schema %d, up to date", now)
	switch {
	case was < 0:
		text = fmt.Sprintf("made, with schema %d", now)
	case was < now:
		text = fmt.Sprintf("schema %d, was %d", now, was)
	}
	_, err = fmt.Fprintf(a.sys.Stdout, "%s: %s\n", db.Name(), text)
	return err
}

func (a *app) dbCheckCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "check [OTHER-URL]",
		Short: "Check the database at --db, and whether another one holds the same",
		Long: "check reads the whole database: the file or the references, every link of the chain of hashes, and whether runs,\n" +
			"steps and rotations are what the chain tells. With OTHER-URL it does so for that one too, compares both row by\n" +
			"row, and names the first rows that differ. It exits with 3 when something is wrong or differs. It writes nothing.",
		Example: "  keyreeve db check\n  keyreeve db check postgres://keyreeve@db.example.com/keyreeve -o json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return misuse("keyreeve db check OTHER-URL compares it with the one at --db", "db check takes one database, not %d", len(args))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if err := refuseEmptyFlags(c); err != nil {
				return err
			}
			return a.dbCheck(c.Context(), args, format)
		},
	}
	c.Flags().StringVarP(&format, "output", "o", "text", "`FORMAT`: text, json")
	completeValues(c, "output", []string{"text", "json"})
	return c
}

// dbCheckDoc is the result of db check as JSON. Its fields only grow.
type dbCheckDoc struct {
	Schema      string         `json:"schema"` // keyreeve.db-check/1
	Databases   []dbChecked    `json:"databases"`
	Same        *bool          `json:"same"`        // null: there is one database
	Different   int64          `json:"different"`   // rows
	Differences []dbDifference `json:"differences"` // the first of each table
}

type dbChecked struct {
	Name    string    `json:"name"`
	Version int64     `json:"version"` // of the tables
	Problem string    `json:"problem"` // empty: every link holds
	Tables  []dbTable `json:"tables"`
}

type dbTable struct {
	Name   string `json:"name"`
	Rows   int64  `json:"rows"`
	SHA256 string `json:"sha256"`
}

type dbDifference struct {
	Table string `json:"table"`
	Row   string `json:"row"`
	What  string `json:"what"` // "only in NAME", or the columns that differ
}

func (a *app) dbCheck(ctx context.Context, other []string, format string) error {
	f, err := textOrJSON(format)
	if err != nil {
		return err
	}
	url, err := a.database()
	if err != nil {
		return err
	}
	doc := dbCheckDoc{Schema: "keyreeve.db-check/1", Databases: []dbChecked{}, Differences: []dbDifference{}}
	var open []*store.DB
	for _, at := range append([]string{url}, other...) {
		db, err := a.readJournal(ctx, at)
		if err != nil {
			return err
		}
		defer func() { _ = db.Close() }() // only read
		open = append(open, db)
		one, err := checked(ctx, db)
		if err != nil {
			return err
		}
		doc.Databases = append(doc.Databases, one)
	}
	if len(open) > 1 {
		if err := doc.compare(ctx, open[0], open[1]); err != nil {
			return err
		}
	}
	write := doc.text
	if f == report.JSON {
		write = func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			return e.Encode(&doc)
		}
	}
	if a.global.maskKeys {
		for i := range doc.Differences { // a row may be named by an access key
			doc.Differences[i].Row = report.Mask(doc.Differences[i].Row)
		}
	}
	if err := a.writeStdout(write); err != nil {
		return err
	}
	if !doc.fine() {
		return &exitError{code: ExitFindings}
	}
	return nil
}

// readJournal opens a journal that must be there, to be read.
func (a *app) readJournal(ctx context.Context, at string) (*store.DB, error) {
	there, err := store.Exists(ctx, at)
	if err == nil && !there {
		return nil, misuse("keyreeve apply writes one; keyreeve db migrate makes an empty one", "no journal at %s", store.NameOf(at))
	}
	if err != nil {
		return nil, err
	}
	return store.OpenReader(ctx, at)
}

// checked checks one database. What is wrong with its content is part of the answer.
func checked(ctx context.Context, db *store.DB) (dbChecked, error) {
	_, version := db.Schema()
	out := dbChecked{Name: db.Name(), Version: version}
	var broken *store.Error
	if err := db.Check(ctx); errors.As(err, &broken) || ctx.Err() != nil {
		return out, err // it could not be read
	} else if err != nil {
		out.Problem = err.Error()
	}
	contents, err := db.Contents(ctx)
	out.Tables = dbTables(contents)
	return out, err
}

func dbTables(contents []store.Content) []dbTable {
	out := []dbTable{}
	for _, c := range contents {
		out = append(out, dbTable{c.Table, c.Rows, c.Digest})
	}
	return out
}

func (d *dbCheckDoc) compare(ctx context.Context, one, other *store.DB) error {
	c, err := store.Compare(ctx, one, other)
	if err != nil {
		return err
	}
	same := c.Count == 0
	d.Same, d.Different = &same, c.Count
	for _, x := range c.Differences {
		d.Differences = append(d.Differences, dbDifference(x))
	}
	d.Databases[0].Tables, d.Databases[1].Tables = dbTables(c.One), dbTables(c.Other) // of the reading that was compared
	return nil
}

func (d *dbCheckDoc) fine() bool {
	for i := range d.Databases {
		if d.Databases[i].Problem != "" {
			return false
		}
	}
	return d.Same == nil || *d.Same
}

// text is the result for people.
func (d *dbCheckDoc) text(w io.Writer) error {
	var b strings.Builder
	for i := range d.Databases {
		one := &d.Databases[i]
		fmt.Fprintf(&b, "%s\n", one.Name)
		state := "every link holds"
		if one.Problem != "" {
			state = one.Problem
		}
		fmt.Fprintf(&b, "  schema %d; %s\n", one.Version, state)
		for _, t := range one.Tables {
			fmt.Fprintf(&b, "  %-15s %9d rows  %s\n", t.Name, t.Rows, t.SHA256[:16])
		}
	}
	if d.Same != nil && *d.Same {
		b.WriteString("both hold the same\n")
	}
	if d.Same != nil && !*d.Same {
		fmt.Fprintf(&b, "%d rows differ; the first of each table:\n", d.Different)
	}
	for _, x := range d.Differences {
		fmt.Fprintf(&b, "  %s %s: %s\n", x.Table, x.Row, x.What)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (a *app) dbCopyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "copy FROM-URL TO-URL",
		Short: "Copy a journal to an empty database: SQLite to PostgreSQL, or back",
		Long: "copy copies everything that one database holds to another one that holds nothing, in one transaction, and checks\n" +
			"the copy before it counts: every link of the chain of hashes, and every row against the source. It refuses a target\n" +
			"that holds anything, and a source in which an account is being worked on or that is written meanwhile. First stop\n" +
			"what works with the source; afterwards give everything the new --db: a journal that goes on in two places is two.",
		Example: "  keyreeve db copy sqlite:keyreeve.db postgres://keyreeve@db.example.com/keyreeve\n" +
			"  keyreeve db check --db sqlite:keyreeve.db postgres://keyreeve@db.example.com/keyreeve",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 2 {
				return misuse("keyreeve db copy FROM-URL TO-URL", "db copy takes two databases, not %d", len(args))
			}
			if c.Flags().Changed("db") {
				return misuse("keyreeve db copy FROM-URL TO-URL", "db copy takes both databases as arguments, and no --db")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return a.dbCopy(c.Context(), args[0], args[1]) },
	}
}

func (a *app) dbCopy(ctx context.Context, from, to string) error {
	source, err := a.readJournal(ctx, from)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }() // only read
	target, err := store.Open(ctx, to, store.Options{OnWrite: a.sys.OnWrite})
	if err != nil {
		return err
	}
	defer func() { _ = target.Close() }() // the copy was committed
	bar := a.progress()
	defer bar.stop()
	rows := map[string]int64{}
	err = store.Copy(ctx, source, target, func(table string, n int64) {
		rows[table] = n
		bar.show("copying "+table, int(n), 0)
	})
	bar.stop()
	if ctx.Err() != nil && err != nil {
		return &interrupted{"copying the journal"}
	}
	if err != nil {
		return err
	}
	var all int64
	for _, n := range rows {
		all += n
	}
	if _, err := fmt.Fprintf(a.sys.Stdout, "copied %d rows from %s to %s; every link holds, and both hold the same\n", all, source.Name(), target.Name()); err != nil {
		return err
	}
	a.tellSealKey(source, target)
	return nil
}

// tellSealKey says what a copy leaves behind: secrets that are still needed are sealed with a key that is in no database.
func (a *app) tellSealKey(source, target *store.DB) {
	was, err := a.besideJournal(source)
	is, otherErr := a.besideJournal(target)
	if err != nil || otherErr == nil && is == was {
		return // nothing is beside the source, or it is beside the target too
	}
	key := filepath.Join(was, sealKey)
	if _, err := os.Stat(key); err == nil && a.sys.Getenv(seal.KeyVariable) == "" {
		a.warn("secrets of rotations under way are sealed with the key in %s: take it along, or set %s", key, seal.KeyVariable)
	}
	if dir := filepath.Join(was, "backup"); !empty(dir) {
		a.warn("what targets held before is in %s: take it along while rotations are under way", dir)
	}
}

func empty(dir string) bool {
	files, err := os.ReadDir(dir)
	return err != nil || len(files) == 0
}
