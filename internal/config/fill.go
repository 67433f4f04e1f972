package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/internal/courier"
)

// text is what names the place of t, and false for a target that was misread.
func (t *target) text() (string, bool) {
	switch {
	case t.Secret != nil:
		return t.Secret.Secret, t.Secret.Secret != ""
	case t.Parameter != nil:
		return t.Parameter.Name, t.Parameter.Name != ""
	case t.Credentials != nil:
		return t.Credentials.Path + "\x00" + t.Credentials.Profile, t.Credentials.Path != "" && t.Credentials.Profile != ""
	case t.Sealed != nil:
		return t.Sealed.Path, t.Sealed.Path != ""
	case t.Command != nil:
		return strings.Join(t.Command.Argv, "\x00"), len(t.Command.Argv) > 0
	default:
		return "", false
	}
}

// fill is t for one user, checked by its courier.
func (t *target) fill(h holder, env Env) (Target, error) {
	out := Target{Name: t.Name, Kind: t.Kind}
	var user string
	if t.namesUser {
		user = h.user
	}
	switch {
	case t.Secret != nil:
		s := *t.Secret
		s.User = user
		err := fillIn(h, &s.Secret)
		out.Secret = &s
		return out, first(err, s.Validate)
	case t.Parameter != nil:
		s := *t.Parameter
		s.User = user
		err := fillIn(h, &s.Name)
		out.Parameter = &s
		return out, first(err, s.Validate)
	case t.Credentials != nil:
		s := *t.Credentials
		err := fillIn(h, &s.Path, &s.Profile)
		if err == nil {
			s.Path, err = env.path(s.Path)
		}
		check := s
		check.Backup = standIn()
		out.Credentials = &s
		return out, first(err, check.Validate)
	case t.Sealed != nil:
		s := *t.Sealed
		s.User, s.Recipients = user, slices.Clone(s.Recipients)
		err := fillIn(h, &s.Path)
		if err == nil {
			s.Path, err = env.path(s.Path)
		}
		check := s
		check.Backup = standIn()
		out.Sealed = &s
		return out, first(err, check.Validate)
	default:
		s := t.command(user, env)
		var err error
		if s.Dir != "" {
			s.Dir, err = env.path(s.Dir)
		}
		out.Command = &s
		return out, first(err, s.Validate)
	}
}

// command hands on those of its variables that are set.
func (t *target) command(user string, env Env) courier.CommandSettings {
	s := *t.Command
	s.User, s.Argv, s.Environment = user, slices.Clone(s.Argv), map[string]string{}
	for _, name := range t.variables {
		if value := env.get(name); value != "" {
			s.Environment[name] = value
		}
	}
	return s
}

func fillIn(h holder, texts ...*string) error {
	for _, t := range texts {
		filled, err := h.fill(*t)
		if err != nil {
			return err
		}
		*t = filled
	}
	return nil
}

func first(err error, check func() error) error {
	if err != nil {
		return err
	}
	return check()
}

// clashes tells whether t and o are one place, as far as can be seen: what is left to the environment may be the same.
func (t Target) clashes(o Target) bool {
	switch {
	case t.Secret != nil && o.Secret != nil:
		return t.Secret.Secret == o.Secret.Secret && maybeSame(t.Secret.Region, o.Secret.Region) &&
			sameAccount(t.Secret.RoleARN, o.Secret.RoleARN)
	case t.Parameter != nil && o.Parameter != nil:
		return t.Parameter.Name == o.Parameter.Name && maybeSame(t.Parameter.Region, o.Parameter.Region) &&
			sameAccount(t.Parameter.RoleARN, o.Parameter.RoleARN)
	case t.Credentials != nil && o.Credentials != nil:
		return t.Credentials.Path == o.Credentials.Path && t.Credentials.Profile == o.Credentials.Profile
	case t.Credentials != nil && o.Sealed != nil:
		return t.Credentials.Path == o.Sealed.Path
	case t.Sealed != nil && o.Credentials != nil:
		return t.Sealed.Path == o.Credentials.Path
	case t.Sealed != nil && o.Sealed != nil:
		return t.Sealed.Path == o.Sealed.Path
	case t.Command != nil && o.Command != nil:
		return slices.Equal(t.Command.Argv, o.Command.Argv) && t.Command.Dir == o.Command.Dir &&
			maps.Equal(t.Command.Environment, o.Command.Environment)
	default:
		return false
	}
}

func maybeSame(a, b string) bool   { return a == b || a == "" || b == "" }
func sameAccount(a, b string) bool { return maybeSame(accountOf(a), accountOf(b)) }
