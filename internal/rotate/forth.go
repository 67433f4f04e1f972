package rotate

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// orphanAge is how old a key must be before "never used" says anything: a use shows minutes late.
const orphanAge = 30 * time.Minute

// setUp is how old a user must be before it gets a requested key, so that the key was plainly not made while the user was set up.
const setUp = 5 * time.Minute

// keyQuota is AWS's: two keys a user, inactive ones count.
const keyQuota = 2

// requested makes sure that there is a slot, then intends to create. Never is a key deleted to make room.
func (t *turn) requested(ctx context.Context, w *world) (seen, error) {
	if len(w.keys) >= keyQuota {
		return seen{event: SlotsFull, note: fmt.Sprintf(
			"the user has %d keys and may have %d: cancel, let keyreeve plan remove one that nobody needs, and start again",
			len(w.keys), keyQuota)}, nil
	}
	if young := setUp - t.now().Sub(w.user.Created.Time()); t.r.First() && young > 0 {
		return seen{event: NotYet, note: "the user was made just now: a key that is made with it looks like one that nobody asked for", next: young}, nil
	}
	// A secret that cannot be sealed would be lost with its key.
	trial := fact.Pair{KeyID: "trial", Secret: fact.NewSecret("trial")}
	sealed, err := t.Sealer.SealPair(trial)
	if err == nil {
		_, err = t.Sealer.OpenPair(sealed)
	}
	if err != nil {
		return seen{event: NotYet, note: "secrets cannot be sealed: " + err.Error(), next: t.pause()}, nil
	}
	t.r.Before = nil
	for i := range w.keys {
		t.r.Before = append(t.r.Before, w.keys[i].ID)
	}
	return seen{event: SlotFree, note: plural(len(w.keys), "key stands", "keys stand")}, nil
}

// creating makes the new key; or, where an intent to do so is on record, finds out what became of it.
func (t *turn) creating(ctx context.Context, w *world) (seen, error) {
	r := t.r
	if r.Intent != None {
		return t.orphan(ctx, w)
	}
	if len(w.keys) >= keyQuota {
		return seen{event: SlotsFull, note: "the free slot was taken meanwhile"}, nil
	}
	if err := t.intend(ctx, Create, fmt.Sprintf("for user %q, whose keys are %v", r.User, r.Before)); err != nil {
		return seen{}, err
	}
	pair, err := t.Account.CreateKey(ctx, r.User)
	switch {
	case errors.Is(err, fact.ErrUnclear) || err != nil && ctx.Err() != nil:
		// The intent stands: the next turn looks.
		return seen{}, t.later(ctx, 10*time.Second, err.Error())
	case err != nil:
		r.Intent = None // refused: nothing was made
		return t.trouble(err), nil
	}
	sealed, err := t.Sealer.SealPair(pair)
	if err != nil {
		return seen{}, fmt.Errorf("seal the new secret: %w", err) // the intent stands, and the key is an orphan
	}
	r.New = KeyRecord{ID: pair.KeyID, Active: true}
	r.Sealed = sealed
	digest := pair.Digest()
	r.Digest = hex.EncodeToString(digest[:])
	for i := range r.Targets {
		r.Targets[i] = Target{Name: r.Targets[i].Name, Kind: r.Targets[i].Kind, Where: r.Targets[i].Where, State: Pending}
	}
	return seen{event: Made, note: "key " + pair.KeyID}, nil
}

// errLater says that the turn was saved already: no edge is taken.
var errLater = errors.New("later")

// later schedules the next look without touching the intent.
func (t *turn) later(ctx context.Context, pause time.Duration, why string) error {
	t.r.Tries++
	t.r.Why, t.r.NextAt, t.r.ChangedAt = why, t.now().Add(pause), t.now()
	if err := t.Ledger.Save(ctx, t.r); err != nil {
		return err
	}
	return errLater
}

