package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws"
	"github.com/keyreeve/keyreeve/internal/rotate"
)

func TestRotation_replacesAKeyInUseAndItsConsumerNeverFails(t *testing.T) {
	s := newStage(t)
	id := s.begin(rotate.Terms{})
	r := s.until(id, rotate.Done)
	if got := s.keys(); len(got) != 1 || !got[r.New.ID] {
		t.Errorf("keys at the end: %v", got)
	}
	if r.Sealed != nil {
		t.Error("the secret is still sealed in the ledger")
	}
	if s.place.now().KeyID != r.New.ID || s.place.puts != 1 {
		t.Errorf("the place holds %s after %d puts", s.place.now().KeyID, s.place.puts)
	}
	if took := s.cloud.Now().Sub(start); took < 7*day+20*time.Hour || took > 10*day {
		t.Errorf("it took %s, want a day of settling since the last use and seven of quiet", took)
	}
	for _, e := range s.ledger.events {
		if strings.Contains(fmt.Sprintf("%+v", e), "not-a-secret") {
			t.Errorf("an event holds the secret: %+v", e)
		}
	}
}

func TestRotation_ownProbeIsNoProofOfUse(t *testing.T) {
	s := newStage(t)
	id := s.begin(rotate.Terms{Proof: 2 * day})
	s.untilWith(id, rotate.Proving, func() error { return nil })
	var r *rotate.Rotation
	for range 46 {
		s.later(time.Hour)
		if r = s.tick(id); r.State != rotate.Proving {
			t.Fatalf("it went on to %s by %q", r.State, r.ProvenBy)
		}
	}
	s.later(3 * time.Hour)
	if r = s.tick(id); r.State != rotate.Held || !s.keys()[oldKey] {
		t.Errorf("at the limit it is %s", r.State)
	}
	// A person says that the consumer uses it.
	_, err := s.engine.Confirm(s.ctx, id, "arn:aws:iam::111122223333:user/ana")
	s.must(err)
	if r = s.tick(id); r.State == rotate.Held || r.State == rotate.Proving || r.ProvenBy == "" {
		t.Errorf("confirmed, it is %s", r.State)
	}
}

func TestRotation_unprovenIsAllowedOnlyBySetting(t *testing.T) {
	s := newStage(t)
	id := s.begin(rotate.Terms{Proof: day, Unproven: true})
	r := s.untilWith(id, rotate.Quiet, func() error { return nil })
	if !strings.Contains(r.ProvenBy, "settings") {
		t.Errorf("proven by %q", r.ProvenBy)
	}
}

func TestRotation_oldKeyInUseIsWaitedFor(t *testing.T) {
	s := newStage(t)
	id := s.begin(rotate.Terms{})
	s.until(id, rotate.Deactivating)
	for range 72 { // another consumer still has the old key
		s.later(time.Hour)
		s.must(s.account.Use(user, oldKey, "s3", ""))
		s.must(s.consume())
		if r := s.tick(id); r.State != rotate.Deactivating || !strings.Contains(r.Why, "old key was used") {
			t.Fatalf("%s: %s", r.State, r.Why)
		}
	}
	s.until(id, rotate.Quiet)
}

func TestRotation_useAfterDeactivationReachesAPersonAndStopsTheDeletion(t *testing.T) {
	s := newStage(t)
	id := s.begin(rotate.Terms{})
	s.until(id, rotate.Quiet)
	s.later(day)
	s.must(s.account.Use(user, oldKey, "s3", "eu-west-1"))
	s.later(6 * time.Minute) // until it shows
	s.later(day)
	r := s.tick(id)
	if r.State != rotate.Held || !strings.Contains(r.Why, "by s3 in eu-west-1") {
		t.Fatalf("%s: %s", r.State, r.Why)
	}
	// Approved, the quiet period begins anew.
	_, err := s.engine.Approve(s.ctx, id, "arn:ana")
	s.must(err)
	at := s.cloud.Now()
	s.until(id, rotate.Done)
	if took := s.cloud.Now().Sub(at); took < 7*day {
		t.Errorf("deleted %s after the approval", took)
	}
}

