package collect_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keyreeve/keyreeve/internal/collect"
	"github.com/keyreeve/keyreeve/internal/fact"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake answers from what the test put in it; a name in fail makes the call with that name fail.
type fake struct {
	mu      sync.Mutex
	report  string
	users   []fact.User
	keys    map[string][]fact.Key
	uses    map[string]fact.Use
	exposed map[string][]string
	root    bool
	fail    map[string]error // by call, or call and subject: "Keys", "Keys ana"
	calls   []string
}

func (f *fake) call(name, subject string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, strings.TrimSpace(name+" "+subject))
	return errors.Join(f.fail[name], f.fail[name+" "+subject])
}

func (f *fake) Caller(context.Context) (fact.Caller, error) {
	return fact.Caller{Account: fact.Account{ID: "111122223333", Partition: "aws-cn"}, ARN: "arn:aws-cn:iam::111122223333:user/me"}, f.call("Caller", "")
}
func (f *fake) Alias(context.Context) (string, error) { return "acme", f.call("Alias", "") }
func (f *fake) Quarantined(context.Context, string) (map[string][]string, error) {
	return f.exposed, f.call("Quarantined", "")
}
func (f *fake) RootHasKeys(context.Context) (bool, error) { return f.root, f.call("RootHasKeys", "") }
func (f *fake) Report(context.Context) ([]byte, time.Time, error) {
	return []byte(f.report), made, f.call("Report", "")
}
func (f *fake) Users(_ context.Context, each func([]fact.User) error) error {
	for _, u := range f.users {
		if err := each([]fact.User{u}); err != nil {
			return err
		}
	}
	return f.call("Users", "")
}
func (f *fake) Keys(_ context.Context, user string) ([]fact.Key, error) {
	return slices.Clone(f.keys[user]), f.call("Keys", user)
}
func (f *fake) LastUse(_ context.Context, id string) (fact.Use, error) {
	return f.uses[id], f.call("LastUse", id)
}
func (f *fake) Password(_ context.Context, user string) (fact.Answer, error) {
	return fact.No, f.call("Password", user)
}
func (f *fake) Tags(_ context.Context, user string) (map[string]string, error) {
	return map[string]string{"owner": user}, f.call("Tags", user)
}

var (
	made = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	opt  = collect.Options{Now: func() time.Time { return made.Add(time.Hour) }}
)

const header = "user,arn,user_creation_time,password_enabled,access_key_1_active,access_key_1_last_rotated,access_key_1_last_used_date,access_key_2_active,access_key_2_last_rotated,access_key_2_last_used_date\n"

func row(name string) string {
	return fmt.Sprintf("%s,arn:aws-cn:iam::111122223333:user/%s,2026-01-01T00:00:00Z,false,true,2026-01-01T10:00:00Z,N/A,false,N/A,N/A\n", name, name)
}

const rootRow = "<root_account>,arn:aws-cn:iam::111122223333:root,2020-01-01T00:00:00Z,not_supported,true,2020-01-01T10:00:00Z,N/A,false,N/A,N/A\n"

func TestReport_readsAnAccountInEightCalls(t *testing.T) {
	f := &fake{report: header + rootRow + row("ana") + row("bob"), exposed: map[string][]string{"bob": {"AWSCompromisedKeyQuarantineV2"}}}
	s, err := collect.Report(t.Context(), f, opt)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(f.calls, " "), "Caller Alias Quarantined Report"; got != want {
		t.Errorf("calls: %s, want %s", got, want)
	}
	if len(s.Users) != 3 || !s.Users[0].Root || s.Users[1].Quarantine != fact.No || s.Users[2].Quarantine != fact.Yes {
		t.Errorf("users: %+v", s.Users)
	}
	if !s.UsersRead || len(s.Gaps) != 0 || s.Account.Name != "acme" || s.Evidence.Source != fact.Report || s.Evidence.GeneratedAt.Time() != made {
		t.Errorf("snapshot: %+v", s)
	}
}

func TestReport_asksForRootOnlyWhereTheReportHasNoRowForIt(t *testing.T) {
	f := &fake{report: header + row("ana"), root: true}
	s, err := collect.Report(t.Context(), f, opt)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Users) != 2 || !s.Users[0].Root || s.Users[0].HasKeys() != fact.Yes || s.Users[0].ARN != "arn:aws-cn:iam::111122223333:root" {
		t.Errorf("users: %+v", s.Users)
	}
}

