package cli

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/keyreeve/keyreeve/internal/rule"
)

// settingsFile finds and reads the settings file. Without --config, no file is fine: path is empty then.
func (a *app) settingsFile() (path string, data []byte, err error) {
	if a.global.config != "" {
		data, err := os.ReadFile(a.global.config)
		if err != nil {
			return "", nil, misuse("--config names a file that can be read", "settings: %v", err)
		}
		return a.global.config, data, nil
	}
	places := []string{"keyreeve.yaml"}
	if dir := a.sys.Getenv("XDG_CONFIG_HOME"); dir != "" {
		places = append(places, filepath.Join(dir, "keyreeve", "keyreeve.yaml"))
	} else if home := a.sys.Getenv("HOME"); home != "" {
		places = append(places, filepath.Join(home, ".config", "keyreeve", "keyreeve.yaml"))
	}
	for _, p := range places {
		data, err := os.ReadFile(p)
		switch {
		case err == nil:
			return p, data, nil
		case !errors.Is(err, os.ErrNotExist):
			return "", nil, misuse("name another with --config", "settings: %v", err)
		}
	}
	return "", nil, nil
}

// blank tells whether a YAML file holds nothing but comments.
func blank(data []byte) bool {
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}

// loadExceptions reads the accepted risks of the settings file and those of a file of their own.
// Each rule that they name must be one of rs or of the catalogue; where rs is nil, names are not checked.
func (a *app) loadExceptions(file string, asOf time.Time, rs *rule.Ruleset) (*rule.Exceptions, error) {
	path, data, err := a.settingsFile()
	if err != nil {
		return nil, err
	}
	var lists []*rule.Exceptions
	read := func(name string, data []byte) error {
		e, err := rule.ParseExceptions(name, data, asOf, a.sys.Now())
		lists = append(lists, e)
		return err
	}
	if !blank(data) {
		if err := read(path, data); err != nil {
			return nil, err
		}
	}
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, misuse("--exceptions names a YAML file", "exceptions: %v", err)
		}
		if err := read(file, data); err != nil {
			return nil, err
		}
	}
	all := rule.MergeExceptions(lists...)
	if rs == nil { // they may name a rule of a ruleset that is not at hand
		return all, nil
	}
	return all, all.Check(rs)
}
