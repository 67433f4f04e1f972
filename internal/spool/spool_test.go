package spool_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/spool"
)

// began is when the files of the tests are written: their age counts.
var began = time.Now().UTC().Truncate(time.Second)

func run(at time.Time) spool.Run {
	return spool.Run{Organization: "o-example", Evidence: fact.Report, Confirm: "flagged", Asks: "rules", StartedAt: at}
}

func begin(t *testing.T, dir string, r spool.Run) *spool.Spool {
	t.Helper()
	s, err := spool.Begin(dir, r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func anyTime(t *rapid.T) fact.Time {
	switch rapid.IntRange(0, 2).Draw(t, "kind of time") {
	case 0:
		return fact.Time{}
	case 1:
		return fact.Never()
	default:
		return fact.AtUnix(rapid.Int64Range(0, 4e9).Draw(t, "second"), rapid.Int32Range(0, 999999999).Draw(t, "ns"))
	}
}

func anySnapshot(t *rapid.T) *fact.Snapshot {
	text, yes := rapid.String(), rapid.Bool()
	answer := rapid.SampledFrom([]fact.Answer{fact.Unknown, fact.No, fact.Yes})
	tags := rapid.MapOfN(text, text, 1, 3)
	s := &fact.Snapshot{
		Account: fact.Account{ID: "111122223333", Partition: "aws", Name: text.Draw(t, "name"), OU: text.Draw(t, "ou"), Tags: tags.Draw(t, "account tags")},
		Evidence: fact.Evidence{
			Source: fact.Live, Path: text.Draw(t, "path"), GeneratedAt: anyTime(t), ReadAt: anyTime(t), Newest: anyTime(t),
		},
		UsersRead: yes.Draw(t, "users read"), QuarantineRead: yes.Draw(t, "quarantine read"),
		Gaps:  []fact.Gap{{Account: "111122223333", Reading: "ListUsers", Subject: text.Draw(t, "subject"), Why: text.Draw(t, "why"), Denied: yes.Draw(t, "denied")}},
		Gone:  []string{text.Draw(t, "gone")},
		Users: []fact.User{},
	}
	for range rapid.IntRange(0, 3).Draw(t, "users") {
		u := fact.User{
			Name: text.Draw(t, "user"), ARN: text.Draw(t, "arn"), Path: text.Draw(t, "user path"), ID: text.Draw(t, "user id"), Root: yes.Draw(t, "root"),
			Created: anyTime(t), Password: answer.Draw(t, "password"), PasswordLastUsed: anyTime(t), MFA: answer.Draw(t, "mfa"),
			KeysRead: yes.Draw(t, "keys read"), KeysPresent: answer.Draw(t, "present"), Quarantine: answer.Draw(t, "quarantine"),
			Policies: []string{text.Draw(t, "policy")}, Tags: tags.Draw(t, "tags"), TagsRead: yes.Draw(t, "tags read"),
		}
		for range rapid.IntRange(0, 2).Draw(t, "keys") {
			u.Keys = append(u.Keys, fact.Key{
				ID: text.Draw(t, "key"), Slot: rapid.IntRange(0, 2).Draw(t, "slot"), Active: yes.Draw(t, "active"), Created: anyTime(t),
				LastUsed: fact.Use{At: anyTime(t), Region: text.Draw(t, "region"), Service: text.Draw(t, "service")},
			})
		}
		s.Users = append(s.Users, u)
	}
	return s
}

func TestSpool_givesBackWhatItWasGiven(t *testing.T) {
	s := begin(t, t.TempDir(), run(began))
	rapid.Check(t, func(t *rapid.T) {
		want := anySnapshot(t)
		if err := s.Save(want); err != nil {
			t.Fatal(err)
		}
		got, err := s.Load(want.Account.ID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(fact.Time{})); diff != "" {
			t.Errorf("-saved +loaded:\n%s", diff)
		}
	})
}

func TestSpool_anAccountThatIsNotThereIsNone(t *testing.T) {
	s := begin(t, t.TempDir(), run(began))
	if got, err := s.Load("111122223333"); got != nil || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

// leave ends the process that works in the run, as far as the run is concerned.
func leave(t *testing.T, s *spool.Spool) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// read is the file that holds what the only run below dir has read.
func read(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "run-*", "read"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	return files[0]
}

func TestSpool_whatIsTornIsReadAgainAndTheRestIsKept(t *testing.T) {
	dir := t.TempDir()
	s := begin(t, dir, run(began))
	save := func(s *spool.Spool, account, name string) {
		t.Helper()
		if err := s.Save(&fact.Snapshot{Account: fact.Account{ID: account, Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	save(s, "111122223333", "first")
	path := read(t, dir)
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	save(s, "444455556666", "second")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	leave(t, s)
	for n := range whole {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		again, _ := spool.Resume(dir, run(began), began)
		if again == nil {
			t.Fatalf("%d bytes of %d are no run", n, len(whole))
		}
		want := []string{"111122223333"}
		if n < len(first) {
			want = nil
		}
		if got := again.Accounts(); len(got) != len(want) || len(want) > 0 && got[0] != want[0] {
			t.Errorf("%d bytes of %d: accounts %v, want %v", n, len(whole), got, want)
		}
		save(again, "444455556666", "anew")
		got, err := again.Load("444455556666")
		if err != nil || got == nil || got.Account.Name != "anew" {
			t.Fatalf("%d bytes of %d: %v, %v", n, len(whole), got, err)
		}
		leave(t, again)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestSpool_aChangedByteIsNeverLoaded(t *testing.T) {
	dir := t.TempDir()
	s := begin(t, dir, run(began))
	if err := s.Save(&fact.Snapshot{Account: fact.Account{ID: "111122223333"}, Users: []fact.User{{Name: "ana"}}}); err != nil {
		t.Fatal(err)
	}
	path := read(t, dir)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := s.Load("111122223333")
	if err != nil {
		t.Fatal(err)
	}
	leave(t, s)
	head := len("111122223333 ") // what stands before belongs to the account's name: it is another account then
	for i := head; i < len(whole); i++ {
		changed := append([]byte{}, whole...)
		changed[i] ^= 0x10
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		again, _ := spool.Resume(dir, run(began), began)
		if again == nil {
			t.Fatal("no run")
		}
		if got, err := again.Load("111122223333"); err == nil && got != nil && !cmp.Equal(got, want, cmp.AllowUnexported(fact.Time{})) {
			t.Errorf("byte %d of %d changed: %+v", i, len(whole), got)
		}
		leave(t, again)
	}
}

func TestSpool_anotherAccountsSnapshotIsNotRead(t *testing.T) {
	dir := t.TempDir()
	s := begin(t, dir, run(began))
	if err := s.Save(&fact.Snapshot{Account: fact.Account{ID: "111122223333"}}); err != nil {
		t.Fatal(err)
	}
	leave(t, s)
	path := read(t, dir)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(whole, []byte("111122223333"), []byte("444455556666"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	again, _ := spool.Resume(dir, run(began), began)
	if got, err := again.Load("444455556666"); got != nil || err == nil {
		t.Errorf("the snapshot of another account: %v, %v", got, err)
	}
}

func TestResume_takesUpTheNewestRunThatReadsTheSame(t *testing.T) {
	dir := t.TempDir()
	if s, _ := spool.Resume(dir, run(began), began); s != nil {
		t.Errorf("a run out of nothing: %+v", s.Run())
	}
	leave(t, begin(t, dir, run(began)))
	newest := begin(t, dir, run(began.Add(time.Minute)))
	other := run(began.Add(time.Hour))
	other.Organization = "o-other"
	leave(t, begin(t, dir, other))
	other = run(began.Add(time.Hour))
	other.Confirm = "new"
	leave(t, begin(t, dir, other))
	if err := newest.Save(&fact.Snapshot{Account: fact.Account{ID: "111122223333"}}); err != nil {
		t.Fatal(err)
	}
	leave(t, newest)
	for _, now := range []time.Time{began.Add(2 * time.Hour), began.Add(time.Minute + spool.Keep)} {
		got, _ := spool.Resume(dir, run(now), now)
		if got == nil || !got.Run().StartedAt.Equal(began.Add(time.Minute)) {
			t.Fatalf("at %v: %+v", now, got)
		}
		if accounts := got.Accounts(); !cmp.Equal(accounts, []string{"111122223333"}) {
			t.Errorf("accounts %v", accounts)
		}
		leave(t, got)
	}
	if got, _ := spool.Resume(dir, run(began), began.Add(time.Minute+spool.Keep+time.Second)); got != nil {
		t.Errorf("a run that is too old: %+v", got.Run())
	}
	if err := newest.Done(); err != nil {
		t.Fatal(err)
	}
	if got, _ := spool.Resume(dir, run(began), began.Add(time.Hour)); got == nil || !got.Run().StartedAt.Equal(began) {
		t.Errorf("after the newest was done: %+v", got)
	}
}

func TestResume_tellsARunThatReadOtherwiseFromNone(t *testing.T) {
	for name, change := range map[string]func(r *spool.Run){
		"evidence": func(r *spool.Run) { r.Evidence = fact.Live },
		"confirm":  func(r *spool.Run) { r.Confirm = "never" },
		"rules":    func(r *spool.Run) { r.Asks = "other rules" },
	} {
		dir := t.TempDir()
		if s, unlike := spool.Resume(dir, run(began), began); s != nil || unlike {
			t.Errorf("%s: out of nothing: %v, %v", name, s, unlike)
		}
		other := run(began)
		change(&other)
		leave(t, begin(t, dir, other))
		if s, unlike := spool.Resume(dir, run(began), began); s != nil || !unlike {
			t.Errorf("%s: %v, %v", name, s, unlike)
		}
		if s, unlike := spool.Resume(dir, run(began), began.Add(spool.Keep+time.Second)); s != nil || unlike {
			t.Errorf("%s, too old: %v, %v", name, s, unlike)
		}
		if s, unlike := spool.Resume(dir, other, began); s == nil || unlike {
			t.Errorf("%s, alike: %v, %v", name, s, unlike)
		}
	}
}

// leftover makes a directory with these files, written at that time.
func leftover(t *testing.T, own string, at time.Time, files map[string]string) {
	t.Helper()
	must(t, os.MkdirAll(own, 0o700))
	for name, text := range files {
		must(t, os.WriteFile(filepath.Join(own, name), []byte(text), 0o600))
	}
	found, err := filepath.Glob(filepath.Join(own, "*"))
	must(t, err)
	for _, path := range append(found, own) {
		must(t, os.Chtimes(path, at, at))
	}
}

func TestBegin_removesWhatIsTooOldWhateverItIs(t *testing.T) {
	now := began.Add(spool.Keep + time.Second)
	for name, files := range map[string]map[string]string{
		"a run":              nil,
		"of another version": {"run.json": `{"version": 1}`, "read": "alice"},
		"torn":               {"run.json": `{"vers`, "read": "alice"},
		"without a note":     {"read": "alice"},
		"empty":              {},
	} {
		for _, at := range []time.Time{began, began.Add(time.Second)} {
			dir := t.TempDir()
			own := filepath.Join(dir, "run-1")
			if files == nil {
				leave(t, begin(t, dir, run(at)))
				own = filepath.Dir(read(t, dir))
			}
			leftover(t, own, at, files)
			leave(t, begin(t, dir, run(now)))
			_, err := os.Stat(own)
			if gone := os.IsNotExist(err); gone != at.Equal(began) {
				t.Errorf("%s, %v old: gone %v", name, now.Sub(at), gone)
			}
		}
	}
}

// Another version may still read.
func TestBegin_leavesWhatWasWrittenToOfLate(t *testing.T) {
	dir := t.TempDir()
	now := began.Add(2 * spool.Keep)
	own := filepath.Join(dir, "run-1")
	leftover(t, own, began, map[string]string{"run.json": `{"version": 1}`, "read": "alice"})
	must(t, os.Chtimes(filepath.Join(own, "read"), now, now))
	leave(t, begin(t, dir, run(now)))
	if _, err := os.Stat(own); err != nil {
		t.Error(err)
	}
}

// A process of its own is not needed: the lock is of the open file.
func TestSpool_aRunInWhichAProcessWorksIsLeftToIt(t *testing.T) {
	dir := t.TempDir()
	s := begin(t, dir, run(began))
	if got, unlike := spool.Resume(dir, run(began), began); got != nil || unlike {
		t.Errorf("taken up while it runs: %v, %v", got, unlike)
	}
	other := begin(t, dir, run(began.Add(2*spool.Keep)))
	must(t, other.Done())
	must(t, s.Save(&fact.Snapshot{Account: fact.Account{ID: "111122223333"}}))
	leave(t, s)
	if got, _ := spool.Resume(dir, run(began), began); got == nil || len(got.Accounts()) != 1 {
		t.Errorf("what it read is gone: %v", got)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
