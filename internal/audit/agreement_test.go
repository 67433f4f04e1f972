package audit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/collect"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws/moto"
	"github.com/keyreeve/keyreeve/internal/fakeaws/sdk"
	"github.com/keyreeve/keyreeve/internal/fakeaws/truth"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/rule"
)

// judgedAt is when the made-up accounts are audited.
var judgedAt = time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)

// event is something that happens in an account at a moment of the past.
type event struct {
	at time.Time
	do func(ctx context.Context, t *testing.T, api *iam.Client)
}

// TestAudit_agreesWithARecomputationOnMoto: 330 random users in three accounts of an emulator written by
// others, made by its API over two years of its clock. Report mode, report mode unconfirmed, live mode and
// a plain recomputation from what the test did give the same verdict for every rule that each can answer.
func TestAudit_agreesWithARecomputationOnMoto(t *testing.T) {
	server := moto.Start(t)
	random := rand.New(rand.NewPCG(20261122, 3))
	total, failing := 0, 0
	for n, id := range []string{"111122223331", "111122223332", "111122223333"} {
		credentials := assume(t, server.URL(), id)
		users := truth.Invent(random, fmt.Sprintf("user-%d", n), 110, judgedAt)
		happen(t, server, iamClient(server.URL(), credentials), users)
		server.SetNow(judgedAt)

		want := truth.Verdicts(users, judgedAt)
		for name, how := range map[string]audit.LiveOptions{ // the order does not matter
			"report":             {Evidence: fact.Report, Confirm: true},
			"report unconfirmed": {Evidence: fact.Report},
			"live":               {Evidence: fact.Live},
		} {
			how.Now = func() time.Time { return judgedAt }
			result, err := audit.Live(t.Context(), reader(t, server.URL(), credentials), how, everything(t))
			if err != nil {
				t.Fatalf("%s of %s: %v", name, id, err)
			}
			if !result.Complete {
				t.Errorf("%s of %s is incomplete: %v", name, id, result.Accounts[0].Gaps)
			}
			got := map[string]string{}
			for v := range result.Verdicts {
				got[verdictName(v)] = string(v.Status)
			}
			compare(t, name+" of "+id, got, want)
			total += len(got)
		}
		for _, status := range want {
			if status == "fail" {
				failing++
			}
		}
	}
	if total < 8000 || failing < 500 {
		t.Errorf("only %d verdicts, %d failing: the test has lost its subjects", total, failing)
	}
	t.Logf("%d verdicts compared, %d failing in the recomputation", total, failing)
}

func compare(t *testing.T, name string, got, want map[string]string) {
	t.Helper()
	wrong := 0
	for k, w := range want {
		if got[k] != w {
			if wrong++; wrong <= 10 {
				t.Errorf("%s: %s is %q, the recomputation says %q", name, k, got[k], w)
			}
		}
	}
	for k, g := range got {
		if _, ok := want[k]; !ok {
			if wrong++; wrong <= 10 {
				t.Errorf("%s: %s is %q, the recomputation has no such verdict", name, k, g)
			}
		}
	}
	if wrong > 10 {
		t.Errorf("%s: %d verdicts differ", name, wrong)
	}
}

func verdictName(v *finding.Verdict) string {
	if v.Key == nil {
		return truth.Name(v.Rule, v.User, time.Time{})
	}
	return truth.Name(v.Rule, v.User, v.Key.Created.Time())
}

// happen lets everything happen in the order of time.
func happen(t *testing.T, server *moto.Server, api *iam.Client, users []*truth.User) {
	t.Helper()
	var events []event
	for _, u := range users {
		events = append(events, userEvents(server.URL(), u)...)
	}
	slices.SortStableFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
	for _, e := range events {
		server.SetNow(e.at)
		e.do(t.Context(), t, api)
	}
}

func userEvents(url string, u *truth.User) []event {
	name := aws.String(u.Name)
	events := []event{{u.Created, func(ctx context.Context, t *testing.T, api *iam.Client) {
		_, err := api.CreateUser(ctx, &iam.CreateUserInput{UserName: name, Path: aws.String("/people/")})
		made(t, err)
		if u.Password {
			_, err := api.CreateLoginProfile(ctx, &iam.CreateLoginProfileInput{UserName: name, Password: aws.String("Correct-Horse-7")})
			made(t, err)
		}
		if u.Exposed {
			_, err := api.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: name, PolicyArn: aws.String("arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantineV2")})
			must(t, err)
		}
	}}}
	for _, k := range u.Keys {
		events = append(events, event{k.Created, func(ctx context.Context, t *testing.T, api *iam.Client) {
			createKey(ctx, t, api, u, k)
		}})
		if !k.Used.IsZero() {
			events = append(events, event{k.Used, func(ctx context.Context, t *testing.T, _ *iam.Client) {
				_, err := stsClient(url, aws.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret}).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
				must(t, err)
			}})
		}
		if !k.Active {
			events = append(events, event{judgedAt, func(ctx context.Context, t *testing.T, api *iam.Client) {
				_, err := api.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: name, AccessKeyId: &k.ID, Status: types.StatusTypeInactive})
				must(t, err)
			}})
		}
	}
	return events
}

