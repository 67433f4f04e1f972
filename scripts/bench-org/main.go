// Command bench-org prints the figures of an organisation, each with its aim, and ends with 1 where one is missed. It runs
// keyreeve and simorg, a simulated organisation, as processes of their own, without TLS between them, and counts on both
// sides.
//
//	bench-org [-accounts 10000] [-users 100] [-assume-rate 120] [-only org,wide,history] KEYREEVE SIMORG
//
// In a minute: bench-org -accounts 500 -assume-rate 30 -wide 5 -verdicts 20000 KEYREEVE SIMORG
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// options are the sizes of what is measured.
type options struct {
	keyreeve, simorg string
	dir              string // of its own, removed at the end

	accounts, users int     // of the organisation, beside the management account
	assumeRate      float64 // roles a second that STS lets through
	atOnce          int     // accounts read at once
	wide, wideUsers int     // of the organisation of few accounts with many users
	verdicts        int     // in the history
	postgres        string  // URL of a database that may be filled; empty: none
}

// sections are what can be measured, in this order. The figures of a fleet, the same work by 1, 2 and 4 workers on one
// PostgreSQL, are another one.
var sections = []struct {
	name    string
	measure func(ctx context.Context, o *options, b *board) error
}{
	{"org", measureOrganization},
	{"wide", measureWide},
	{"history", measureHistory},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-org:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var o options
	flag.IntVar(&o.accounts, "accounts", 10_000, "accounts of the organisation")
	flag.IntVar(&o.users, "users", 100, "users in each")
	flag.Float64Var(&o.assumeRate, "assume-rate", 120, "roles a second that STS lets through: what the organisation is measured against")
	flag.IntVar(&o.atOnce, "concurrency", 96, "accounts that are read at once")
	flag.IntVar(&o.wide, "wide", 50, "accounts of the organisation of few accounts")
	flag.IntVar(&o.wideUsers, "wide-users", 5_000, "users in each of them")
	flag.IntVar(&o.verdicts, "verdicts", 1_000_000, "verdicts in the history")
	only := flag.String("only", "", "these sections, of org, wide and history; empty: all")
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	o.postgres = os.Getenv("KEYREEVE_BENCH_POSTGRES")
	var errs [2]error
	o.keyreeve, errs[0] = filepath.Abs(flag.Arg(0))
	o.simorg, errs[1] = filepath.Abs(flag.Arg(1))
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	b := &board{}
	for _, s := range sections {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), s.name) {
			continue
		}
		if err := inDirectory(ctx, &o, b, s.measure); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return b.outcome()
}

// inDirectory gives each section a directory of its own.
func inDirectory(ctx context.Context, o *options, b *board, measure func(context.Context, *options, *board) error) (err error) {
	if o.dir, err = os.MkdirTemp("", "keyreeve-bench-org-*"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	return measure(ctx, o, b)
}
