package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/config"
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

// readConfig reads the settings file; path is empty where there is none. asOf is for its exceptions.
func (a *app) readConfig(asOf time.Time) (c *config.Config, path string, err error) {
	path, data, err := a.settingsFile()
	if err != nil {
		return nil, "", err
	}
	env := config.Env{Getenv: a.sys.Getenv}
	if path != "" {
		if env.Dir, err = filepath.Abs(filepath.Dir(path)); err != nil {
			return nil, "", fmt.Errorf("settings: %w", err)
		}
	}
	c, err = config.Load(path, data, env, asOf, a.sys.Now())
	return c, path, err
}

// loadExceptions reads the accepted risks of the settings file and those of a file of their own.
// Each rule that they name must be one of rs or of the catalogue; where rs is nil, names are not checked.
func (a *app) loadExceptions(file string, asOf time.Time, rs *rule.Ruleset) (*rule.Exceptions, error) {
	c, _, err := a.readConfig(asOf)
	if err != nil {
		return nil, err
	}
	all := c.Exceptions
	if file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, misuse("--exceptions names a YAML file", "exceptions: %v", err)
		}
		own, err := rule.ParseExceptions(file, data, asOf, a.sys.Now())
		if err != nil {
			return nil, err
		}
		all = rule.MergeExceptions(all, own)
	}
	if rs == nil { // they may name a rule of a ruleset that is not at hand
		return all, nil
	}
	return all, all.Check(rs)
}

// settingsTold says what a settings file holds, and warns.
func settingsTold(path string, c *config.Config) string {
	lines := []string{fmt.Sprintf("%s; exceptions %d, entries of users %d, targets %d, channels %d", path, len(c.Exceptions.All()), c.Entries(), c.Targets(), len(c.Notices().Channels))}
	for _, w := range c.Warnings {
		lines = append(lines, "warning: "+w)
	}
	return strings.Join(lines, "\n")
}
