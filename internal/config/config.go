// Package config reads the settings file, keyreeve.yaml, into checked values: accepted risks; for each user whose keys
// are rotated, the terms and the places where the new key goes; and who is told what changed.
//
// It knows the file's sections and what its texts may say of the user: {user} and {account}. It opens no other
// file, calls nobody, and reads of the environment only what the file asks for. Secrets of channels it only names: where
// they are is for the caller to look up.
//
// It refuses a file with any mistake, as a whole: an unknown key, a name that leads nowhere, a place that two
// users would share. Every mistake is told at once, with its place and a hint. It also refuses to guess for a
// user: where an entry asks for tags that were not read, there is an error and no terms.
//
// Its promise: a target that For returns passes its courier's own check, and holds no placeholder any more.
package config

import (
	"time"

	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/rule"
	"github.com/keyreeve/keyreeve/internal/yamlfile"
)

// Env is where the program runs.
type Env struct {
	Dir    string                   // absolute; where relative paths of the file begin: the directory of the file
	Getenv func(name string) string // for ~, and the variables that a command target asks for; nil: none is set
}

func (e Env) get(name string) string {
	if e.Getenv == nil {
		return ""
	}
	return e.Getenv(name)
}

// Config is a settings file without mistakes. Its zero value is that of an empty file, except for Exceptions.
type Config struct {
	Exceptions *rule.Exceptions // those of the section; not nil after Load
	// Warnings are what is allowed and hardly meant, each with its place in the form of a mistake: a target that
	// no entry of users names, an entry that an earlier one leaves nothing to.
	Warnings []string

	targets []target
	entries []entry
	notices Notices
	env     Env
}

// Targets counts the places that the file names.
func (c *Config) Targets() int { return len(c.targets) }

// Entries counts the entries of users.
func (c *Config) Entries() int { return len(c.entries) }

// Load reads a settings file. An empty one, or one of comments alone, is fine. path is the file's name for
// messages. asOf and today are for the exceptions: the instant that is judged at, and the present one.
// The error lists every mistake in the order of the file.
func Load(path string, data []byte, env Env, asOf, today time.Time) (*Config, error) {
	r := &reader{File: &yamlfile.File{Name: path, MayBeEmpty: true}, out: &Config{Exceptions: rule.MergeExceptions(), env: env}}
	if root := r.Parse(data); root != nil {
		f := r.Fields(root, "a settings file", sections())
		if v, ok := f["exceptions"]; ok {
			r.out.Exceptions = rule.ReadExceptions(r.File, v.Value, asOf, today)
		}
		if v, ok := f["rotation"]; ok {
			r.rotation(v.Value)
		}
		if v, ok := f["notices"]; ok {
			r.notices(v.Value)
		}
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	return r.out, nil
}

func sections() []string { return []string{"exceptions", "rotation", "notices"} }

// reader is a settings file that is being read.
type reader struct {
	*yamlfile.File
	out   *Config
	terms rotate.Terms // of the section rotation, which entries of users begin from
}

func (r *reader) warn(n yamlfile.Node, hint, text string) {
	r.out.Warnings = append(r.out.Warnings, r.MistakeAt(yamlfile.PlaceOf(n), hint, text).Error())
}