func TestRotation_quietPeriodIsLongerThanTheLongestPauseSeen(t *testing.T) {
	s := newStage(t)
	// A monthly job: uses 30 days apart.
	for i := range 3 {
		s.must(s.ledger.RecordUse(s.ctx, account, oldKey, fact.Use{At: fact.At(start.Add(-time.Duration(30*(i+1)) * day))}, start))
	}
	id := s.begin(rotate.Terms{})
	r := s.until(id, rotate.Done)
	if quiet := s.cloud.Now().Sub(r.DeactivatedAt); quiet < 30*day {
		t.Errorf("deleted after %s", quiet)
	}
}

func TestStart_refusesWithoutChangingAnything(t *testing.T) {
	for name, c := range map[string]struct {
		bend func(s *stage, o *rotate.Order)
		want string
	}{
		"full quota, never the oldest deleted": {func(s *stage, _ *rotate.Order) {
			_, err := s.account.AddKey(user, fakeaws.Key{Inactive: true})
			s.must(err)
		}, "no slot"},
		"two active keys": {func(s *stage, _ *rotate.Order) {
			_, err := s.account.AddKey(user, fakeaws.Key{})
			s.must(err)
		}, "2 active keys"},
		"no key":        {func(s *stage, _ *rotate.Order) { s.must(s.account.DeleteKey(user, oldKey)) }, "no active key"},
		"nowhere to go": {func(_ *stage, o *rotate.Order) { o.Targets = nil }, "nothing says where"},
		"our own key":   {func(s *stage, _ *rotate.Order) { s.engine.OwnKeys = []string{oldKey} }, "runs with"},
		"a session of ours": {func(s *stage, _ *rotate.Order) {
			s.engine.OwnUsers = []fact.Caller{{ARN: "arn:aws:iam::" + account + ":user/ci"}}
		}, "runs with"},
		"another key": {func(_ *stage, o *rotate.Order) { o.KeyID = "AKIANONE" }, "no active key AKIANONE"},
		"no permission": {func(s *stage, _ *rotate.Order) {
			s.cloud.Inject(fakeaws.Fault{Kind: fakeaws.Deny, Action: "iam:DeleteAccessKey"})
		}, "iam:DeleteAccessKey"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			o := rotate.Order{ID: "rot-1", User: user, Targets: []rotate.Target{{Name: "place"}}}
			c.bend(s, &o)
			_, err := s.engine.Start(s.ctx, o)
			var r *rotate.Refusal
			if !errors.As(err, &r) || !strings.Contains(r.Why, c.want) || r.Widen == "" {
				t.Errorf("Start: %v", err)
			}
			if len(s.account.Writes()) > 0 || len(s.ledger.rows) > 0 {
				t.Error("something was changed")
			}
		})
	}
	t.Run("one under way", func(t *testing.T) {
		s := newStage(t)
		s.begin(rotate.Terms{})
		_, err := s.engine.Start(s.ctx, rotate.Order{ID: "rot-2", User: user, Targets: []rotate.Target{{Name: "place"}}})
		var r *rotate.Refusal
		if !errors.As(err, &r) || !strings.Contains(r.Why, "under way") {
			t.Errorf("Start: %v", err)
		}
	})
}

// Killed between the creation and its record: the key that nobody holds is deleted, and another one made.
func TestRotation_orphanOfALostCreationIsDeletedAndAnotherKeyMade(t *testing.T) {
	for _, kind := range []fakeaws.Kind{fakeaws.ResetAfter, fakeaws.ErrorAfter, fakeaws.Truncate, fakeaws.Empty, fakeaws.ResetBefore, fakeaws.ErrorBefore} {
		t.Run(string(kind), func(t *testing.T) {
			s := newStage(t)
			s.cloud.Inject(fakeaws.Fault{Kind: kind, Action: "iam:CreateAccessKey", Times: 1})
			id := s.begin(rotate.Terms{})
			r := s.until(id, rotate.Done)
			if got := s.keys(); len(got) != 1 || !got[r.New.ID] {
				t.Errorf("keys at the end: %v", got)
			}
		})
	}
}

