// Package metric is the page that Prometheus reads: what keyreeve has seen of keys, and how it fares itself.
//
// It knows the names, the units and the labels, which are those of the report of an audit wherever both tell the same thing. What
// it tells comes from one census of the database, read anew after some seconds however many ask, and from the process that
// gives it. It names accounts, rules and channels; no user and no key.
//
// It refuses to tell old numbers for new ones: while the database cannot be read, keyreeve_up is 0, what comes from the database is
// missing, and what the process knows by itself is there. Its promise: the page is one that Prometheus takes, and the same
// numbers give the same bytes.
package metric

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/store"
)

const (
	defaultFresh = 15 * time.Second
	censusTime   = 10 * time.Second // for one census; Prometheus itself waits as long
)

// Store counts what there is, on one state of the database.
type Store interface {
	Census(ctx context.Context) (store.Census, error)
}

// Part is how a part of the work fares.
type Part struct {
	OK    bool      // its last try went well
	At    time.Time // of the last try
	Since time.Time // since when it goes as it does
}

// Settings are what the page is made of.
type Settings struct {
	Store   Store
	Version string // of the program
	Now     func() time.Time
	Log     *slog.Logger // hears why the database could not be read; nil: nobody does

	// What only the process knows. Of those that are nil, nothing is told.
	Calls func() awsiam.Counts   // what it asked of AWS
	Due   func() int             // accounts that are due and not read yet
	Parts func() map[string]Part // of the work, by name

	// Sums leaves accounts out: their numbers are summed, of ages the highest is told. An account takes some twenty series.
	Sums     bool
	Channels []string      // of notices: they are told also where they have none
	Fresh    time.Duration // how long a census serves; 0 means 15 s
}

// Validate reports everything that is missing at once.
func (s *Settings) Validate() error {
	var errs []error
	if s.Store == nil {
		errs = append(errs, errors.New("metrics need a store"))
	}
	if s.Now == nil {
		errs = append(errs, errors.New("metrics need a clock"))
	}
	if s.Fresh < 0 {
		errs = append(errs, fmt.Errorf("metrics that are fresh for %s: a time must not be negative", s.Fresh))
	}
	return errors.Join(errs...)
}

// page answers whoever scrapes; it is safe for concurrent use.
type page struct {
	Settings
	descs   map[string]*prometheus.Desc
	runtime *prometheus.Registry // of Go and the operating system

	mu     sync.Mutex
	census *store.Census // nil: it could not be read
	at     time.Time     // when it was, or could not be, read; zero: not yet
}

// New is the page. An error is a mistake of the settings.
func New(s Settings) (http.Handler, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if s.Fresh == 0 {
		s.Fresh = defaultFresh
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	p := &page{Settings: s, descs: descriptions(s.Sums), runtime: prometheus.NewRegistry()}
	p.runtime.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return p, nil
}

func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := prometheus.NewRegistry()
	now.MustRegister(&look{Settings: &p.Settings, descs: p.descs, census: p.counted(r.Context()), now: p.Now()})
	promhttp.HandlerFor(prometheus.Gatherers{now, p.runtime}, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, ErrorLog: logged{p.Log},
	}).ServeHTTP(w, r)
}

// counted is a census that is fresh; nil: the database could not be read. Those who ask at the same time wait for one reading, which
// goes on where the first of them goes away.
func (p *page) counted(ctx context.Context) *store.Census {
	p.mu.Lock()
	defer p.mu.Unlock()
	if age := p.Now().Sub(p.at); !p.at.IsZero() && age >= 0 && age < p.Fresh {
		return p.census
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), censusTime)
	defer cancel()
	c, err := p.Store.Census(ctx)
	p.at, p.census = p.Now(), &c
	if err != nil {
		p.census = nil
		p.Log.Warn("metrics", "error", err)
	}
	return p.census
}

// logged is a log as promhttp wants it.
type logged struct{ log *slog.Logger }

func (l logged) Println(v ...any) { l.log.Error("metrics", "error", fmt.Sprint(v...)) }
