package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ran is a finished run of keyreeve.
type ran struct {
	wall, cpu time.Duration
	peak      int64 // bytes resident
	out       []byte
}

// run runs keyreeve in the directory of o, with its state there; it must end with that exit code.
func (o *options) run(ctx context.Context, s *simulator, code int, args ...string) (ran, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, o.keyreeve, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = o.dir, &out, &errs
	cmd.Env = []string{"HOME=" + o.dir, "AWS_EC2_METADATA_DISABLED=true"}
	if s != nil {
		cmd.Env = append(cmd.Env, s.env...)
	}
	start := time.Now()
	_ = cmd.Run() // judged by its exit code
	wall := time.Since(start)
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		return ran{}, fmt.Errorf("keyreeve %s: %v, not exit %d: %.2000s", strings.Join(args, " "), cmd.ProcessState, code, errs.String())
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return ran{}, fmt.Errorf("this system does not tell how much memory a process took")
	}
	return ran{wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), usage.Maxrss * 1024, out.Bytes()}, nil
}

// simulator is a running simorg.
type simulator struct {
	cmd      *exec.Cmd
	url      string
	env      []string
	expected struct {
		Accounts, Readable, Users int
		FailingUsers              int `json:"failing_users"`
	}
}

// simulate starts simorg, and returns when it listens.
func (o *options) simulate(ctx context.Context, args ...string) (*simulator, error) {
	s := &simulator{cmd: exec.CommandContext(ctx, o.simorg, args...)}
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if vars, ok := strings.CutPrefix(lines.Text(), "export "); ok {
			s.env = strings.Fields(vars)
		}
		if text, ok := strings.CutPrefix(lines.Text(), "# expected "); ok {
			if err := json.Unmarshal([]byte(text), &s.expected); err != nil {
				return nil, err
			}
			break
		}
	}
	for _, v := range s.env {
		if url, ok := strings.CutPrefix(v, "AWS_ENDPOINT_URL="); ok {
			s.url = url
		}
	}
	if s.url == "" || s.expected.Accounts == 0 {
		s.stop()
		return nil, fmt.Errorf("simorg %s did not say where it listens", strings.Join(args, " "))
	}
	return s, nil
}

func (s *simulator) stop() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // killed, as asked
}

// counts are calls, as the simulator saw them.
type counts struct{ Calls, Throttled, Failed int }

type calls struct {
	counts
	Actions map[string]counts
}

// of is how many calls were answered, of that action.
func (c *calls) of(action string) int { return c.Actions[action].Calls - c.Actions[action].Throttled }

// calls counts from the last time that it was asked.
func (s *simulator) calls(ctx context.Context) (*calls, error) {
	var out, after calls
	if err := s.ask(ctx, http.MethodGet, "/sim/calls", &out); err != nil {
		return nil, err
	}
	return &out, s.ask(ctx, http.MethodPost, "/sim/calls/reset", &after)
}

// capacity is how many calls of the service the limits let through in that time.
func (s *simulator) capacity(ctx context.Context, service string, d time.Duration) (float64, error) {
	var out map[string]struct{ Calls float64 }
	err := s.ask(ctx, http.MethodGet, fmt.Sprintf("/sim/capacity?seconds=%f", d.Seconds()), &out)
	return out[service].Calls, err
}

func (s *simulator) ask(ctx context.Context, method, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: HTTP %d: %s", path, res.StatusCode, body)
	}
	return json.Unmarshal(body, into)
}

func median(ds []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(ds))
	return sorted[len(sorted)/2]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }
