package courier_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/keyreeve/keyreeve/internal/courier"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/seal"
)

func rigs(t *testing.T) map[string]func(*testing.T, *diary) *site {
	c := startCloud(t)
	return map[string]func(*testing.T, *diary) *site{
		"secretsmanager": c.secretSite,
		"parameter":      c.parameterSite,
		"credentials":    credentialsSite,
		"sealed":         sealedSite,
		"command":        commandSite,
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func backup(t *testing.T) courier.Backup {
	t.Helper()
	dir := t.TempDir()
	box, err := seal.OpenBox(filepath.Join(dir, "seal.key"), nil)
	must(t, err)
	return courier.Backup{Dir: dir, Box: box}
}

func credentialsText(p fact.Pair) string {
	return "# kept by hand\r\n[default]\r\naws_access_key_id=AKIADEFAULT\r\naws_secret_access_key=other\r\n\r\n" +
		"[ci] ; the pipeline\n; rotated\nregion = eu-west-1\nAWS_ACCESS_KEY_ID =  " + p.KeyID + "\t# key\naws_secret_access_key: " +
		p.Secret.Reveal() + "  \n\n[last]\nx=y"
}

func read(path string) func(t *testing.T) string {
	return func(t *testing.T) string {
		body, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("read: %v", err)
		}
		return string(body)
	}
}

func credentialsSite(t *testing.T, _ *diary) *site {
	dir := t.TempDir()
	path, link, keep := filepath.Join(dir, "credentials"), filepath.Join(dir, "link"), backup(t)
	must(t, os.WriteFile(path, []byte(credentialsText(oldPair)), 0o600))
	must(t, os.Symlink(path, link))
	at := func(path, profile string) carrier {
		out, err := courier.NewCredentials(courier.CredentialsSettings{Path: path, Profile: profile, Backup: keep})
		must(t, err)
		return out
	}
	open := filepath.Join(dir, "open")
	must(t, errors.Join(os.WriteFile(open, []byte(credentialsText(oldPair)), 0o600), os.Chmod(open, 0o620)))
	odd := filepath.Join(dir, "odd")
	must(t, os.WriteFile(odd, []byte("[ci]\naws_access_key_id = A\n aws_secret_access_key = B\n[role]\nrole_arn = x\n[two]\n[two]\n"), 0o600))
	return &site{
		carrier: at(link, "ci"),
		bad: []carrier{
			at(filepath.Join(dir, "none"), "ci"), at(filepath.Join(dir, "no", "dir"), "ci"), at(open, "ci"), at(odd, "ci"), at(odd, "role"), at(odd, "two"),
		},
		held: read(path),
		pair: func(t *testing.T) (fact.Pair, bool) { return profileOf(t, path, "ci"), true },
		meddle: func(t *testing.T) {
			must(t, os.WriteFile(path, []byte(credentialsText(otherPair)), 0o600))
		},
		break_: breakFiles(dir), kinds: []trouble{down, denied}, calls: 3, traces: func() string { return listing(t, dir) },
	}
}

// profileOf is a small reader of its own, without regard to what the courier knows.
func profileOf(t *testing.T, path, profile string) (p fact.Pair) {
	inside := false
	for line := range strings.Lines(read(path)(t)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			inside = strings.HasPrefix(line, "["+profile+"]")
		}
		i := strings.IndexAny(line, "=:")
		if !inside || i < 0 {
			continue
		}
		value, _, _ := strings.Cut(strings.TrimSpace(line[i+1:]), "\t")
		switch strings.ToLower(strings.TrimSpace(line[:i])) {
		case "aws_access_key_id":
			p.KeyID = value
		case "aws_secret_access_key":
			p.Secret = fact.NewSecret(value)
		}
	}
	return p
}

func listing(t *testing.T, dir string) string {
	entries, err := os.ReadDir(dir)
	must(t, err)
	var out string
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		out += fmt.Sprintln(e.Name(), info.Mode(), info.Size(), info.ModTime().UnixNano())
	}
	return out
}

// breakFiles: down leaves the file of a killed attempt, and puts a directory where the new file would be written
// from the start; denied takes the permission to the directory away.
func breakFiles(dir string) func(*testing.T, trouble, int) func() {
	return func(t *testing.T, how trouble, after int) func() {
		if how == denied {
			return withoutPermission(t, dir)
		}
		for _, name := range []string{".credentials.keyreeve-new", ".key.age.keyreeve-new"} {
			name = filepath.Join(dir, name)
			if after > 0 { // only what a kill left behind
				must(t, os.WriteFile(name, []byte("half a fi"), 0o600))
				continue
			}
			must(t, os.MkdirAll(filepath.Join(name, "full"), 0o700))
		}
		return func() {
			if after == 0 {
				must(t, os.RemoveAll(filepath.Join(dir, ".credentials.keyreeve-new")))
				must(t, os.RemoveAll(filepath.Join(dir, ".key.age.keyreeve-new")))
			}
		}
	}
}

func sealedSite(t *testing.T, _ *diary) *site {
	dir := t.TempDir()
	path, keep := filepath.Join(dir, "key.age"), backup(t)
	id, err := age.GenerateX25519Identity()
	must(t, err)
	must(t, os.WriteFile(path, []byte("an older hand-over"), 0o600))
	at := func(path string) carrier {
		out, err := courier.NewSealed(courier.SealedSettings{Path: path, Recipients: []string{id.Recipient().String()}, User: "ana", Backup: keep})
		must(t, err)
		return out
	}
	open := filepath.Join(dir, "open")
	must(t, errors.Join(os.WriteFile(open, nil, 0o600), os.Chmod(open, 0o602)))
	return &site{
		carrier: at(path), bad: []carrier{at(filepath.Join(dir, "no", "dir")), at(dir), at(open)},
		held: read(path), pair: func(t *testing.T) (fact.Pair, bool) { return unsealed(t, read(path)(t), id) }, unseen: true,
		meddle: func(t *testing.T) { must(t, os.WriteFile(path, []byte("another hand-over"), 0o600)) },
		break_: breakFiles(dir), kinds: []trouble{down, denied}, calls: 3, traces: func() string { return listing(t, dir) },
	}
}