// orphan finds out what became of a creation whose answer was never recorded. Its secret is lost, so a key that it made is
// of no use to anybody. Exactly one key that did not stand before, made around the intent and never used, is that one, and
// is deleted; anything else is somebody's.
func (t *turn) orphan(ctx context.Context, w *world) (seen, error) {
	r := t.r
	var strange []*fact.Key
	for i := range w.keys {
		if !slices.Contains(r.Before, w.keys[i].ID) {
			strange = append(strange, &w.keys[i])
		}
	}
	switch {
	case len(strange) == 0 && t.now().Sub(r.IntentAt) < t.patience():
		return seen{}, t.later(ctx, 10*time.Second, "waiting whether the key that was asked for shows")
	case len(strange) == 0:
		return seen{event: NotMade, note: "no key was made"}, nil
	case len(strange) > 1:
		return seen{event: Moved, note: fmt.Sprintf("the user has %d keys that the rotation does not know", len(strange))}, nil
	}
	k := strange[0]
	use, found := t.lastUse(ctx, k.ID)
	if found != nil {
		return *found, t.keepIntent(ctx, found)
	}
	apart := k.Created.Time().Sub(r.IntentAt).Abs()
	if use.At.Known() || !k.Created.Known() || apart > t.patience()+5*time.Minute {
		return seen{event: Moved, note: fmt.Sprintf("key %s, made %s and used %s, is not the one that was asked for %s", k.ID, k.Created, use.At, stamp(r.IntentAt))}, nil
	}
	if age := t.now().Sub(k.Created.Time()); age < orphanAge {
		return seen{}, t.later(ctx, orphanAge-age, "key "+k.ID+" was made and its secret never recorded: it goes once a use of it would have shown")
	}
	if r.Intent != DropOrphan {
		if err := t.intend(ctx, DropOrphan, "key "+k.ID+": its secret was never recorded"); err != nil {
			return seen{}, err
		}
	}
	if found := t.drop(ctx, k.ID); found != nil {
		return *found, t.keepIntent(ctx, found)
	}
	return seen{event: NotMade, note: "deleted the orphan " + k.ID}, nil
}

// keepIntent leaves an intent on record where the turn brought nothing: its outcome is still unknown. A permission that is
// missing blocks all the same, with the intent kept by later.
func (t *turn) keepIntent(ctx context.Context, found *seen) error {
	if found.event == Moved {
		return nil
	}
	return t.later(ctx, max(found.next, t.pause()), found.note)
}

// pair is the new key with its secret, unsealed.
func (t *turn) pair() (fact.Pair, error) {
	p, err := t.Sealer.OpenPair(t.r.Sealed)
	if err == nil && p.KeyID != t.r.New.ID {
		err = fmt.Errorf("it is of key %s", p.KeyID)
	}
	if err != nil {
		return fact.Pair{}, fmt.Errorf("open the sealed secret of key %s: %w", t.r.New.ID, err)
	}
	return p, nil
}

// delivering puts the pair where it goes, target by target: a put, then a read-back. A consumer that reads the new key must
// be able to use it, and a new key takes seconds to work everywhere: so it has to answer before anybody gets it.
func (t *turn) delivering(ctx context.Context, w *world) (seen, error) {
	found, err := t.handOver(ctx, w)
	if err == nil && found.event == NotYet {
		found = t.orTooLong(found, t.r.Terms.Delivery)
	}
	return found, err
}

// orTooLong is found, or that the state's limit is over. It is for after a try in vain: a runner that comes by rarely, such as
// one of cron, gets its tries too.
func (t *turn) orTooLong(found seen, limit time.Duration) seen {
	if !t.over(limit) {
		return found
	}
	return seen{event: TooLong, note: found.note}
}

func (t *turn) handOver(ctx context.Context, w *world) (seen, error) {
	r := t.r
	p, err := t.pair()
	if err != nil {
		return seen{event: NotYet, note: err.Error(), next: t.pause()}, nil
	}
	if r.ProbedAt.IsZero() || slices.IndexFunc(r.Targets, func(x Target) bool { return x.State != Pending }) < 0 {
		if _, err := t.answer(ctx, p); err != nil {
			return seen{event: NotYet, note: "the new key does not work yet: " + err.Error(), next: answerPause}, nil
		}
	}
	for i := range r.Targets {
		if found, err := t.deliver(ctx, p, &r.Targets[i]); err != nil || found != nil {
			if found == nil {
				found = &seen{}
			}
			return *found, err
		}
	}
	return seen{event: AllHold, note: plural(len(r.Targets), "target holds it", "targets hold it")}, nil
}

