package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/keyreeve/keyreeve/internal/report"
)

// output is one -o: a format, and the file it goes to; an empty path is standard output.
type output struct {
	format report.Format
	path   string
}

// parseOutputs reads the values of -o. Without any, it is text on standard output.
func parseOutputs(values []string) ([]output, error) {
	if len(values) == 0 {
		values = []string{string(report.Text)}
	}
	var outs []output
	used := map[string]bool{}
	for _, v := range values {
		name, path, hasPath := strings.Cut(v, "=")
		f := report.Format(name)
		if !f.Valid() {
			return nil, misuse("use "+joinFormats(), "unknown output format %q", name)
		}
		if hasPath && path == "" {
			return nil, misuse("write -o "+name+"=FILE, or leave out the = for standard output", "no file in %q", v)
		}
		if used[path] {
			if path == "" {
				return nil, misuse("give all but one a file: -o "+name+"=FILE", "two formats for standard output")
			}
			return nil, misuse("", "two formats for the file %q", path)
		}
		used[path] = true
		outs = append(outs, output{f, path})
	}
	return outs, nil
}

// needsVerdicts is false for the formats that only count.
func (o output) needsVerdicts() bool {
	return o.format != report.Summary && o.format != report.Prometheus
}

func joinFormats() string {
	var names []string
	for _, f := range report.Formats() {
		names = append(names, string(f))
	}
	return strings.Join(names, ", ")
}

// writeFile writes a file whole or not at all: into a temporary one beside it, then renamed.
func writeFile(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write %q: %w", path, err), os.Remove(f.Name()))
		}
	}()
	w := bufio.NewWriterSize(f, 1<<16)
	if err := errors.Join(write(w), w.Flush(), f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// writeStdout writes to standard output through a buffer.
func (a *app) writeStdout(write func(io.Writer) error) error {
	w := bufio.NewWriterSize(a.sys.Stdout, 1<<16)
	return errors.Join(write(w), w.Flush())
}
