//go:build unix

package courier_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/keyreeve/keyreeve/internal/courier"
	"github.com/keyreeve/keyreeve/internal/fact"
)

func credentials(t *testing.T, s courier.CredentialsSettings) *courier.Credentials {
	t.Helper()
	if s.Backup.Box == nil {
		s.Backup = backup(t)
	}
	c, err := courier.NewCredentials(s)
	must(t, err)
	return c
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credentials")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestCredentials_writesExactlyThis(t *testing.T) {
	id, secret := newPair.KeyID, newPair.Secret.Reveal()
	for before, want := range map[string]string{
		"":             "[ci]\naws_access_key_id = " + id + "\naws_secret_access_key = " + secret + "\n",
		"[a]\r\nx = y": "[a]\r\nx = y\r\n\r\n[ci]\r\naws_access_key_id = " + id + "\r\naws_secret_access_key = " + secret + "\r\n",
		"[ci]\naws_secret_access_key=b\naws_session_token=c\naws_access_key_id=a\n[z]": "[ci]\naws_secret_access_key=" + secret + "\naws_access_key_id=" + id + "\n[z]",
		"[ci] # c\nregion = x": "[ci] # c\naws_access_key_id = " + id + "\naws_secret_access_key = " + secret + "\nregion = x",
	} {
		path := file(t, before)
		c := credentials(t, courier.CredentialsSettings{Path: path, Profile: "ci"})
		r, err := c.Deliver(t.Context(), rotation, newPair, nil)
		if got := read(path)(t); err != nil || got != want {
			t.Errorf("%q became\n%q, want\n%q, %v", before, got, want, err)
		}
		if err := c.Restore(t.Context(), rotation, r); err != nil || read(path)(t) != before {
			t.Errorf("restored to %q, want %q, %v", read(path)(t), before, err)
		}
	}
}

