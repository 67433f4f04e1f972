package awsiam_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

// dead is the address of a port that was free a moment ago.
func dead(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

func TestReader_givesUpSoonWhereNobodyListens(t *testing.T) {
	secure := httptest.NewTLSServer(http.NotFoundHandler()) // with a certificate that nobody knows
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(secure.Close)
	plain := serve(t, crowd(t, 1))
	label := strings.Repeat("x", 63)
	for name, c := range map[string]struct {
		url      string
		attempts int
	}{
		"refused":             {"http://" + dead(t), 3},
		"no such host":        {"http://" + strings.Join([]string{label, label, label, label}, "."), 1}, // too long to be asked for
		"unknown certificate": {secure.URL, 3},
		"http for https":      {strings.Replace(plain, "http:", "https:", 1), 3},
	} {
		r := open(t, c.url, account, nil)
		_, err := r.Tags(t.Context(), "u000")
		if !errors.Is(err, awsiam.ErrUnavailable) || r.Attempts() != c.attempts {
			t.Errorf("%s: %v after %d attempts, want %v after %d", name, err, r.Attempts(), awsiam.ErrUnavailable, c.attempts)
		}
	}
}

func TestReader_stillRepeatsWhatBreaksOnTheWay(t *testing.T) {
	for _, kind := range []fakeaws.Kind{fakeaws.ErrorBefore, fakeaws.ResetBefore, fakeaws.Truncate, fakeaws.Throttle} {
		cloud := crowd(t, 1)
		cloud.Inject(fakeaws.Fault{Kind: kind, Times: 9})
		r := open(t, serve(t, cloud), account, nil)
		if _, err := r.Tags(t.Context(), "u000"); err != nil || r.Attempts() != 10 {
			t.Errorf("%s: %v after %d attempts, want success after 10", kind, err, r.Attempts())
		}
	}
}

// warnings opens a Reader and gives what it tells a person, without the time.
func warnings(t *testing.T, url string, edit func(*awsiam.Settings)) (*awsiam.Reader, func() []string) {
	t.Helper()
	var log bytes.Buffer
	r := open(t, url, account, func(s *awsiam.Settings) {
		s.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
			Level: slog.LevelWarn,
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		}))
		if edit != nil {
			edit(s)
		}
	})
	return r, func() []string { return strings.FieldsFunc(log.String(), func(c rune) bool { return c == '\n' }) }
}

func TestReader_warnsAtTheSecondFailureOfACall(t *testing.T) {
	const silent = "AWS does not answer, trying again"
	for _, c := range []struct {
		kind  fakeaws.Kind
		times int
		want  []string // message and error
	}{
		{fakeaws.ErrorBefore, 1, nil},
		{fakeaws.ErrorBefore, 2, []string{silent, "ServiceFailure"}},
		{fakeaws.ErrorBefore, 9, []string{silent, "ServiceFailure"}},
		{fakeaws.ResetBefore, 2, []string{silent, "EOF"}},
		{fakeaws.Empty, 2, []string{"the answer of AWS is of no use, trying again", "HTTP 200 without XML"}},
		{fakeaws.Throttle, 2, nil}, // the daily bread of IAM: for --log-level info
		{fakeaws.Deny, 2, nil},     // is not tried again
	} {
		cloud := crowd(t, 1)
		cloud.Inject(fakeaws.Fault{Kind: c.kind, Times: c.times})
		r, lines := warnings(t, serve(t, cloud), nil)
		_, _ = r.Tags(t.Context(), "u000") // other tests look at the answer
		if got := lines(); len(got) != len(c.want)/2 {
			t.Errorf("%d times %s: %d warnings: %q", c.times, c.kind, len(got), got)
			continue
		}
		for _, word := range append(c.want, "level=WARN", "operation=iam:ListUserTags") {
			if len(c.want) > 0 && !strings.Contains(lines()[0], word) {
				t.Errorf("%d times %s: %q lacks %q", c.times, c.kind, lines()[0], word)
			}
		}
	}
}

