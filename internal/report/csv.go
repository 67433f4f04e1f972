package report

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

func csvHeader() []string {
	return []string{
		"id", "rule", "kind", "title", "status", "severity", "account", "account_name", "user", "user_arn",
		"key_id", "key_slot", "key_active", "key_created_at", "key_last_used_at", "key_last_used_service",
		"key_last_used_region", "message", "since", "due", "remedy", "controls", "exception_owner",
		"exception_reason", "exception_expires", "evidence_source", "evidence_made_at", "as_of",
		"account_ou",
	}
}

// writeCSV writes a header and one row a verdict. Times are RFC 3339 in UTC, empty where unknown;
// key_last_used_at is "never" where AWS recorded no use.
//
// In CSV a cell that begins with =, +, -, @ or a control character is written with an apostrophe before it, so
// that no spreadsheet runs it as a formula: an IAM user may be called =cmd, -ci or @bot. Such a cell differs
// from the same value in JSON by that apostrophe. Whoever joins on names should take user_arn, which cannot
// begin that way, or JSON. user is empty for a verdict about the account, whose users could not be read.
func writeCSV(w *bufio.Writer, a *finding.Audit, o Options) error {
	evidence := make(map[string]fact.Evidence, len(a.Accounts))
	for i := range a.Accounts {
		evidence[a.Accounts[i].Account.ID] = a.Accounts[i].Evidence
	}
	out := csv.NewWriter(w)
	if err := out.Write(csvHeader()); err != nil {
		return err
	}
	for v := range a.Verdicts {
		if !o.shown(v.Status) {
			continue
		}
		e := evidence[v.Account.ID]
		row := append(csvVerdict(v), string(e.Source), stampText(madeAt(e)), instant(a.AsOf), v.Account.OU)
		for i := range row {
			row[i] = cell(row[i])
		}
		if err := out.Write(row); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func csvVerdict(v *finding.Verdict) []string {
	key := make([]string, 7)
	if k := v.Key; k != nil {
		key = []string{
			k.ID, "", strconv.FormatBool(k.Active), stampText(k.Created), stampText(k.LastUsed.At),
			k.LastUsed.Service, k.LastUsed.Region,
		}
		if k.Slot > 0 {
			key[1] = strconv.Itoa(k.Slot)
		}
		if k.LastUsed.At.Never() {
			key[4] = "never"
		}
	}
	exception := make([]string, 3)
	if e := v.Exception; e != nil {
		exception = []string{e.Owner, e.Reason, stampText(e.Expires)}
	}
	return slices.Concat(
		[]string{
			v.ID, v.Rule, v.Kind, v.Title, string(v.Status), string(v.Severity), v.Account.ID, v.Account.Name,
			v.User, v.UserARN,
		},
		key,
		[]string{v.Message, stampText(v.Since), stampText(v.Due), string(v.Remedy), controlText(v.Controls)},
		exception,
	)
}

func controlText(cs []finding.Control) string {
	parts := make([]string, 0, len(cs))
	for _, c := range cs {
		parts = append(parts, fmt.Sprintf("%s: %s", c.Framework, strings.Join(c.IDs, " ")))
	}
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}

func cell(s string) string {
	if s == "" {
		return s
	}
	if strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + clean(s)
	}
	return clean(s)
}