func TestRotation_strangeKeyIsNotTakenForTheOrphan(t *testing.T) {
	for name, k := range map[string]fakeaws.Key{
		"used":     {ID: "AKIASTRANGE", LastUsed: start.Add(time.Minute)},
		"long ago": {ID: "AKIASTRANGE", Created: start.Add(-day)},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.cloud.Inject(fakeaws.Fault{Kind: fakeaws.ErrorBefore, Action: "iam:CreateAccessKey"})
			id := s.begin(rotate.Terms{})
			s.tick(id)
			_, err := s.account.AddKey(user, k)
			s.must(err)
			s.later(time.Hour)
			if r := s.tick(id); r.State != rotate.Conflict {
				t.Errorf("%s: %s", r.State, r.Why)
			}
			if _, there := s.keys()["AKIASTRANGE"]; !there {
				t.Error("somebody's key was deleted")
			}
		})
	}
}

func TestRotation_targetDownOrHalfDoneIsTriedAgainWithTheOldKeyUntouched(t *testing.T) {
	for name, bend := range map[string]func(p *place){
		"down":      func(p *place) { p.deliver = errors.New("connection refused") },
		"half done": func(p *place) { p.deliver, p.half = errors.New("connection reset"), true },
		"unread":    func(p *place) { p.back = errors.New("timeout") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.place.set(func() { bend(s.place) })
			id := s.begin(rotate.Terms{})
			for range 5 {
				s.later(time.Hour)
				if r := s.tick(id); r.State != rotate.Delivering || r.Why == "" {
					t.Fatalf("%s: %s", r.State, r.Why)
				}
				if !s.keys()[oldKey] {
					t.Fatal("the old key was touched")
				}
			}
			s.place.set(func() { s.place.deliver, s.place.half, s.place.back = nil, false, nil })
			s.until(id, rotate.Done)
		})
	}
}

func TestRotation_limitOfDeliveryHoldsIt(t *testing.T) {
	s := newStage(t)
	s.place.set(func() { s.place.deliver = errors.New("connection refused") })
	id := s.begin(rotate.Terms{})
	s.tick(id)
	s.later(25 * time.Hour)
	if r := s.tick(id); r.State != rotate.Held || !strings.Contains(r.Why, "connection refused") {
		t.Errorf("%s: %s", r.State, r.Why)
	}
}

func TestRotation_permissionLostMidwayBlocksAndResumesByItself(t *testing.T) {
	s := newStage(t)
	id := s.begin(rotate.Terms{})
	s.until(id, rotate.Deactivating)
	s.cloud.Inject(fakeaws.Fault{Kind: fakeaws.Deny, Action: "iam:UpdateAccessKey"})
	s.untilWith(id, rotate.Blocked, s.consume)
	if got := s.keys(); !got[oldKey] || len(got) != 2 {
		t.Errorf("keys while blocked: %v", got)
	}
	s.cloud.Heal()
	s.until(id, rotate.Done)
}

// A reading that fails is unknown and blocks every edge that takes something away.
func TestRotation_unreadableLastUseTakesNothingAway(t *testing.T) {
	for _, at := range []rotate.State{rotate.Proving, rotate.Deactivating, rotate.Quiet} {
		t.Run(string(at), func(t *testing.T) {
			s := newStage(t)
			id := s.begin(rotate.Terms{})
			s.until(id, at)
			before := s.keys()
			s.cloud.Inject(fakeaws.Fault{Kind: fakeaws.Throttle, Action: "iam:GetAccessKeyLastUsed"})
			for range 30 * 24 {
				s.later(time.Hour)
				s.must(s.consume())
				s.tick(id)
			}
			if got := s.keys(); fmt.Sprint(got) != fmt.Sprint(before) {
				t.Errorf("keys %v, before %v", got, before)
			}
			s.cloud.Heal()
			s.until(id, rotate.Done)
		})
	}
}

