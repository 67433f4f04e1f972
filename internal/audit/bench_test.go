package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"golang.org/x/sync/errgroup"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/credreport/synth"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws/moto"
	"github.com/keyreeve/keyreeve/internal/rule"
)

// BenchmarkLive reads 1,000 users of moto with a key each, in live and in report mode. Beside the calls it prints the
// wall time as a ratio to that of the bare SDK making as many ListAccessKeys calls of its own, as many at once: what is
// above 1 is ours, the rest is moto's.
func BenchmarkLive(b *testing.B) {
	const users, atOnce = 1000, 8
	server := moto.Start(b)
	server.SetNow(judgedAt.AddDate(0, 0, -100))
	credentials := aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "any"}
	api := iamClient(server.URL(), credentials)
	each(b, atOnce, users, func(i int) error {
		name := aws.String(fmt.Sprintf("user-%04d", i))
		if _, err := api.CreateUser(b.Context(), &iam.CreateUserInput{UserName: name}); err != nil {
			return err
		}
		_, err := api.CreateAccessKey(b.Context(), &iam.CreateAccessKeyInput{UserName: name})
		return err
	})
	server.SetNow(judgedAt)
	rs, err := rule.Builtin("default")
	if err != nil {
		b.Fatal(err)
	}
	// One page of users, and of each: its keys, its login profile, its tags, the last use of its key.
	const needed = 1 + 4*users
	for _, evidence := range []fact.Source{fact.Live, fact.Report} {
		b.Run(string(evidence), func(b *testing.B) {
			for b.Loop() {
				r, err := awsiam.Open(b.Context(), awsiam.Settings{EndpointURL: server.URL(), Credentials: &awsiam.Credentials{ID: credentials.AccessKeyID, Secret: fact.NewSecret("any")}})
				if err != nil {
					b.Fatal(err)
				}
				how := audit.LiveOptions{Evidence: evidence}
				how.Concurrency, how.Now = atOnce, func() time.Time { return judgedAt }
				start := time.Now()
				if _, err := audit.Live(b.Context(), r, how, audit.Options{Ruleset: rs, AsOf: judgedAt}); err != nil {
					b.Fatal(err)
				}
				ours := time.Since(start)
				r.Close()
				b.ReportMetric(float64(r.Attempts()), "calls")
				if evidence == fact.Live {
					start = time.Now()
					each(b, atOnce, r.Attempts(), func(i int) error {
						_, err := api.ListAccessKeys(context.Background(), &iam.ListAccessKeysInput{UserName: aws.String(fmt.Sprintf("user-%04d", i%users))})
						return err
					})
					b.ReportMetric(float64(r.Attempts())/needed, "calls/needed")
					b.ReportMetric(ours.Seconds()/time.Since(start).Seconds(), "wall/bare-SDK")
				}
			}
		})
	}
}

func each(b *testing.B, atOnce, n int, do func(i int) error) {
	b.Helper()
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i := range n {
		g.Go(func() error { return do(i) })
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkFiles audits a report of 200,000 users that is already in memory: the program without the disk.
func BenchmarkFiles(b *testing.B) {
	const users = 200_000
	var report bytes.Buffer
	if err := synth.Write(&report, synth.Options{Users: users, Seed: 1, AsOf: judgedAt, Account: "111122223333"}); err != nil {
		b.Fatal(err)
	}
	rs, err := rule.Builtin("default")
	if err != nil {
		b.Fatal(err)
	}
	f := audit.File{Path: "report.csv", Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(report.Bytes())), nil }}
	b.ReportAllocs()
	b.SetBytes(int64(report.Len()))
	for b.Loop() {
		if _, err := audit.Files(b.Context(), []audit.File{f}, audit.Options{Ruleset: rs, AsOf: judgedAt, CountOnly: true}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(users*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
