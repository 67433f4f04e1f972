package awsiam_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/fakeaws/moto"
	"github.com/keyreeve/keyreeve/internal/fakeaws/sdk"
)

// The contract: what a Reader tells of an account that was set up through the API of AWS. It holds for
// our own fake and for moto; where moto is not like AWS, the table of differences says so.

const (
	contractAccount = "123456789012" // moto's account for credentials it does not know
	aloneAccount    = "222233334444" // of nothing that a test sets up
)

type emulator struct {
	name   string
	url    string
	setNow func(time.Time)
	moto   bool

	// limit lets the key of a user do these actions only; unlimit lets every key do everything again.
	limit   func(t *testing.T, user, keyID string, actions []string)
	unlimit func()
}

// difference is a claim of the contract that moto does not meet, with what it does instead.
type difference string

const (
	rootRow       difference = "the report has a root row: moto's has none"
	generatedTime difference = "the report says when it was made: moto always says 2015-02-02"
	reportLastUse difference = "the report names service and region of a use: moto says not_supported"
	noFinalLF     difference = "the report ends without a line feed: moto's has one"
	reportCached  difference = "the report stays the same for four hours: moto makes a new one each time"
	userID        difference = "a user's unique id begins with AIDA: moto's is any text"
	nameCase      difference = "a user name knows no case: moto's does"
	unknownCaller difference = "unknown credentials are refused: moto takes any"
)

// only skips a claim that moto does not meet, loudly, and without hiding the rest of the test.
func (e emulator) only(t *testing.T, d difference, claim func()) {
	t.Helper()
	if e.moto {
		t.Logf("not on moto: %s", d)
		return
	}
	claim()
}

func emulators(t *testing.T) []emulator {
	t.Helper()
	cloud := fakeaws.New(day(0))
	a := cloud.AddAccount(fact.Account{ID: contractAccount})
	cloud.AddAccount(fact.Account{ID: aloneAccount})
	m := moto.Start(t)
	return []emulator{
		{
			name: "fakeaws", url: serve(t, cloud), setNow: cloud.SetNow,
			limit:   func(_ *testing.T, _, keyID string, actions []string) { a.Allow(keyID, actions...) },
			unlimit: func() {}, // the others never were
		},
		{
			name: "moto", url: m.URL(), setNow: m.SetNow, moto: true,
			limit: func(t *testing.T, user, _ string, actions []string) {
				m.Enforce(false)
				putPolicy(t, m.URL(), user, actions)
				m.Enforce(true)
			},
			unlimit: func() { m.Enforce(false) },
		},
	}
}