func TestRotation_whatSomebodyElseDoesIsAConflict(t *testing.T) {
	for name, move := range map[string]func(s *stage, r *rotate.Rotation) error{
		"old key deactivated": func(s *stage, _ *rotate.Rotation) error { return s.account.SetActive(user, oldKey, false) },
		"old key deleted":     func(s *stage, _ *rotate.Rotation) error { return s.account.DeleteKey(user, oldKey) },
		"new key deleted":     func(s *stage, r *rotate.Rotation) error { return s.account.DeleteKey(user, r.New.ID) },
		"new key deactivated": func(s *stage, r *rotate.Rotation) error { return s.account.SetActive(user, r.New.ID, false) },
		"third key":           func(s *stage, _ *rotate.Rotation) error { _, err := s.account.AddKey(user, fakeaws.Key{}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			id := s.begin(rotate.Terms{})
			r := s.until(id, rotate.Deactivating)
			s.must(move(s, r))
			before := fmt.Sprint(s.keys())
			s.later(7 * time.Hour)
			if r = s.tick(id); r.State != rotate.Conflict || r.Why == "" {
				t.Errorf("%s: %s", r.State, r.Why)
			}
			if fmt.Sprint(s.keys()) != before {
				t.Error("a key was touched")
			}
		})
	}
}

func TestRotation_userDeletedOrMadeAgainIsGone(t *testing.T) {
	for name, again := range map[string]bool{"deleted": false, "made again": true} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			id := s.begin(rotate.Terms{})
			s.until(id, rotate.Proving)
			s.must(s.account.DeleteUser(user))
			if again {
				s.must(s.account.AddUser(fakeaws.User{Name: user, ID: "AIDAANOTHER", Keys: []fakeaws.Key{{ID: oldKey}}}))
			}
			writes := len(s.account.Writes())
			s.later(time.Hour)
			if r := s.tick(id); r.State != rotate.Gone || r.Sealed != nil {
				t.Errorf("%s", r.State)
			}
			if len(s.account.Writes()) != writes {
				t.Error("something was written")
			}
		})
	}
}

func TestRotation_noticeNotDeliveredHoldsTheDeactivationBack(t *testing.T) {
	s := newStage(t)
	told := false
	s.engine.Told = func(_ context.Context, _ *rotate.Rotation) (bool, error) { return told, nil }
	id := s.begin(rotate.Terms{})
	s.until(id, rotate.Deactivating)
	for range 72 {
		s.later(time.Hour)
		s.must(s.consume())
		s.tick(id)
	}
	if !s.keys()[oldKey] {
		t.Fatal("the old key went without a notice")
	}
	told = true
	s.until(id, rotate.Done)
}

func TestRotation_targetOverwrittenBeforeTheProofIsAConflict(t *testing.T) {
	s := newStage(t)
	id := s.begin(rotate.Terms{})
	s.until(id, rotate.Probing)
	s.place.set(func() { s.place.pair = fact.Pair{KeyID: "AKIAOTHER"} })
	for range 20 {
		s.later(5 * time.Second)
		if r := s.tick(id); r.State == rotate.Conflict {
			return
		}
	}
	t.Error("nobody noticed")
}

func TestTick_ofTwoRunnersTakesEachEdgeOnce(t *testing.T) {
	s := newStage(t)
	id := s.begin(rotate.Terms{})
	r, err := s.ledger.Load(s.ctx, id)
	s.must(err)
	s.tick(id)
	r.State = rotate.Done
	if err := s.ledger.Save(s.ctx, r); !errors.Is(err, rotate.ErrLost) {
		t.Errorf("the loser wrote: %v", err)
	}
}

