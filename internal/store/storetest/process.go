package storetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/store"
)

// What a test binary that was started by another one is to do, and where.
const (
	envTask = "KEYREEVE_STORETEST_TASK"
	envURL  = "KEYREEVE_STORETEST_URL"
)

// Main is the TestMain of a package that runs Processes: the processes that it starts are this very program.
func Main(m *testing.M) {
	task := strings.Fields(os.Getenv(envTask))
	if len(task) == 0 {
		os.Exit(m.Run())
	}
	if err := child(context.Background(), os.Getenv(envURL), task); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// points are what a run of one step that is left and one that is carried out writes, in order.
var points = [...]journal.EntryKind{journal.Begin, journal.Left, journal.Intent, journal.Outcome, journal.Verification, journal.End}

// child carries out a task: append RUN COUNT; die before|after KIND; hold ACCOUNT HOLDER; begin RACER COUNT; tick;
// rotate-die before|after KIND.
func child(ctx context.Context, url string, task []string) error {
	fmt.Println("ready")
	if _, err := io.ReadFull(os.Stdin, make([]byte, 1)); err != nil { // until the parent says go
		return err
	}
	var o store.Options
	if strings.HasSuffix(task[0], "die") {
		at := task[1] + " " + task[2]
		o.OnWrite = func(point string) {
			if point == at {
				die()
			}
		}
	}
	d, err := store.Open(ctx, url, o)
	if err != nil {
		return err
	}
	switch task[0] {
	case "append":
		count, err := strconv.Atoi(task[2])
		if err != nil {
			return err
		}
		return errors.Join(appendMany(ctx, d, task[1], count), d.Close())
	case "die":
		return errors.Join(errors.New("it did not die"), wholeRun(ctx, d))
	case "begin":
		count, err := strconv.Atoi(task[2])
		if err != nil {
			return err
		}
		return errors.Join(beginAll(ctx, ledgerOf(d), task[1], count), d.Close())
	case "tick":
		return errors.Join(tickAll(ctx, ledgerOf(d)), d.Close())
	case "rotate-die":
		return errors.Join(errors.New("it did not die"), dieRotating(ctx, ledgerOf(d)))
	case "hold":
		release, err := d.Lock(ctx, task[1], task[2])
		if err != nil {
			return err
		}
		defer release() // what nobody holds on to, the garbage collector closes
		fmt.Println("held")
		_, err = io.Copy(io.Discard, os.Stdin) // until it is killed
		return err
	default:
		return fmt.Errorf("unknown task %q", task)
	}
}

// die is the end that no program can put off.
func die() {
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Kill()
	}
	select {}
}

// appendMany writes entries to a run of its own and says the number of each once it is on record.
func appendMany(ctx context.Context, d *store.DB, run string, count int) error {
	r := apply(run, 0, 1)
	if err := d.Begin(ctx, r); err != nil {
		return err
	}
	for i := range count {
		e, err := d.Append(ctx, entry(r, "step0000", i, journal.Left, journal.NotDue))
		if err != nil {
			return err
		}
		fmt.Println(e.Seq)
	}
	return nil
}

func wholeRun(ctx context.Context, d *store.DB) error {
	r := apply("run-whole", 0, 2)
	if err := d.Begin(ctx, r); err != nil {
		return err
	}
	for _, e := range []journal.Entry{
		entry(r, "step0001", 1, journal.Left, journal.Stale),
		entry(r, "step0000", 2, journal.Intent, ""),
		entry(r, "step0000", 3, journal.Outcome, journal.OK),
		entry(r, "step0000", 4, journal.Verification, journal.Shows),
		entry(r, "", 5, journal.End, ""),
	} {
		if _, err := d.Append(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// process is a child and what it prints.
type process struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
	err   strings.Builder
}

// launch starts a child, which waits for goOn.
func launch(t *testing.T, url, task string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.CommandContext(t.Context(), self)} //nolint:gosec // the running test itself
	p.cmd.Env = append(os.Environ(), envTask+"="+task, envURL+"="+url)
	p.cmd.Stderr = &p.err
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.expect(t, "ready")
	return p
}

func (p *process) goOn(t *testing.T) {
	t.Helper()
	if _, err := p.in.Write([]byte{'\n'}); err != nil {
		t.Fatal(err)
	}
}

func (p *process) expect(t *testing.T, line string) {
	t.Helper()
	if !p.lines.Scan() || p.lines.Text() != line {
		t.Fatalf("the process said %q, want %q; and %s", p.lines.Text(), line, p.err.String())
	}
}

// end reads the rest, and waits. It gives the last line.
func (p *process) end() (last string, err error) {
	for p.lines.Scan() {
		last = p.lines.Text()
	}
	if err := p.cmd.Wait(); err != nil {
		return last, fmt.Errorf("%w: %s", err, p.err.String())
	}
	return last, nil
}

// kill ends the process at once.
func (p *process) kill(t *testing.T) (last string) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	last, _ = p.end() // it was killed: that is its error
	return last
}
