package report_test

import (
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/rotate"
)

const (
	sealedBytes  = "age-encryption.org/v1 SEALEDSEALEDSEALED"
	receiptBytes = "RECEIPTRECEIPT-version-7"
)

// rotationIn is a rotation in that state, with the events that led there.
func rotationIn(s rotate.State) (rotate.Rotation, []rotate.Event) {
	r := rotate.Rotation{
		ID: "20261119T093050Z-3f9a", Version: 12, State: s, Account: prod.ID, Partition: "aws", User: "ci-deploy",
		ARN: arn(prod, "ci-deploy"), UserID: "AIDAFAKE00000042", Caller: "arn:aws:sts::111122223333:assumed-role/Rotate/ana",
		Reason: "step c0ffee12 of the plan: key-age-90", Plan: "sha256:" + strings.Repeat("5e", 32), Terms: rotate.Terms{}.WithDefaults(),
		Old:       rotate.KeyRecord{ID: "AKIAFAKEOLD000000001", Active: true, Created: asOf.Add(-200 * oneDay), LastUsed: asOf.Add(-2 * time.Hour)},
		Targets:   []rotate.Target{{Name: "vault", Kind: "secretsmanager", Where: "prod/ci-deploy in eu-central-1", State: rotate.Pending}, {Name: "laptop", Kind: "age", Where: "/srv/handover/ci.age", State: rotate.Pending}},
		StartedAt: asOf.Add(-3 * oneDay), ChangedAt: asOf.Add(-20 * time.Minute), EnteredAt: asOf.Add(-5 * time.Hour), NextAt: asOf.Add(15 * time.Minute),
	}
	events := []rotate.Event{{At: r.StartedAt, To: rotate.Requested, Note: "for user ci-deploy: key-age-90"}}
	way := []struct {
		from, to rotate.State
		on       rotate.EventName
		act      rotate.Act
		note     string
	}{
		{rotate.Requested, rotate.Creating, rotate.SlotFree, rotate.None, "1 keys stand"},
		{rotate.Creating, rotate.Delivering, rotate.Made, rotate.Create, "key AKIAFAKENEW000000002"},
		{rotate.Delivering, rotate.Probing, rotate.AllHold, rotate.Deliver, "2 targets hold it"},
		{rotate.Probing, rotate.Proving, rotate.Answered, rotate.None, "3 times in a row"},
		{rotate.Proving, rotate.Deactivating, rotate.Proven, rotate.None, "used 2026-11-20T08:00:00Z by s3"},
		{rotate.Deactivating, rotate.Quiet, rotate.WentInert, rotate.Deactivate, "key AKIAFAKEOLD000000001 is inactive"},
		{rotate.Quiet, rotate.Deleting, rotate.QuietOver, rotate.None, "not used for 168h0m0s"},
		{rotate.Deleting, rotate.Done, rotate.WentForGood, rotate.Delete, "key AKIAFAKEOLD000000001 is deleted"},
	}
	aside := map[rotate.State]struct {
		resume rotate.State
		on     rotate.EventName
		why    string
	}{
		rotate.Held:       {rotate.Proving, rotate.TooLong, "its consumer has not used the new key"},
		rotate.Blocked:    {rotate.Delivering, rotate.Lacking, "target vault: access denied: secretsmanager:PutSecretValue"},
		rotate.Conflict:   {rotate.Quiet, rotate.Moved, "the user has a key that the rotation does not know: AKIAFAKEALIEN0000009, made 2026-11-21"},
		rotate.BackingOut: {rotate.Proving, rotate.Cancel, ""},
		rotate.Cancelled:  {rotate.Proving, rotate.Cancel, ""},
		rotate.Gone:       {rotate.Delivering, rotate.UserGone, ""},
	}
	until := s
	if a, ok := aside[s]; ok {
		until = a.resume
	}
	at := r.StartedAt
	for _, w := range way {
		if w.from == until {
			break
		}
		at = at.Add(90 * time.Second)
		if w.act != rotate.None {
			events = append(events, rotate.Event{At: at, From: w.from, To: w.from, Act: w.act, Note: "for user \"ci-deploy\""})
		}
		events = append(events, rotate.Event{At: at.Add(2 * time.Second), From: w.from, To: w.to, Name: w.on, Note: w.note})
		arrive(&r, w.to, at)
	}
	if a, ok := aside[s]; ok {
		r.Why = a.why
		if s.Waiting() {
			r.Resume = a.resume
		}
		to := s
		if s == rotate.Cancelled {
			to = rotate.BackingOut
		}
		events = append(events, rotate.Event{At: r.EnteredAt, From: a.resume, To: to, Name: a.on, Note: a.why})
		if s == rotate.Cancelled {
			events = append(events, rotate.Event{At: r.ChangedAt, From: to, To: s, Name: rotate.BackedOut, Note: "the account is as it was found; target laptop was not restored: it was fetched"})
			r.Targets[0].State, r.Targets[1].State, r.Targets[1].Why = rotate.Restored, rotate.Marked, "it was fetched"
		}
	}
	settle(&r, s)
	if s.Over() {
		r.Sealed, r.NextAt, r.EnteredAt = nil, r.ChangedAt, r.ChangedAt
	}
	return r, events
}