func TestCredentials_makesAFileOnlyWhenToldAndTakesItAwayAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	s := courier.CredentialsSettings{Path: path, Profile: "ci"}
	if err := credentials(t, s).Preflight(t.Context()); !errors.Is(err, fact.ErrNotFound) {
		t.Errorf("without Create: %v, want %v", err, fact.ErrNotFound)
	}
	s.Create = true
	c := credentials(t, s)
	must(t, c.Preflight(t.Context()))
	r, err := c.Deliver(t.Context(), rotation, newPair, nil)
	must(t, err)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v, want 0600", info.Mode(), err)
	}
	must(t, c.Restore(t.Context(), rotation, r))
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestCredentials_keepsOwnerModeAndLink(t *testing.T) {
	path := file(t, credentialsText(oldPair))
	must(t, os.Chmod(path, 0o400))
	link := path + "-link"
	must(t, os.Symlink(filepath.Base(path), link))
	root := os.Geteuid() == 0
	if root {
		must(t, os.Chown(path, 1234, 2345))
	}
	c := credentials(t, courier.CredentialsSettings{Path: link, Profile: "ci"})
	_, err := c.Deliver(t.Context(), rotation, newPair, nil)
	must(t, err)
	info, err := os.Lstat(path)
	must(t, err)
	if stat, ok := info.Sys().(*syscall.Stat_t); info.Mode() != 0o400 || root && (!ok || stat.Uid != 1234 || stat.Gid != 2345) {
		t.Errorf("mode %v, owner %+v", info.Mode(), info.Sys())
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is one no longer: %v", err)
	}
	must(t, os.Chmod(path, 0o640))
	if err := c.Preflight(t.Context()); err == nil {
		t.Error("a file that its group reads passes")
	}
	c = credentials(t, courier.CredentialsSettings{Path: link, Profile: "ci", GroupMayRead: true})
	_, err = c.Deliver(t.Context(), "another", otherPair, nil)
	must(t, err)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// Somebody edits another profile, and another line of ours, between delivering and restoring.
func TestCredentials_restoreKeepsWhatOthersWroteMeanwhile(t *testing.T) {
	const session = "aws_session_token = old\n"
	for _, text := range []string{credentialsText(oldPair), strings.Replace(credentialsText(oldPair), "; rotated\n", "; rotated\n"+session, 1)} {
		path := file(t, text)
		c := credentials(t, courier.CredentialsSettings{Path: path, Profile: "ci"})
		r, err := c.Deliver(t.Context(), rotation, newPair, nil)
		must(t, err)
		edit := func(text string) string {
			return strings.NewReplacer("x=y", "x=z", "region = eu-west-1", "region = eu-west-9").Replace(text)
		}
		must(t, os.WriteFile(path, []byte(edit(read(path)(t))), 0o600))
		for range 2 {
			must(t, c.Restore(t.Context(), rotation, r))
			got := read(path)(t)
			if p := profileOf(t, path, "ci"); p != oldPair || strings.Contains(got, session) != strings.Contains(text, session) {
				t.Errorf("got %q", got)
			}
			if edited := edit(text); !strings.Contains(text, session) && got != edited {
				t.Errorf("got  %q\nwant %q", got, edited)
			}
		}
	}
}

// late is a context that does something when it is asked the second time: once everything is ready to be put in
// its place.
type late struct {
	context.Context
	asked *int
	then  func() error
}

func (l late) Err() error {
	if *l.asked++; *l.asked > 1 {
		return l.then()
	}
	return nil
}

func TestCredentials_looksOnceMoreBeforeItReplaces(t *testing.T) {
	edited := credentialsText(oldPair) + "\n# theirs\n"
	for want, then := range map[error]func(path string) error{
		context.Canceled: func(string) error { return context.Canceled },
		courier.ErrMoved: func(path string) error { return os.WriteFile(path, []byte(edited), 0o600) },
	} {
		path := file(t, credentialsText(oldPair))
		c := credentials(t, courier.CredentialsSettings{Path: path, Profile: "ci"})
		ctx := late{t.Context(), new(int), func() error { return then(path) }}
		if _, err := c.Deliver(ctx, rotation, newPair, nil); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
		if got := read(path)(t); got != credentialsText(oldPair) && got != edited {
			t.Errorf("the file holds %q", got)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*-new")); len(left) > 0 {
			t.Errorf("left %v", left)
		}
		_, err := c.Deliver(t.Context(), rotation, newPair, nil)
		must(t, err)
	}
}

func TestCredentials_anotherHolderOfTheLockIsNotPassed(t *testing.T) {
	path := file(t, credentialsText(oldPair))
	f, err := os.Create(filepath.Join(filepath.Dir(path), ".credentials.keyreeve-lock"))
	must(t, err)
	must(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	c := credentials(t, courier.CredentialsSettings{Path: path, Profile: "ci"})
	if _, err := c.Deliver(t.Context(), rotation, newPair, nil); err == nil || read(path)(t) != credentialsText(oldPair) {
		t.Errorf("delivered: %v", err)
	}
	must(t, f.Close())
	_, err = c.Deliver(t.Context(), rotation, newPair, nil)
	must(t, err)
}

func TestFiles_forgetLeavesNothingToRestoreFrom(t *testing.T) {
	keep := backup(t)
	path := file(t, credentialsText(oldPair))
	c := credentials(t, courier.CredentialsSettings{Path: path, Profile: "ci", Backup: keep})
	r, err := c.Deliver(t.Context(), rotation, newPair, nil)
	must(t, err)
	kept, _ := filepath.Glob(filepath.Join(keep.Dir, "restore-*"))
	if len(kept) != 1 || strings.Contains(read(kept[0])(t), oldPair.Secret.Reveal()) {
		t.Errorf("kept %v", kept)
	}
	must(t, errors.Join(c.Forget(t.Context(), rotation), c.Forget(t.Context(), rotation)))
	if kept, _ := filepath.Glob(filepath.Join(keep.Dir, "restore-*")); len(kept) != 0 {
		t.Errorf("left %v", kept)
	}
	if err := c.Restore(t.Context(), rotation, r); !errors.Is(err, courier.ErrNotRestorable) {
		t.Errorf("restore: %v, want %v", err, courier.ErrNotRestorable)
	}
	if again, err := c.Deliver(t.Context(), rotation, newPair, r); err != nil || string(again) != string(r) {
		t.Errorf("deliver again: %v", err)
	}
}

func TestSealed_removesAFileThatWasNotThereAndKeepsItsMode(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	must(t, err)
	path := filepath.Join(t.TempDir(), "key.age")
	c, err := courier.NewSealed(courier.SealedSettings{Path: path, Recipients: []string{id.Recipient().String()}, User: "ana", Backup: backup(t)})
	must(t, err)
	must(t, c.Preflight(t.Context()))
	r, err := c.Deliver(t.Context(), rotation, newPair, nil)
	must(t, err)
	if p, ok := unsealed(t, read(path)(t), id); !ok || p != newPair {
		t.Errorf("it holds %v", p.KeyID)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if holds, err := c.ReadBack(t.Context(), rotation, newPair.Digest(), nil); err != nil || !holds {
		t.Errorf("without a receipt: %v, %v", holds, err)
	}
	must(t, errors.Join(c.Restore(t.Context(), rotation, r), c.Restore(t.Context(), rotation, r)))
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestCommand_atItsTimeLimitAllItsProcessesEnd(t *testing.T) {
	dir := t.TempDir()
	pid := filepath.Join(dir, "pid")
	c, err := courier.NewCommand(courier.CommandSettings{
		Argv: []string{"/bin/sh", "-c", `sleep 1000 & echo $! > "$0"; wait`, pid}, Limit: 300 * time.Millisecond,
	})
	must(t, err)
	_, err = c.Deliver(t.Context(), rotation, newPair, nil)
	if !errors.Is(err, fact.ErrUnclear) || !strings.Contains(err.Error(), "300ms") {
		t.Errorf("got %v, want %v", err, fact.ErrUnclear)
	}
	var child int
	_, err = fmt.Sscan(read(pid)(t), &child)
	must(t, err)
	for deadline := time.Now().Add(5 * time.Second); ; { // it is reaped by somebody else
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		if err != nil || strings.Contains(string(state), ") Z ") || errors.Is(syscall.Kill(child, 0), syscall.ESRCH) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d still runs: %s", child, state)
		}
	}
}

func TestCommand_judgesWhatItsProgramSays(t *testing.T) {
	run := func(script string) *courier.Command {
		c, err := courier.NewCommand(courier.CommandSettings{Argv: []string{"/bin/sh", "-c", "cat >/dev/null; " + script}})
		must(t, err)
		return c
	}
	for script, want := range map[string]string{
		`yes | head -c 100000`: "printed more than",
		`echo hello`:           "no JSON object",
		`echo '{"receipt":"` + newPair.Secret.Reveal() + `"}'`:  "holds the secret",
		`echo out of luck >&2; exit 3`:                          "exit code 3: out of luck",
		`echo x` + newPair.Secret.Reveal()[:10] + `>&2; exit 3`: "withheld",
		`exit 65`: "changed by somebody else", `exit 66`: "not found", `exit 75`: "throttled", `exit 77`: "access denied",
		`kill -9 $$`: "may have taken effect",
	} {
		_, err := run(script).Deliver(t.Context(), rotation, newPair, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), newPair.Secret.Reveal()[:10]) {
			t.Errorf("%s: %v, want %q", script, err, want)
		}
	}
	for script, want := range map[string]bool{`echo '{"holds":true}'`: true, `echo '{"holds":false}'`: false} {
		if got, err := run(script).ReadBack(t.Context(), rotation, newPair.Digest(), nil); err != nil || got != want {
			t.Errorf("%s: %v, %v", script, got, err)
		}
	}
	for _, script := range []string{`true`, `echo '{}'`, `echo '{"sha256":"12"}'`, `echo '{"holds":true,"sha256":"` + strings.Repeat("0", 64) + `"}'`} {
		if _, err := run(script).ReadBack(t.Context(), rotation, newPair.Digest(), nil); err == nil {
			t.Errorf("%s: no error", script)
		}
	}
	_, err := run(`echo "read `+oldPair.Secret.Reveal()+`" >&2; exit 1`).ReadBack(t.Context(), rotation, newPair.Digest(), nil)
	if err == nil || strings.Contains(err.Error(), oldPair.Secret.Reveal()) {
		t.Errorf("a secret that we do not know: %v", err)
	}
}

func TestSettings_reportEveryMistakeAtOnce(t *testing.T) {
	private, err := age.GenerateX25519Identity()
	must(t, err)
	for _, c := range []struct {
		validate func() error
		want     []string
	}{
		{courier.SecretSettings{Secret: "a b", KMSKey: "k", ExternalID: "x", Fields: courier.Fields{KeyID: "a", Secret: "A"}}.Validate, []string{"neither a name", "KMS key", "external id", "three names"}},
		{courier.SecretSettings{Secret: "arn:aws:secretsmanager:x", Create: true}.Validate, []string{"not an ARN"}},
		{courier.ParameterSettings{Name: "a:1", KMSKey: "k", ExternalID: "x", Fields: courier.Fields{User: "AccessKeyId"}}.Validate, []string{"not the name", "KMS key", "external id", "three names"}},
		{courier.CredentialsSettings{Path: "x", Profile: "a]"}.Validate, []string{"absolute", "not a name", "directory and a seal"}},
		{courier.SealedSettings{Path: "x", Recipients: []string{"age1x", private.String()}}.Validate, []string{"absolute", "no public key", "private", "directory and a seal"}},
		{courier.SealedSettings{}.Validate, []string{"needs a recipient"}},
		{courier.CommandSettings{Argv: []string{"sh"}, Limit: -1, Dir: "x", Environment: map[string]string{"a=b": ""}}.Validate, []string{"absolute path", "negative", "directory", "variable"}},
	} {
		err := c.validate()
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q in it", err, want)
			}
		}
		if err != nil && strings.Contains(err.Error(), private.String()) {
			t.Error("a private key is quoted")
		}
	}
}

