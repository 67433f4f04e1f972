package plan_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/journal"
	"github.com/keyreeve/keyreeve/internal/plan"
)

// drawAge favours the boundaries.
func drawAge(t *rapid.T, label string) time.Duration {
	d := rapid.SampledFrom([]time.Duration{0, hour, 6 * day, 7 * day, 8 * day, 30 * day, 45 * day, 90 * day, 91 * day, 300 * day}).Draw(t, label)
	return max(0, d+rapid.SampledFrom([]time.Duration{-time.Second, 0, 0, time.Second}).Draw(t, label+", off by"))
}

func oneIn(t *rapid.T, n int, label string) bool { return rapid.IntRange(1, n).Draw(t, label) == n }

func drawUser(t *rapid.T, name string) fact.User {
	u := user(name)
	for i := range rapid.IntRange(0, 4).Draw(t, name+" keys") {
		id := fmt.Sprintf("AKIA%s%d", name, i)
		k := key(id, drawAge(t, id+" age"), never)
		if rapid.Bool().Draw(t, id+" used") {
			k.LastUsed = fact.Use{At: fact.At(now.Add(-min(drawAge(t, id+" use"), now.Sub(k.Created.Time())))), Service: "s3", Region: "N/A"}
		}
		k.Active = !oneIn(t, 3, id+" inactive")
		switch rapid.IntRange(0, 40).Draw(t, id+" fault") {
		case 1:
			k.LastUsed.At = fact.Time{}
		case 2:
			k.Created = fact.Time{}
		case 3:
			k.ID = ""
		}
		u.Keys = append(u.Keys, k)
	}
	switch rapid.IntRange(0, 20).Draw(t, name+" fault") {
	case 1:
		u.KeysRead, u.Keys = false, nil
	case 2:
		u.Password = fact.Unknown
	case 3:
		u.TagsRead = false
	case 4:
		u.ID = ""
	case 5:
		u.Quarantine = fact.Unknown
	case 6, 7:
		u.Quarantine = fact.Yes
	}
	return u
}

// drawStory is an account with verdicts of any kind, right or wrong, and a journal.
func drawStory(t *rapid.T) *story {
	users := []fact.User{root()}
	for _, name := range []string{"ana", "bob", "eve"}[:rapid.IntRange(1, 3).Draw(t, "users")] {
		users = append(users, drawUser(t, name))
	}
	s := about(users...)
	s.opt.DeleteNow = rapid.Bool().Draw(t, "delete now")
	s.opt.TrustInactive = rapid.Bool().Draw(t, "trust")
	s.opt.AsOf = now.Add(rapid.SampledFrom([]time.Duration{0, 0, 0, -20 * day, 20 * day}).Draw(t, "as of"))
	if oneIn(t, 8, "own user") {
		s.in.OwnUsers = []fact.Caller{{ARN: users[1].ARN}}
	}
	remedies := append(finding.Remedies(), finding.Rotate, finding.Deactivate, finding.Delete, "")
	for i := range s.in.Snapshot.Users {
		u := &s.in.Snapshot.Users[i]
		if rapid.Bool().Draw(t, u.Name+" many") {
			s.many(u.Name)
		}
		if oneIn(t, 6, u.Name+" other verdict") {
			s.says(finding.Fail, "other", rapid.SampledFrom(remedies).Draw(t, u.Name+" remedy"), u.Name, "")
		}
		for j := range u.Keys {
			k := &u.Keys[j]
			label := fmt.Sprintf("%s key %d", u.Name, j)
			for n := range rapid.IntRange(0, 2).Draw(t, label+" verdicts") {
				s.says(rapid.SampledFrom([]finding.Status{finding.Fail, finding.Fail, finding.Fail, finding.Excepted, finding.Unknown}).Draw(t, label+" status"),
					fmt.Sprintf("rule%d-%d", j, n), rapid.SampledFrom(remedies).Draw(t, label+" remedy"), u.Name, k.ID)
				s.in.Verdicts[len(s.in.Verdicts)-1].Key = k // also where it has no id
			}
			switch {
			case k.ID == "":
			case oneIn(t, 8, label+" own"):
				s.in.OwnKeys = append(s.in.OwnKeys, k.ID)
			case oneIn(t, 8, label+" allowed"):
				s.opt.AllowUsed = append(s.opt.AllowUsed, k.ID)
			case oneIn(t, 2, label+" changed"):
				s.changed(u.Name, k.ID, rapid.SampledFrom([]journal.Action{journal.Deactivate, journal.Deactivate, journal.Activate, journal.Delete}).Draw(t, label+" change"),
					rapid.SampledFrom([]journal.Action{"", journal.Delete}).Draw(t, label+" then"), drawAge(t, label+" changed at"))
			}
			if k.ID != "" && oneIn(t, 6, label+" kept") {
				s.opt.Keep = append(s.opt.Keep, k.ID)
			}
		}
	}
	if oneIn(t, 4, "excepting") {
		s.in.Excepted = func(_ []string, u *fact.User, _ *fact.Key) *finding.Exception {
			if u.Name == "ana" {
				return &finding.Exception{}
			}
			return nil
		}
	}
	return s
}

