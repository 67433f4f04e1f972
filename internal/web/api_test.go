package web_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/history"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/web"
	"github.com/keyreeve/keyreeve/internal/web/webtest"
)

func TestAPI_everyAnswerIsAsTheDocumentSays(t *testing.T) {
	w := story()
	c, judge := open(t, w, func(s *web.Settings) {
		s.Ready = func(context.Context) []web.Check { return []web.Check{{Name: "database"}} }
	}), webtest.NewJudge(t)
	for path, want := range map[string]int{
		"/healthz": 200, "/readyz": 200, "/api/v1/openapi.json": 200,
		"/api/v1/accounts": 200, "/api/v1/accounts?account=111122223333": 200, "/api/v1/accounts?account=1": 400,
		"/api/v1/verdicts": 200, "/api/v1/verdicts?limit=1": 200, "/api/v1/verdicts?status=open": 200, "/api/v1/verdicts?status=fail": 400,
		"/api/v1/rotations": 200, "/api/v1/rotations?status=proving": 200,
		"/api/v1/rotations/20261101T000000Z-00000a": 200, "/api/v1/rotations/none": 404,
		"/api/v1/runs": 200, "/api/v1/runs/20261120T000000Z-00000c": 200, "/api/v1/runs/none": 404, "/api/v1/runs/none?x=1": 400,
	} {
		res, body := c.ask(http.MethodGet, path)
		if res.StatusCode != want {
			t.Errorf("%s: HTTP %d, want %d: %s", path, res.StatusCode, want, body)
		}
		judge.Answer(t, res.Request, res.StatusCode, res.Header, []byte(body))
		leaks(t, path, body)
	}
	// The same of every path when there is no token, when nothing can be read, and when there is a bug.
	for _, trouble := range []struct {
		name string
		set  func()
		want int
	}{
		{"no token", func() { c.token = "" }, 401},
		{"nothing can be read", func() { c.token, w.trouble = w.grant(time.Time{}), errTrouble }, 503},
		{"a bug", func() { w.trouble, w.panics = nil, true }, 500},
	} {
		trouble.set()
		for path := range webtest.Document(t).Paths.Map() {
			path = strings.NewReplacer("{rotation}", "x", "{run}", "x").Replace(path)
			res, body := c.ask(http.MethodGet, path)
			want := trouble.want
			if !strings.HasPrefix(path, "/api/") || path == "/api/v1/openapi.json" {
				want = 200
			}
			if res.StatusCode != want {
				t.Errorf("%s, %s: HTTP %d, want %d: %s", path, trouble.name, res.StatusCode, want, body)
			}
			judge.Answer(t, res.Request, res.StatusCode, res.Header, []byte(body))
			leaks(t, path, body)
		}
	}
	if log := w.log.String(); !strings.Contains(log, "hunter2") || !strings.Contains(log, "goroutine") {
		t.Errorf("the log does not say what the matter was:\n%s", log)
	}
}

func TestOpenAPI_namesEveryStatusThatThereIs(t *testing.T) {
	schemas := webtest.Document(t).Components.Schemas
	for _, c := range []struct {
		schema, field string
		want          []string
	}{
		{"Verdict", "status", []string{web.Open, web.Closed}},
		{"Verdict", "why", append(texts(history.Reasons()), "")},
		{"Verdict", "severity", texts(finding.Severities())},
		{"Rotation", "status", texts(rotate.States())},
		{"Target", "status", texts(rotate.TargetStates())},
		{"Run", "kind", texts(journal.RunKinds())},
		{"Step", "status", texts(journal.Statuses())},
		{"Step", "action", texts(journal.Actions())},
	} {
		var got []string
		for _, v := range schemas[c.schema].Value.Properties[c.field].Value.Enum {
			got = append(got, v.(string))
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s.%s: the document has %q, the code %q", c.schema, c.field, got, c.want)
		}
	}
}

func texts[T ~string](values []T) []string {
	var out []string
	for _, v := range values {
		out = append(out, string(v))
	}
	return out
}

