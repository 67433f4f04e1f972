package rotate_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/rotate"
)

// A runner of cron comes by once an hour, or once a day: longer than the limit may be. It gets its tries all the same.
func TestRotation_limitIsForTriesInVain(t *testing.T) {
	s := newStage(t)
	s.place.set(func() { s.place.deliver = errors.New("connection refused") })
	id := s.begin(rotate.Terms{})
	if r := s.tick(id); r.State != rotate.Delivering {
		t.Fatalf("%s: %s", r.State, r.Why)
	}
	s.place.set(func() { s.place.deliver = nil })
	s.later(25 * time.Hour) // the target is up again since
	for _, want := range []rotate.State{rotate.Probing, rotate.Probing, rotate.Proving} {
		if r := s.tick(id); r.State != want {
			t.Fatalf("%s: %s, want %s", r.State, r.Why, want)
		}
		s.later(2 * time.Hour)
	}
}

func TestRotation_limitOfTheProbeHoldsAKeyThatDoesNotAnswer(t *testing.T) {
	s := newStage(t)
	id := s.begin(rotate.Terms{})
	s.until(id, rotate.Probing)
	s.cloud.Inject(fakeaws.Fault{Kind: fakeaws.ErrorBefore, Action: "sts:GetCallerIdentity"})
	for _, want := range []rotate.State{rotate.Probing, rotate.Held} {
		s.later(40 * time.Minute)
		if r := s.tick(id); r.State != want || !strings.Contains(r.Why, "does not answer") {
			t.Fatalf("%s: %s, want %s", r.State, r.Why, want)
		}
	}
}
