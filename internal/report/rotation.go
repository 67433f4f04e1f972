package report

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/rotate"
)

// RotationFormats lists the formats that WriteRotations and WriteRotation take.
func RotationFormats() []Format { return []Format{Text, JSON} }

// WriteRotations lists rotations, in the order given, as they stand at now.
func WriteRotations(w io.Writer, f Format, rs []rotate.Rotation, o Options, now time.Time) error {
	rs = slices.Clone(rs)
	for i := range rs {
		rs[i] = *shownRotation(&rs[i], o)
	}
	return writeRotation(w, f, o, now, func(b *bufio.Writer) error { return rotationsJSON(b, rs) }, func(t *rotationText) { t.list(rs) })
}

// WriteRotation writes where a rotation stands at now, what it waits for, what comes next, and its events in the order
// given. Of the new secret it tells only whether it is kept; of receipts, nothing.
func WriteRotation(w io.Writer, f Format, r *rotate.Rotation, events []rotate.Event, o Options, now time.Time) error {
	events = shownEvents(r, events, o)
	r = shownRotation(r, o)
	return writeRotation(w, f, o, now, func(b *bufio.Writer) error { return rotationJSON(b, r, events) }, func(t *rotationText) { t.rotation(r, events) })
}

func writeRotation(w io.Writer, f Format, o Options, now time.Time, asJSON func(*bufio.Writer) error, asText func(*rotationText)) error {
	buf := bufio.NewWriter(w)
	var err error
	switch f {
	case JSON:
		err = asJSON(buf)
	case Text:
		asText(&rotationText{page: page{w: buf, width: o.width(), color: o.Color}, now: now})
	default:
		return fmt.Errorf("a rotation is written as %v, not as %q", RotationFormats(), string(f))
	}
	if err == nil {
		err = buf.Flush()
	}
	if err != nil {
		return fmt.Errorf("write rotation: %w", err)
	}
	return nil
}

// rotationMask masks the rotation's own key ids wherever they stand, also ids that look like none, and whatever looks
// like one.
func rotationMask(r *rotate.Rotation) func(string) string {
	ids := append([]string{r.Old.ID, r.New.ID}, r.Before...)
	for _, k := range r.Others {
		ids = append(ids, k.ID)
	}
	var pairs []string
	for _, id := range ids {
		if id != "" {
			pairs = append(pairs, id, fact.MaskID(id))
		}
	}
	own := strings.NewReplacer(pairs...)
	return func(s string) string { return Mask(own.Replace(s)) }
}

// shownRotation is r without what nobody is to see: never the sealed bytes (one byte stands for them) nor receipts; and
// with key ids masked where that is asked for.
func shownRotation(r *rotate.Rotation, o Options) *rotate.Rotation {
	out := *r
	out.Sealed = nil
	if len(r.Sealed) > 0 {
		out.Sealed = []byte{'x'}
	}
	out.Targets = slices.Clone(r.Targets)
	for i := range out.Targets {
		out.Targets[i].Receipt = nil
	}
	if !o.MaskKeys {
		return &out
	}
	mask := rotationMask(r)
	for _, s := range []*string{
		&out.ID, &out.Why, &out.Account, &out.Partition, &out.User, &out.ARN, &out.UserID, &out.Caller, &out.Reason, &out.Plan,
		&out.ProvenBy, &out.ConfirmedBy, &out.ApprovedBy,
	} {
		*s = mask(*s)
	}
	out.Old.ID, out.New.ID = fact.MaskID(r.Old.ID), fact.MaskID(r.New.ID)
	out.Others, out.Before = slices.Clone(r.Others), slices.Clone(r.Before)
	for i := range out.Others {
		out.Others[i].ID = fact.MaskID(out.Others[i].ID)
	}
	for i := range out.Before {
		out.Before[i] = fact.MaskID(out.Before[i])
	}
	for i := range out.Targets {
		x := &out.Targets[i]
		x.Name, x.Kind, x.Where, x.Why = mask(x.Name), mask(x.Kind), mask(x.Where), mask(x.Why)
	}
	return &out
}

// shownEvents are the events of r as they are shown.
func shownEvents(r *rotate.Rotation, events []rotate.Event, o Options) []rotate.Event {
	if !o.MaskKeys {
		return events
	}
	mask, out := rotationMask(r), slices.Clone(events)
	for i := range out {
		out[i].Note = mask(out[i].Note)
	}
	return out
}