func TestAPI_showsWhatItWasGiven(t *testing.T) {
	c := open(t, story())
	for path, want := range map[string]string{
		"/api/v1/accounts?account=111122223333": `{"rows":[{"id":"111122223333","partition":"aws","name":"tidewater","ou":"Root/Workloads","users":3,"keys":4,"active_keys":2,"fail":1,"failing_keys":1,"complete":true,"judged_at":"2026-11-22T09:30:00Z","unread_since":null,"gone_at":null}],"next":null}`,
		"/api/v1/verdicts?user=ana": `{"rows":[{"id":"aa0100000000000000000000","rule":"key-age-90","kind":"key-age","title":"Keys are at most 90 days old","status":"open","severity":"high","account":"111122223333","user":"ana",` +
			`"key_id":"AKIAFAKE000000000011","key_created_at":"2026-05-06T09:30:00Z","message":"200 days old, the limit is 90","since":"2026-08-04T09:30:00Z","remedy":"rotate",` +
			`"opened_at":"2026-11-22T08:30:00Z","seen_at":"2026-11-22T09:30:00Z","closed_at":null,"why":""}],"next":null}`,
		"/api/v1/verdicts?status=closed": `{"rows":[{"id":"bb0200000000000000000000","rule":"root-access-key","kind":"root-access-key","title":"Root has no keys","status":"closed","severity":"critical","account":"444455556666","user":"<root_account>",` +
			`"key_id":"","key_created_at":null,"message":"root has a key","since":null,"remedy":"","opened_at":"2026-11-22T09:30:00Z","seen_at":"2026-11-22T09:30:00Z","closed_at":"2026-11-22T09:30:00Z","why":"excepted"}],"next":null}`,
		"/api/v1/rotations/20261102T000000Z-00000b": `{"rotation":"20261102T000000Z-00000b","status":"done","why":"","account":"444455556666","user":"bo","reason":"","caller":"","old_key_id":"","new_key_id":"","targets":[],"started_at":"2026-11-22T09:30:00Z","changed_at":"2026-11-22T09:30:00Z","next_at":null,"due_at":null}`,
		"/api/v1/runs?account=444455556666":         `{"rows":[],"next":null}`,
		"/api/v1/runs/20261120T000000Z-00000c": `{"run":"20261120T000000Z-00000c","kind":"apply","account":"111122223333","caller":"arn:aws:iam::111122223333:role/ops","plan":"","undoes":"","started_at":"2026-11-22T09:30:00Z","ended_at":null,"end_note":"","outcomes":{"planned":1},` +
			`"steps":[{"id":"s1","action":"deactivate","user":"ana","key_id":"AKIAFAKE000000000011","status":"planned","done_at":null}]}`,
	} {
		if _, got := c.ask(http.MethodGet, path); strings.TrimSpace(got) != want {
			t.Errorf("%s:\n got %s\nwant %s", path, got, want)
		}
	}
}

func TestAPI_filtersByEachField(t *testing.T) {
	c := open(t, story())
	for path, want := range map[string]int{
		"verdicts": 2, "verdicts?account=444455556666": 1, "verdicts?user=%3Croot_account%3E": 1, "verdicts?rule=key-age-90": 1,
		"verdicts?status=closed": 1, "verdicts?status=open": 1, "verdicts?status=open&user=bo": 0, "verdicts?user=an": 0,
		"rotations": 2, "rotations?status=done": 1, "rotations?user=ana": 1, "rotations?account=444455556666": 1,
		"runs?account=111122223333": 1, "accounts?account=999999999999": 0,
	} {
		var page struct{ Rows []json.RawMessage }
		_, body := c.ask(http.MethodGet, "/api/v1/"+path)
		if err := json.Unmarshal([]byte(body), &page); err != nil || len(page.Rows) != want {
			t.Errorf("%s: %d rows, want %d: %v %s", path, len(page.Rows), want, err, body)
		}
	}
}

