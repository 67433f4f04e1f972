// Package web is the HTTP surface of keyreeve serve: health, and a read-only API of accounts, verdicts,
// rotations and runs, described by an OpenAPI document.
//
// It knows how to ask who calls, to take a question apart, to cut an answer into pages, and to word a refusal.
// What it shows comes from the readers that it declares. It can change nothing: there is no method but GET and
// HEAD, and no reader here can write.
//
// It refuses what it does not understand, such as an unknown parameter, rather than answer another question. It
// answers no other site's pages: there is no CORS.
//
// Its promise: every answer is as the document says; a walk through pages meets each row that is there all the
// while exactly once; no answer holds a secret, a stack or a word of the database.
package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/time/rate"
)

// DefaultAddress is where to listen unless told otherwise: this machine only.
const DefaultAddress = "127.0.0.1:8273"

const (
	defaultRate  = 20 // calls a second by one token
	burstSeconds = 2  // of the rate, at once
	wrongRate    = 5  // calls a second by all wrong tokens together
	readTimeout  = 20 * time.Second
)

// Settings are what the surface is made of.
type Settings struct {
	Accounts  Accounts
	Verdicts  Verdicts
	Rotations Rotations
	Runs      Runs
	Tokens    Tokens

	// Ready tells what has to be well for the service to work. nil: nothing has.
	Ready func(ctx context.Context) []Check
	// Metrics answers /metrics, to anybody who reaches it. nil: there is none.
	Metrics http.Handler

	Rate     float64 // calls a second by one token, twice as many at once; 0 means 20
	MaskKeys bool    // show only the ends of access key ids
	Now      func() time.Time
	Log      *slog.Logger // nil: silent
}

// Check is one thing that has to be well.
type Check struct {
	Name string // such as database
	Err  error  // nil: it is well; logged, never shown
}

// Validate reports everything that is missing at once.
func (s *Settings) Validate() error {
	var errs []error
	for _, need := range []struct {
		name    string
		missing bool
	}{
		{"accounts", s.Accounts == nil},
		{"verdicts", s.Verdicts == nil},
		{"rotations", s.Rotations == nil},
		{"runs", s.Runs == nil},
		{"tokens", s.Tokens == nil},
		{"a clock", s.Now == nil},
	} {
		if need.missing {
			errs = append(errs, errors.New("the web surface needs "+need.name))
		}
	}
	if s.Rate < 0 {
		errs = append(errs, errors.New("a rate must not be negative"))
	}
	return errors.Join(errs...)
}

// server answers; it is safe for concurrent use.
type server struct {
	Settings
	callers callers
}

// New is the whole surface as one handler. An error is a mistake of the settings.
func New(s Settings) (http.Handler, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	if s.Rate == 0 {
		s.Rate = defaultRate
	}
	v := &server{Settings: s, callers: callers{perSecond: rate.Limit(s.Rate), wrong: rate.NewLimiter(wrongRate, burstSeconds*wrongRate)}}
	open := mux(map[string]http.HandlerFunc{
		"/healthz":             v.health,
		"/readyz":              v.ready,
		"/api/v1/openapi.json": v.document,
	})
	closed := mux(map[string]http.HandlerFunc{
		"/api/v1/accounts":             v.accounts,
		"/api/v1/verdicts":             v.verdicts,
		"/api/v1/rotations":            v.rotations,
		"/api/v1/rotations/{rotation}": v.rotation,
		"/api/v1/runs":                 v.runs,
		"/api/v1/runs/{run}":           v.run,
	})
	open.Handle("/api/v1/", v.identified(closed))
	if s.Metrics != nil {
		open.Handle("GET /metrics", s.Metrics)
		open.HandleFunc("/metrics", notAllowed)
	}
	return v.guarded(open), nil
}

// mux serves each path by GET, refuses its other methods and all other paths.
func mux(paths map[string]http.HandlerFunc) *http.ServeMux {
	m := http.NewServeMux()
	for path, h := range paths {
		m.HandleFunc("GET "+path, h)
		m.HandleFunc(path, notAllowed)
	}
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, "there is nothing at "+quote(r.URL.Path), "/api/v1/openapi.json lists what there is")
	})
	return m
}

func notAllowed(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Allow", "GET, HEAD")
	refuse(w, http.StatusMethodNotAllowed, "the API only reads, "+quote(r.Method)+" is not for it", "changes are made by the command line: keyreeve help")
}
