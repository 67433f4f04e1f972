// Command bench prints the offline figures of the README: the wall time and peak memory of `keyreeve audit -o summary` over a
// synthetic report, as ratios to a plain single-goroutine encoding/csv loop that counts the same rules, in pairs of the same
// run; the time to print the version; the size of the binary.
//
//	bench [-users N] [-rounds N] KEYREEVE
//	bench -baseline REPORT     the loop itself, as a process of its own
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/keyreeve/keyreeve/internal/credreport/synth"
)

var asOf = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

func main() {
	users := flag.Int("users", 1_000_000, "users in the report")
	rounds := flag.Int("rounds", 7, "pairs of runs")
	loop := flag.String("baseline", "", "run the encoding/csv loop over this report")
	flag.Parse()
	err := error(nil)
	switch {
	case *loop != "":
		err = baseline(os.Stdout, *loop, asOf)
	case flag.NArg() == 1:
		err = bench(flag.Arg(0), *users, *rounds)
	default:
		flag.Usage()
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is one finished process.
type run struct {
	wall time.Duration
	cpu  time.Duration
	peak int64 // bytes
	out  []byte
}

func bench(keyreeve string, users, rounds int) error {
	dir, err := os.MkdirTemp("", "keyreeve-bench-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	report := filepath.Join(dir, "credential_report.csv")
	size, err := generate(report, users)
	if err != nil {
		return err
	}
	fmt.Printf("report: %d users, %.0f MB\n", users, float64(size)/1e6)

	self, err := os.Executable()
	if err != nil {
		return err
	}
	var ours, theirs []run
	for i := range rounds + 1 { // the first pair warms the file cache and is not counted
		a, err := execute(3, keyreeve, "audit", report, "--as-of", asOf.Format(time.RFC3339), "-o", "summary", "--quiet")
		if err != nil {
			return err
		}
		b, err := execute(0, self, "-baseline", report)
		if err != nil {
			return err
		}
		if err := sameCounts(a.out, b.out); err != nil {
			return err
		}
		if i > 0 {
			ours, theirs = append(ours, a), append(theirs, b)
		}
	}
	var ratios []float64
	for i := range ours {
		ratios = append(ratios, ours[i].wall.Seconds()/theirs[i].wall.Seconds())
	}
	wall := median(ours, func(r run) float64 { return r.wall.Seconds() })
	fmt.Printf("encoding/csv loop:  wall %.3f s, peak %.0f MiB\n", median(theirs, func(r run) float64 { return r.wall.Seconds() }), median(theirs, peakMiB))
	fmt.Printf("keyreeve summary:   wall %.3f s, cpu %.3f s, peak %.0f MiB, %.1f M rows/s, %.2f GB/s\n",
		wall, median(ours, func(r run) float64 { return r.cpu.Seconds() }), median(ours, peakMiB), float64(users)/wall/1e6, float64(size)/wall/1e9)
	slices.Sort(ratios)
	fmt.Printf("ratio of wall time: %.3f (median of %d pairs, %.3f to %.3f); at most 0.25 is the aim\n", ratios[len(ratios)/2], len(ratios), ratios[0], ratios[len(ratios)-1])
	fmt.Println("counts by rule: the same in every pair")
	return small(keyreeve)
}

func peakMiB(r run) float64 { return float64(r.peak) / (1 << 20) }

// small measures what every run pays.
func small(keyreeve string) error {
	var runs []run
	for range 21 {
		r, err := execute(0, keyreeve, "version")
		if err != nil {
			return err
		}
		runs = append(runs, r)
	}
	info, err := os.Stat(keyreeve)
	if err != nil {
		return err
	}
	fmt.Printf("keyreeve version:   %.1f ms (median of %d)\n", 1000*median(runs, func(r run) float64 { return r.wall.Seconds() }), len(runs))
	fmt.Printf("binary:             %.1f MB, stripped\n", float64(info.Size())/1e6)
	return nil
}

func generate(path string, users int) (int64, error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	if err := synth.Write(f, synth.Options{Users: users, Seed: 1, AsOf: asOf, Account: "111122223333"}); err != nil {
		return 0, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	return size, f.Close()
}

// execute runs a command that must end with the given exit code.
func execute(code int, name string, args ...string) (run, error) {
	var out, errs bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	_ = cmd.Run() // judged by its exit code
	wall := time.Since(start)
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		return run{}, fmt.Errorf("%s %s: %v, not exit %d: %s", name, strings.Join(args, " "), cmd.ProcessState, code, errs.String())
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return run{wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), usage.Maxrss * 1024, out.Bytes()}, nil
}

// sameCounts checks that each rule of the loop has the count that keyreeve's summary has.
func sameCounts(summary, loop []byte) error {
	for _, line := range strings.Split(strings.TrimSpace(string(loop)), "\n") {
		rule, count, _ := strings.Cut(line, " ")
		found := false
		for _, row := range strings.Split(string(summary), "\n") {
			fields := strings.Fields(strings.ReplaceAll(row, ",", ""))
			if len(fields) > 2 && fields[1] == rule && fields[2] == count { // severity, rule, fail
				found = true
			}
		}
		if !found {
			return fmt.Errorf("the loop counts %s failing for %s, the summary does not:\n%s", count, rule, summary)
		}
	}
	return nil
}

func median(runs []run, of func(run) float64) float64 {
	var xs []float64
	for _, r := range runs {
		xs = append(xs, of(r))
	}
	slices.Sort(xs)
	return xs[len(xs)/2]
}