func TestAPI_refusesWhatItDoesNotUnderstand(t *testing.T) {
	w := story()
	c := open(t, w)
	for query, want := range map[string]string{
		"accounts?acount=1":                              `unknown parameter \"acount\"`,
		"accounts?user=ana":                              "unknown parameter",
		"runs?status=done":                               "unknown parameter",
		"verdicts?account=11112222333":                   "is no account",
		"verdicts?account=":                              "account is empty",
		"verdicts?user=a&user=b":                         "2 values for user",
		"verdicts?user=" + strings.Repeat("a", 65):       "is no user",
		"verdicts?user=a%00b":                            "is no user",
		"verdicts?user=%FF":                              "is no user",
		"verdicts?rule=Key%20Age":                        "is no rule",
		"verdicts?status=done":                           "is no status of verdicts",
		"rotations?status=fail":                          "is no status of rotations",
		"runs?limit=0":                                   "is no limit",
		"runs?limit=1001":                                "is no limit",
		"runs?limit=ten":                                 "is no limit",
		"runs?limit=-1":                                  "is no limit",
		"runs?limit=99999999999999999999":                "is no limit",
		"runs?a=%zz":                                     "cannot be read",
		"runs?a;b":                                       "cannot be read",
		"runs?cursor=x":                                  "the cursor",
		"runs?cursor=" + strings.Repeat("QUFB", 500):     "the cursor",
		"runs?cursor=eyJvZiI6IiIsImFmdGVyIjoiIn0":        "the cursor", // {"of":"","after":""}
		"runs?cursor=bnVsbA":                             "the cursor", // null
		"verdicts?user=" + strings.Repeat("%C3%A9", 500): "is no user",
	} {
		res, body := c.ask(http.MethodGet, "/api/v1/"+query)
		if res.StatusCode != http.StatusBadRequest || !strings.Contains(body, want) {
			t.Errorf("%.60s: HTTP %d %s, want 400 with %s", query, res.StatusCode, body, want)
		}
		var e struct{ Error, Hint string }
		if err := json.Unmarshal([]byte(body), &e); err != nil || e.Hint == "" || len(e.Error) > 600 {
			t.Errorf("%.60s: no short error with a hint: %s", query, body)
		}
	}
	if w.asked != 0 {
		t.Errorf("%d readings for questions that were refused", w.asked)
	}
}

// walk reads a list page by page and gives the ids in the order in which they came; between is called after each page.
func walk(t *testing.T, c *client, list, idField, query string, limit int, between func(page int)) []string {
	t.Helper()
	var ids []string
	cursor := ""
	for n := 0; ; n++ {
		u := "/api/v1/" + list + "?limit=" + strconv.Itoa(limit) + query
		if cursor != "" {
			u += "&cursor=" + url.QueryEscape(cursor)
		}
		res, body := c.ask(http.MethodGet, u)
		var page struct {
			Rows []map[string]any
			Next *string
		}
		if err := json.Unmarshal([]byte(body), &page); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: HTTP %d %v %s", u, res.StatusCode, err, body)
		}
		if len(page.Rows) > limit || page.Next != nil && len(page.Rows) != limit {
			t.Fatalf("%s: %d rows, next %v", u, len(page.Rows), page.Next)
		}
		for _, r := range page.Rows {
			ids = append(ids, r[idField].(string))
		}
		if page.Next == nil {
			return ids
		}
		cursor = *page.Next
		between(n)
	}
}

func TestPages_meetEachRowOnceWhileRowsAreAdded(t *testing.T) {
	for _, limit := range []int{1, 2, 7, 50, 51, 1000} {
		w := newWorld()
		c := open(t, w)
		add := func(i int) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, half := range []string{"1", "2"} { // two of one instant
				e := history.Entry{ID: fmt.Sprintf("%023d%s", i, half), OpenedAt: now.Add(time.Duration(i) * 1500 * time.Millisecond)}
				w.held[web.PlaceOf(&e)] = e
			}
			id := now.Add(time.Duration(i)*time.Second).Format("20060102T150405Z") + "-00000a" // newest first
			w.changes[id] = journal.Run{ID: id}
			w.turns[id] = rotate.Rotation{ID: id, State: rotate.Done}
			a := strconv.Itoa(100000000000 + i*37%1000) // before and after what was read
			row := web.Account{}
			row.ID = a
			w.rows[a] = row
		}
		for i := range 51 {
			add(i)
		}
		for list, field := range map[string]string{"verdicts": "id", "accounts": "id", "runs": "run", "rotations": "rotation"} {
			begun := map[string]bool{}
			for _, id := range walk(t, c, list, field, "", 1000, func(int) {}) {
				begun[id] = true
			}
			added := 100
			seen := map[string]int{}
			for _, id := range walk(t, c, list, field, "", limit, func(int) { add(added); added++ }) {
				seen[id]++
			}
			for id := range begun {
				if seen[id] != 1 {
					t.Errorf("%s by %d: %s was met %d times", list, limit, id, seen[id])
				}
			}
			for id, n := range seen {
				if n != 1 {
					t.Errorf("%s by %d: %s was met %d times", list, limit, id, n)
				}
			}
		}
	}
}

