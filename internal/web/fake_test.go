package web_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/web"
)

var now = time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)

// world is everything that the surface shows, in memory.
type world struct {
	mu      sync.Mutex
	rows    map[string]web.Account
	held    map[string]history.Entry // by their places
	turns   map[string]rotate.Rotation
	changes map[string]journal.Run
	tokens  map[string]web.Token
	now     time.Time
	trouble error // of every reading
	panics  bool
	asked   int // readings of rows
	log     bytes.Buffer
}

func newWorld() *world {
	return &world{
		rows: map[string]web.Account{}, held: map[string]history.Entry{}, turns: map[string]rotate.Rotation{},
		changes: map[string]journal.Run{}, tokens: map[string]web.Token{}, now: now,
	}
}

func (w *world) read() error {
	w.asked++
	if w.panics {
		panic("a bug with the secret hunter2")
	}
	return w.trouble
}

// after are the values in the order of their ids, or against it, that want chooses, cut as the query says.
func after[T any](w *world, rows map[string]T, q web.Query, newestFirst bool, want func(*T) bool) ([]T, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.read(); err != nil {
		return nil, err
	}
	order := cmp.Compare[string]
	if newestFirst {
		order = func(a, b string) int { return cmp.Compare(b, a) }
	}
	var ids []string
	for id, row := range rows {
		if want(&row) && (q.After == "" || order(id, q.After) > 0) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, order)
	var out []T
	for _, id := range ids[:min(len(ids), q.Limit)] {
		out = append(out, rows[id])
	}
	return out, nil
}

func (w *world) Accounts(_ context.Context, q web.Query) ([]web.Account, error) {
	return after(w, w.rows, q, false, func(a *web.Account) bool { return q.Account == "" || q.Account == a.ID })
}

func (w *world) Verdicts(_ context.Context, q web.Query) ([]history.Entry, error) {
	return after(w, w.held, q, true, func(e *history.Entry) bool {
		status := map[bool]string{true: web.Open, false: web.Closed}[e.Open()]
		return (q.Account == "" || q.Account == e.Account) && (q.User == "" || q.User == e.User) &&
			(q.Rule == "" || q.Rule == e.Rule) && (q.Status == "" || q.Status == status)
	})
}

func (w *world) Rotations(_ context.Context, q web.Query) ([]rotate.Rotation, error) {
	return after(w, w.turns, q, true, func(r *rotate.Rotation) bool {
		return (q.Account == "" || q.Account == r.Account) && (q.User == "" || q.User == r.User) && (q.Status == "" || q.Status == string(r.State))
	})
}

func (w *world) Rotation(_ context.Context, id string) (*rotate.Rotation, error) {
	return found(w, w.turns, id)
}

func (w *world) Runs(_ context.Context, q web.Query) ([]journal.Run, error) {
	return after(w, w.changes, q, true, func(r *journal.Run) bool { return q.Account == "" || q.Account == r.Account })
}

func (w *world) Run(_ context.Context, id string) (*journal.Run, error) {
	return found(w, w.changes, id)
}

func found[T any](w *world, rows map[string]T, id string) (*T, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.read(); err != nil {
		return nil, err
	}
	row, ok := rows[id]
	if !ok {
		return nil, web.ErrNone
	}
	return &row, nil
}

func (w *world) Token(_ context.Context, id string) (web.Token, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.trouble != nil {
		return web.Token{}, w.trouble
	}
	t, ok := w.tokens[id]
	if !ok {
		return web.Token{}, web.ErrNone
	}
	return t, nil
}

// grant makes a token and gives its text.
func (w *world) grant(expires time.Time) string {
	t, secret := web.NewToken("a test", w.now, expires)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens[t.ID] = t
	return secret.Reveal()
}

func (w *world) settings() web.Settings {
	return web.Settings{
		Accounts: w, Verdicts: w, Rotations: w, Runs: w, Tokens: w, Rate: 1000,
		Now: func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }, Log: slog.New(slog.NewTextHandler(&w.log, nil)),
	}
}

