package awsiam_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const account = "111122223333"

// crowd is an account of n users with a key each: u000 with a password and tags, u001 in quarantine, every
// third key used.
func crowd(t *testing.T, n int) *fakeaws.Cloud {
	t.Helper()
	cloud := fakeaws.New(day(0))
	a := cloud.AddAccount(fact.Account{ID: account, Name: "tide"})
	for i := range n {
		u := fakeaws.User{Name: fmt.Sprintf("u%03d", i), Created: day(-100), Keys: []fakeaws.Key{{Created: day(-50)}}}
		if i%3 == 0 {
			u.Keys[0].LastUsed = day(-1)
		}
		switch i {
		case 0:
			u.Password, u.PasswordLastUsed = true, day(-2)
			u.Tags = map[string]string{"a": "1", "b": "2", "c": "3"}
		case 1:
			u.Quarantine = []string{"AWSCompromisedKeyQuarantineV3", "AWSCompromisedKeyQuarantine"}
		}
		if err := a.AddUser(u); err != nil {
			t.Fatal(err)
		}
	}
	return cloud
}

// reading is all that a Reader tells of an account, in comparable form.
type reading struct {
	Account     string
	Alias       string
	Root        bool
	Report      string
	Quarantined map[string][]string
	Users       map[string]userReading
}

type userReading struct {
	Path, Password, PasswordLastUsed string
	Keys                             []string
	Tags                             map[string]string
}

// readAll makes every reading there is, report mode and live mode.
func readAll(ctx context.Context, r *awsiam.Reader) (out reading, err error) {
	caller, err := r.Caller(ctx)
	if err != nil {
		return out, err
	}
	out.Account = caller.Account.ID
	if out.Alias, err = r.Alias(ctx); err != nil {
		return out, err
	}
	if out.Root, err = r.RootHasKeys(ctx); err != nil {
		return out, err
	}
	body, _, err := r.Report(ctx)
	if err != nil {
		return out, err
	}
	out.Report = string(body)
	if out.Quarantined, err = r.Quarantined(ctx, caller.Account.Partition); err != nil {
		return out, err
	}
	out.Users = map[string]userReading{}
	err = r.Users(ctx, func(page []fact.User) error {
		for _, u := range page {
			got, err := readUser(ctx, r, u)
			if err != nil {
				return err
			}
			out.Users[u.Name] = got
		}
		return nil
	})
	return out, err
}

func readUser(ctx context.Context, r *awsiam.Reader, u fact.User) (out userReading, err error) {
	out.Path, out.PasswordLastUsed = u.Path, u.PasswordLastUsed.String()
	keys, err := r.Keys(ctx, u.Name)
	if err != nil {
		return out, err
	}
	for _, k := range keys {
		use, err := r.LastUse(ctx, k.ID)
		if err != nil {
			return out, err
		}
		out.Keys = append(out.Keys, fmt.Sprint(k.ID, k.Active, k.Created, use.At, use.Service, use.Region))
	}
	password, err := r.Password(ctx, u.Name)
	if err != nil {
		return out, err
	}
	out.Password = password.String()
	out.Tags, err = r.Tags(ctx, u.Name)
	return out, err
}