// deliver brings one target to hold the pair; a result means that it does not yet.
func (t *turn) deliver(ctx context.Context, p fact.Pair, x *Target) (*seen, error) {
	if x.State == Holds {
		return nil, nil
	}
	c, err := t.Courier(t.r, x)
	if err != nil {
		return &seen{event: NotYet, note: fmt.Sprintf("target %s: %v", x.Name, err), next: t.pause()}, nil
	}
	x.State = Put
	if err := t.intend(ctx, Deliver, "to "+x.Where); err != nil { // each time: nobody backs out in the middle of it
		return nil, err
	}
	receipt, err := c.Deliver(ctx, t.r.ID, p, x.Receipt)
	if len(receipt) > 0 {
		x.Receipt = receipt
	}
	holds := false
	if err == nil {
		holds, err = c.ReadBack(ctx, t.r.ID, p.Digest(), x.Receipt)
	}
	switch {
	case err != nil:
		x.Why = err.Error()
		x.Tries++
		found := t.trouble(fmt.Errorf("target %s: %w", x.Name, err))
		if found.event == Unreadable {
			found.event = NotYet
		}
		return &found, nil
	case !holds:
		x.Why = "it does not hold the new key after it was put there"
		x.Tries++
		return &seen{event: NotYet, note: fmt.Sprintf("target %s: %s", x.Name, x.Why), next: t.pause()}, nil
	}
	x.State, x.Why = Holds, ""
	return nil, nil
}

// answer calls with the pair, and checks that it is the user's.
func (t *turn) answer(ctx context.Context, p fact.Pair) (string, error) {
	arn, err := t.Account.Probe(ctx, p)
	if err == nil && arn != t.r.ARN {
		err = fmt.Errorf("it answers as %s", arn)
	}
	if err == nil {
		t.r.ProbedAt = t.now()
	}
	return arn, err
}

// probing wants the new key to answer several times in a row, then reads every target back once more.
func (t *turn) probing(ctx context.Context, _ *world) (seen, error) {
	r := t.r
	p, err := t.pair()
	if err != nil {
		return t.orTooLong(seen{event: NotYet, note: err.Error(), next: t.pause()}, r.Terms.Probe), nil
	}
	if r.Answers < answers {
		if _, err := t.answer(ctx, p); err != nil {
			r.Answers = 0
			found := seen{event: NotYet, note: "the new key does not answer: " + err.Error(), next: answerPause}
			return t.orTooLong(found, r.Terms.Probe), nil
		}
		if r.Answers++; r.Answers < answers {
			return seen{event: NotYet, note: fmt.Sprintf("answered %d of %d times", r.Answers, answers), next: answerPause}, nil
		}
	}
	if found := t.stillHeld(ctx); found != nil {
		return *found, nil
	}
	if r.First() {
		return seen{event: HandedOver, note: "key " + r.New.ID + " is where it was asked for"}, nil
	}
	return seen{event: Answered, note: fmt.Sprintf("%d times in a row", answers)}, nil
}

// stillHeld reads every target back; a result means that one could not be read, or holds something else by now.
func (t *turn) stillHeld(ctx context.Context) *seen {
	for i := range t.r.Targets {
		x := &t.r.Targets[i]
		holds, err := t.holds(ctx, x)
		if err != nil {
			found := t.trouble(fmt.Errorf("target %s: %w", x.Name, err))
			return &found
		}
		if !holds {
			return &seen{event: Moved, note: fmt.Sprintf("target %s holds something else by now", x.Name)}
		}
	}
	return nil
}

// holds tells whether the target holds the new pair.
func (t *turn) holds(ctx context.Context, x *Target) (bool, error) {
	var digest [32]byte
	if b, err := hex.DecodeString(t.r.Digest); err != nil || copy(digest[:], b) != len(digest) {
		return false, fmt.Errorf("the digest of the new key on record is %q", t.r.Digest)
	}
	c, err := t.Courier(t.r, x)
	if err != nil {
		return false, err
	}
	if _, taken := c.(Taker); taken && t.r.State != Probing {
		return true, nil
	}
	return c.ReadBack(ctx, t.r.ID, digest, x.Receipt)
}

// theirs tells whether a known use of the new key is somebody else's. Our own probes show up as uses too: only one that is
// later than the last of them, and by another service or in a later quarter of an hour, is not ours.
func (t *turn) theirs(use fact.Use) bool {
	later := use.At.Time().Sub(t.r.ProbedAt)
	return later > 0 && (named(use.Service) && use.Service != "sts" || later >= useSpan)
}