func putPolicy(t *testing.T, url, user string, actions []string) {
	t.Helper()
	policy, err := json.Marshal(map[string]any{
		"Version":   "2012-10-17",
		"Statement": []any{map[string]any{"Effect": "Allow", "Action": actions, "Resource": "*"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	api, _ := clients(url, contractAccount)
	_, err = api.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{
		UserName: &user, PolicyName: aws.String("limit"), PolicyDocument: aws.String(string(policy)),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// day is noon of the n-th day of the tests' calendar.
func day(n int) time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).AddDate(0, 0, n) }

func serve(t *testing.T, cloud *fakeaws.Cloud) string {
	t.Helper()
	s, err := cloud.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s.URL
}

func credentials(id, session string) *awsiam.Credentials {
	return &awsiam.Credentials{ID: id, Secret: fact.NewSecret("any"), Session: fact.NewSecret(session)}
}

// open gives a Reader that never waits long. edit may be nil.
func open(t *testing.T, url, account string, edit func(*awsiam.Settings)) *awsiam.Reader {
	t.Helper()
	s := awsiam.Settings{
		EndpointURL: url, Credentials: credentials("AKIAFAKE"+account, ""),
		BackoffCap: time.Millisecond,
		Wait:       func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
	if edit != nil {
		edit(&s)
	}
	r, err := awsiam.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func writingSide(url, account string) aws.Config {
	return sdk.Config(url, "us-east-1", aws.Credentials{AccessKeyID: "AKIAFAKE" + account, SecretAccessKey: "any"})
}

// clients are the writing side, for the set-up.
func clients(url, account string) (*iam.Client, *sts.Client) {
	cfg := writingSide(url, account)
	return iam.NewFromConfig(cfg), sts.NewFromConfig(cfg)
}

// scene is an account with one of everything.
type scene struct {
	emulator
	reader           *awsiam.Reader
	active, inactive string // ana's keys, made on day 1 and day 2
}

func play(t *testing.T, e emulator) scene {
	t.Helper()
	ctx := t.Context()
	api, _ := clients(e.url, contractAccount)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	e.setNow(day(0))
	_, err := api.CreateUser(ctx, &iam.CreateUserInput{
		UserName: aws.String("ana"), Path: aws.String("/team/data/"),
		Tags: []types.Tag{{Key: aws.String("owner"), Value: aws.String("a & b <c>")}},
	})
	must(err)
	for i := range 129 {
		_, err := api.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String(fmt.Sprintf("user+%03d@example.com", i))})
		must(err)
	}
	_, err = api.CreateLoginProfile(ctx, &iam.CreateLoginProfileInput{UserName: aws.String("ana"), Password: aws.String("Example-1")})
	must(err)
	_, err = api.TagUser(ctx, &iam.TagUserInput{
		UserName: aws.String("ana"), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("data")}},
	})
	must(err)
	_, err = api.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{
		UserName: aws.String("ana"), PolicyArn: aws.String("arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantineV2"),
	})
	must(err)

	e.setNow(day(1))
	first, err := api.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("ana")})
	must(err)
	e.setNow(day(2))
	second, err := api.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("ana")})
	must(err)
	e.setNow(day(3))
	_, err = api.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{
		UserName: aws.String("ana"), AccessKeyId: second.AccessKey.AccessKeyId, Status: types.StatusTypeInactive,
	})
	must(err)
	s := scene{
		emulator: e, reader: open(t, e.url, contractAccount, nil),
		active: *first.AccessKey.AccessKeyId, inactive: *second.AccessKey.AccessKeyId,
	}
	// A call with the key is a use of it.
	byKey := open(t, e.url, contractAccount, func(set *awsiam.Settings) { set.Credentials = credentials(s.active, "") })
	_, err = byKey.Caller(ctx)
	must(err)
	e.setNow(day(10))
	return s
}

func TestContract(t *testing.T) {
	for _, e := range emulators(t) {
		t.Run(e.name, func(t *testing.T) {
			s := play(t, e)
			t.Run("caller", s.caller)
			t.Run("alias", s.alias)
			t.Run("users", s.users)
			t.Run("keys", s.keys)
			t.Run("lastUse", s.lastUse)
			t.Run("password", s.password)
			t.Run("tags", s.tags)
			t.Run("quarantine", s.quarantine)
			t.Run("root", s.root)
			t.Run("notFound", s.notFound)
			t.Run("report", s.report)
		})
	}
}