func TestReader_readsEveryPage(t *testing.T) {
	cloud := crowd(t, 25)
	for range 7 {
		if _, err := cloud.Account(account).AddKey("u002", fakeaws.Key{}); err != nil {
			t.Fatal(err)
		}
	}
	url := serve(t, cloud)
	want, err := readAll(t.Context(), open(t, url, account, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 2, 24, 25, 26} {
		cloud.Set(fakeaws.Switches{PageSize: size})
		r := open(t, url, account, nil)
		got, err := readAll(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d (-whole +paged):\n%s", size, diff)
		}
		if pages := r.Calls()["iam:ListUsers"]; pages != (25+size-1)/size {
			t.Errorf("pages of %d: %d calls of ListUsers", size, pages)
		}
	}
	if len(want.Users) != 25 || len(want.Users["u002"].Keys) != 8 || len(want.Users["u000"].Tags) != 3 {
		t.Errorf("the account was not set up as thought: %d users", len(want.Users))
	}
}

func TestReader_isNeverWrongWhileAFifthOfTheCallsFails(t *testing.T) {
	cloud := crowd(t, 30)
	url := serve(t, cloud)
	want, err := readAll(t.Context(), open(t, url, account, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []fakeaws.Kind{
		fakeaws.Throttle, fakeaws.ErrorBefore, fakeaws.ErrorAfter, fakeaws.ResetBefore, fakeaws.ResetAfter,
		fakeaws.Truncate, fakeaws.Empty,
	} {
		t.Run(string(kind), func(t *testing.T) {
			cloud.Heal()
			cloud.Inject(fakeaws.Fault{Kind: kind, Share: 0.2})
			r := open(t, url, account, func(s *awsiam.Settings) { s.MaxAttempts = 25 })
			got, err := readAll(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-healthy +faulty):\n%s", diff)
			}
			calls := 0
			for _, n := range r.Calls() {
				calls += n
			}
			if r.Attempts() <= calls {
				t.Errorf("%d attempts for %d calls: nothing was repeated", r.Attempts(), calls)
			}
		})
	}
}

func TestReader_tellsKindsOfTroubleApart(t *testing.T) {
	cloud := crowd(t, 1)
	url := serve(t, cloud)
	for kind, want := range map[fakeaws.Kind]error{
		fakeaws.Throttle:     awsiam.ErrThrottled,
		fakeaws.Deny:         awsiam.ErrDenied,
		fakeaws.ExpiredToken: awsiam.ErrExpiredToken,
		fakeaws.ErrorBefore:  awsiam.ErrUnavailable,
		fakeaws.ResetBefore:  awsiam.ErrUnavailable,
		fakeaws.Truncate:     awsiam.ErrUnusable,
		fakeaws.Empty:        awsiam.ErrUnusable,
	} {
		for _, action := range append(awsiam.AuditActions(), "sts:GetCallerIdentity") {
			cloud.Heal()
			cloud.Inject(fakeaws.Fault{Kind: kind, Action: action})
			r := open(t, url, account, func(s *awsiam.Settings) { s.MaxAttempts = 2 })
			_, err := readAll(t.Context(), r)
			if kind == fakeaws.Throttle && strings.HasSuffix(action, "CredentialReport") {
				want := awsiam.ErrNoReport // its own patience comes on top
				if !errors.Is(err, want) {
					t.Errorf("%s of %s: %v, want %v", kind, action, err, want)
				}
				continue
			}
			var e *awsiam.Error
			if !errors.Is(err, want) || !errors.As(err, &e) || e.Action != action || e.Hint() == "" && !errors.Is(want, awsiam.ErrUnusable) {
				t.Errorf("%s of %s: %v, want %v", kind, action, err, want)
			}
		}
	}
}

func TestError_saysWhatWasReadAndWhichPermissionIsMissing(t *testing.T) {
	cloud := crowd(t, 1)
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Deny, Action: "iam:ListAccessKeys"})
	r := open(t, serve(t, cloud), account, nil)
	_, err := r.Keys(t.Context(), "u000")
	if want := `list access keys of user "u000": access denied: iam:ListAccessKeys`; err == nil || err.Error() != want {
		t.Errorf("before the account is known: %v\nwant %s", err, want)
	}
	if _, err := r.Caller(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = r.Keys(t.Context(), "u000")
	want := `list access keys of user "u000" in account 111122223333: access denied: iam:ListAccessKeys`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	var e *awsiam.Error
	if !errors.As(err, &e) || e.Subject != "u000" || e.Hint() != "keyreeve iam-policy --for audit prints the policy" {
		t.Errorf("error %+v", e)
	}
}

func TestAuditActions_areThoseSeenAtTheWire(t *testing.T) {
	cloud := crowd(t, 3)
	if _, err := readAll(t.Context(), open(t, serve(t, cloud), account, nil)); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, call := range cloud.Calls() {
		seen[call.Action] = true
	}
	if !seen["sts:GetCallerIdentity"] {
		t.Error("sts:GetCallerIdentity was not called")
	}
	delete(seen, "sts:GetCallerIdentity") // needs no permission
	var got []string
	for action := range seen {
		got = append(got, action)
	}
	slices.Sort(got)
	if diff := cmp.Diff(awsiam.AuditActions(), got); diff != "" {
		t.Errorf("actions (-listed +seen):\n%s", diff)
	}
}

func TestCalls_countsOperationsAndAttemptsCountsRequests(t *testing.T) {
	cloud := crowd(t, 3)
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Throttle, Times: 3})
	r := open(t, serve(t, cloud), account, nil)
	if _, err := r.Keys(t.Context(), "u000"); err != nil {
		t.Fatal(err)
	}
	if got := r.Calls(); !cmp.Equal(got, map[string]int{"iam:ListAccessKeys": 1}) || r.Attempts() != 4 {
		t.Errorf("calls %v and %d attempts, want 1 and 4", got, r.Attempts())
	}
}