// made takes "it exists already" for success: the SDK makes a call again whose answer the emulator lost.
func made(t *testing.T, err error) {
	t.Helper()
	if exists := (*types.EntityAlreadyExistsException)(nil); errors.As(err, &exists) {
		t.Logf("made already: %v", err)
		return
	}
	must(t, err)
}

// createKey makes a key. CreateAccessKey takes no idempotency token, and the emulator may lose an answer on a busy machine:
// what a lost call has made is removed before the next try, or the quota would be full.
func createKey(ctx context.Context, t *testing.T, api *iam.Client, u *truth.User, k *truth.Key) {
	t.Helper()
	once := func(o *iam.Options) { o.Retryer = aws.NopRetryer{} }
	for tries := 5; ; tries-- {
		out, err := api.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &u.Name}, once)
		if err == nil {
			k.ID, k.Secret = *out.AccessKey.AccessKeyId, *out.AccessKey.SecretAccessKey
			return
		}
		if tries == 0 {
			t.Fatal(err)
		}
		removeStrays(ctx, t, api, u)
	}
}

// removeStrays deletes keys of u that nobody holds.
func removeStrays(ctx context.Context, t *testing.T, api *iam.Client, u *truth.User) {
	t.Helper()
	out, err := api.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: &u.Name})
	must(t, err)
	for _, m := range out.AccessKeyMetadata {
		if !slices.ContainsFunc(u.Keys, func(k *truth.Key) bool { return k.ID == *m.AccessKeyId }) {
			t.Logf("%s had a stray key", u.Name)
			_, err := api.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &u.Name, AccessKeyId: m.AccessKeyId})
			must(t, err)
		}
	}
}

// everything judges by the whole catalogue and keeps the passing verdicts too.
func everything(t *testing.T) audit.Options {
	t.Helper()
	var ids []string
	for _, e := range rule.Catalogue() {
		ids = append(ids, e.ID)
	}
	rs, err := rule.Select(&rule.Ruleset{Name: "catalogue"}, ids)
	must(t, err)
	return audit.Options{Ruleset: rs, AsOf: judgedAt, All: true}
}

func assume(t *testing.T, url, account string) aws.Credentials {
	t.Helper()
	api := stsClient(url, aws.Credentials{AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "any"})
	out, err := api.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::" + account + ":role/admin"), RoleSessionName: aws.String("test")})
	must(t, err)
	c := out.Credentials
	return aws.Credentials{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken}
}

func stsClient(url string, c aws.Credentials) *sts.Client {
	return sts.NewFromConfig(sdk.Config(url, "us-east-1", c))
}

func iamClient(url string, c aws.Credentials) *iam.Client {
	return iam.NewFromConfig(sdk.Config(url, "us-east-1", c))
}

// reader is the program's own, with pauses that end at once.
func reader(t *testing.T, url string, c aws.Credentials) *awsiam.Reader {
	t.Helper()
	return readerWith(t, url, c, func(*awsiam.Settings) {})
}

func readerWith(t *testing.T, url string, c aws.Credentials, edit func(*awsiam.Settings)) *awsiam.Reader {
	t.Helper()
	s := awsiam.Settings{
		EndpointURL: url, Credentials: &awsiam.Credentials{ID: c.AccessKeyID, Secret: fact.NewSecret(c.SecretAccessKey), Session: fact.NewSecret(c.SessionToken)},
		BackoffCap: time.Millisecond, Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
	edit(&s)
	r, err := awsiam.Open(t.Context(), s)
	must(t, err)
	t.Cleanup(r.Close)
	return r
}

// readerOf is for an account of the fake.
func readerOf(t *testing.T, url, credential string) *awsiam.Reader {
	t.Helper()
	return reader(t, url, aws.Credentials{AccessKeyID: credential, SecretAccessKey: "any"})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var (
	_ audit.Reader       = (*awsiam.Reader)(nil)
	_ collect.LiveReader = (*awsiam.Reader)(nil)
)