// story is a world with something of everything.
func story() *world {
	w := newWorld()
	a := fact.Account{ID: "111122223333", Partition: "aws", Name: "tidewater", OU: "Root/Workloads"}
	b := fact.Account{ID: "444455556666", Partition: "aws-cn"}
	w.rows[a.ID] = web.Account{Account: a, Users: 3, Keys: 4, ActiveKeys: 2, Failing: 1, FailingKeys: 1, Complete: true, JudgedAt: now}
	w.rows[b.ID] = web.Account{Account: b, GoneAt: now}
	key := "AKIAFAKE000000000011"
	for _, e := range []history.Entry{
		{
			ID: "aa0100000000000000000000", OpenedAt: now.Add(-time.Hour), Account: a.ID, User: "ana", Rule: "key-age-90", Kind: "key-age",
			Title: "Keys are at most 90 days old", Severity: finding.High, Remedy: finding.Rotate, Message: "200 days old, the limit is 90",
			KeyID: key, KeyCreated: fact.At(now.AddDate(0, 0, -200)), Since: fact.At(now.AddDate(0, 0, -110)), SeenAt: now,
		},
		{
			ID: "bb0200000000000000000000", OpenedAt: now, Account: b.ID, User: fact.RootName, Rule: "root-access-key", Kind: "root-access-key",
			Title: "Root has no keys", Severity: finding.Critical, Message: "root has a key", SeenAt: now, ClosedAt: now, Why: history.Excepted,
		},
	} {
		w.held[web.PlaceOf(&e)] = e
	}
	w.turns["20261101T000000Z-00000a"] = rotate.Rotation{
		ID: "20261101T000000Z-00000a", State: rotate.Proving, Account: a.ID, Partition: "aws", User: "ana", Caller: "arn:aws:iam::111122223333:role/ops",
		Reason: "due", Old: rotate.KeyRecord{ID: key}, New: rotate.KeyRecord{ID: "AKIAFAKE000000000012"}, Sealed: []byte("sealed-secret"),
		Digest: "digest-of-the-pair", Targets: []rotate.Target{{Name: "prod", Kind: "ssm", Where: "/prod/ana", State: rotate.Holds, Receipt: []byte("receipt")}},
		StartedAt: now.AddDate(0, 0, -20), ChangedAt: now, NextAt: now.Add(time.Hour),
	}
	w.turns["20261102T000000Z-00000b"] = rotate.Rotation{ID: "20261102T000000Z-00000b", State: rotate.Done, Account: b.ID, User: "bo", StartedAt: now, ChangedAt: now, NextAt: now}
	w.changes["20261120T000000Z-00000c"] = journal.Run{
		ID: "20261120T000000Z-00000c", Kind: journal.Apply, Account: a.ID, Caller: "arn:aws:iam::111122223333:role/ops", Host: "ops-7", StartedAt: now,
		Steps: []journal.Step{{ID: "s1", Action: journal.Deactivate, User: "ana", KeyID: key}},
	}
	return w
}

// client asks a surface, by its real server.
type client struct {
	t     *testing.T
	url   string
	token string
}

func open(t *testing.T, w *world, change ...func(*web.Settings)) *client {
	t.Helper()
	s := w.settings()
	for _, f := range change {
		f(&s)
	}
	h, err := web.New(s)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return &client{t: t, url: server.URL, token: w.grant(time.Time{})}
}

// answer is one whose body was read.
type answer struct {
	StatusCode int
	Header     http.Header
	Request    *http.Request
}

func (c *client) ask(method, path string, header ...string) (answer, string) {
	c.t.Helper()
	req, err := http.NewRequest(method, c.url+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, res.Request}, string(body)
}

var errTrouble = errors.New("dial db-7.internal: password=hunter2")

// leaks are the words that no answer may hold.
func leaks(t *testing.T, what, body string) {
	t.Helper()
	for _, word := range []string{"hunter2", "db-7", "goroutine", ".go:", "sealed-secret", "receipt", "digest-of-the-pair", "ops-7"} {
		if strings.Contains(body, word) {
			t.Errorf("%s shows %q: %s", what, word, body)
		}
	}
}