func TestReader_reportModeTakesNineCallsForAWholeAccount(t *testing.T) {
	cloud := crowd(t, 900)
	r := open(t, serve(t, cloud), account, nil)
	caller, err := r.Caller(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, _, reportErr := r.Report(t.Context())
	_, quarantineErr := r.Quarantined(t.Context(), caller.Account.Partition)
	_, aliasErr := r.Alias(t.Context())
	if err := errors.Join(reportErr, quarantineErr, aliasErr); err != nil {
		t.Fatal(err)
	}
	if got := len(cloud.Calls()); got != 8 {
		t.Errorf("%d calls, want 8 (a ninth is left for a report that is not at hand): %v", got, r.Calls())
	}
}

func TestReader_keepsWithinItsConcurrency(t *testing.T) {
	const limit, callers = 3, 20
	cloud := crowd(t, 1)
	r := open(t, serve(t, cloud), account, func(s *awsiam.Settings) { s.Concurrency = limit })
	arrived, release := cloud.Hold("iam:ListUserTags")
	var wg sync.WaitGroup
	errs := make(chan error, callers)
	for range callers {
		wg.Go(func() {
			_, err := r.Tags(t.Context(), "u000")
			errs <- err
		})
	}
	for range limit {
		<-arrived
	}
	release()
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if got := cloud.Peak(); got != limit {
		t.Errorf("%d calls at once, want %d", got, limit)
	}
}

func TestReader_keepsWithinItsRateWithRetries(t *testing.T) {
	cloud := crowd(t, 1)
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Throttle, Times: 10})
	r := open(t, serve(t, cloud), account, func(s *awsiam.Settings) { s.Rate, s.MaxAttempts = 200, 30 })
	start := time.Now()
	for range 11 {
		if _, err := r.Tags(t.Context(), "u000"); err != nil {
			t.Fatal(err)
		}
	}
	if took, least := time.Since(start), 20*time.Second/200; r.Attempts() != 21 || took < least {
		t.Errorf("%d requests in %v, want 21 in at least %v", r.Attempts(), took, least)
	}
}

func TestReader_endsAtOnceWhenCancelledInACall(t *testing.T) {
	cloud := crowd(t, 1)
	r := open(t, serve(t, cloud), account, func(s *awsiam.Settings) { s.Concurrency = 1 })
	arrived, release := cloud.Hold("")
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 2)
	for range 2 { // one in the call, one waiting for its turn
		go func() {
			_, err := r.Tags(ctx, "u000")
			errs <- err
		}()
	}
	<-arrived
	cancel()
	for range 2 {
		var e *awsiam.Error
		if err := <-errs; !errors.Is(err, context.Canceled) || !errors.As(err, &e) || e.Kind != nil {
			t.Errorf("%v, want a cancellation without a kind", err)
		}
	}
}

func TestReader_givesUpAnAttemptThatHangs(t *testing.T) {
	cloud := crowd(t, 1)
	r := open(t, serve(t, cloud), account, func(s *awsiam.Settings) {
		s.CallTimeout, s.MaxAttempts = 20*time.Millisecond, 2
	})
	_, release := cloud.Hold("iam:ListUserTags")
	defer release()
	if _, err := r.Tags(t.Context(), "u000"); !errors.Is(err, awsiam.ErrUnavailable) || r.Attempts() != 2 {
		t.Errorf("%v after %d attempts, want %v after 2", err, r.Attempts(), awsiam.ErrUnavailable)
	}
}