func (s scene) caller(t *testing.T) {
	got, err := s.reader.Caller(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := (fact.Account{ID: contractAccount, Partition: "aws"}); !cmp.Equal(got.Account, want) {
		t.Errorf("account %+v, want %+v", got.Account, want)
	}
	if !strings.Contains(got.ARN, contractAccount) || got.ID == "" {
		t.Errorf("caller %+v has no ARN of the account or no user id", got)
	}
	s.only(t, unknownCaller, func() {
		r := open(t, s.url, "999999999999", nil)
		if _, err := r.Caller(t.Context()); !errors.Is(err, awsiam.ErrBadCredentials) {
			t.Errorf("unknown credentials: %v, want %v", err, awsiam.ErrBadCredentials)
		}
	})
}

func (s scene) alias(t *testing.T) {
	api, _ := clients(s.url, contractAccount)
	if got, err := s.reader.Alias(t.Context()); err != nil || got != "" {
		t.Errorf("before: %q, %v, want none", got, err)
	}
	if _, err := api.CreateAccountAlias(t.Context(), &iam.CreateAccountAliasInput{AccountAlias: aws.String("tide")}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.reader.Alias(t.Context()); err != nil || got != "tide" {
		t.Errorf("after: %q, %v, want tide", got, err)
	}
}

func (s scene) users(t *testing.T) {
	byName := map[string]fact.User{}
	err := s.reader.Users(t.Context(), func(page []fact.User) error {
		for _, u := range page {
			byName[u.Name] = u
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(byName) != 130 {
		t.Errorf("%d users, want 130", len(byName))
	}
	got := byName["ana"]
	s.only(t, userID, func() {
		if !strings.HasPrefix(got.ID, "AIDA") {
			t.Errorf("ana's id is %q", got.ID)
		}
	})
	want := fact.User{
		Name: "ana", ARN: "arn:aws:iam::" + contractAccount + ":user/team/data/ana", Path: "/team/data/",
		ID: got.ID, Created: fact.At(day(0)),
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b fact.Time) bool { return a == b })); diff != "" {
		t.Errorf("ana (-want +got):\n%s", diff)
	}
	if u := byName["user+000@example.com"]; u.Path != "/" || u.PasswordLastUsed.Known() {
		t.Errorf("a plain user: %+v, want path / and no last use of a password", u)
	}
}

func (s scene) keys(t *testing.T) {
	got, err := s.reader.Keys(t.Context(), "ana")
	if err != nil {
		t.Fatal(err)
	}
	want := []fact.Key{
		{ID: s.active, Active: true, Created: fact.At(day(1))},
		{ID: s.inactive, Active: false, Created: fact.At(day(2))},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b fact.Time) bool { return a == b })); diff != "" {
		t.Errorf("ana's keys (-want +got):\n%s", diff)
	}
	if got, err := s.reader.Keys(t.Context(), "user+000@example.com"); err != nil || len(got) != 0 {
		t.Errorf("a user without keys: %v, %v", got, err)
	}
}

func (s scene) lastUse(t *testing.T) {
	got, err := s.reader.LastUse(t.Context(), s.active)
	if err != nil {
		t.Fatal(err)
	}
	if want := (fact.Use{At: fact.At(day(3)), Service: "sts", Region: "us-east-1"}); got != want {
		t.Errorf("used key: %+v, want %+v", got, want)
	}
	if got, err := s.reader.LastUse(t.Context(), s.inactive); err != nil || got != (fact.Use{At: fact.Never()}) {
		t.Errorf("unused key: %+v, %v, want never", got, err)
	}
}

func (s scene) password(t *testing.T) {
	for user, want := range map[string]fact.Answer{"ana": fact.Yes, "user+000@example.com": fact.No, "nobody": fact.No} {
		if got, err := s.reader.Password(t.Context(), user); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", user, got, err, want)
		}
	}
}

func (s scene) tags(t *testing.T) {
	got, err := s.reader.Tags(t.Context(), "ana")
	if want := map[string]string{"owner": "a & b <c>", "team": "data"}; err != nil || !cmp.Equal(got, want) {
		t.Errorf("ana: %v, %v, want %v", got, err, want)
	}
	got, err = s.reader.Tags(t.Context(), "user+000@example.com")
	if err != nil || got == nil || len(got) != 0 {
		t.Errorf("a user without tags: %#v, %v, want an empty map", got, err)
	}
}