func TestReader_warnsOfADeadEndpointAndNotOfTheLastAttempt(t *testing.T) {
	for attempts, want := range map[int]int{0: 1, 3: 1, 2: 0, 1: 0} {
		r, lines := warnings(t, "http://"+dead(t), func(s *awsiam.Settings) { s.MaxAttempts = attempts })
		_, err := r.Caller(t.Context())
		if got := lines(); !errors.Is(err, awsiam.ErrUnavailable) || len(got) != want ||
			want > 0 && (!strings.Contains(got[0], "operation=sts:GetCallerIdentity") || !strings.Contains(got[0], "refused")) {
			t.Errorf("at most %d attempts: %v, warnings %q, want %d", attempts, err, got, want)
		}
	}
}

// A reader that lowered its rate at each throttled request would take minutes here: down to one in two seconds.
func TestReader_isNotSlowedToACrawlByAFifthOfThrottledRequests(t *testing.T) {
	cloud := crowd(t, 60)
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Throttle, Share: 0.2})
	r := open(t, serve(t, cloud), account, nil)
	start := time.Now()
	var wg sync.WaitGroup
	err := r.Users(t.Context(), func(users []fact.User) error {
		for _, u := range users {
			wg.Go(func() {
				if _, err := readUser(t.Context(), r, u); err != nil {
					t.Error(err)
				}
			})
		}
		return nil
	})
	wg.Wait()
	if took := time.Since(start); err != nil || took > 20*time.Second {
		t.Errorf("%v after %v, want 60 users in seconds", err, took)
	}
}

// book answers ListUsers with the page that a marker names; each page is a list of members and the next marker.
func book(t *testing.T, page func(marker string) (members, next string)) *awsiam.Reader {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		members, next := page(r.Form.Get("Marker"))
		end := "<IsTruncated>false</IsTruncated>"
		if next != "" {
			end = "<IsTruncated>true</IsTruncated><Marker>" + next + "</Marker>"
		}
		_, _ = fmt.Fprintf(w, "<ListUsersResponse><ListUsersResult><Users>%s</Users>%s</ListUsersResult></ListUsersResponse>", members, end)
	}))
	t.Cleanup(s.Close)
	return open(t, s.URL, account, nil)
}

func TestUsers_refusesPagesThatGoRoundOrNeverEnd(t *testing.T) {
	n := 0
	for name, c := range map[string]struct {
		next func(marker string) string
		why  string
	}{
		"one":     {func(string) string { return "a" }, "circle"},
		"two":     {func(m string) string { return map[string]string{"": "a", "a": "b", "b": "a"}[m] }, "circle"},
		"three":   {func(m string) string { return map[string]string{"": "a", "a": "b", "b": "c", "c": "a"}[m] }, "circle"},
		"endless": {func(string) string { n++; return fmt.Sprint(n) }, "more than 10000 pages"},
	} {
		r := book(t, func(marker string) (string, string) { return "", c.next(marker) })
		err := r.Users(t.Context(), func([]fact.User) error { return nil })
		if !errors.Is(err, awsiam.ErrUnusable) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %v: %s", name, err, awsiam.ErrUnusable, c.why)
		}
	}
}

func TestUsers_givesAUserOnTwoPagesOnceAsFirstSeen(t *testing.T) {
	member := func(name, id, path string) string {
		return fmt.Sprintf("<member><UserName>%s</UserName><UserId>%s</UserId><Path>%s</Path>"+
			"<Arn>arn:aws:iam::111122223333:user%[3]s%[1]s</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate></member>", name, id, path)
	}
	pages := map[string][2]string{
		"":   {member("ana", "AIDA1", "/") + member("bob", "", "/"), "m1"},
		"m1": {member("ana", "AIDA1", "/moved/") + member("BOB", "", "/moved/") + member("bo", "", "/"), "m2"},
		"m2": {member("ana", "AIDA2", "/made-again/"), ""},
	}
	r := book(t, func(marker string) (string, string) { return pages[marker][0], pages[marker][1] })
	var got []string
	err := r.Users(t.Context(), func(users []fact.User) error {
		for _, u := range users {
			got = append(got, u.Name+u.Path)
		}
		return nil
	})
	if want := []string{"ana/", "bob/", "bo/", "ana/made-again/"}; err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}
