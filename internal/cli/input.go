package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/internal/audit"
)

// reportEndings are the names that a directory is read for.
var reportEndings = [...]string{".csv", ".json", ".csv.gz", ".json.gz"}

// findReports turns arguments into report files: a file as it is, a directory into the reports in it, - into
// standard input. Each is named once.
func (a *app) findReports(ctx context.Context, args []string) ([]audit.File, error) {
	var files []audit.File
	var errs []error
	seen := map[string]bool{}
	add := func(path string, open func() (io.ReadCloser, error)) {
		if seen[path] {
			errs = append(errs, misuse("", "%q is named twice", path))
			return
		}
		seen[path] = true
		files = append(files, audit.File{Path: path, Open: open})
	}
	for _, arg := range args {
		if arg == "-" {
			add("-", func() (io.ReadCloser, error) {
				return interruptible(ctx, func() (io.Reader, error) { return a.sys.Stdin, nil }), nil
			})
			continue
		}
		info, err := os.Stat(arg)
		switch {
		case errors.Is(err, os.ErrNotExist):
			errs = append(errs, misuse("give a credential report, a directory of them, or - for standard input", "no file %q", arg))
		case err != nil:
			errs = append(errs, err)
		case info.IsDir():
			paths, err := reportsIn(arg)
			errs = append(errs, err)
			for _, p := range paths {
				add(p, opener(ctx, p))
			}
		default:
			add(arg, opener(ctx, arg))
		}
	}
	return files, errors.Join(errs...)
}

func reportsIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		name := strings.ToLower(e.Name())
		if !e.IsDir() && slices.ContainsFunc(reportEndings[:], func(s string) bool { return strings.HasSuffix(name, s) }) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	if len(paths) == 0 {
		return nil, misuse("a report's name ends in "+strings.Join(reportEndings[:], ", "), "no reports in directory %q", dir)
	}
	return paths, nil
}

func opener(ctx context.Context, path string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			return interruptible(ctx, func() (io.Reader, error) { return os.Open(path) }), nil
		}
		return os.Open(path)
	}
}

// interruptible reads from what open gives until it ends or ctx is done: opening and reading a terminal or a pipe can
// wait for ever, and nothing else ends that. The goroutine that waits is left to the end of the process.
func interruptible(ctx context.Context, open func() (io.Reader, error)) io.ReadCloser {
	r, w := io.Pipe()
	stop := context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
	go func() {
		in, err := open()
		if err == nil {
			_, err = io.CopyBuffer(w, in, make([]byte, 1<<18))
		}
		stop()
		w.CloseWithError(err) // nil ends the stream
	}()
	return r
}