// proving waits until the consumer has used the new key.
func (t *turn) proving(ctx context.Context, _ *world) (seen, error) {
	r := t.r
	if r.ConfirmedBy != "" {
		r.ProvenBy = r.ConfirmedBy
		return seen{event: Proven, note: "confirmed by " + r.ConfirmedBy}, nil
	}
	if found := t.watchOld(ctx); found != nil {
		return *found, nil
	}
	use, found := t.lastUse(ctx, r.New.ID)
	if found != nil {
		return *found, nil
	}
	if use.At.Known() {
		r.New.LastUsed = use.At.Time()
		if t.theirs(use) {
			r.ProvenBy = "used " + useText(use)
			return seen{event: Proven, note: r.ProvenBy}, nil
		}
	}
	if !t.over(r.Terms.Proof) {
		return seen{event: NotYet, note: "its consumer has not used the new key yet", next: useSpan}, nil
	}
	if r.Terms.Unproven {
		r.ProvenBy = "the limit, which the settings allow for"
		return seen{event: Proven, note: "not used in " + span(r.Terms.Proof) + ", which the settings allow for"}, nil
	}
	return seen{event: TooLong, note: "its consumer has not used the new key: keyreeve rotate confirm, approve (wait on) or cancel"}, nil
}

// watchOld keeps the history of the old key's uses.
func (t *turn) watchOld(ctx context.Context) *seen {
	use, found := t.lastUse(ctx, t.r.Old.ID)
	if found != nil {
		return found
	}
	if use.At.Known() {
		t.r.Old.LastUsed = use.At.Time()
		if err := t.Uses.RecordUse(ctx, t.r.Account, t.r.Old.ID, use, t.now()); err != nil {
			return &seen{event: Unreadable, note: err.Error(), next: t.pause()}
		}
	}
	gap, _, err := t.Uses.LongestGap(ctx, t.r.Account, t.r.Old.ID)
	if err != nil {
		return &seen{event: Unreadable, note: err.Error(), next: t.pause()}
	}
	t.r.Gap = max(t.r.Gap, gap)
	return nil
}

// deactivating takes the old key away once nobody used it for the settling time.
func (t *turn) deactivating(ctx context.Context, w *world) (seen, error) {
	r := t.r
	if w.old == nil || !w.old.Active { // the act was done, and its outcome never recorded
		return t.inert(), nil
	}
	if t.ours(w) {
		return seen{event: NotYet, note: "keyreeve itself still runs with the old key: start it again with the new one", next: useSpan}, nil
	}
	if found := t.watchOld(ctx); found != nil {
		return *found, nil
	}
	if idle := t.now().Sub(r.Old.LastUsed); !r.Old.LastUsed.IsZero() && idle < r.Terms.Settling {
		return seen{
			event: NotYet, next: min(max(r.Terms.Settling-idle, time.Minute), 6*time.Hour),
			note: fmt.Sprintf("the old key was used %s; it goes when it was not for %s", stamp(r.Old.LastUsed), span(r.Terms.Settling)),
		}, nil
	}
	if t.Told != nil {
		told, err := t.Told(ctx, r)
		if err != nil || !told {
			return seen{event: NotYet, note: "the notice of the deactivation was not delivered", next: t.pause()}, nil
		}
	}
	if found := t.sure(ctx); found != nil {
		return *found, nil
	}
	if err := t.intend(ctx, Deactivate, "key "+r.Old.ID); err != nil {
		return seen{}, err
	}
	if found := t.setActive(ctx, r.Old.ID, false); found != nil {
		return *found, nil
	}
	return t.inert(), nil
}

// mostSkew is how far our clock may be off AWS's before a time measured by it says nothing.
const mostSkew = 4 * time.Minute

// sure makes sure, right before the old key is touched, that the targets hold the new one and that the clock can be trusted.
func (t *turn) sure(ctx context.Context) *seen {
	if t.Skew != nil {
		if skew, ok := t.Skew(); ok && skew.Abs() > mostSkew {
			return &seen{event: Unreadable, note: fmt.Sprintf("this machine's clock is %s off AWS's", skew.Abs().Round(time.Second)), next: t.pause()}
		}
	}
	return t.stillHeld(ctx)
}

// ours tells whether keyreeve runs with the old key, or may do so.
func (t *turn) ours(w *world) bool {
	return slices.Contains(t.OwnKeys, t.r.Old.ID) || slices.ContainsFunc(t.OwnUsers, func(c fact.Caller) bool {
		return c.ARN == w.user.ARN || c.ID != "" && c.ID == w.user.ID
	})
}