func TestReport_aFailedReadingIsAGapAndNeverAnEmptyAnswer(t *testing.T) {
	boom := errors.New("throttled")
	for call, reading := range map[string]string{
		"Alias": "ListAccountAliases", "Quarantined": "ListEntitiesForPolicy", "Report": "GetCredentialReport",
	} {
		f := &fake{report: header + rootRow + row("ana"), fail: map[string]error{call: boom}}
		s, err := collect.Report(t.Context(), f, opt)
		if err != nil {
			t.Fatalf("%s: %v", call, err)
		}
		if len(s.Gaps) != 1 || s.Gaps[0].Reading != reading || s.Gaps[0].Account != "111122223333" || s.Gaps[0].Why != "throttled" {
			t.Errorf("%s fails: gaps %+v", call, s.Gaps)
		}
		if call == "Quarantined" && s.Users[1].Quarantine != fact.Unknown {
			t.Errorf("quarantine not read, yet ana's is %v", s.Users[1].Quarantine)
		}
		if call == "Report" && (s.UsersRead || len(s.Users) != 1) {
			t.Errorf("report not read, yet the users are %+v", s.Users)
		}
	}
}

func TestReport_refusesAReportOfAnotherAccount(t *testing.T) {
	f := &fake{report: header + strings.ReplaceAll(row("ana"), "111122223333", "999999999999")}
	s, err := collect.Report(t.Context(), f, opt)
	if err != nil {
		t.Fatal(err)
	}
	if s.UsersRead || len(s.Gaps) != 1 || !strings.Contains(s.Gaps[0].Why, "999999999999") || len(s.Users) != 1 {
		t.Errorf("snapshot: %+v", s)
	}
}

func TestReport_needsTheCallersIdentity(t *testing.T) {
	f := &fake{fail: map[string]error{"Caller": errors.New("no credentials")}}
	if s, err := collect.Report(t.Context(), f, opt); err == nil {
		t.Errorf("a snapshot of nobody's account: %+v", s)
	}
}

func TestReport_keepsAnExposedUserThatTheReportIsTooOldFor(t *testing.T) {
	f := &fake{report: header + rootRow + row("bob"), exposed: map[string][]string{"ana": {"AWSCompromisedKeyQuarantineV3"}}}
	s, err := collect.Report(t.Context(), f, opt)
	if err != nil {
		t.Fatal(err)
	}
	if u := s.Users[1]; u.Name != "ana" || u.Quarantine != fact.Yes || u.KeysRead {
		t.Errorf("users: %+v", s.Users)
	}
}

func TestConfirm_takesLiveKeysDropsUsersThatAreGoneAndKeepsTheUnread(t *testing.T) {
	f := &fake{
		report: header + rootRow + row("ana") + row("bob") + row("cyd") + row("dan"),
		keys:   map[string][]fact.Key{"ana": {live("AKIAANA", false, fact.At(time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)))}},
		fail:   map[string]error{"Keys bob": fact.ErrNotFound, "Keys cyd": errors.New("throttled")},
	}
	s, err := collect.Report(t.Context(), f, opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := collect.Confirm(t.Context(), f, s, []int{0, 1, 2, 3}, opt); err != nil {
		t.Fatal(err)
	}
	names := ""
	for _, u := range s.Users {
		names += u.Name + " "
	}
	if names != "<root_account> ana cyd dan " || !slices.Equal(s.Gone, []string{"bob"}) {
		t.Errorf("users %s, gone %v", names, s.Gone)
	}
	if root := s.Users[0]; root.HasKeys() != fact.No {
		t.Errorf("root's keys are gone by now, yet: %+v", root)
	}
	if k := s.Users[1].Keys; len(k) != 1 || k[0].ID != "AKIAANA" || k[0].Active || k[0].Slot != 1 || !k[0].LastUsed.At.Never() {
		t.Errorf("ana: %+v", k)
	}
	if k := s.Users[2].Keys; len(k) != 1 || k[0].ID != "" || !k[0].Active {
		t.Errorf("cyd could not be read again and stays as in the report: %+v", k)
	}
	if len(s.Gaps) != 1 || s.Gaps[0].Reading != "ListAccessKeys" || s.Gaps[0].Subject != "cyd" {
		t.Errorf("gaps: %+v", s.Gaps)
	}
	if n := strings.Count(strings.Join(f.calls, " "), "Keys dan"); n != 0 {
		t.Error("dan was not to be read again")
	}
}