func commandSite(t *testing.T, _ *diary) *site {
	dir := t.TempDir()
	path := filepath.Join(dir, "held")
	must(t, os.WriteFile(path, []byte(objectOf(oldPair)), 0o600))
	self, err := os.Executable()
	must(t, err)
	at := func(program, dir string) carrier {
		out, err := courier.NewCommand(courier.CommandSettings{
			Argv: []string{program, "-to", "place"}, Environment: map[string]string{commandVariable: dir}, User: "ana", Limit: 20 * time.Second,
		})
		must(t, err)
		return out
	}
	open := filepath.Join(dir, "open")
	must(t, errors.Join(os.WriteFile(open, nil, 0o700), os.Chmod(open, 0o702)))
	return &site{
		carrier: at(self, dir), bad: []carrier{at(filepath.Join(dir, "none"), dir), at(dir, dir), at(open, dir), at(self, filepath.Join(dir, "no"))},
		held: read(path), pair: func(t *testing.T) (fact.Pair, bool) { return consumer(t, read(path)(t)) },
		meddle: func(t *testing.T) { must(t, os.WriteFile(path, []byte(objectOf(otherPair)), 0o600)) },
		kinds:  []trouble{down, cut, slow, denied, blab}, calls: 0,
		break_: func(t *testing.T, how trouble, _ int) func() {
			flag := filepath.Join(dir, string(how))
			must(t, os.WriteFile(flag, nil, 0o600))
			return func() { must(t, os.Remove(flag)) }
		},
		traces: func() string { return read(path)(t) },
	}
}

const commandVariable = "COURIER_TEST_PLACE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(commandVariable); dir != "" {
		os.Exit(command(dir, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// command is a program as a user would write one, with flags for its bad days.
func command(dir string, args []string) int {
	var in struct {
		Version                   int
		Rotation, Receipt, SHA256 string
		User                      string `json:"user_name"`
		KeyID                     string `json:"access_key_id"`
		Secret                    string `json:"secret_access_key"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil || in.Version != 1 || in.User != "ana" || len(args) != 3 {
		fmt.Fprintln(os.Stderr, "a wrong call:", args, err)
		return 64
	}
	for _, text := range append(os.Environ(), os.Args...) {
		if in.Secret != "" && strings.Contains(text, in.Secret) {
			fmt.Fprintln(os.Stderr, "the secret is in the arguments or the environment")
			return 1
		}
	}
	if n := len(os.Environ()); n > 5 {
		fmt.Fprintln(os.Stderr, "too much environment:", n)
		return 1
	}
	is := func(how trouble) bool { _, err := os.Stat(filepath.Join(dir, string(how))); return err == nil }
	switch {
	case is(denied):
		return 77
	case is(down):
		return 1
	case is(slow):
		child := exec.Command(os.Args[0]) // reads our input for ever, and outlives us unless the group is ended
		child.Env = append(os.Environ(), commandVariable+"=")
		child.Args = []string{os.Args[0], "-test.run=^TestHang$"}
		child.Env = append(child.Env, "COURIER_TEST_HANG=1")
		child.Stdout = os.Stdout
		_ = child.Run()
		return 1
	case is(blab):
		fmt.Fprintln(os.Stderr, "+ curl -d", in.KeyID, in.Secret)
		return 1
	}
	return act(dir, args[2], in.KeyID, in.Secret, in.SHA256, in.Receipt, is(cut))
}

func act(dir, verb, keyID, secret, digest, receipt string, cutOff bool) int {
	path := filepath.Join(dir, "held")
	now, err := os.ReadFile(path)
	if err != nil {
		return 66
	}
	var got struct{ AccessKeyId, SecretAccessKey string }
	_ = json.Unmarshal(now, &got)
	sum := sha256.Sum256([]byte(got.AccessKeyId + ":" + got.SecretAccessKey))
	held := hex.EncodeToString(sum[:])
	put := func(body []byte) int {
		if os.WriteFile(path+"-new", body, 0o600) != nil || os.Rename(path+"-new", path) != nil || cutOff {
			return 1
		}
		return 0
	}
	before := filepath.Join(dir, "before")
	old, _ := os.ReadFile(before)
	switch verb {
	case "deliver":
		if held != digest {
			if receipt != "" && string(old) != string(now) && receipt != held {
				return 65
			}
			if len(old) == 0 && os.WriteFile(before, now, 0o600) != nil {
				return 1
			}
			if code := put([]byte(objectOf(fact.Pair{KeyID: keyID, Secret: fact.NewSecret(secret)}))); code != 0 {
				return code
			}
		}
		fmt.Printf(`{"receipt":%q}`, digest)
	case "read-back":
		fmt.Printf(`{"sha256":%q}`, held)
	case "restore":
		switch {
		case string(now) == string(old):
		case held != receipt:
			return 65
		default:
			return put(old)
		}
	}
	return 0
}

// TestHang is the child of a command that hangs.
func TestHang(*testing.T) {
	if os.Getenv("COURIER_TEST_HANG") == "" {
		return
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	<-context.Background().Done()
}