func TestMake_keepsItsPromisesForAnyAccount(tt *testing.T) {
	valid := schema(tt)
	rapid.Check(tt, func(t *rapid.T) {
		s := drawStory(t)
		p, err := plan.Make(s.in, s.opt)
		var mistaken *plan.InputError
		if errors.As(err, &mistaken) && len(s.opt.Keep) > 0 { // there was nothing to choose about some of them
			s.opt.Keep = nil
			p, err = plan.Make(s.in, s.opt)
		}
		if err != nil {
			t.Fatal(err)
		}
		again, err := plan.Make(s.in, s.opt)
		if err != nil || !bytes.Equal(mustEncode(t, p), mustEncode(t, again)) {
			t.Fatalf("same input, other bytes: %v", err)
		}
		if _, err := plan.Decode(bytes.NewReader(mustEncode(t, p))); err != nil {
			t.Fatalf("made and refused: %v", err)
		}
		checkAnswered(t, s, p)
		for i := range s.in.Snapshot.Users {
			checkUser(t, s, p, &s.in.Snapshot.Users[i])
		}
		if oneIn(t, 20, "schema") {
			if err := validate(tt, valid, p); err != nil {
				t.Fatalf("%#v", err)
			}
		}
	})
}

func mustEncode(t *rapid.T, p *plan.Plan) []byte {
	body, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// checkAnswered: every failing verdict is answered, and no other one asks for anything.
func checkAnswered(t *rapid.T, s *story, p *plan.Plan) {
	answered := map[string]bool{}
	for _, st := range p.Steps {
		for _, id := range st.Because {
			answered[id] = true
		}
	}
	inSteps := len(answered)
	for _, l := range p.LeftOut {
		for _, id := range l.Because {
			answered[id] = true
		}
		if l.Why == "" || !slices.Contains(plan.Guards(), l.Guard) {
			t.Fatalf("left out without a reason: %+v", l)
		}
	}
	for _, v := range s.in.Verdicts {
		if answered[v.ID] != (v.Status == finding.Fail) {
			t.Fatalf("%s verdict %s answered: %t (%d in steps) by %q", v.Status, v.ID, answered[v.ID], inSteps, lines(p))
		}
	}
}

// checkUser: whom no step may concern has none; nobody in use is left without an active key; nothing is deleted
// that was not quiet.
func checkUser(t *rapid.T, s *story, p *plan.Plan, u *fact.User) {
	sound := !u.Root && u.KeysRead && u.ID != "" && u.TagsRead && u.Password != fact.Unknown && u.Quarantine == fact.No
	active, keys := map[string]bool{}, map[string]*fact.Key{}
	for i := range u.Keys {
		k := &u.Keys[i]
		sound = sound && k.ID != "" && k.Created.Known() && !k.LastUsed.At.Unknown()
		keys[k.ID] = k
		if k.Active {
			active[k.ID] = true
		}
	}
	before := len(active)
	inUse := func(id string) bool {
		at := keys[id].LastUsed.At
		return at.Known() && !at.Time().Before(s.opt.AsOf.Add(-7*day))
	}
	var order, gone []string
	seen := map[string]bool{}
	for _, st := range p.Steps {
		if st.User != u.Name {
			continue
		}
		if !sound || seen[st.KeyID] || len(s.in.OwnUsers) > 0 && s.in.OwnUsers[0].ARN == u.ARN || slices.Contains(s.in.OwnKeys, st.KeyID) {
			t.Fatalf("no step may be: %+v", st)
		}
		for _, d := range st.DependsOn {
			if !slices.Contains(order, d) {
				t.Fatalf("depends on what is not before it: %+v", st)
			}
		}
		seen[st.KeyID] = true
		order = append(order, st.ID)
		if st.Open() {
			for _, c := range st.Choices {
				if !active[c] {
					t.Fatalf("offers %s, which goes anyway: %+v", c, st)
				}
			}
			continue
		}
		if st.Action == plan.Delete {
			checkDeletion(t, s, &st, keys[st.KeyID])
		}
		if st.Action != plan.Rotate && active[st.KeyID] {
			delete(active, st.KeyID)
			gone = append(gone, st.KeyID)
		}
	}
	if before == 0 || len(active) > 0 {
		return
	}
	for _, id := range gone {
		if inUse(id) && !slices.Contains(s.opt.AllowUsed, id) {
			t.Fatalf("user %s is left without an active key, though %s is in use: %q", u.Name, id, lines(p))
		}
	}
}

func checkDeletion(t *rapid.T, s *story, st *plan.Step, k *fact.Key) {
	c, ours := s.in.Changes[k.ID]
	ours = ours && c.State == journal.Inactive
	var ok bool
	switch {
	case k.Active:
		ok = s.opt.DeleteNow && k.LastUsed.At.Never() && s.opt.AsOf.Sub(k.Created.Time()) >= 7*day && !st.NotBefore.Before(now)
	case ours:
		ok = !st.NotBefore.Before(c.At.Add(7*day)) && !k.LastUsed.At.Time().After(c.Step.LastUsed)
	default:
		ok = s.opt.TrustInactive && !k.LastUsed.At.Time().After(s.opt.AsOf.Add(-7*day)) && !st.NotBefore.Before(now)
	}
	if !ok || st.Reversible {
		t.Fatalf("not to be deleted yet: %+v", st)
	}
}
