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
	"github.com/keyreeve/keyreeve/internal/rule"
)

// judgedAt is when the made-up accounts are audited.
var judgedAt = time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)

// truth is what the test did to a user: the ground that verdicts are recomputed from.
type truth struct {
	name     string
	created  time.Time
	password bool
	exposed  bool
	keys     []*trueKey
}

type trueKey struct {
	id, secret string
	created    time.Time
	used       time.Time // zero: never
	active     bool
}

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
		users := inventUsers(random, n, 110)
		happen(t, server, iamClient(server.URL(), credentials), users)
		server.SetNow(judgedAt)

		want := recompute(users)
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
				got[verdictKey(v.Rule, v.User, v.Key)] = string(v.Status)
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

func verdictKey(rule, user string, k *fact.Key) string {
	if k == nil {
		return rule + " " + user
	}
	return rule + " " + user + " " + k.Created.String()
}

// inventUsers makes users whose ages and uses fall on, beside and between the boundaries of the rules.
func inventUsers(random *rand.Rand, account, n int) []*truth {
	ages := []time.Duration{
		6 * rule.Day, 7 * rule.Day, 7*rule.Day - time.Second, 30 * rule.Day, 30*rule.Day + time.Second, 45*rule.Day - time.Second, 45 * rule.Day,
		45*rule.Day + time.Second, 90*rule.Day - time.Second, 90 * rule.Day, 90*rule.Day + time.Second, 90*rule.Day + 23*time.Hour, 400 * rule.Day,
	}
	pick := func() time.Duration {
		if random.IntN(3) > 0 {
			return ages[random.IntN(len(ages))]
		}
		return time.Duration(random.Int64N(int64(700 * rule.Day))).Truncate(time.Second)
	}
	var users []*truth
	for i := range n {
		u := &truth{name: fmt.Sprintf("user-%d.%03d@example.com", account, i), password: random.IntN(2) == 0, exposed: random.IntN(20) == 0}
		for range random.IntN(3) {
			k := &trueKey{created: judgedAt.Add(-pick()), active: random.IntN(4) > 0}
			if slices.ContainsFunc(u.keys, func(o *trueKey) bool { return o.created.Equal(k.created) }) {
				k.created = k.created.Add(-time.Second) // one second, one key: verdicts are told by it here
			}
			if used := judgedAt.Add(-pick()); random.IntN(3) > 0 && used.After(k.created) {
				k.used = used
			}
			u.keys = append(u.keys, k)
		}
		u.created = judgedAt.Add(-800 * rule.Day)
		if len(u.keys) > 0 && random.IntN(2) == 0 {
			first := slices.MinFunc(u.keys, func(a, b *trueKey) int { return a.created.Compare(b.created) }).created
			apart := []time.Duration{0, time.Second, 59 * time.Second, time.Minute, 61 * time.Second, time.Hour}
			u.created = first.Add(-apart[random.IntN(len(apart))])
		}
		users = append(users, u)
	}
	return users
}

// happen lets everything happen in the order of time.
func happen(t *testing.T, server *moto.Server, api *iam.Client, users []*truth) {
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

func userEvents(url string, u *truth) []event {
	name := aws.String(u.name)
	events := []event{{u.created, func(ctx context.Context, t *testing.T, api *iam.Client) {
		_, err := api.CreateUser(ctx, &iam.CreateUserInput{UserName: name, Path: aws.String("/people/")})
		made(t, err)
		if u.password {
			_, err := api.CreateLoginProfile(ctx, &iam.CreateLoginProfileInput{UserName: name, Password: aws.String("Correct-Horse-7")})
			made(t, err)
		}
		if u.exposed {
			_, err := api.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: name, PolicyArn: aws.String("arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantineV2")})
			must(t, err)
		}
	}}}
	for _, k := range u.keys {
		events = append(events, event{k.created, func(ctx context.Context, t *testing.T, api *iam.Client) {
			createKey(ctx, t, api, u, k)
		}})
		if !k.used.IsZero() {
			events = append(events, event{k.used, func(ctx context.Context, t *testing.T, _ *iam.Client) {
				_, err := stsClient(url, aws.Credentials{AccessKeyID: k.id, SecretAccessKey: k.secret}).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
				must(t, err)
			}})
		}
		if !k.active {
			events = append(events, event{judgedAt, func(ctx context.Context, t *testing.T, api *iam.Client) {
				_, err := api.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: name, AccessKeyId: &k.id, Status: types.StatusTypeInactive})
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
func createKey(ctx context.Context, t *testing.T, api *iam.Client, u *truth, k *trueKey) {
	t.Helper()
	once := func(o *iam.Options) { o.Retryer = aws.NopRetryer{} }
	for tries := 5; ; tries-- {
		out, err := api.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &u.name}, once)
		if err == nil {
			k.id, k.secret = *out.AccessKey.AccessKeyId, *out.AccessKey.SecretAccessKey
			return
		}
		if tries == 0 {
			t.Fatal(err)
		}
		removeStrays(ctx, t, api, u)
	}
}

// removeStrays deletes keys of u that nobody holds.
func removeStrays(ctx context.Context, t *testing.T, api *iam.Client, u *truth) {
	t.Helper()
	out, err := api.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: &u.name})
	must(t, err)
	for _, m := range out.AccessKeyMetadata {
		if !slices.ContainsFunc(u.keys, func(k *trueKey) bool { return k.id == *m.AccessKeyId }) {
			t.Logf("%s had a stray key", u.name)
			_, err := api.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: &u.name, AccessKeyId: m.AccessKeyId})
			must(t, err)
		}
	}
}

// recompute judges by the wording of the rules, from what was done, with nothing of the program's.
func recompute(users []*truth) map[string]string {
	out := map[string]string{"root-access-key <root_account>": "pass"}
	put := func(id string, u *truth, k *trueKey, fails bool) {
		name := id + " " + u.name
		if k != nil {
			name += " " + k.created.Format(time.RFC3339)
		}
		out[name] = "pass"
		if fails {
			out[name] = "fail"
		}
	}
	const day = 24 * time.Hour
	for _, u := range users {
		active := 0
		for _, k := range u.keys {
			age := judgedAt.Sub(k.created)
			if !k.active {
				put("inactive-key", u, k, age >= 90*day)
				continue
			}
			active++
			idle := age
			if !k.used.IsZero() {
				idle = judgedAt.Sub(k.used)
			}
			put("key-age-30", u, k, age > 30*day)
			put("key-age-45", u, k, age > 45*day)
			put("key-age-90", u, k, age > 90*day)
			put("key-unused-45", u, k, idle >= 45*day)
			put("key-unused-90", u, k, idle >= 90*day)
			put("key-never-used", u, k, k.used.IsZero() && age >= 7*day)
			if u.password {
				put("key-never-used-console", u, k, k.used.IsZero())
				put("key-created-with-user", u, k, k.created.Sub(u.created).Abs() <= time.Minute)
			}
		}
		put("multiple-active-keys", u, nil, active > 1)
		put("password-and-key", u, nil, u.password && active > 0)
		put("exposed-key", u, nil, u.exposed)
	}
	return out
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

func config(url string, c aws.Credentials) aws.Config {
	return aws.Config{Region: "us-east-1", BaseEndpoint: &url, Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return c, nil })}
}

func stsClient(url string, c aws.Credentials) *sts.Client { return sts.NewFromConfig(config(url, c)) }
func iamClient(url string, c aws.Credentials) *iam.Client { return iam.NewFromConfig(config(url, c)) }

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
