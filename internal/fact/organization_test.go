package fact_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/internal/fact"
)

func TestAccountState_isReadableUnlessAWSSaysThatItIsNot(t *testing.T) {
	for _, s := range append(fact.AccountStates(), fact.StateUnknown, "PERHAPS") {
		want := s == fact.StateActive || s == fact.StateUnknown || s == "PERHAPS"
		if s.Readable() != want || s.Valid() != (s != "PERHAPS") {
			t.Errorf("%q: readable %v, want %v; valid %v", s, s.Readable(), want, s.Valid())
		}
	}
}

func TestMember_isUnderEachUnitAboveItByIDOrByWholePath(t *testing.T) {
	m := fact.Member{Units: []fact.Unit{
		{ID: "r-ab12", Name: "Root", Path: "Root"},
		{ID: "ou-ab12-00000001", Name: "Work", Parent: "r-ab12", Path: "Root/Work"},
		{ID: "ou-ab12-00000002", Name: "Prod", Parent: "ou-ab12-00000001", Path: "Root/Work/Prod"},
	}}
	for ou, want := range map[string]bool{
		"r-ab12": true, "ou-ab12-00000001": true, "ou-ab12-00000002": true, "ou-ab12-0000000": false, "ou-ab12-00000003": false,
		"Root": true, "Root/Work": true, "Root/Work/Prod": true, "Root/Wor": false, "root/work": false, "Work": false, "Root/Work/": false, "": false,
	} {
		if got := m.Under(ou); got != want {
			t.Errorf("under %q: %v, want %v", ou, got, want)
		}
	}
	if (fact.Member{}).Under("") {
		t.Error("an account whose units were not read is under one")
	}
}

func TestOrganization_findsUnitsAndMembers(t *testing.T) {
	o := fact.Organization{
		Units:   []fact.Unit{{ID: "r-ab12", Path: "Root"}, {ID: "ou-ab12-00000001", Path: "Root/Work"}},
		Members: []fact.Member{{Account: fact.Account{ID: "111111111111"}}, {Account: fact.Account{ID: "222222222222"}}},
	}
	for ou, want := range map[string]string{"Root/Work": "ou-ab12-00000001", "r-ab12": "r-ab12", "Root/Wo": ""} {
		if u, found := o.Unit(ou); u.ID != want || found != (want != "") {
			t.Errorf("%q: %+v, %v, want %q", ou, u, found, want)
		}
	}
	for id, want := range map[string]bool{"111111111111": true, "222222222222": true, "22222222222": false, "333333333333": false} {
		if m, found := o.Member(id); found != want || want && m.ID != id {
			t.Errorf("%q: %+v, %v, want %v", id, m, found, want)
		}
	}
}
