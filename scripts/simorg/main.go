// Command simorg serves a simulated organisation on the loopback address until it is interrupted. It prints the variables
// by which keyreeve and the AWS CLI talk to it, and what a run has to find; the rest is served below /sim/, see package sim.
//
//	simorg -accounts 10000 -users 100 -latency 50ms -iam-rate 20 -iam-burst 40
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/fakeaws/sim"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "simorg:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var o sim.Options
	rate := func(r *fakeaws.Rate, name string) {
		flag.Float64Var(&r.PerSecond, name+"-rate", 0, "calls of "+name+" a second that an account may make; 0: no limit")
		flag.IntVar(&r.Burst, name+"-burst", 0, "calls of "+name+" at once")
	}
	flag.IntVar(&o.Accounts, "accounts", 100, "accounts besides the management account")
	flag.IntVar(&o.Users, "users", 100, "users in each")
	flag.Uint64Var(&o.Seed, "seed", 1, "another seed, another organisation")
	flag.Float64Var(&o.Failing, "failing", 0.05, "share of the users that fail")
	flag.Float64Var(&o.NoRole, "no-role", 0, "share of the accounts without a role")
	flag.Float64Var(&o.Suspended, "suspended", 0, "share of the accounts that are suspended")
	flag.StringVar(&o.Role, "role", "", "the only role in each account; empty: every role exists")
	flag.StringVar(&o.ExternalID, "external-id", "", "that the role asks for")
	flag.DurationVar(&o.Latency, "latency", 0, "of each call")
	rate(&o.Limits.IAM, "iam")
	rate(&o.Limits.STS, "sts")
	rate(&o.Limits.Organizations, "organizations")
	now := flag.String("now", "", "where the clock stands (RFC 3339); empty: now")
	listen := flag.String("listen", "127.0.0.1:0", "address")
	profile := flag.String("cpuprofile", "", "file for a profile of the processor time")
	flag.Parse()
	if o.Failing == 0 {
		o.Failing = -1
	}
	o.Now, o.Limits.Now = time.Now(), time.Now
	if *now != "" {
		t, err := time.Parse(time.RFC3339, *now)
		if err != nil {
			return err
		}
		o.Now = t
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	s, err := sim.New(o)
	if err != nil {
		return err
	}
	return serve(ctx, *listen, s)
}

func serve(ctx context.Context, address string, s *sim.Sim) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	expected, err := json.Marshal(s.Expected())
	if err != nil {
		return err
	}
	fmt.Printf("export AWS_ENDPOINT_URL=http://%s AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=sim AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1\n",
		listener.Addr(), s.Cloud().Account(sim.Management).Credential())
	fmt.Printf("# expected %s\n", expected)
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	if err := server.Close(); err != nil {
		return err
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
