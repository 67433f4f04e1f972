package web

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/internal/fact"
)

const (
	defaultLimit = 100
	mostLimit    = 1000
	longestUser  = 64 // as IAM has it
)

// list is one list of the API: what it is called, which filters it knows.
type list struct {
	name     string
	filters  []string
	statuses []string // the values of the filter status
	isPlace  func(string) bool
}

// wirePage is a page of rows.
type wirePage[T any] struct {
	Rows []T     `json:"rows"`
	Next *string `json:"next"` // the cursor of the next page; null: this is the last one
}

// mistake is something wrong with a question.
type mistake struct{ why, hint string }

func (m *mistake) Error() string { return m.why }

var ruleID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,127}$`)

// query reads the parameters of a question. Every mistake in them is refused: a filter that was not understood would
// answer another question.
func (l *list) query(u *url.URL) (Query, *mistake) {
	q := Query{Limit: defaultLimit}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return q, &mistake{"the parameters cannot be read", "write ?name=value&name=value, and %XX for what stands out"}
	}
	for name, all := range values {
		if name != "limit" && name != "cursor" && !slices.Contains(l.filters, name) {
			return q, &mistake{"unknown parameter " + quote(name), "use " + strings.Join(append(slices.Clone(l.filters), "limit", "cursor"), ", ")}
		}
		if len(all) != 1 {
			return q, &mistake{fmt.Sprintf("%d values for %s", len(all), name), "give one"}
		}
		if all[0] == "" {
			return q, &mistake{name + " is empty", "leave it out, or give it a value"}
		}
	}
	q.Account, q.User, q.Rule, q.Status = values.Get("account"), values.Get("user"), values.Get("rule"), values.Get("status")
	if m := l.check(&q); m != nil {
		return q, m
	}
	if text := values.Get("limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 || q.Limit > mostLimit {
			return q, &mistake{quote(text) + " is no limit", "use 1 to " + strconv.Itoa(mostLimit)}
		}
	}
	if text := values.Get("cursor"); text != "" {
		after, ok := l.place(text, &q)
		if !ok {
			return q, &mistake{"the cursor " + quote(text) + " is not of this list with these filters", "begin again without it"}
		}
		q.After = after
	}
	return q, nil
}

func (l *list) check(q *Query) *mistake {
	switch {
	case q.Account != "" && !fact.IsAccountID(q.Account):
		return &mistake{quote(q.Account) + " is no account", "an account id has twelve digits"}
	case q.User != "" && (utf8.RuneCountInString(q.User) > longestUser || !printable(q.User)):
		return &mistake{quote(q.User) + " is no user", "give its whole name, without the path"}
	case q.Rule != "" && !ruleID.MatchString(q.Rule):
		return &mistake{quote(q.Rule) + " is no rule", "give its id, such as key-age-90"}
	case q.Status != "" && !slices.Contains(l.statuses, q.Status):
		return &mistake{quote(q.Status) + " is no status of " + l.name, "use " + strings.Join(l.statuses, ", ")}
	default:
		return nil
	}
}

func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// wireCursor is a place in a list. It names the list and its filters, so that it fits no other.
type wireCursor struct {
	Of    string `json:"of"`
	After string `json:"after"`
}

// filtered names the list with the filters of q.
func (l *list) filtered(q *Query) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", []string{l.name, q.Account, q.User, q.Rule, q.Status}))
	return l.name + "/" + hex.EncodeToString(sum[:6])
}

func (l *list) cursor(q *Query, after string) string {
	text, err := json.Marshal(wireCursor{l.filtered(q), after})
	if err != nil { // texts always can
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func (l *list) place(text string, q *Query) (after string, ok bool) {
	plain, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return "", false
	}
	var c wireCursor
	if err := json.Unmarshal(plain, &c); err != nil || c.Of != l.filtered(q) {
		return "", false
	}
	return c.After, l.isPlace(c.After)
}

// pageOf answers a question for a page of a list: it reads one row more than is asked for, to know whether there are
// more. place is where a row stands in the order of the list, toWire how it is shown.
func pageOf[R, W any](v *server, w http.ResponseWriter, r *http.Request, l *list, read func(context.Context, Query) ([]R, error), place func(*R) string, toWire func(*R) W) {
	q, bad := l.query(r.URL)
	if bad != nil {
		refuse(w, http.StatusBadRequest, bad.why, bad.hint)
		return
	}
	limit := q.Limit
	q.Limit++
	rows, err := read(r.Context(), q)
	if err != nil {
		v.broken(w, r, err)
		return
	}
	page := wirePage[W]{Rows: make([]W, 0, min(len(rows), limit))}
	for i := range rows {
		if i == limit {
			next := l.cursor(&q, place(&rows[i-1]))
			page.Next = &next
			break
		}
		page.Rows = append(page.Rows, toWire(&rows[i]))
	}
	v.send(w, r, http.StatusOK, page)
}

// noParameters refuses parameters where there are none.
func noParameters(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.RawQuery == "" {
		return true
	}
	refuse(w, http.StatusBadRequest, "there are no parameters here", "leave out what stands after the question mark")
	return false
}

// one reads one thing by its id. What cannot be an id is that of none, and no database is asked for it.
func one[R any](ctx context.Context, id string, read func(context.Context, string) (*R, error)) (*R, error) {
	if !isID(id) {
		return nil, ErrNone
	}
	return read(ctx, id)
}

// isID tells whether text can be the id of a run or a rotation.
func isID(text string) bool { return runID.MatchString(text) }

var runID = regexp.MustCompile(`^[0-9A-Za-z-]{1,64}$`)

// texts are the values of an enumeration.
func texts[T ~string](values []T) []string {
	var out []string
	for _, v := range values {
		out = append(out, string(v))
	}
	return out
}
