package store

import (
	"strings"
	"testing"
)

// What is not in the list would be left behind by a copy, and nobody would notice.
func TestTables_areAllThatTheMigrationsMake(t *testing.T) {
	d := filled(t, t.TempDir()+"/journal.db")
	rows, err := d.db.QueryContext(t.Context(), `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> $1`, versionTable)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	made := map[string]bool{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		made[name] = true
	}
	for _, listed := range tables() {
		if !made[listed.name] {
			t.Errorf("%s is listed, and no table", listed.name)
		}
		delete(made, listed.name)
		unique := 0
		err := d.db.QueryRowContext(t.Context(), `SELECT count(*) FROM pragma_index_list($1) i WHERE i."unique" = 1 AND i.partial = 0 AND
			(SELECT group_concat(name, ' ') FROM (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno)) = $2`,
			listed.name, strings.Join(listed.key, " ")).Scan(&unique)
		if whole := listed.name == "entries" || listed.name == headTable; err != nil || unique == 0 && !whole { // those have a number of SQLite's for a key
			t.Errorf("%s: its key %v is not unique, %v", listed.name, listed.key, err)
		}
	}
	for name := range made {
		t.Errorf("table %s is not listed: a copy would leave it out", name)
	}
}
