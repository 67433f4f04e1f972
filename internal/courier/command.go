package courier

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/seal"
)

const (
	defaultLimit = 30 * time.Second
	outputLimit  = 64 << 10 // bytes of either stream that are looked at
	receiptLimit = 4 << 10  // bytes of a command's own receipt
	errorLimit   = 500      // bytes of its complaint that an error quotes

	// afterKill is how long a killed command's streams may stay open.
	afterKill = 2 * time.Second
)

// The exit codes of a command that mean something; they are those of sysexits. 0 is done, every other is an error.
const (
	exitChanged   = 65 // the place was changed by somebody else
	exitNotFound  = 66 // there is no such place
	exitLasting   = 69 // it cannot be restored
	exitThrottled = 75 // busy, try again
	exitDenied    = 77 // not allowed
)

// CommandSettings name a program that hands a pair over in a way of its own.
//
// It is called with one more argument: preflight, deliver, read-back or restore. It reads one JSON object:
//
//	{"version":1,"rotation":"...","user_name":"...","access_key_id":"...","secret_access_key":"...","sha256":"...","receipt":"..."}
//
// The pair comes with deliver only. sha256 is the digest of the pair, for printf %s:%s ID SECRET | sha256sum; it
// comes with deliver and read-back. read-back answers {"sha256":"..."} of the pair it finds, or {"holds":true}.
// deliver may answer {"receipt":"..."}, which later calls get back; a receipt must not hold the secret.
type CommandSettings struct {
	Argv        []string          // the program, by an absolute path, and its arguments; never a shell line
	Dir         string            // where it runs; empty: the root directory
	Environment map[string]string // beside PATH, HOME and LANG; never for secrets of ours
	User        string            // handed on as user_name
	Limit       time.Duration     // of one call, then all its processes are killed; 0 means 30 s
}

// Validate reports every mistake of s at once.
func (s CommandSettings) Validate() error {
	var errs []error
	if len(s.Argv) == 0 || !filepath.IsAbs(s.Argv[0]) {
		errs = append(errs, errors.New("a command needs a program with an absolute path"))
	}
	if s.Limit < 0 {
		errs = append(errs, errors.New("the time limit of a command must not be negative"))
	}
	if s.Dir != "" && !filepath.IsAbs(s.Dir) {
		errs = append(errs, fmt.Errorf("the directory %q of a command is no absolute path", s.Dir))
	}
	for name, value := range s.Environment {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
			errs = append(errs, fmt.Errorf("the variable %q of a command is none", name))
		}
	}
	return errors.Join(errs...)
}

// Command delivers by a program.
type Command struct{ set CommandSettings }

// NewCommand checks the settings and starts nothing.
func NewCommand(s CommandSettings) (*Command, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if s.Limit == 0 {
		s.Limit = defaultLimit
	}
	if s.Dir == "" {
		s.Dir = filepath.VolumeName(s.Argv[0]) + string(filepath.Separator)
	}
	return &Command{s}, nil
}

// Describe names the place for people.
func (c *Command) Describe() string { return "command " + c.set.Argv[0] }

// order is what the program reads.
type order struct {
	Version  int    `json:"version"`
	Rotation string `json:"rotation,omitempty"`
	User     string `json:"user_name,omitempty"`
	KeyID    string `json:"access_key_id,omitempty"`
	Secret   string `json:"secret_access_key,omitempty"`
	SHA256   string `json:"sha256,omitempty"`
	Receipt  string `json:"receipt,omitempty"`
}

// Preflight looks at the program, then asks it.
func (c *Command) Preflight(ctx context.Context) error {
	info, err := os.Stat(c.set.Argv[0])
	switch {
	case err != nil:
		return fmt.Errorf("check %s: %w", c.Describe(), kindOfFile(err))
	case !info.Mode().IsRegular():
		return fmt.Errorf("check %s: it is not a file", c.Describe())
	case runtime.GOOS != "windows" && info.Mode().Perm()&mayWrite != 0:
		return fmt.Errorf("check %s: it has mode %v, others may change it", c.Describe(), info.Mode())
	}
	_, err = c.run(ctx, "preflight", order{}, fact.Secret{})
	return err
}