func TestRotation_waitingWithoutThePermissionToReadGoesOnWaiting(t *testing.T) {
	s := newStage(t)
	id := s.begin(rotate.Terms{})
	s.until(id, rotate.Proving)
	s.cloud.Inject(fakeaws.Fault{Kind: fakeaws.Deny, Action: "iam:GetUser"})
	for range 20 {
		s.later(time.Hour)
		if r := s.tick(id); r.State != rotate.Blocked || !strings.Contains(r.Why, "iam:GetUser") {
			t.Fatalf("%s: %s", r.State, r.Why)
		}
	}
	s.cloud.Heal()
	s.until(id, rotate.Done)
}

// Our own key is rotated only where delivery reaches our own credentials, and goes only once we run with the new one.
func TestRotation_ownKeyGoesOnlyOnceWeRunWithTheNewOne(t *testing.T) {
	s := newStage(t)
	s.engine.OwnKeys = []string{oldKey}
	r, err := s.engine.Start(s.ctx, rotate.Order{ID: "rot-own", User: user, Own: true, Targets: []rotate.Target{{Name: "place"}}})
	s.must(err)
	s.until(r.ID, rotate.Deactivating)
	for range 48 {
		s.later(time.Hour)
		s.must(s.consume())
		if got := s.tick(r.ID); got.State != rotate.Deactivating || !s.keys()[oldKey] {
			t.Fatalf("%s: %s", got.State, got.Why)
		}
	}
	s.engine = s.newEngine()
	s.engine.OwnKeys = []string{s.place.now().KeyID}
	s.until(r.ID, rotate.Done)
}

// A user can hold more than two keys: the quota is not enforced under concurrency. Everything is a list.
func TestRotation_ofAUserWithMoreThanTwoKeysIsRefusedAndNothingIsDeleted(t *testing.T) {
	s := newStage(t)
	for range 3 {
		_, err := s.account.AddKey(user, fakeaws.Key{Inactive: true})
		s.must(err)
	}
	_, err := s.engine.Start(s.ctx, rotate.Order{ID: "rot-1", User: user, Targets: []rotate.Target{{Name: "place"}}})
	var r *rotate.Refusal
	if !errors.As(err, &r) || len(s.keys()) != 4 {
		t.Errorf("Start: %v, keys %v", err, s.keys())
	}
}

// A runner that is at an act keeps the others off, people included, until it must be over; then the next one looks.
func TestTick_leavesAnActUnderWayAlone(t *testing.T) {
	s := newStage(t)
	id := s.begin(rotate.Terms{})
	s.until(id, rotate.Deactivating)
	s.later(day)
	killed := false
	s.ledger.fail = func() error { // the runner dies right after its call: nothing is saved any more
		if !s.keys()[oldKey] {
			killed = true
			return errors.New("killed")
		}
		return nil
	}
	_, err := s.engine.Tick(s.ctx, id)
	if err == nil || !killed {
		t.Fatalf("not killed: %v", err)
	}
	s.ledger.fail = nil
	writes := len(s.account.Writes())
	if r := s.tick(id); r.State != rotate.Deactivating || len(s.account.Writes()) != writes {
		t.Errorf("another runner was at it too: %s", r.State)
	}
	if _, err := s.engine.Cancel(s.ctx, id, "arn:ana"); err == nil {
		t.Error("cancelled in the middle of an act")
	}
	s.later(6 * time.Minute)
	if r := s.tick(id); r.State != rotate.Quiet || len(s.account.Writes()) != writes {
		t.Errorf("after the act must be over it is %s, with %d writes more", r.State, len(s.account.Writes())-writes)
	}
}

func TestRotation_credentialsOfAnotherAccountMoveNothing(t *testing.T) {
	s := newStage(t)
	id := s.begin(rotate.Terms{})
	s.until(id, rotate.Proving)
	s.engine.Caller.Account.ID = "999900001111"
	by := func(f func(id string) error) {
		t.Helper()
		var r *rotate.Refusal
		if err := f(id); !errors.As(err, &r) || !strings.Contains(r.Why, "999900001111") {
			t.Errorf("%v", err)
		}
	}
	by(func(id string) error { _, err := s.engine.Tick(s.ctx, id); return err })
	by(func(id string) error { _, err := s.engine.Cancel(s.ctx, id, "x"); return err })
	by(func(id string) error { _, err := s.engine.Approve(s.ctx, id, "x"); return err })
	by(func(id string) error { _, err := s.engine.Confirm(s.ctx, id, "x"); return err })
	s.engine.Caller.Account.ID = account
	s.until(id, rotate.Done)
}

