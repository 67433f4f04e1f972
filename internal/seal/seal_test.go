package seal_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/seal"
)

var pair = fact.Pair{KeyID: "AKIAEXAMPLE", Secret: fact.NewSecret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")}

func box(t *testing.T, path string) *seal.Box {
	t.Helper()
	b, err := seal.OpenBox(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBox_opensWhatItSealedAlsoInAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seal.key")
	sealed, err := box(t, path).SealPair(pair)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(sealed), pair.Secret.Reveal()) {
		t.Error("the sealed text holds the secret")
	}
	got, err := box(t, path).OpenPair(sealed)
	if err != nil || got != pair {
		t.Errorf("got %v, %v", got.KeyID, err)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("key file: %v, %v, want mode 0600", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestBox_takesTheKeyOfTheEnvironmentAndMakesNoFile(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "seal.key")
	b, err := seal.OpenBox(path, func(name string) string { return map[string]string{seal.KeyVariable: id.String() + "\n"}[name] })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Seal([]byte("x")); err != nil || b.Recipient() != id.Recipient().String() {
		t.Errorf("recipient %q, %v", b.Recipient(), err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("it made a key file")
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q", b, b, b, b, b)} {
		if strings.Contains(text, id.String()[20:]) {
			t.Errorf("it prints its key: %s", text)
		}
	}
}

func TestBox_aLostKeyIsAClearError(t *testing.T) {
	dir := t.TempDir()
	sealed, err := box(t, filepath.Join(dir, "a")).Seal([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := box(t, filepath.Join(dir, "none")).Open(sealed); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("no key: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); err == nil {
		t.Error("opening made a key")
	}
	other := box(t, filepath.Join(dir, "b"))
	if _, err := other.Seal(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Open(sealed); !errors.Is(err, seal.ErrOtherKey) {
		t.Errorf("other key: %v", err)
	}
	first := box(t, filepath.Join(dir, "a"))
	for name, bad := range map[string][]byte{
		"empty": nil, "cut": sealed[:len(sealed)-1], "changed": append(sealed[:len(sealed)-1:len(sealed)-1], sealed[len(sealed)-1]^1),
	} {
		if _, err := first.Open(bad); !errors.Is(err, seal.ErrBroken) {
			t.Errorf("%s: %v, want %v", name, err, seal.ErrBroken)
		}
	}
	if _, err := first.OpenPair(sealed); !errors.Is(err, seal.ErrBroken) {
		t.Errorf("no pair: %v", err)
	}
}

func TestOpenBox_refusesWhatItCannotTrust(t *testing.T) {
	dir := t.TempDir()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	paths := []string{
		"", dir, write("empty", "", 0o600), write("garbled", id.String()[:30], 0o600),
		write("two", id.String()+"\n"+id.String(), 0o600),
	}
	if runtime.GOOS != "windows" {
		paths = append(paths, write("group", id.String(), 0o640), write("all", id.String(), 0o604))
	}
	for _, path := range paths {
		if _, err := seal.OpenBox(path, nil); err == nil || strings.Contains(err.Error(), id.String()[20:29]) {
			t.Errorf("%q: %v", path, err)
		}
	}
	bad := func(string) string { return id.String() + "x" }
	if _, err := seal.OpenBox("", bad); err == nil || strings.Contains(err.Error(), id.String()[20:]) {
		t.Errorf("a bad variable: %v", err)
	}
}

const helperVariable = "SEAL_TEST_PATH"

// TestBox_processesAtOnceMakeOneKey runs itself eight times at once on one file.
func TestBox_processesAtOnceMakeOneKey(t *testing.T) {
	if path := os.Getenv(helperVariable); path != "" {
		b := box(t, path)
		if _, err := b.Seal(nil); err != nil {
			t.Fatal(err)
		}
		fmt.Println("recipient", b.Recipient())
		return
	}
	path := filepath.Join(t.TempDir(), "seal.key")
	type result struct {
		out string
		err error
	}
	results := make(chan result)
	const processes = 8
	for range processes {
		go func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestBox_processesAtOnceMakeOneKey$")
			cmd.Env = append(os.Environ(), helperVariable+"="+path)
			out, err := cmd.Output()
			results <- result{string(out), err}
		}()
	}
	seen := map[string]bool{}
	for range processes {
		r := <-results
		if r.err != nil {
			t.Fatalf("%v: %s", r.err, r.out)
		}
		for line := range strings.Lines(r.out) {
			if strings.HasPrefix(line, "recipient") {
				seen[line] = true
			}
		}
	}
	if len(seen) != 1 {
		t.Errorf("keys %v, want one", seen)
	}
}