// Deliver hands the pair to the program. A call that did not end by itself may have taken effect (fact.ErrUnclear).
func (c *Command) Deliver(ctx context.Context, id string, p fact.Pair, earlier []byte) ([]byte, error) {
	if err := whole(id, p); err != nil {
		return nil, err
	}
	was, again, err := readReceipt(earlier)
	if err != nil {
		return nil, err
	}
	out := receipt{Pair: pairOf(p)}
	if again {
		out.Output = was.Output
	}
	answer, err := c.run(ctx, "deliver", order{
		Rotation: id, KeyID: p.KeyID, Secret: p.Secret.Reveal(), SHA256: out.Pair, Receipt: out.Output,
	}, p.Secret)
	if err != nil {
		return out.encode(), err
	}
	if len(bytes.TrimSpace(answer)) > 0 {
		own, err := c.receiptIn(answer, p.Secret)
		if err != nil {
			return out.encode(), err
		}
		if own != "" {
			out.Output = own
		}
	}
	return out.encode(), nil
}

func (c *Command) receiptIn(answer []byte, secret fact.Secret) (string, error) {
	var got struct {
		Receipt string `json:"receipt"`
	}
	switch err := json.Unmarshal(answer, &got); {
	case err != nil:
		return "", fmt.Errorf("deliver by %s: its answer is no JSON object", c.Describe())
	case len(got.Receipt) > receiptLimit:
		return "", fmt.Errorf("deliver by %s: its receipt is longer than %d bytes", c.Describe(), receiptLimit)
	case shows(got.Receipt, secret):
		return "", fmt.Errorf("deliver by %s: its receipt holds the secret, and is not kept", c.Describe())
	}
	return got.Receipt, nil
}

// ReadBack asks the program.
func (c *Command) ReadBack(ctx context.Context, id string, digest [sha256.Size]byte, b []byte) (bool, error) {
	r, _, err := readReceipt(b)
	if err != nil {
		return false, err
	}
	answer, err := c.run(ctx, "read-back", order{Rotation: id, SHA256: hexOf(digest), Receipt: r.Output}, fact.Secret{})
	if err != nil {
		return false, err
	}
	var got struct {
		SHA256 string `json:"sha256"`
		Holds  *bool  `json:"holds"`
	}
	if json.Unmarshal(answer, &got) != nil || got.Holds == nil && len(got.SHA256) != hex.EncodedLen(sha256.Size) {
		return false, fmt.Errorf(`read back by %s: its answer is neither {"sha256":"..."} nor {"holds":true|false}`, c.Describe())
	}
	same := strings.EqualFold(got.SHA256, hexOf(digest))
	if got.Holds != nil && got.SHA256 != "" && same != *got.Holds {
		return false, fmt.Errorf("read back by %s: its answer contradicts itself", c.Describe())
	}
	return same || got.Holds != nil && *got.Holds, nil
}

// Restore asks the program.
func (c *Command) Restore(ctx context.Context, id string, b []byte) error {
	r, err := needReceipt(b)
	if err != nil {
		return err
	}
	_, err = c.run(ctx, "restore", order{Rotation: id, SHA256: r.Pair, Receipt: r.Output}, fact.Secret{})
	return err
}

// run calls the program once and returns what it printed.
func (c *Command) run(ctx context.Context, verb string, o order, secret fact.Secret) ([]byte, error) {
	o.Version, o.User = receiptVersion, c.set.User
	in, err := json.Marshal(o) //nolint:gosec // this is how the program gets the secret
	if err != nil {
		return nil, fmt.Errorf("%s by %s: %w", verb, c.Describe(), err)
	}
	defer seal.Wipe(in)
	limited, cancel := context.WithTimeout(ctx, c.set.Limit)
	defer cancel()
	var out, complaint bounded
	defer out.wipe()
	defer complaint.wipe()
	cmd := exec.CommandContext(limited, c.set.Argv[0], append(slices.Clone(c.set.Argv[1:]), verb)...) //nolint:gosec // G204: what the settings name is run
	cmd.Dir, cmd.Env = c.set.Dir, c.environment()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &complaint
	cmd.WaitDelay = afterKill
	asGroup(cmd)
	err = cmd.Run()
	if err != nil && cmd.Process != nil {
		endGroup(cmd)
	}
	if err != nil {
		return nil, c.fault(ctx, limited, verb, err, complaint.text(), secret)
	}
	if out.over {
		return nil, fmt.Errorf("%s by %s: it printed more than %d bytes", verb, c.Describe(), outputLimit)
	}
	return bytes.Clone(out.kept), nil
}

