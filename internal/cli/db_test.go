package cli_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/cli"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/store"
	"github.com/keyreeve/keyreeve/internal/store/storetest"
	"github.com/keyreeve/keyreeve/internal/store/storetest/postgres"
)

// keyreeve runs one command line in this process, and never sees the passwords of the URLs come back.
func keyreeve(t *testing.T, code int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	dir := t.TempDir()
	getenv := func(name string) string { return map[string]string{"HOME": dir}[name] }
	sys := cli.System{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: getenv, Now: func() time.Time { return storyTime }}
	if got := cli.Run(context.Background(), args, sys); got != code {
		t.Errorf("keyreeve %s: exit %d, want %d\n%s%s", strings.Join(args, " "), got, code, out.String(), errs.String())
	}
	for _, arg := range args {
		u, err := url.Parse(arg)
		if err != nil || u.User == nil {
			continue
		}
		if word, ok := u.User.Password(); ok && strings.Contains(out.String()+errs.String(), word) {
			t.Errorf("keyreeve %s: it tells the password", args[0])
		}
	}
	return out.String(), errs.String()
}

func filledStore(t *testing.T, url string) {
	t.Helper()
	db, err := store.Open(t.Context(), url, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	storetest.Fill(t, db, 11)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDB_copiesToAServerAndBackWithoutLoss(t *testing.T) {
	dir := t.TempDir()
	first, server, back := "sqlite:"+dir+"/first.db", postgres.URL(t), "sqlite:"+dir+"/back.db"
	filledStore(t, first)
	if out, _ := keyreeve(t, 0, "db", "migrate", "--db", server); !strings.Contains(out, ": made, with schema ") {
		t.Errorf("migrate: %s", out)
	}
	for _, pair := range [][2]string{{first, server}, {server, back}} {
		if out, _ := keyreeve(t, 0, "db", "copy", pair[0], pair[1]); !strings.Contains(out, "both hold the same") {
			t.Errorf("copy: %s", out)
		}
		if out, _ := keyreeve(t, 0, "db", "check", pair[1], "--db", pair[0]); !strings.Contains(out, "both hold the same") {
			t.Errorf("check: %s", out)
		}
		keyreeve(t, 0, "runs", "verify", "--db", pair[1])
		_, said := keyreeve(t, 2, "db", "copy", pair[0], pair[1])
		if !strings.Contains(said, "holds something") {
			t.Errorf("copy once more: %s", said)
		}
	}
	for _, at := range []string{first, server} {
		want, _ := keyreeve(t, 0, "runs", "-o", "json", "--limit", "0", "--db", back)
		if got, _ := keyreeve(t, 0, "runs", "-o", "json", "--limit", "0", "--db", at); got != want {
			t.Errorf("runs differ:\n%s\n%s", got, want)
		}
		want, _ = keyreeve(t, 0, "rotate", "list", "--all", "-o", "json", "--db", back)
		if got, _ := keyreeve(t, 0, "rotate", "list", "--all", "-o", "json", "--db", at); got != want {
			t.Errorf("rotations differ:\n%s\n%s", got, want)
		}
	}
}

func TestDB_migrateMakesTheQueueOfAFleetToo(t *testing.T) {
	server := postgres.URL(t)
	if _, errs := keyreeve(t, 2, "runs", "--db", server); !strings.Contains(errs, "no journal at postgres://") {
		t.Errorf("before: %s", errs)
	}
	keyreeve(t, 0, "db", "migrate", "--db", server)
	if out, _ := keyreeve(t, 0, "db", "migrate", "--db", server); !strings.Contains(out, "up to date") {
		t.Errorf("once more: %s", out)
	}
	db, err := sql.Open("pgx", server)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var jobs int
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM river_job`).Scan(&jobs); err != nil || jobs != 0 {
		t.Errorf("%d jobs, %v", jobs, err)
	}
	if out, _ := keyreeve(t, 0, "db", "check", "--db", server); strings.Contains(out, "river") {
		t.Errorf("check counts the queue: %s", out)
	}
}

func TestDB_saysWhatDiffersAndWhatIsBroken(t *testing.T) {
	path := t.TempDir() + "/copy.db"
	server := postgres.URL(t)
	filledStore(t, server)
	keyreeve(t, 0, "db", "copy", server, "sqlite:"+path)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{`DROP TRIGGER entries_no_update`, `UPDATE entries SET note = 'changed' WHERE seq = 2`} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Schema    string
		Databases []struct {
			Name, Problem string
			Tables        []struct {
				Name, SHA256 string
				Rows         int64
			}
		}
		Same        *bool
		Different   int64
		Differences []struct{ Table, Row, What string }
	}
	out, _ := keyreeve(t, 3, "db", "check", "sqlite:"+path, "--db", server, "-o", "json")
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Schema != "keyreeve.db-check/1" || doc.Same == nil || *doc.Same || doc.Different != 1 || len(doc.Databases) != 2 ||
		doc.Databases[0].Problem != "" || !strings.Contains(doc.Databases[1].Problem, "entry 2") || len(doc.Databases[0].Tables) < 7 {
		t.Errorf("got %s", out)
	}
	if d := doc.Differences; len(d) != 1 || d[0].Table != "entries" || d[0].Row != "seq 2" || d[0].What != "note" {
		t.Errorf("differences %+v", d)
	}
	for i, one := range doc.Databases[0].Tables {
		if other := doc.Databases[1].Tables[i]; (one == other) != (one.Name != "entries") || len(one.SHA256) != 64 {
			t.Errorf("table %+v and %+v", one, other)
		}
	}
	if out, _ := keyreeve(t, 3, "db", "check", "--db", "sqlite:"+path); !strings.Contains(out, "entry 2") {
		t.Errorf("check of one: %s", out)
	}
	if out, _ := keyreeve(t, 0, "db", "check", "--db", server); !strings.Contains(out, "every link holds") {
		t.Errorf("check of the other: %s", out)
	}
}

func TestDB_refusesToCopyWhileAnAccountIsWorkedOn(t *testing.T) {
	at := postgres.URL(t)
	filledStore(t, at)
	db, err := store.Open(t.Context(), at, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	release, err := db.Lock(t.Context(), storetest.Account, "run one, process 1 on ops-1")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	_, said := keyreeve(t, 6, "db", "copy", at, "sqlite:"+t.TempDir()+"/copy.db")
	if !strings.Contains(said, "is being worked on by run one, process 1 on ops-1") || !strings.Contains(said, "hint: ") {
		t.Errorf("it says %s", said)
	}
}

func TestDoctor_checksAJournalOnAServer(t *testing.T) {
	at := postgres.URL(t)
	cloud := fakeaws.Demo(storyTime)
	aws, err := cloud.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer aws.Close()
	t.Setenv("AWS_ENDPOINT_URL", aws.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", cloud.Accounts()[0].Credential())
	t.Setenv("AWS_SECRET_ACCESS_KEY", "any")
	if out, _ := keyreeve(t, 0, "doctor", "--db", at); !strings.Contains(out, "-     journal                     none yet") {
		t.Errorf("empty: %s", out)
	}
	filledStore(t, at)
	out, _ := keyreeve(t, 0, "doctor", "--db", at)
	if !strings.Contains(out, "ok    journal                     postgres://keyreeve@127.0.0.1:") || !strings.Contains(out, "KEYREEVE_SEAL_KEY") {
		t.Errorf("filled: %s", out)
	}
}