func (t *turn) inert() seen {
	t.r.DeactivatedAt = t.now()
	t.r.Old.Active = false
	return seen{event: WentInert, note: "key " + t.r.Old.ID + " is inactive"}
}

// setActive makes a key active or inactive, and reads back until it shows.
func (t *turn) setActive(ctx context.Context, keyID string, active bool) *seen {
	if err := t.Account.SetActive(ctx, t.r.User, keyID, active); err != nil && !errors.Is(err, fact.ErrUnclear) {
		found := t.trouble(err)
		return &found
	}
	return t.readBack(ctx, fmt.Sprintf("the change of key %s does not show yet", keyID), func(keys []fact.Key) bool {
		return slices.ContainsFunc(keys, func(k fact.Key) bool { return k.ID == keyID && k.Active == active })
	})
}

// readBack reads the user's keys until they are as wanted, or for as long as patience lasts. A result, with the note not
// yet, means that they are not.
func (t *turn) readBack(ctx context.Context, notYet string, wanted func([]fact.Key) bool) *seen {
	var waited time.Duration
	for pause := time.Second; ; pause = min(2*pause, 10*time.Second) {
		if keys, err := t.Account.Keys(ctx, t.r.User); err == nil && wanted(keys) {
			return nil
		}
		if waited >= t.patience() {
			return &seen{event: NotYet, note: notYet, next: t.pause()}
		}
		if err := t.Wait(ctx, pause); err != nil {
			return &seen{event: NotYet, note: err.Error(), next: t.pause()}
		}
		waited += pause
	}
}

// QuietFor is how long the old key has to be inactive: longer than the longest pause between two of its uses.
func (r *Rotation) QuietFor() time.Duration { return max(r.Terms.Quiet, r.Gap+r.Gap/4) }

// quiet lets days pass. Any use that was not known when the key was deactivated stops the deletion.
func (t *turn) quiet(ctx context.Context, _ *world) (seen, error) {
	r := t.r
	if found := t.usedAgain(ctx); found != nil {
		return *found, nil
	}
	if left := r.QuietFor() - t.now().Sub(r.DeactivatedAt); left > 0 {
		return seen{event: NotYet, note: "quiet until " + stamp(r.DeactivatedAt.Add(r.QuietFor())), next: min(left, day)}, nil
	}
	return seen{event: QuietOver, note: "not used for " + span(r.QuietFor())}, nil
}

func (t *turn) usedAgain(ctx context.Context) *seen {
	use, found := t.lastUse(ctx, t.r.Old.ID)
	if found != nil {
		return found
	}
	if use.At.Known() && use.At.Time().After(t.r.Old.LastUsed) {
		return &seen{event: UsedAgain, note: fmt.Sprintf("the old key was used %s, which was not known when it was deactivated %s: find out by whom", useText(use), stamp(t.r.DeactivatedAt))}
	}
	return nil
}

// deleting makes the old key go for good: inactive, quiet for the whole time, and unused to the last moment.
func (t *turn) deleting(ctx context.Context, w *world) (seen, error) {
	r := t.r
	gone := seen{event: WentForGood, note: "key " + r.Old.ID + " is deleted"}
	if w.old == nil {
		return gone, nil
	}
	if found := t.usedAgain(ctx); found != nil {
		return *found, nil
	}
	if found := t.sure(ctx); found != nil {
		return *found, nil
	}
	if err := t.intend(ctx, Delete, "key "+r.Old.ID); err != nil {
		return seen{}, err
	}
	if found := t.drop(ctx, r.Old.ID); found != nil {
		return *found, nil
	}
	return gone, nil
}

// drop deletes a key and reads back until it is gone.
func (t *turn) drop(ctx context.Context, keyID string) *seen {
	err := t.Account.DeleteKey(ctx, t.r.User, keyID)
	if err != nil && !errors.Is(err, fact.ErrUnclear) && !errors.Is(err, fact.ErrNotFound) {
		found := t.trouble(err)
		return &found
	}
	return t.readBack(ctx, fmt.Sprintf("key %s still shows", keyID), func(keys []fact.Key) bool {
		return !slices.ContainsFunc(keys, func(k fact.Key) bool { return k.ID == keyID })
	})
}
