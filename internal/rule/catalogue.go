package rule

import (
	"fmt"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/internal/finding"
)

// Entry is a rule of the catalogue: a kind with the thresholds and the severity that its id stands for.
type Entry struct {
	ID          string
	Kind        Kind
	Severity    finding.Severity
	Params      Params
	Title       string
	Aliases     []Alias
	AllControls []ControlSource // clauses of every framework
	Named       []ControlSource // frameworks that name the rule without a clause
}

// catalogued is a row of the catalogue as it is written down here.
type catalogued struct {
	id       string
	kind     string
	severity finding.Severity
	params   Params
	names    []Alias // those that are not CIS controls; these are in the controls
}

// catalogue is the table of rules, in the order of Kinds.
func catalogue() []catalogued {
	const (
		conformity = "Conformity"
		prowler    = "Prowler"
		config     = "AWS Config"
		hub        = "AWS Security Hub"
	)
	return []catalogued{
		{"root-access-key", "root-access-key", finding.Critical, Params{}, []Alias{
			{conformity, "IAM-015"}, {hub, "IAM.4"}, {config, "iam-root-access-key-check"}, {prowler, "iam_no_root_access_key"}}},
		{"exposed-key", "exposed-key", finding.Critical, Params{}, nil},
		{"key-age-30", "key-age", finding.Low, Params{MaxAge: 30 * Day}, []Alias{
			{conformity, "IAM-001"}, {config, "access-keys-rotated"}}},
		{"key-age-45", "key-age", finding.Low, Params{MaxAge: 45 * Day}, []Alias{
			{conformity, "IAM-002"}, {config, "access-keys-rotated"}}},
		{"key-age-90", "key-age", finding.High, Params{MaxAge: 90 * Day}, []Alias{
			{conformity, "IAM-038"}, {hub, "IAM.3"}, {config, "access-keys-rotated"}, {prowler, "iam_rotate_access_key_90_days"}}},
		{"key-created-with-user", "key-created-with-user", finding.Medium, Params{Window: time.Minute}, []Alias{
			{conformity, "IAM-043"}}},
		{"multiple-active-keys", "multiple-active-keys", finding.Medium, Params{MaxActive: 1}, []Alias{
			{conformity, "IAM-004"}, {prowler, "iam_user_two_active_access_key"}}},
		{"key-unused-45", "key-unused", finding.Medium, Params{MaxUnused: 45 * Day}, []Alias{
			{hub, "IAM.22"}, {config, "iam-user-unused-credentials-check"}, {prowler, "iam_user_accesskey_unused"}}},
		{"key-unused-90", "key-unused", finding.Medium, Params{MaxUnused: 90 * Day}, []Alias{
			{conformity, "IAM-003"}, {hub, "IAM.8"}, {config, "iam-user-unused-credentials-check"}, {prowler, "iam_user_accesskey_unused"}}},
		{"key-never-used", "key-never-used", finding.Medium, Params{Grace: 7 * Day}, nil},
		{"key-never-used-console", "key-never-used", finding.Medium, Params{ConsoleOnly: true}, []Alias{
			{prowler, "iam_user_no_setup_initial_access_key"}}},
		{"inactive-key", "inactive-key", finding.Low, Params{MaxInactive: 90 * Day}, nil},
		{"password-and-key", "password-and-key", finding.Medium, Params{}, []Alias{{conformity, "IAM-024"}}},
	}
}

func entry(id string) (catalogued, bool) {
	for _, c := range catalogue() {
		if c.id == id {
			return c, true
		}
	}
	return catalogued{}, false
}

// catalogueIDs are the ids of the catalogue in its order.
func catalogueIDs() []string {
	var ids []string
	for _, c := range catalogue() {
		ids = append(ids, c.id)
	}
	return ids
}

// Catalogue lists every built-in rule in the order of Kinds.
func Catalogue() []Entry {
	var out []Entry
	for _, c := range catalogue() {
		r := c.rule()
		out = append(out, Entry{
			ID: r.ID, Kind: r.Kind, Severity: r.Severity, Params: r.Params, Title: r.Title, Aliases: r.Aliases,
			AllControls: controlSources(controls().Mappings, c.id), Named: controlSources(controls().Named, c.id),
		})
	}
	return out
}

// rule makes the rule that c describes, with the core list of its controls.
func (c catalogued) rule() Rule {
	kind, _ := FindKind(c.kind)
	return Rule{
		ID: c.id, Kind: kind, Severity: c.severity, Params: c.params, Title: titleOf(c.kind, &c.params),
		Aliases: c.aliases(), Controls: coreControls([]string{c.id}),
	}
}

// aliases are the names elsewhere, among them the controls of every version of CIS AWS Foundations.
func (c catalogued) aliases() []Alias {
	out := slices.Clone(c.names)
	for _, row := range controls().Mappings {
		if row.Rule == c.id && isCIS(row.Framework) {
			for _, id := range row.IDs {
				out = append(out, Alias{row.Framework, id})
			}
		}
	}
	return out
}

// titleOf is the claim that an instance of a kind makes about an account in order.
func titleOf(kind string, p *Params) string {
	switch kind {
	case "root-access-key":
		return "Root has no access key"
	case "exposed-key":
		return "No user's key is known to be exposed"
	case "key-age":
		return fmt.Sprintf("Active keys are at most %s old", limitText(p.MaxAge))
	case "key-created-with-user":
		return "Console users get no access key during their setup"
	case "multiple-active-keys":
		return fmt.Sprintf("Each user has at most %s", plural(p.MaxActive, "active key"))
	case "key-unused":
		return fmt.Sprintf("Active keys were used in the last %s", limitText(p.MaxUnused))
	case "key-never-used":
		return neverUsedTitle(p)
	case "inactive-key":
		return fmt.Sprintf("Inactive keys are deleted before they are %s old", limitText(p.MaxInactive))
	case "password-and-key":
		return "No user has both a console password and an active key"
	default:
		return kind
	}
}

func neverUsedTitle(p *Params) string {
	whose := "Active keys"
	if p.ConsoleOnly {
		whose = "Active keys of console users"
	}
	if p.Grace == 0 {
		return whose + " have been used"
	}
	return fmt.Sprintf("%s are used within %s of their making", whose, limitText(p.Grace))
}