func TestPages_aCursorFitsOnlyItsListAndItsFilters(t *testing.T) {
	w := story()
	c := open(t, w)
	var page struct{ Next *string }
	_, body := c.ask(http.MethodGet, "/api/v1/verdicts?limit=1")
	if err := json.Unmarshal([]byte(body), &page); err != nil || page.Next == nil {
		t.Fatalf("no cursor: %v %s", err, body)
	}
	for path, want := range map[string]int{
		"verdicts?limit=1&cursor=": 200, "verdicts?limit=7&cursor=": 200, "verdicts?status=open&cursor=": 400, "accounts?cursor=": 400, "runs?cursor=": 400,
	} {
		if res, body := c.ask(http.MethodGet, "/api/v1/"+path+*page.Next); res.StatusCode != want {
			t.Errorf("%s: HTTP %d, want %d: %s", path, res.StatusCode, want, body)
		}
	}
}

// A cursor is not secret and not signed: somebody may write one.
func TestPages_aCursorThatSomebodyWroteNamesAPlaceOrIsRefused(t *testing.T) {
	w := story()
	c := open(t, w)
	var page struct{ Next *string }
	_, body := c.ask(http.MethodGet, "/api/v1/verdicts?limit=1")
	if err := json.Unmarshal([]byte(body), &page); err != nil || page.Next == nil {
		t.Fatalf("no cursor: %v %s", err, body)
	}
	plain, err := base64.RawURLEncoding.DecodeString(*page.Next)
	if err != nil {
		t.Fatal(err)
	}
	var cursor map[string]string
	if err := json.Unmarshal(plain, &cursor); err != nil {
		t.Fatal(err)
	}
	w.asked = 0
	for _, place := range []string{"", "x", "2026-11-22T09:30:00Z", "2026-11-22T09:30:00Z ' OR 1=1", "yesterday bb0200000000000000000000", strings.Repeat("9", 5000)} {
		cursor["after"] = place
		text, err := json.Marshal(cursor)
		if err != nil {
			t.Fatal(err)
		}
		if res, body := c.ask(http.MethodGet, "/api/v1/verdicts?cursor="+base64.RawURLEncoding.EncodeToString(text)); res.StatusCode != http.StatusBadRequest {
			t.Errorf("place %.40q: HTTP %d, want 400: %s", place, res.StatusCode, body)
		}
	}
	if w.asked != 0 {
		t.Errorf("%d readings from places that are none", w.asked)
	}
}

func TestAPI_asksNobodyForWhatCannotBeAnID(t *testing.T) {
	w := story()
	c := open(t, w)
	w.asked = 0
	for _, id := range []string{"%00", "%FF", "a%20b", "%27%20OR%201=1", strings.Repeat("a", 65)} {
		for _, list := range []string{"runs/", "rotations/"} {
			if res, body := c.ask(http.MethodGet, "/api/v1/"+list+id); res.StatusCode != http.StatusNotFound || !strings.Contains(body, "hint") {
				t.Errorf("%s%.20s: HTTP %d, want 404: %s", list, id, res.StatusCode, body)
			}
		}
	}
	if w.asked != 0 {
		t.Errorf("%d readings of ids that are none", w.asked)
	}
}

func TestPlace_andBack(t *testing.T) {
	e := history.Entry{ID: "aa0100000000000000000000", OpenedAt: now.Add(123456 * time.Microsecond)}
	at, id, ok := web.ParsePlace(web.PlaceOf(&e))
	if !ok || id != e.ID || !at.Equal(e.OpenedAt) {
		t.Errorf("ParsePlace(%q) = %v, %q, %v", web.PlaceOf(&e), at, id, ok)
	}
	later := history.Entry{ID: e.ID, OpenedAt: now.Add(time.Second)}
	if web.PlaceOf(&e) >= web.PlaceOf(&later) {
		t.Error("places do not sort by time")
	}
}

