package notice

import (
	"maps"
	"net/mail"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/rule"
)

// Routing says which change goes where. It is pure: the same change always takes the same way.
type Routing struct {
	Channels []Terms // each name once
	Routes   []Route
	Owners   Owners
}

// Terms are how a channel is written to.
type Terms struct {
	Name string
	// Digest: one message a cycle and recipient. False: a message for each change.
	Digest bool
	// Length is how many characters the changes of a message may take; what is beyond is counted in its last line. 0
	// means DefaultLength. A channel of machines leaves nothing out: see Whole.
	Length int
	// Whole: nothing is left out. What does not fit into one message makes several, of at most Most changes each.
	Whole bool
	Most  int // changes in one message; 0 means 50
	// FullKeys: access key ids are shown in full. False: AKIA****MPLE.
	FullKeys bool
	// Personal: messages go to recipients, such as addresses of mail. False: all go to one place, and say who the owner is.
	Personal bool
	Default  []string // recipients of a personal channel where no owner is found
	// Kinds are what the channel can take; empty means every kind.
	Kinds []Kind
}

// DefaultLength is what a chat takes, with room for its own marks: Slack gives up at some 13,000 characters.
const DefaultLength = 8000

const defaultMost = 50

// Route sends changes to channels. What is empty does not limit; everything given must agree. Of several routes that
// match, all do their work; a channel gets a change once.
type Route struct {
	To    []string // names of channels
	Kinds []Kind
	Rules []string // ids of rules; a change about no rule does not match
	// Severity is the least that matches. A change that has none (a rotation that waits, an account that cannot be read,
	// an exception that ends) matches any.
	Severity finding.Severity
	Accounts []string // ids, globs
	OUs      []string // paths of organisational units, globs; one below Root/Workloads belongs to Root/Workloads
}

// matches tells whether c takes the route. Where the unit decides and was not read, it does: better told twice than not.
func (r *Route) matches(c *Change) bool {
	severity := c.severity()
	scope := rule.Scope{Accounts: r.Accounts, OUs: r.OUs}
	switch {
	case len(r.Kinds) > 0 && !slices.Contains(r.Kinds, c.Kind),
		len(r.Rules) > 0 && !slices.Contains(r.Rules, c.rule()),
		severity != "" && severity.Rank() < r.Severity.Rank(),
		scope.Holds(&c.Account, &fact.User{}) == fact.No:
		return false
	default:
		return true
	}
}

// Owners say how the owner of a user is found.
type Owners struct {
	// Tags are names of the user's tags, in the order in which they are asked; the console's description of the key comes
	// last. Empty means DefaultOwnerTags.
	Tags []string
	// Table leads from the value of such a tag, without regard to case, to addresses.
	Table map[string][]string
	// Domains are those of the addresses that a tag may hold itself, without regard to case. A tag is written by whoever
	// may tag users, so an address elsewhere is not written to. Empty: only those of the table.
	Domains []string
}

// DefaultOwnerTags are the tags that people use to name an owner.
func DefaultOwnerTags() []string {
	return []string{"owner", "Owner", "team", "Team", "contact", "Contact"}
}

// find gives the value of the tag that names the owner, and the addresses that it leads to: of the first tag that leads
// to any, else of the first that has a value. A description of a key that leads nowhere is no owner.
func (o *Owners) find(c *Change) (name string, addresses []string) {
	tags, key := o.Tags, c.keyID()
	if len(tags) == 0 {
		tags = DefaultOwnerTags()
	}
	for _, tag := range append(slices.Clone(tags), key) {
		value := strings.TrimSpace(c.Tags[tag])
		if value == "" {
			continue
		}
		if to := o.addresses(value); len(to) > 0 {
			return value, to
		}
		if name == "" && tag != key {
			name = value
		}
	}
	return name, nil
}

func (o *Owners) addresses(value string) []string {
	for _, name := range slices.Sorted(maps.Keys(o.Table)) {
		if strings.EqualFold(name, value) {
			return o.Table[name]
		}
	}
	if address, ok := Address(value); ok {
		domain := address[strings.LastIndexByte(address, '@')+1:]
		if slices.ContainsFunc(o.Domains, func(d string) bool { return strings.EqualFold(d, domain) }) {
			return []string{address}
		}
	}
	return nil
}

// Address tells whether text is one plain address of mail, such as ana@example.com, and gives it.
func Address(text string) (string, bool) {
	a, err := mail.ParseAddress(text)
	if err != nil || a.Address != text || len(text) > 254 || strings.ContainsAny(text, "\"\\ ,;<>()[]:") || strings.ContainsFunc(text, notASCII) {
		return "", false
	}
	return a.Address, true
}

func notASCII(r rune) bool { return r <= ' ' || r > '~' }

// keyID is the id of the key that c is about; empty where it is about none, or its id is not known.
func (c *Change) keyID() string {
	switch {
	case c.Verdict != nil && c.Verdict.Key != nil:
		return c.Verdict.Key.ID
	case c.Rotation != nil:
		return c.Rotation.KeyID
	default:
		return ""
	}
}

// Parcel is a change on its way to a channel.
type Parcel struct {
	ID        string // Change.ItemID
	Channel   string
	Recipient string // addresses, with a comma between them; empty where the channel is one place
	Owner     string // as the user's tags name it; empty: they name none
	Note      string // how the console describes the key; empty: not at all
	Change    *Change
}

// Route addresses a change: a parcel for each channel that it goes to, in the order of Channels.
func (r *Routing) Route(c *Change) []Parcel {
	var out []Parcel
	owner, addresses := r.Owners.find(c)
	for i := range r.Channels {
		t := &r.Channels[i]
		takes := len(t.Kinds) == 0 || slices.Contains(t.Kinds, c.Kind)
		if !takes || !slices.ContainsFunc(r.Routes, func(x Route) bool { return slices.Contains(x.To, t.Name) && x.matches(c) }) {
			continue
		}
		p := Parcel{ID: c.ItemID(t.Name), Channel: t.Name, Owner: owner, Change: c}
		if id := c.keyID(); id != "" {
			p.Note = c.Tags[id]
		}
		if t.Personal {
			p.Recipient = strings.Join(t.Default, ", ")
			if len(addresses) > 0 {
				p.Recipient = strings.Join(addresses, ", ")
			}
		}
		out = append(out, p)
	}
	return out
}
