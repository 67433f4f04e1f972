package awsiam_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

// Each of many Readers lives for one reading; what they did is in the counters of the process, and as the fake saw it.
func TestCounters_countWhatManyShortLivedReadersDid(t *testing.T) {
	const accounts = 60
	cloud := fleet(t, accounts)
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Throttle, Action: "iam:ListAccountAliases", Every: 3})
	var counters awsiam.Counters
	s := orgSettings(serve(t, cloud))
	s.Counters, s.BackoffCap = &counters, time.Millisecond
	if got := counters.Read(); len(got.Calls)+len(got.Throttled)+got.Requests != 0 {
		t.Errorf("at first: %+v", got)
	}
	m := openMembers(t, s)
	own := map[string]int{"sts:GetCallerIdentity": 1} // that of OpenMembers
	requests := 1
	readers := make([]*awsiam.Reader, accounts)
	var g errgroup.Group
	g.SetLimit(8)
	for i := range accounts {
		g.Go(func() error {
			r, err := m.Open(t.Context(), at(memberID(i)), awsiam.MemberSettings{})
			if err != nil {
				return err
			}
			readers[i] = r
			_, err = r.Alias(t.Context())
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, r := range readers {
		requests += r.Attempts()
		for action, n := range r.Calls() {
			own[action] += n
		}
	}
	got := counters.Read()
	if diff := cmp.Diff(own, got.Calls); diff != "" {
		t.Errorf("calls (-the readers' +counted):\n%s", diff)
	}
	seen, throttled := 0, map[string]int{}
	for action, n := range cloud.Counts() {
		if seen += n.Calls; n.Throttled > 0 {
			throttled[action] = n.Throttled
		}
	}
	if diff := cmp.Diff(throttled, got.Throttled); diff != "" || throttled["iam:ListAccountAliases"] < accounts/3 {
		t.Errorf("throttled (-seen +counted):\n%s", diff)
	}
	if got.Requests != seen || got.Requests != requests {
		t.Errorf("%d requests, want %d as seen, %d by the readers", got.Requests, seen, requests)
	}
	got.Calls["iam:ListUsers"] = -1
	if counters.Read().Calls["iam:ListUsers"] == -1 {
		t.Error("the counts that were read are those that are counted with")
	}
}

func TestCounters_areThoseOfOrganizationsToo(t *testing.T) {
	cloud := fleet(t, 3)
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Throttle, Action: "organizations:ListAccounts", Every: 1, Times: 2})
	var counters awsiam.Counters
	s := orgSettings(serve(t, cloud))
	s.Counters, s.BackoffCap = &counters, time.Millisecond
	if _, err := openOrganization(t, s).Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := counters.Read()
	if got.Throttled["organizations:ListAccounts"] != 2 || got.Calls["organizations:ListAccounts"] < 1 || got.Calls["organizations:DescribeOrganization"] != 1 {
		t.Errorf("counted %+v", got)
	}
}