func TestRotation_targetThatHoldsTheOldKeyAgainIsAConflictBeforeTheOldKeyGoes(t *testing.T) {
	for _, at := range []rotate.State{rotate.Deactivating, rotate.Quiet} {
		t.Run(string(at), func(t *testing.T) {
			s := newStage(t)
			id := s.begin(rotate.Terms{})
			s.until(id, at)
			s.place.set(func() { s.place.pair = fact.Pair{KeyID: oldKey, Secret: fact.NewSecret("old")} })
			for range 24 * 9 { // nobody uses anything
				s.later(time.Hour)
				if r := s.tick(id); r.State == rotate.Conflict {
					if _, there := s.keys()[oldKey]; !there {
						t.Error("the old key is deleted")
					}
					return
				}
			}
			t.Error("nobody noticed")
		})
	}
}

func TestRotation_oldKeyDeletedBySomebodyWhileQuietIsDoneOnceApproved(t *testing.T) {
	s := newStage(t)
	id := s.begin(rotate.Terms{})
	s.until(id, rotate.Quiet)
	s.must(s.account.DeleteKey(user, oldKey))
	s.later(day)
	if r := s.tick(id); r.State != rotate.Conflict {
		t.Fatalf("%s", r.State)
	}
	_, err := s.engine.Approve(s.ctx, id, "arn:ana")
	s.must(err)
	s.until(id, rotate.Done)
}

// Blocked between the creation and its record, the rotation still knows that a key of its own may stand there.
func TestRotation_blockedOverACreationStillFindsItsOrphan(t *testing.T) {
	s := newStage(t)
	s.cloud.Inject(fakeaws.Fault{Kind: fakeaws.ErrorAfter, Action: "iam:CreateAccessKey", Times: 1})
	id := s.begin(rotate.Terms{})
	s.tick(id)
	s.cloud.Inject(fakeaws.Fault{Kind: fakeaws.Deny, Action: "iam:GetUser", Times: 2})
	s.later(time.Minute)
	if r := s.tick(id); r.State != rotate.Blocked {
		t.Fatalf("%s", r.State)
	}
	r := s.until(id, rotate.Done)
	if got := s.keys(); len(got) != 1 || !got[r.New.ID] {
		t.Errorf("keys at the end: %v", got)
	}
}

func TestRotation_noKeyIsMadeWhoseSecretCannotBeSealed(t *testing.T) {
	s := newStage(t)
	s.engine.Sealer = broken{}
	id := s.begin(rotate.Terms{})
	for range 50 {
		s.later(time.Hour)
		if r := s.tick(id); r.State != rotate.Requested || r.Why == "" {
			t.Fatalf("%s: %s", r.State, r.Why)
		}
	}
	if len(s.account.Writes()) > 0 {
		t.Errorf("writes: %+v", s.account.Writes())
	}
}

type broken struct{ open }

func (broken) SealPair(fact.Pair) ([]byte, error) { return nil, errors.New("no space left on device") }

func TestRotation_clockThatIsOffTakesNothingAway(t *testing.T) {
	s := newStage(t)
	id := s.begin(rotate.Terms{})
	s.until(id, rotate.Quiet)
	skew := 9 * day
	s.engine.Skew = func() (time.Duration, bool) { return skew, true }
	s.later(8 * day)
	for range 24 {
		s.later(time.Hour)
		s.tick(id)
	}
	if _, there := s.keys()[oldKey]; !there {
		t.Fatal("the old key was deleted by a clock that is off")
	}
	skew = 0
	s.until(id, rotate.Done)
}