func (s scene) quarantine(t *testing.T) {
	got, err := s.reader.Quarantined(t.Context(), "aws")
	want := map[string][]string{"ana": {"AWSCompromisedKeyQuarantineV2"}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}

func (s scene) root(t *testing.T) {
	if got, err := s.reader.RootHasKeys(t.Context()); err != nil || got {
		t.Errorf("%v, %v, want no keys", got, err)
	}
}

func (s scene) notFound(t *testing.T) {
	_, keysErr := s.reader.Keys(t.Context(), "nobody")
	_, tagsErr := s.reader.Tags(t.Context(), "nobody")
	_, useErr := s.reader.LastUse(t.Context(), "AKIANOSUCHKEY0000000")
	for reading, err := range map[string]error{"keys": keysErr, "tags": tagsErr, "last use": useErr} {
		if !errors.Is(err, awsiam.ErrNotFound) {
			t.Errorf("%s of what is not there: %v, want %v", reading, err, awsiam.ErrNotFound)
		}
	}
}

func (s scene) report(t *testing.T) {
	body, made, err := s.reader.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.only(t, generatedTime, func() {
		if !made.Equal(day(10)) {
			t.Errorf("made at %v, want %v", made, day(10))
		}
	})
	s.only(t, noFinalLF, func() {
		if strings.HasSuffix(string(body), "\n") {
			t.Error("the report ends with a line feed")
		}
	})
	rows, err := csv.NewReader(strings.NewReader(string(body))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if rows[0][0] != "user" || len(rows[0]) != 22 {
		t.Fatalf("header %q", rows[0])
	}
	cell := map[string]string{}
	for _, row := range rows[1:] {
		if row[0] != "ana" {
			continue
		}
		for i, name := range rows[0] {
			cell[name] = row[i]
		}
	}
	want := map[string]string{
		"arn":                "arn:aws:iam::" + contractAccount + ":user/team/data/ana",
		"user_creation_time": "2026-03-01T12:00:00", "password_enabled": "true",
		"access_key_1_active": "true", "access_key_1_last_rotated": "2026-03-02T12:00:00",
		"access_key_1_last_used_date": "2026-03-04T12:00:00",
		"access_key_2_active":         "false", "access_key_2_last_rotated": "2026-03-03T12:00:00",
		"access_key_2_last_used_date": "N/A",
	}
	for name, value := range want {
		if !strings.HasPrefix(cell[name], value) {
			t.Errorf("ana's %s is %q, want %q", name, cell[name], value)
		}
	}
	s.only(t, reportLastUse, func() {
		if cell["access_key_1_last_used_service"] != "sts" || cell["access_key_1_last_used_region"] != "us-east-1" {
			t.Errorf("ana's last use: %v", cell)
		}
	})
	s.only(t, rootRow, func() {
		if rows[1][0] != fact.RootName || len(rows) != 1+1+130 {
			t.Errorf("first row %q of %d, want root first of 132", rows[1][0], len(rows))
		}
	})
	s.only(t, reportCached, func() {
		api, _ := clients(s.url, contractAccount)
		s.setNow(day(10).Add(4*time.Hour - time.Second))
		if _, err := api.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("young")}); err != nil {
			t.Fatal(err)
		}
		if again, _, err := s.reader.Report(t.Context()); err != nil || string(again) != string(body) {
			t.Errorf("a second below four hours the report is another one (%v)", err)
		}
		s.setNow(day(10).Add(4 * time.Hour))
		if again, _, err := s.reader.Report(t.Context()); err != nil || !strings.Contains(string(again), "\nyoung,") {
			t.Errorf("after four hours the young user is not in the report (%v)", err)
		}
	})
}

func TestContract_anAssumedRoleIsOfItsAccount(t *testing.T) {
	accounts := []string{"111111111111", "222222222222"}
	cloud := fakeaws.New(day(0))
	for _, id := range append(accounts, contractAccount) {
		cloud.AddAccount(fact.Account{ID: id})
	}
	for name, url := range map[string]string{"fakeaws": serve(t, cloud), "moto": moto.Start(t).URL()} {
		_, api := clients(url, contractAccount)
		for _, account := range accounts {
			out, err := api.AssumeRole(t.Context(), &sts.AssumeRoleInput{
				RoleArn: aws.String("arn:aws:iam::" + account + ":role/team/audit"), RoleSessionName: aws.String("test"),
			})
			if err != nil {
				t.Fatal(name, err)
			}
			r := open(t, url, account, func(s *awsiam.Settings) {
				s.Credentials = &awsiam.Credentials{
					ID:      *out.Credentials.AccessKeyId,
					Secret:  fact.NewSecret(*out.Credentials.SecretAccessKey),
					Session: fact.NewSecret(*out.Credentials.SessionToken),
				}
			})
			got, err := r.Caller(t.Context())
			want := "arn:aws:sts::" + account + ":assumed-role/"
			if err != nil || got.Account.ID != account || !strings.HasPrefix(got.ARN, want) || !strings.HasSuffix(got.ARN, "/test") {
				t.Errorf("%s: caller %+v, %v, want %s.../test", name, got, err, want)
			}
		}
	}
}
