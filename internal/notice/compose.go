package notice

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// Parcels addresses changes; a change that is there twice counts once.
func (r *Routing) Parcels(changes []Change) ([]Parcel, error) {
	var out []Parcel
	seen := map[string]bool{}
	for i := range changes {
		if err := changes[i].Validate(); err != nil {
			return nil, err
		}
		for _, p := range r.Route(&changes[i]) {
			if !seen[p.ID] {
				seen[p.ID] = true
				out = append(out, p)
			}
		}
	}
	return out, nil
}

// Composed is a message with the ids of all changes that it tells, also of those that it only counts.
type Composed struct {
	Message
	Covers []string
}

// Compose makes messages of parcels, in the order of Channels, then of recipients. now is when, for the message to say so.
// The same parcels give the same messages.
func (r *Routing) Compose(parcels []Parcel, now time.Time) []Composed {
	var out []Composed
	for i := range r.Channels {
		t := &r.Channels[i]
		byRecipient := map[string][]Item{}
		for _, p := range parcels {
			if p.Channel == t.Name {
				byRecipient[p.Recipient] = append(byRecipient[p.Recipient], t.item(p))
			}
		}
		for _, recipient := range slices.Sorted(maps.Keys(byRecipient)) {
			items := byRecipient[recipient]
			slices.SortFunc(items, func(a, b Item) int { return a.compare(&b) })
			out = append(out, t.compose(recipient, items, now)...)
		}
	}
	return out
}

// item is the change of a parcel as the channel shows it.
func (t *Terms) item(p Parcel) Item {
	it := Item{ID: p.ID, Owner: p.Owner, Note: p.Note, Change: *p.Change}
	it.Tags = nil
	if !t.FullKeys {
		it.mask()
	}
	return it
}

// compose makes the messages to one recipient.
func (t *Terms) compose(recipient string, items []Item, now time.Time) []Composed {
	base := Message{Channel: t.Name, Recipient: recipient, At: now.UTC()}
	if !t.Digest {
		var out []Composed
		for i := range items {
			m := base
			m.ID, m.Items, m.Thread = items[i].ID, items[i:i+1], hashed("thread", t.Name, items[i].subject())
			m.Subject = items[i].heading()
			out = append(out, Composed{m, []string{items[i].ID}})
		}
		return out
	}
	most := t.Most
	if most == 0 {
		most = defaultMost
	}
	var out []Composed
	for part := range slices.Chunk(items, t.chunk(len(items), most)) {
		m := base
		m.Items = part
		if !t.Whole {
			m.Items = part[:t.fits(part, most)]
			m.More = len(part) - len(m.Items)
		}
		var ids []string
		for i := range part {
			ids = append(ids, part[i].ID)
		}
		sorted := slices.Sorted(slices.Values(ids))
		m.ID = hashed(append([]string{"digest", t.Name, recipient}, sorted...)...)
		m.Subject = summary(part)
		out = append(out, Composed{m, ids})
	}
	return out
}

// chunk is how many items a message is about.
func (t *Terms) chunk(all, most int) int {
	if t.Whole {
		return most
	}
	return all
}

// fits is how many of items a message has room for, one at least.
func (t *Terms) fits(items []Item, most int) int {
	room := t.Length
	if room == 0 {
		room = DefaultLength
	}
	for i := range items {
		if i == most {
			return i
		}
		l := items[i].line()
		room -= utf8.RuneCountInString(l.Label + l.Text + l.Next)
		if i == 0 || items[i].Account.ID != items[i-1].Account.ID {
			room -= utf8.RuneCountInString(accountName(items[i].Account))
		}
		if room < 0 {
			return max(i, 1)
		}
	}
	return len(items)
}

// heading is the subject of a message about one change.
func (it *Item) heading() string {
	l := it.line()
	about := ""
	switch {
	case it.Verdict != nil:
		about = ": " + subjectOf(it.Verdict)
	case it.Rotation != nil:
		about = ": user " + plain(it.Rotation.User)
	case it.Exception != nil:
		about = ": user " + plain(it.Exception.User)
	}
	return cut(fmt.Sprintf("keyreeve: %s%s in %s", l.Label, about, accountName(it.Account)), longest)
}

// summary is the subject of a digest: what there is, how often, in how many accounts.
func summary(items []Item) string {
	kinds, accounts := map[Kind]int{}, map[string]bool{}
	var worst finding.Severity
	for i := range items {
		kinds[items[i].Kind]++
		accounts[items[i].Account.ID] = true
		if s := items[i].severity(); items[i].Kind == Opened && s.Rank() > worst.Rank() {
			worst = s
		}
	}
	var parts []string
	for _, k := range Kinds() {
		n := kinds[k]
		switch {
		case n == 0:
			continue
		case k == Opened:
			parts = append(parts, fmt.Sprintf("%d opened (worst %s)", n, strings.ToUpper(string(worst))))
		default:
			parts = append(parts, fmt.Sprintf("%d %s", n, k.words()))
		}
	}
	where := "1 account"
	if len(accounts) > 1 {
		where = fmt.Sprintf("%d accounts", len(accounts))
	}
	return "keyreeve: " + strings.Join(parts, ", ") + " in " + where
}

// mask hides key ids in every text of the item, not only where one is expected.
func (it *Item) mask() {
	it.Owner, it.Note, it.Account.Name = fact.MaskKeys(it.Owner), fact.MaskKeys(it.Note), fact.MaskKeys(it.Account.Name)
	if it.Verdict != nil {
		v := *it.Verdict
		v.Message, v.User, v.UserARN = fact.MaskKeys(v.Message), fact.MaskKeys(v.User), fact.MaskKeys(v.UserARN)
		v.Account.Name = fact.MaskKeys(v.Account.Name)
		if v.Key != nil {
			k := *v.Key
			k.ID = fact.MaskID(k.ID)
			v.Key = &k
		}
		v.Facts = maps.Clone(v.Facts)
		for name, f := range v.Facts {
			if text, ok := f.(string); ok {
				v.Facts[name] = fact.MaskKeys(text)
			}
		}
		v.Exception = maskException(v.Exception)
		it.Verdict = &v
	}
	if it.Rotation != nil {
		r := *it.Rotation
		r.Why, r.User, r.KeyID = fact.MaskKeys(r.Why), fact.MaskKeys(r.User), fact.MaskID(r.KeyID)
		it.Rotation = &r
	}
	if it.Gap != nil {
		g := *it.Gap
		g.Subject, g.Why = fact.MaskKeys(g.Subject), fact.MaskKeys(g.Why)
		it.Gap = &g
	}
	it.Exception = maskException(it.Exception)
}

func maskException(e *finding.Exception) *finding.Exception {
	if e == nil {
		return nil
	}
	out := *e
	out.Key, out.User, out.Reason = fact.MaskID(e.Key), fact.MaskKeys(e.User), fact.MaskKeys(e.Reason)
	out.Owner, out.Origin, out.Tag = fact.MaskKeys(e.Owner), fact.MaskKeys(e.Origin), nil
	return &out
}