// killedVariable names the file that a child delivers to until it is killed.
const killedVariable = "COURIER_TEST_KILLED"

func TestCredentials_aKillAtAnyMomentLeavesItWhole(t *testing.T) {
	path := os.Getenv(killedVariable)
	if path != "" {
		deliverForEver(t, path)
		return
	}
	path = file(t, credentialsText(oldPair))
	for n := range 20 {
		child := startSelf(t, "^TestCredentials_aKillAtAnyMomentLeavesItWhole$", killedVariable+"="+path)
		child.firstLine(t)
		timer := time.NewTimer(time.Duration(n*n) * 200 * time.Microsecond)
		<-timer.C
		child.kill(t)
		c := credentials(t, courier.CredentialsSettings{Path: path, Profile: "ci", Backup: backupIn(t, filepath.Dir(path))})
		if p := profileOf(t, path, "ci"); p != oldPair && p != newPair {
			t.Fatalf("kill %d: the profile holds %v", n, p.KeyID)
		}
		r, err := c.Deliver(context.Background(), rotation, newPair, nil)
		must(t, err)
		if p := profileOf(t, path, "ci"); p != newPair {
			t.Errorf("kill %d: the profile holds %v", n, p.KeyID)
		}
		must(t, c.Restore(context.Background(), rotation, r))
		if got := read(path)(t); got != credentialsText(oldPair) {
			t.Fatalf("kill %d: restored to %q", n, got)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*-new")); len(left) > 0 {
			t.Errorf("kill %d left %v", n, left)
		}
	}
}

func deliverForEver(t *testing.T, path string) {
	c := credentials(t, courier.CredentialsSettings{Path: path, Profile: "ci", Backup: backupIn(t, filepath.Dir(path))})
	fmt.Println("ready")
	for {
		r, err := c.Deliver(context.Background(), rotation, newPair, nil)
		must(t, err)
		must(t, c.Restore(context.Background(), rotation, r))
	}
}