func TestReader_showsAUseOnlyAfterItsLag(t *testing.T) {
	cloud := crowd(t, 2)
	cloud.Set(fakeaws.Switches{UseLag: 5 * time.Minute})
	a := cloud.Account(account)
	id := a.Users()[1].Keys[0].ID
	if err := a.Use("u001", id, "s3", ""); err != nil {
		t.Fatal(err)
	}
	r := open(t, serve(t, cloud), account, nil)
	for _, c := range []struct {
		after time.Duration
		want  fact.Use
	}{
		{5*time.Minute - time.Second, fact.Use{At: fact.Never()}},
		{5 * time.Minute, fact.Use{At: fact.At(day(0)), Service: "s3", Region: "N/A"}},
	} {
		cloud.SetNow(day(0).Add(c.after))
		if got, err := r.LastUse(t.Context(), id); err != nil || got != c.want {
			t.Errorf("%v after the use: %+v, %v, want %+v", c.after, got, err, c.want)
		}
	}
}

func TestReader_refusesAnEmptyNameForItMeansTheCaller(t *testing.T) {
	r := open(t, serve(t, crowd(t, 1)), account, nil)
	_, keysErr := r.Keys(t.Context(), "")
	_, tagsErr := r.Tags(t.Context(), "")
	_, passwordErr := r.Password(t.Context(), "")
	_, useErr := r.LastUse(t.Context(), "")
	for _, err := range []error{keysErr, tagsErr, passwordErr, useErr} {
		if err == nil {
			t.Error("an empty name was read")
		}
	}
	if r.Attempts() != 0 {
		t.Errorf("%d requests, want none", r.Attempts())
	}
}

func TestReader_takesThePartitionFromTheCaller(t *testing.T) {
	cloud := fakeaws.New(day(0))
	a := cloud.AddAccount(fact.Account{ID: account, Partition: "aws-cn"})
	if err := a.AddUser(fakeaws.User{Name: "li"}); err != nil {
		t.Fatal(err)
	}
	r := open(t, serve(t, cloud), account, nil)
	caller, err := r.Caller(t.Context())
	if err != nil || caller.Account.Partition != "aws-cn" {
		t.Fatalf("%+v, %v, want partition aws-cn", caller, err)
	}
	if _, err := r.Quarantined(t.Context(), caller.Account.Partition); err != nil {
		t.Fatal(err)
	}
	last := cloud.Calls()[len(cloud.Calls())-1]
	if got := last.Params.Get("PolicyArn"); !strings.HasPrefix(got, "arn:aws-cn:iam::aws:policy/") {
		t.Errorf("asked for policy %q", got)
	}
}

func TestQuarantined_returnsWhatItFoundBesideTheError(t *testing.T) {
	cloud := crowd(t, 3)
	url := serve(t, cloud)
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Deny, Action: "iam:ListEntitiesForPolicy", Every: 2})
	got, err := open(t, url, account, nil).Quarantined(t.Context(), "aws")
	want := map[string][]string{"u001": {"AWSCompromisedKeyQuarantine"}}
	if !errors.Is(err, fact.ErrDenied) || !cmp.Equal(got, want) {
		t.Errorf("%v, %v, want %v and a denial", got, err, want)
	}
}

func TestReader_logsEachOperationWithoutItsContent(t *testing.T) {
	var log bytes.Buffer
	cloud := crowd(t, 1)
	cloud.Inject(fakeaws.Fault{Kind: fakeaws.Deny, Action: "iam:ListAccessKeys"})
	r := open(t, serve(t, cloud), account, func(s *awsiam.Settings) {
		s.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		s.Credentials.Secret = fact.NewSecret("wJalrXUtnFEMI")
		s.Now, s.UserAgent = cloud.Now, "keyreeve/1.0"
	})
	_, tagsErr := r.Tags(t.Context(), "u000")
	_, keysErr := r.Keys(t.Context(), "u000")
	if tagsErr != nil || keysErr == nil {
		t.Fatal(tagsErr, keysErr)
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 || strings.Contains(log.String(), "wJalr") {
		t.Fatalf("log:\n%s", log.String())
	}
	for i, want := range []string{"operation=iam:ListUserTags", "operation=iam:ListAccessKeys"} {
		if !strings.Contains(lines[i], want) || !strings.Contains(lines[i], "request_id=0") ||
			!strings.Contains(lines[i], "attempts=1") || !strings.Contains(lines[i], "duration=0s") {
			t.Errorf("line %q, want %s, a request id, attempts and a duration", lines[i], want)
		}
	}
	if !strings.Contains(lines[1], "error=AccessDenied") {
		t.Errorf("line %q does not say AccessDenied", lines[1])
	}
}