func TestTokens_onlyOneInForceOpensTheAPI(t *testing.T) {
	w := story()
	c := open(t, w)
	good := c.token
	revoked := w.grant(time.Time{})
	over := w.grant(now)
	later := w.grant(now.Add(time.Hour))
	for id, kept := range w.tokens {
		if strings.Contains(revoked, id) {
			kept.RevokedAt = now
			w.tokens[id] = kept
		}
	}
	id := strings.Split(good, "_")[1]
	forged := good[:len(good)-2] + map[bool]string{true: "QQ", false: "AA"}[strings.HasSuffix(good, "AA")]
	for name, t2 := range map[string]struct {
		header string
		want   int
	}{
		"the token":                   {"Bearer " + good, 200},
		"in other letters":            {"bearer " + good, 200},
		"one that ends later":         {"Bearer " + later, 200},
		"none":                        {"", 401},
		"no scheme":                   {good, 401},
		"another scheme":              {"Basic " + good, 401},
		"empty":                       {"Bearer ", 401},
		"a blank too much":            {"Bearer  " + good, 401},
		"another secret":              {"Bearer " + forged, 401},
		"shorter":                     {"Bearer " + good[:len(good)-1], 401},
		"longer":                      {"Bearer " + good + "A", 401},
		"an id that is not known":     {"Bearer " + strings.Replace(good, id, "000000000000", 1), 401},
		"an id in capitals":           {"Bearer " + strings.Replace(good, id, strings.ToUpper("abcdef"+id[6:]), 1), 401},
		"revoked":                     {"Bearer " + revoked, 401},
		"over":                        {"Bearer " + over, 401},
		"the id alone":                {"Bearer keyreeve_" + id + "_", 401},
		"something else altogether":   {"Bearer eyJhbGciOiJub25lIn0.e30.", 401},
		"what is kept, instead of it": {"Bearer keyreeve_" + id + "_" + strings.Repeat("A", 43), 401},
	} {
		c.token = ""
		res, body := c.ask(http.MethodGet, "/api/v1/accounts", "Authorization", t2.header)
		if res.StatusCode != t2.want {
			t.Errorf("%s: HTTP %d, want %d: %s", name, res.StatusCode, t2.want, body)
		}
		if t2.want == 401 && !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: no challenge", name)
		}
		w.mu.Lock()
		w.now = w.now.Add(time.Second) // so that nobody is put off
		w.mu.Unlock()
	}
}

func TestTokens_areKeptByTheirHashAlone(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		kept, secret := web.NewToken("ci", now, time.Time{})
		text := secret.Reveal()
		if seen[text] || len(text) != len("keyreeve_")+12+1+43 {
			t.Fatalf("token %q: twice, or not 32 bytes long", text)
		}
		seen[text] = true
		held, err := json.Marshal(kept)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(held, []byte(text[len(text)-43:])) || strings.Contains(secret.String(), text) {
			t.Fatal("what is kept, or printed, shows the secret")
		}
	}
}

func TestRate_aTokenIsPutOffAndTheOthersAreNot(t *testing.T) {
	w := story()
	c := open(t, w, func(s *web.Settings) { s.Rate = 2 }) // four at once
	other := &client{t: t, url: c.url, token: w.grant(time.Time{})}
	for i, want := range []int{200, 200, 200, 200, 429, 429} {
		if res, body := c.ask(http.MethodGet, "/api/v1/accounts"); res.StatusCode != want || want == 429 && res.Header.Get("Retry-After") == "" {
			t.Errorf("call %d: HTTP %d, want %d: %s", i+1, res.StatusCode, want, body)
		}
	}
	if res, _ := other.ask(http.MethodGet, "/api/v1/accounts"); res.StatusCode != 200 {
		t.Errorf("another token: HTTP %d", res.StatusCode)
	}
	w.mu.Lock()
	w.now = w.now.Add(time.Second)
	w.mu.Unlock()
	for i, want := range []int{200, 200, 429} {
		if res, _ := c.ask(http.MethodGet, "/api/v1/accounts"); res.StatusCode != want {
			t.Errorf("a second later, call %d: HTTP %d, want %d", i+1, res.StatusCode, want)
		}
	}
}

func TestRate_whoGuessesIsPutOffAndWhoKnowsIsNot(t *testing.T) {
	c := open(t, story())
	guess := &client{t: t, url: c.url, token: "keyreeve_000000000000_" + strings.Repeat("A", 43)}
	got := map[int]int{}
	for range 30 {
		res, _ := guess.ask(http.MethodGet, "/api/v1/accounts")
		got[res.StatusCode]++
	}
	if got[401] != 10 || got[429] != 20 {
		t.Errorf("30 guesses at once: %v, want 10 of 401 and 20 of 429", got)
	}
	if res, _ := c.ask(http.MethodGet, "/api/v1/accounts"); res.StatusCode != 200 {
		t.Errorf("who knows a token: HTTP %d", res.StatusCode)
	}
}

