package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/report"
)

// output is one -o: a format, and the file it goes to; an empty path is standard output.
type output struct {
	format report.Format
	path   string
}

// parseOutputs reads the values of -o. Without any, it is text on standard output; the file - is that too.
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
		if path == "-" {
			path = ""
		}
		key := path
		if path != "" {
			key = filepath.Clean(path)
		}
		if used[key] {
			if path == "" {
				return nil, misuse("give all but one a file: -o "+name+"=FILE", "two formats for standard output")
			}
			return nil, misuse("", "two formats for the file %q", path)
		}
		used[key] = true
		outs = append(outs, output{f, path})
	}
	return outs, nil
}

// needsVerdicts is false for the format that only counts.
func (o output) needsVerdicts() bool { return o.format != report.Summary }

func joinFormats() string {
	var names []string
	for _, f := range report.Formats() {
		names = append(names, string(f))
	}
	return strings.Join(names, ", ")
}

// checkOutputs refuses, before anything is read, files that cannot be written and one that is itself a report to read.
func checkOutputs(outs []output, inputs []audit.File) error {
	var errs []error
	for _, o := range outs {
		if o.path == "" {
			continue
		}
		if info, err := os.Stat(filepath.Dir(o.path)); err != nil || !info.IsDir() {
			errs = append(errs, misuse("make it first", "no directory for the file %q", o.path))
			continue
		}
		info, err := os.Stat(o.path)
		if err != nil {
			continue // not there yet; writing tells the rest
		}
		if info.IsDir() {
			errs = append(errs, misuse("name a file in it", "%q is a directory", o.path))
		}
		for _, in := range inputs {
			if other, err := os.Stat(in.Path); err == nil && os.SameFile(info, other) {
				errs = append(errs, misuse("name another file for the output", "%q is a report to read", o.path))
			}
		}
	}
	return errors.Join(errs...)
}

// writeFile writes a file whole or not at all: into a temporary one beside it, then renamed. It follows symbolic links
// and keeps the mode of a file that is there; what is no regular file, such as a device, is written to as it is.
func writeFile(path string, write func(io.Writer) error) error {
	target := path
	if real, err := filepath.EvalSymlinks(path); err == nil {
		target = real
	}
	info, err := os.Stat(target)
	if err == nil && !info.Mode().IsRegular() {
		err = writeThrough(target, write)
	} else {
		err = replaceFile(target, info, write)
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", path, err)
	}
	return nil
}

func writeThrough(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<16)
	return errors.Join(write(w), w.Flush(), f.Close())
}

// replaceFile writes a new file for old, which is nil where there is none.
func replaceFile(path string, old os.FileInfo, write func(io.Writer) error) error {
	temporary := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%d.tmp", filepath.Base(path), os.Getpid()))
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) // less the umask
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<16)
	err = errors.Join(write(w), w.Flush(), f.Sync(), f.Close())
	if err == nil && old != nil {
		err = os.Chmod(temporary, old.Mode().Perm())
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return nil
}

// writeStdout writes to standard output through a buffer.
func (a *app) writeStdout(write func(io.Writer) error) error {
	w := bufio.NewWriterSize(a.sys.Stdout, 1<<16)
	if err := write(w); err != nil {
		return err
	}
	return w.Flush()
}