// arrive sets what a rotation has once it has come into a state of its main line.
func arrive(r *rotate.Rotation, s rotate.State, at time.Time) {
	switch s {
	case rotate.Creating:
		r.Before = []string{r.Old.ID}
	case rotate.Delivering:
		r.New, r.Sealed = rotate.KeyRecord{ID: "AKIAFAKENEW000000002", Active: true, Created: at}, []byte(sealedBytes)
	case rotate.Probing:
		for i := range r.Targets {
			r.Targets[i].State, r.Targets[i].Receipt = rotate.Holds, []byte(receiptBytes)
		}
	case rotate.Proving:
		r.ProbedAt, r.Answers, r.Sealed = at, 3, nil
	case rotate.Deactivating:
		r.ProvenBy, r.New.LastUsed = "used 2026-11-20T08:00:00Z by s3", at.Add(time.Hour)
	case rotate.Quiet:
		r.Old.Active, r.Old.LastUsed, r.DeactivatedAt = false, at.Add(-26*time.Hour), at
	default:
	}
}

// settle adds what is of one state alone.
func settle(r *rotate.Rotation, s rotate.State) {
	switch s {
	case rotate.Requested:
		r.NextAt, r.Terms.Mode, r.DueAt = time.Time{}, rotate.Before, asOf.Add(20*oneDay)
		r.Others = []rotate.KeyRecord{{ID: "AKIAFAKESPARE0000003", Created: asOf.Add(-90 * oneDay)}}
	case rotate.Creating:
		r.Intent, r.IntentAt, r.Why, r.Tries = rotate.Create, asOf.Add(-time.Minute), "waiting whether the key that was asked for shows", 1
	case rotate.Delivering, rotate.Blocked:
		r.Targets[0].State, r.Targets[0].Receipt = rotate.Holds, []byte(receiptBytes)
		r.Targets[1].State, r.Targets[1].Why, r.Targets[1].Tries = rotate.Put, "no space left on device", 3
		r.Tries, r.Old.LastUsed = 3, time.Time{}
	case rotate.Probing:
		r.Answers, r.ProbedAt, r.EnteredAt = 1, asOf.Add(-10*time.Second), asOf.Add(-time.Minute)
	case rotate.Proving:
		r.Terms.Unproven, r.Why = true, "its consumer has not used the new key yet"
	case rotate.Deactivating:
		r.ConfirmedBy, r.ProvenBy = arn(prod, "bob"), arn(prod, "bob")
	case rotate.Quiet:
		r.Gap, r.NextAt = 10*oneDay, asOf.Add(20*time.Hour)
	case rotate.Deleting:
		r.Intent, r.IntentAt, r.ApprovedBy = rotate.Delete, asOf.Add(-time.Minute), arn(prod, "bob")
	default:
	}
}

// firstKey is a rotation in that state, before the proof or at an end, that makes a key which replaces none.
func firstKey(s rotate.State) (rotate.Rotation, []rotate.Event) {
	r, events := rotationIn(rotate.Probing)
	r.Old, r.Reason, r.Plan, r.State = rotate.KeyRecord{}, "request of bob, approved by ana", "", s
	r.Before = nil
	if s == rotate.Done {
		r.Sealed = nil
		events = append(events, rotate.Event{At: r.EnteredAt, From: rotate.Probing, To: s, Name: rotate.HandedOver, Note: "key " + r.New.ID + " is where it was asked for"})
	}
	return r, events
}

func hostileRotation() (rotate.Rotation, []rotate.Event) {
	r, events := rotationIn(rotate.Held)
	evil := hostile + "\n\t" + strings.Repeat("w", 150)
	for _, s := range []*string{
		&r.ID, &r.Why, &r.Account, &r.Partition, &r.User, &r.ARN, &r.UserID, &r.Caller, &r.Reason, &r.Plan, &r.ProvenBy, &r.ConfirmedBy,
		&r.ApprovedBy, &r.Old.ID, &r.New.ID,
	} {
		*s = evil
	}
	r.Others, r.Before = []rotate.KeyRecord{{ID: evil}}, []string{evil}
	for i := range r.Targets {
		x := &r.Targets[i]
		x.Name, x.Kind, x.Where, x.Why = evil, evil, evil, evil
	}
	for i := range events {
		events[i].Note = evil
	}
	return r, events
}
