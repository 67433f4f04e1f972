package credreport

import (
	"fmt"
	"slices"
	"strings"
)

// kind is what a column may hold.
type kind uint8

const (
	kindOther kind = iota // a column we do not know: only its quoting is checked
	kindUser
	kindARN
	kindTime
	kindFlag
	kindText
)

// Where the values of the columns go, per kind. The last of times and flags take the columns that are
// checked and then dropped.
const (
	timeCreated = iota
	timePasswordUsed
	timeRotated1
	timeUsed1
	timeRotated2
	timeUsed2
	timeChecked
	numTimes
)

const (
	flagPassword = iota
	flagMFA
	flagActive1
	flagActive2
	flagChecked
	numFlags
)

const (
	textRegion1 = iota
	textService1
	textRegion2
	textService2
	numTexts
)

// column is one column of the header.
type column struct {
	name   string
	kind   kind
	slot   uint8 // where the value goes, by kind
	need   bool  // the rules cannot do without it
	strict bool  // N/A, no_information and not_supported are no answer here
	future bool  // the date lies ahead: it says nothing about when the report was made
}

// known lists the columns of a credential report that we read or check, in the order AWS writes them.
func known() []column {
	return []column{
		{name: "user", kind: kindUser, need: true},
		{name: "arn", kind: kindARN, need: true},
		{name: "user_creation_time", kind: kindTime, slot: timeCreated, need: true},
		{name: "password_enabled", kind: kindFlag, slot: flagPassword, need: true},
		{name: "password_last_used", kind: kindTime, slot: timePasswordUsed},
		{name: "password_last_changed", kind: kindTime, slot: timeChecked},
		{name: "password_next_rotation", kind: kindTime, slot: timeChecked, future: true},
		{name: "mfa_active", kind: kindFlag, slot: flagMFA},
		{name: "access_key_1_active", kind: kindFlag, slot: flagActive1, need: true, strict: true},
		{name: "access_key_1_last_rotated", kind: kindTime, slot: timeRotated1, need: true},
		{name: "access_key_1_last_used_date", kind: kindTime, slot: timeUsed1, need: true},
		{name: "access_key_1_last_used_region", kind: kindText, slot: textRegion1},
		{name: "access_key_1_last_used_service", kind: kindText, slot: textService1},
		{name: "access_key_2_active", kind: kindFlag, slot: flagActive2, need: true, strict: true},
		{name: "access_key_2_last_rotated", kind: kindTime, slot: timeRotated2, need: true},
		{name: "access_key_2_last_used_date", kind: kindTime, slot: timeUsed2, need: true},
		{name: "access_key_2_last_used_region", kind: kindText, slot: textRegion2},
		{name: "access_key_2_last_used_service", kind: kindText, slot: textService2},
		{name: "cert_1_active", kind: kindFlag, slot: flagChecked},
		{name: "cert_1_last_rotated", kind: kindTime, slot: timeChecked},
		{name: "cert_2_active", kind: kindFlag, slot: flagChecked},
		{name: "cert_2_last_rotated", kind: kindTime, slot: timeChecked},
	}
}

// newColumns reads the header row.
func newColumns(header []field) ([]column, *fault) {
	byName := map[string]column{}
	for _, c := range known() {
		byName[c.name] = c
	}
	seen := map[string]bool{}
	columns := make([]column, len(header))
	for i, f := range header {
		c, ok := byName[f.text]
		if !ok {
			c.name = strings.Clone(f.text)
		}
		columns[i] = c
		if seen[c.name] {
			return nil, &fault{at: f.at, text: f.text, problem: "the header has this column twice"}
		}
		seen[c.name] = true
	}
	if flt := checkHeader(header, seen); flt != nil {
		return nil, flt
	}
	return columns, nil
}

// checkHeader refuses headers of other files, and those that lack a column.
func checkHeader(header []field, seen map[string]bool) *fault {
	if !seen["user"] && !seen["arn"] {
		return notAReport(header[0])
	}
	var missing []string
	for _, c := range known() {
		if c.need && !seen[c.name] {
			missing = append(missing, c.name)
		}
	}
	what := "column"
	switch {
	case len(missing) > 1:
		what = "columns"
		fallthrough
	case len(missing) == 1:
		return &fault{at: header[0].at, problem: fmt.Sprintf("the header lacks the %s %s", what, strings.Join(missing, ", ")),
			hint: "give the report whole, as AWS makes it"}
	}
	for _, f := range header {
		if slot, ok := strings.CutPrefix(f.text, "access_key_"); ok && slot[:min(2, len(slot))] != "1_" && slot[:min(2, len(slot))] != "2_" {
			return &fault{at: f.at, text: f.text, problem: "a column of a key slot that this version does not know",
				hint: "a key there would go unjudged: use --evidence live, or a newer keyreeve"}
		}
	}
	return nil
}

func notAReport(first field) *fault {
	flt := &fault{at: first.at, text: first.text, problem: "not a credential report: the header has neither user nor arn", hint: hintRegenerate}
	if strings.HasPrefix(first.text, "dXNlcixhcm4s") { // "user,arn,"
		flt.problem = "the report is still in base64"
		flt.hint = "give the whole JSON reply, or decode it: base64 -d"
	}
	return flt
}

// inOrder tells whether the known columns stand first and as AWS writes them, and how many follow.
func inOrder(columns []column) (extra int, ok bool) {
	all := known()
	if len(columns) < len(all) {
		return 0, false
	}
	same := func(a, b column) bool { return a.name == b.name }
	return len(columns) - len(all), slices.EqualFunc(columns[:len(all)], all, same)
}