func TestLive_everyFailedReadingIsAGapOfItsOwn(t *testing.T) {
	boom := errors.New("denied")
	users := []fact.User{{Name: "bob"}, {Name: "ana"}, {Name: "gone"}}
	keys := map[string][]fact.Key{"ana": {live("AKIA1", true, day1), live("AKIA2", true, day2), live("AKIA3", true, day3)}, "bob": {live("AKIAB", true, day1)}}
	f := &fake{users: users, keys: keys, uses: map[string]fact.Use{"AKIA1": used},
		fail: map[string]error{"LastUse AKIA2": boom, "LastUse AKIA3": fact.ErrNotFound, "Keys bob": boom, "Password bob": boom, "Tags bob": boom, "Keys gone": fact.ErrNotFound, "RootHasKeys": boom}}
	s, err := collect.Live(t.Context(), f, opt)
	if err != nil {
		t.Fatal(err)
	}
	root, ana, bob := s.Users[0], s.Users[1], s.Users[2]
	if len(s.Users) != 3 || !slices.Equal(s.Gone, []string{"gone"}) {
		t.Fatalf("users %+v gone %v", s.Users, s.Gone)
	}
	if len(ana.Keys) != 2 || ana.Keys[0].LastUsed != used || !ana.Keys[1].LastUsed.At.Unknown() || !ana.TagsRead {
		t.Errorf("ana: %+v", ana)
	}
	if bob.KeysRead || bob.TagsRead || bob.Password != fact.Unknown || len(bob.Keys) != 0 {
		t.Errorf("bob: %+v", bob)
	}
	if root.HasKeys() != fact.Unknown {
		t.Errorf("root: %+v", root)
	}
	var got []string
	for _, g := range s.Gaps {
		got = append(got, g.Reading+" "+g.Subject)
	}
	slices.Sort(got)
	want := []string{"GetAccessKeyLastUsed AKIA2", "GetAccountSummary <root_account>", "GetLoginProfile bob", "ListAccessKeys bob", "ListUserTags bob"}
	if !slices.Equal(got, want) {
		t.Errorf("gaps %q, want %q", got, want)
	}
}

func TestLive_judgesThePagesThatCameAndSaysThatThereMayBeMore(t *testing.T) {
	f := &fake{users: []fact.User{{Name: "ana"}}, fail: map[string]error{"Users": errors.New("throttled")}}
	s, err := collect.Live(t.Context(), f, opt)
	if err != nil {
		t.Fatal(err)
	}
	if s.UsersRead || len(s.Users) != 2 || len(s.Gaps) != 1 || s.Gaps[0].Reading != "ListUsers" {
		t.Errorf("snapshot: %+v", s)
	}
}

func TestLive_stopsWhenTheContextDoes(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := &fake{users: []fact.User{{Name: "ana"}}}
	o := opt
	o.Progress = func(stage string, _, _ int) {
		if stage == "list users" {
			cancel()
		}
	}
	if s, err := collect.Live(ctx, f, o); !errors.Is(err, context.Canceled) {
		t.Errorf("snapshot %+v, error %v", s, err)
	}
}

func TestConfirm_forgetsWhatTheReportSaysOfAUserMadeAgainSince(t *testing.T) {
	old, young := fact.At(time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)), fact.At(made.Add(time.Hour))
	for name, c := range map[string]struct {
		live   []fact.Key
		forget bool
	}{
		"none of its keys is left and one is younger than the report": {[]fact.Key{live("AKIA2", true, young)}, true},
		"its key is still there":                {[]fact.Key{live("AKIA1", true, old), live("AKIA2", true, young)}, false},
		"its key is gone and there is no other": {nil, false},
	} {
		f := &fake{report: header + rootRow + row("ana"), keys: map[string][]fact.Key{"ana": c.live}}
		s, err := collect.Report(t.Context(), f, opt)
		if err != nil {
			t.Fatal(err)
		}
		if err := collect.Confirm(t.Context(), f, s, []int{1}, opt); err != nil {
			t.Fatal(err)
		}
		if u := s.Users[1]; u.Created.Unknown() != c.forget || (u.Password == fact.Unknown) != c.forget {
			t.Errorf("%s: %+v", name, u)
		}
	}
}

func TestLive_aUserThatIsGoneIsNotBroughtBackByItsQuarantine(t *testing.T) {
	f := &fake{users: []fact.User{{Name: "Gone"}}, exposed: map[string][]string{"gone": {"AWSCompromisedKeyQuarantineV2"}}, fail: map[string]error{"Keys Gone": fact.ErrNotFound}}
	s, err := collect.Live(t.Context(), f, opt)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Users) != 1 || !s.Users[0].Root || !slices.Equal(s.Gone, []string{"Gone"}) {
		t.Errorf("users %+v, gone %v", s.Users, s.Gone)
	}
}
