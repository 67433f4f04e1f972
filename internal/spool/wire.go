package spool

import (
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// version is that of the files. They live for a day, so another version is simply not read.
const version = 2

type wireRun struct {
	Version      int         `json:"version"`
	Organization string      `json:"organization"`
	Evidence     fact.Source `json:"evidence"`
	Confirm      string      `json:"confirm"`
	Asks         string      `json:"asks"`
	StartedAt    time.Time   `json:"started_at"`
}

type wireSnapshot struct {
	Version        int          `json:"version"`
	Account        wireAccount  `json:"account"`
	Evidence       wireEvidence `json:"evidence"`
	Users          []wireUser   `json:"users"`
	UsersRead      bool         `json:"users_read"`
	QuarantineRead bool         `json:"quarantine_read"`
	Gaps           []wireGap    `json:"gaps,omitempty"`
	Gone           []string     `json:"gone,omitempty"`
}

type wireAccount struct {
	ID        string            `json:"id"`
	Partition string            `json:"partition"`
	Name      string            `json:"name"`
	OU        string            `json:"ou,omitempty"`
	Tags      map[string]string `json:"tags,omitempty"`

	Organization string `json:"organization,omitempty"`
}

type wireEvidence struct {
	Source      fact.Source `json:"source"`
	Path        string      `json:"path,omitempty"`
	GeneratedAt string      `json:"generated_at"`
	ReadAt      string      `json:"read_at"`
	Newest      string      `json:"newest"`
}

type wireUser struct {
	Name             string            `json:"name"`
	ARN              string            `json:"arn"`
	Path             string            `json:"path"`
	ID               string            `json:"id,omitempty"`
	Root             bool              `json:"root,omitempty"`
	Created          string            `json:"created"`
	Password         fact.Answer       `json:"password"`
	PasswordLastUsed string            `json:"password_last_used"`
	MFA              fact.Answer       `json:"mfa"`
	Keys             []wireKey         `json:"keys,omitempty"`
	KeysRead         bool              `json:"keys_read"`
	Confirmed        bool              `json:"confirmed,omitempty"`
	KeysPresent      fact.Answer       `json:"keys_present"`
	Quarantine       fact.Answer       `json:"quarantine"`
	Policies         []string          `json:"policies,omitempty"`
	Tags             map[string]string `json:"tags,omitempty"`
	TagsRead         bool              `json:"tags_read,omitempty"`
}

type wireKey struct {
	ID       string `json:"id,omitempty"`
	Slot     int    `json:"slot,omitempty"`
	Active   bool   `json:"active"`
	Created  string `json:"created"`
	UsedAt   string `json:"used_at"`
	UsedIn   string `json:"used_in,omitempty"`
	UsedWith string `json:"used_with,omitempty"`
}

type wireGap struct {
	Reading string `json:"reading"`
	Subject string `json:"subject,omitempty"`
	Why     string `json:"why"`
	Denied  bool   `json:"denied,omitempty"`
}

func toWire(s *fact.Snapshot) *wireSnapshot {
	e := s.Evidence
	w := &wireSnapshot{
		Version: version, Account: wireAccount(s.Account),
		Evidence:  wireEvidence{e.Source, e.Path, e.GeneratedAt.String(), e.ReadAt.String(), e.Newest.String()},
		UsersRead: s.UsersRead, QuarantineRead: s.QuarantineRead, Gone: s.Gone, Users: make([]wireUser, len(s.Users)),
	}
	for i := range s.Users {
		u := &s.Users[i]
		w.Users[i] = wireUser{
			u.Name, u.ARN, u.Path, u.ID, u.Root, u.Created.String(), u.Password, u.PasswordLastUsed.String(), u.MFA,
			nil, u.KeysRead, u.Confirmed, u.KeysPresent, u.Quarantine, u.Policies, u.Tags, u.TagsRead,
		}
		for _, k := range u.Keys {
			w.Users[i].Keys = append(w.Users[i].Keys, wireKey{
				k.ID, k.Slot, k.Active, k.Created.String(), k.LastUsed.At.String(), k.LastUsed.Region, k.LastUsed.Service,
			})
		}
	}
	for _, g := range s.Gaps {
		w.Gaps = append(w.Gaps, wireGap{g.Reading, g.Subject, g.Why, g.Denied})
	}
	return w
}

func (w *wireSnapshot) snapshot() (*fact.Snapshot, error) {
	var r reading
	s := &fact.Snapshot{
		Account: fact.Account(w.Account),
		Evidence: fact.Evidence{
			Source: w.Evidence.Source, Path: w.Evidence.Path,
			GeneratedAt: r.at(w.Evidence.GeneratedAt), ReadAt: r.at(w.Evidence.ReadAt), Newest: r.at(w.Evidence.Newest),
		},
		UsersRead: w.UsersRead, QuarantineRead: w.QuarantineRead, Gone: w.Gone, Users: make([]fact.User, len(w.Users)),
	}
	for i := range w.Users {
		u := &w.Users[i]
		s.Users[i] = fact.User{
			Name: u.Name, ARN: u.ARN, Path: u.Path, ID: u.ID, Root: u.Root, Created: r.at(u.Created),
			Password: u.Password, PasswordLastUsed: r.at(u.PasswordLastUsed), MFA: u.MFA,
			KeysRead: u.KeysRead, Confirmed: u.Confirmed, KeysPresent: u.KeysPresent, Quarantine: u.Quarantine, Policies: u.Policies,
			Tags: u.Tags, TagsRead: u.TagsRead,
		}
		for _, k := range u.Keys {
			s.Users[i].Keys = append(s.Users[i].Keys, fact.Key{
				ID: k.ID, Slot: k.Slot, Active: k.Active, Created: r.at(k.Created),
				LastUsed: fact.Use{At: r.at(k.UsedAt), Region: k.UsedIn, Service: k.UsedWith},
			})
		}
	}
	for _, g := range w.Gaps {
		s.Gaps = append(s.Gaps, fact.Gap{Account: w.Account.ID, Reading: g.Reading, Subject: g.Subject, Why: g.Why, Denied: g.Denied})
	}
	return s, r.err
}

// reading remembers the first text that is no instant.
type reading struct{ err error }

// at reads what fact.Time's String wrote.
func (r *reading) at(text string) fact.Time {
	switch text {
	case fact.Time{}.String():
		return fact.Time{}
	case fact.Never().String():
		return fact.Never()
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%q is no instant: %w", text, err)
	}
	return fact.At(t)
}