func TestAPI_onlyReads(t *testing.T) {
	c := open(t, story(), func(s *web.Settings) {
		s.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") })
	})
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/api/v1/openapi.json", "/api/v1/accounts", "/api/v1/runs/x"} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} {
			res, body := c.ask(method, path)
			if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "GET, HEAD" || !strings.Contains(body, "hint") {
				t.Errorf("%s %s: HTTP %d, Allow %q: %s", method, path, res.StatusCode, res.Header.Get("Allow"), body)
			}
		}
		if res, body := c.ask(http.MethodHead, path); body != "" || res.StatusCode >= 500 {
			t.Errorf("HEAD %s: HTTP %d %q", path, res.StatusCode, body)
		}
	}
	for path, want := range map[string]int{"/": 404, "/api/v1/": 404, "/api/v1/users": 404, "/api/v2/accounts": 404, "/api/v1/accounts/": 404, "/.git/config": 404} {
		if res, body := c.ask(http.MethodGet, path); res.StatusCode != want || res.Header.Get("Content-Type") != "application/json" || !strings.Contains(body, "hint") {
			t.Errorf("%s: HTTP %d %s, want %d as JSON with a hint", path, res.StatusCode, body, want)
		}
	}
	c.token = ""
	if res, _ := c.ask(http.MethodGet, "/api/v1/users"); res.StatusCode != 401 {
		t.Errorf("what there is not, without a token: HTTP %d, want 401", res.StatusCode)
	}
}

func TestAPI_everyAnswerHasTheHeaders(t *testing.T) {
	c := open(t, story())
	for _, path := range []string{"/healthz", "/nothing", "/api/v1/accounts", "/api/v1/accounts?x=1", "/api/v1/openapi.json"} {
		res, _ := c.ask(http.MethodGet, path, "Origin", "https://evil.example")
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		for name := range res.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: the header %s lets other sites in", path, name)
			}
		}
	}
}

func TestAPI_refusesBodiesThatAreLarge(t *testing.T) {
	c := open(t, story())
	res, err := http.Post(c.url+"/healthz", "text/plain", strings.NewReader(strings.Repeat("x", 2000)))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("HTTP %d, want 413", res.StatusCode)
	}
}

func TestAPI_masksKeyIDsWhenAsked(t *testing.T) {
	c := open(t, story(), func(s *web.Settings) { s.MaskKeys = true })
	for _, path := range []string{"verdicts", "rotations", "runs/20261120T000000Z-00000c"} {
		if _, body := c.ask(http.MethodGet, "/api/v1/"+path); strings.Contains(body, "AKIAFAKE0000000000") || !strings.Contains(body, "AKIA****") {
			t.Errorf("%s: %s", path, body)
		}
	}
}

func TestReady_waitsForEveryCheckAndShowsNoReason(t *testing.T) {
	w := story()
	c := open(t, w, func(s *web.Settings) {
		s.Ready = func(context.Context) []web.Check {
			return []web.Check{{Name: "clock"}, {Name: "database", Err: errTrouble}}
		}
	})
	res, body := c.ask(http.MethodGet, "/readyz")
	if want := `{"status":"waiting","checks":[{"name":"clock","ok":true},{"name":"database","ok":false}]}`; res.StatusCode != 503 || strings.TrimSpace(body) != want {
		t.Errorf("HTTP %d %s, want 503 %s", res.StatusCode, body, want)
	}
	leaks(t, "/readyz", body)
	if !strings.Contains(w.log.String(), "hunter2") {
		t.Error("the log does not say why")
	}
}

func TestNew_namesEverythingThatIsMissing(t *testing.T) {
	_, err := web.New(web.Settings{Rate: -1})
	if err == nil {
		t.Fatal("it is taken")
	}
	for _, want := range []string{"accounts", "verdicts", "rotations", "runs", "tokens", "clock", "negative"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nhas no %s", err, want)
		}
	}
}

// A request that is under way when it is asked to stop is answered; then nobody is listening.
