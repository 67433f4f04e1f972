package rotate_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/rotate"
)

func TestCancel_fromEveryStateLeavesTheAccountAsItWasFound(t *testing.T) {
	for _, at := range []rotate.State{
		rotate.Requested, rotate.Creating, rotate.Delivering, rotate.Probing, rotate.Proving, rotate.Deactivating, rotate.Quiet, rotate.Held,
		rotate.Blocked, rotate.Conflict,
	} {
		t.Run(string(at), func(t *testing.T) {
			s := newStage(t)
			before, held := fmt.Sprint(s.keys()), s.place.now().KeyID
			id := s.begin(rotate.Terms{})
			switch at {
			case rotate.Requested:
			case rotate.Creating: // the answer is lost; the key that was made is found, and goes once no use of it can have shown
				s.cloud.Inject(fakeaws.Fault{Kind: fakeaws.ErrorAfter, Action: "iam:CreateAccessKey", Times: 1})
				s.tick(id)
				s.later(time.Hour)
			case rotate.Conflict:
				s.until(id, rotate.Deactivating)
				s.must(s.account.SetActive(user, oldKey, false)) // by somebody else
				s.later(7 * time.Hour)
				if r := s.tick(id); r.State != rotate.Conflict {
					t.Fatalf("%s", r.State)
				}
			case rotate.Delivering:
				s.place.set(func() { s.place.deliver, s.place.half = errors.New("connection reset"), true })
				s.until(id, at)
				s.later(time.Minute)
				s.tick(id)
				s.place.set(func() { s.place.deliver = nil })
			case rotate.Held:
				s.untilWith(id, rotate.Proving, func() error { return nil })
				s.later(15 * day)
				s.tick(id)
			case rotate.Blocked:
				s.until(id, rotate.Proving)
				s.cloud.Inject(fakeaws.Fault{Kind: fakeaws.Deny, Action: "iam:ListAccessKeys", Times: 1})
				s.later(time.Hour)
				s.tick(id)
			default:
				s.until(id, at)
			}
			_, err := s.engine.Cancel(s.ctx, id, "arn:ana")
			s.must(err)
			r := s.until(id, rotate.Cancelled)
			if got := fmt.Sprint(s.keys()); got != before || s.place.now().KeyID != held {
				t.Errorf("keys %s and the place holds %s, before %s and %s", got, s.place.now().KeyID, before, held)
			}
			if r.Sealed != nil {
				t.Error("the secret is still sealed in the ledger")
			}
		})
	}
}

func TestCancel_marksWhatCannotBeRestored(t *testing.T) {
	s := newStage(t)
	id := s.begin(rotate.Terms{})
	s.until(id, rotate.Proving)
	s.place.set(func() { s.place.restore = fmt.Errorf("version 7 is not ours: %w", fact.ErrMoved) })
	_, err := s.engine.Cancel(s.ctx, id, "arn:ana")
	s.must(err)
	r := s.untilWith(id, rotate.Held, func() error { return nil })
	if _, there := s.keys()[r.New.ID]; !there || !strings.Contains(r.Why, "put the old one there") {
		t.Fatalf("the new key went while its target holds it: %s", r.Why)
	}
	s.place.set(func() { s.place.pair = s.place.before })
	_, err = s.engine.Approve(s.ctx, id, "arn:ana")
	s.must(err)
	r = s.untilWith(id, rotate.Cancelled, func() error { return nil })
	if r.Targets[0].State != rotate.Marked || !strings.Contains(r.Targets[0].Why, "version 7") {
		t.Errorf("%+v", r.Targets[0])
	}
}

func TestCancel_ofADeliveryThatLeftNoReceiptComesToAnEnd(t *testing.T) {
	s := newStage(t)
	s.place.set(func() { s.place.deliver = errors.New("connection refused") })
	before := fmt.Sprint(s.keys())
	id := s.begin(rotate.Terms{})
	s.until(id, rotate.Delivering)
	s.later(time.Hour)
	s.tick(id)
	s.place.set(func() { s.place.restore = errors.New("no receipt") })
	_, err := s.engine.Cancel(s.ctx, id, "arn:ana")
	s.must(err)
	s.until(id, rotate.Cancelled)
	if got := fmt.Sprint(s.keys()); got != before {
		t.Errorf("keys %s, before %s", got, before)
	}
}

func TestCancel_ofAConflictLeavesStrangeKeysAlone(t *testing.T) {
	s := newStage(t)
	id := s.begin(rotate.Terms{})
	s.until(id, rotate.Proving)
	strange, err := s.account.AddKey(user, fakeaws.Key{})
	s.must(err)
	s.later(time.Hour)
	if r := s.tick(id); r.State != rotate.Conflict {
		t.Fatalf("%s", r.State)
	}
	_, err = s.engine.Cancel(s.ctx, id, "arn:ana")
	s.must(err)
	s.until(id, rotate.Cancelled)
	if got := s.keys(); len(got) != 2 || !got[oldKey] || !got[strange] {
		t.Errorf("keys: %v", got)
	}
}

func TestCancel_isRefusedWhenTheOldKeyIsGone(t *testing.T) {
	s := newStage(t)
	id := s.begin(rotate.Terms{})
	s.until(id, rotate.Quiet)
	s.must(s.account.DeleteKey(user, oldKey))
	s.later(day)
	s.tick(id)
	_, err := s.engine.Cancel(s.ctx, id, "arn:ana")
	var r *rotate.Refusal
	if !errors.As(err, &r) || r.Widen == "" {
		t.Errorf("Cancel: %v", err)
	}
}