// fault words the end of a call that did not succeed, and finds its kind.
func (c *Command) fault(ctx, limited context.Context, verb string, err error, complaint string, secret fact.Secret) error {
	doing := verb + " by " + c.Describe()
	exit := (*exec.ExitError)(nil)
	unclear := fmt.Errorf("%s: %w", doing, err)
	if verb == "deliver" || verb == "restore" {
		unclear = fmt.Errorf("%s: %w: %w", doing, fact.ErrUnclear, err)
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", unclear, ctx.Err())
	case limited.Err() != nil:
		return fmt.Errorf("%w: it was stopped after %v", unclear, c.set.Limit)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission): // it did not start
		return fmt.Errorf("%s: %w", doing, kindOfFile(err))
	case !errors.As(err, &exit), exit.ExitCode() < 0:
		return unclear
	}
	out := fmt.Errorf("%s: it ended with exit code %d", doing, exit.ExitCode())
	if kind := kindOfExit(exit.ExitCode()); kind != nil {
		out = fmt.Errorf("%s: %w", doing, kind)
	}
	switch {
	case complaint == "":
		return out
	case quotesAny(complaint, secret):
		return fmt.Errorf("%w: (what it printed is withheld, for it may hold the secret)", out)
	default:
		return fmt.Errorf("%w: %s", out, complaint)
	}
}

func kindOfExit(code int) error {
	switch code {
	case exitChanged:
		return ErrMoved
	case exitNotFound:
		return fact.ErrNotFound
	case exitLasting:
		return ErrNotRestorable
	case exitThrottled:
		return fact.ErrThrottled
	case exitDenied:
		return fact.ErrDenied
	}
	return nil
}

// quotesAny also finds a part of the secret, as of a line that was cut.
func quotesAny(text string, secret fact.Secret) bool {
	const part = 8
	s := secret.Reveal()
	for i := 0; i+part <= len(s); i++ {
		if strings.Contains(text, s[i:i+part]) {
			return true
		}
	}
	return !secret.Empty() && shows(text, secret)
}

// environment is what the program gets: where to find programs, whose home it is, the language, and the settings'.
func (c *Command) environment() []string {
	out := map[string]string{}
	for _, name := range []string{"PATH", "HOME", "LANG", "SYSTEMROOT"} { // Windows starts little without the last
		if value, ok := os.LookupEnv(name); ok {
			out[name] = value
		}
	}
	for name, value := range c.set.Environment {
		out[name] = value
	}
	list := make([]string, 0, len(out))
	for name, value := range out {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

// bounded keeps the beginning of a stream and lets the rest go by.
type bounded struct {
	kept []byte
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := outputLimit - len(b.kept)
	if len(p) > room {
		b.over = true
	}
	b.kept = append(b.kept, p[:min(room, len(p))]...)
	return len(p), nil
}

func (b *bounded) wipe() { seal.Wipe(b.kept) }

// text is the end of what was printed, on one line, without words that could be a secret: read-back and restore
// do not know the secret that their program reads.
func (b *bounded) text() string {
	words := strings.Fields(strings.ToValidUTF8(string(b.kept), "?"))
	if b.over && len(words) > 0 {
		words = words[:len(words)-1] // it was cut
	}
	line := regexp.MustCompile(`[A-Za-z0-9/+=_-]{40,}`).ReplaceAllString(strings.Join(words, " "), "[withheld]")
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, line)
	if len(line) > errorLimit {
		line = "..." + strings.ToValidUTF8(line[len(line)-errorLimit:], "")
	}
	return line
}
