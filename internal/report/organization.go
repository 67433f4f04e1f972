package report

import (
	"bufio"
	"io"
	"strings"

	"charm.land/lipgloss/v2"

	"github.com/keyreeve/keyreeve/internal/fact"
)

const organizationSchema = "keyreeve.organization/1"

// WriteOrganization lists the accounts of an organisation, by id.
func WriteOrganization(w io.Writer, f Format, org *fact.Organization, o Options) error {
	return writeRun(w, f, o,
		func(b *bufio.Writer) error { return organizationJSON(b, org) },
		func(t *runText) { t.organization(org) })
}

type wireMember struct {
	ID         string `json:"id"`
	Partition  string `json:"partition"`
	Name       string `json:"name"`
	State      string `json:"state"` // empty: not told
	Management bool   `json:"management"`
	OU         string `json:"ou"` // empty: not read
}

func organizationJSON(w *bufio.Writer, org *fact.Organization) error {
	out := make([]wireMember, 0, len(org.Members))
	for _, m := range org.Members {
		out = append(out, wireMember{m.ID, m.Partition, m.Name, string(m.State), m.Management, m.OU})
	}
	d := newDocument(w)
	d.field("schema", organizationSchema)
	d.field("organization", org.ID)
	d.field("management_account", org.Management)
	d.field("accounts", out)
	return d.close()
}

func (t *runText) organization(org *fact.Organization) {
	t.line(0, 2, piece{"organisation " + clean(org.ID), strong}, piece{plural(len(org.Members), "account"), normal})
	t.blank()
	name, state := len("name"), len("state")
	for _, m := range org.Members {
		name, state = max(name, lipgloss.Width(clean(m.Name))), max(state, lipgloss.Width(stateOf(m)))
	}
	name = min(name, 32)
	const id = len("111122223333")
	before := id + 2 + name + 2 + state + 2
	t.put(t.style(faint, cutColumns(padded("account", id)+"  "+padded("name", name)+"  "+padded("state", state)+"  unit", t.width)) + "\n")
	for _, m := range org.Members {
		tn := normal
		if !m.State.Readable() {
			tn = faint
		}
		t.put(t.style(strong, padded(clean(m.ID), id)) + "  " + cellText(clean(m.Name), name) + "  " + t.style(tn, padded(stateOf(m), state)) + "  ")
		t.flow(before, before, piece{orDash(clean(m.OU)), normal})
	}
}

func stateOf(m fact.Member) string {
	out := strings.ToLower(strings.ReplaceAll(clean(string(m.State)), "_", " "))
	if out == "" {
		out = "not told"
	}
	if m.Management {
		out += ", management"
	}
	return out
}
