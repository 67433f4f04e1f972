package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/rule"
)

func (a *app) rulesCommand() *cobra.Command {
	var ruleset, format string
	c := &cobra.Command{
		Use:   "rules",
		Short: "The catalogue of rules; rules show RULE explains one",
		Long: "rules lists the rules of a ruleset with their severity, what they claim and their names\n" +
			"elsewhere. rules show prints a rule's page: exact reading, risk, how to check and to fix by\n" +
			"console and by CLI, the way back, controls.",
		Example: "  keyreeve rules\n  keyreeve rules --ruleset cis-5.0\n  keyreeve rules show IAM-043",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.listRules(ruleset, format)
		},
	}
	c.PersistentFlags().StringVar(&ruleset, "ruleset", "", "built-in `NAME` or a file (default: the whole catalogue)")
	c.Flags().StringVarP(&format, "output", "o", "text", "`FORMAT`: text, json")
	completeValues(c, "output", []string{"text", "json"})
	c.AddCommand(a.rulesShowCommand(&ruleset))
	return c
}

// listedRule is a rule in `rules -o json`.
type listedRule struct {
	ID       string           `json:"id"`
	Kind     string           `json:"kind"`
	Severity finding.Severity `json:"severity"`
	Title    string           `json:"title"`
	Aliases  []listedAlias    `json:"aliases"`
	Controls []listedControl  `json:"controls"`
}

type listedAlias struct {
	Scheme string `json:"scheme"`
	Name   string `json:"name"`
}

type listedControl struct {
	Framework string   `json:"framework"`
	IDs       []string `json:"ids"`
}

func (a *app) listRules(ruleset, format string) error {
	rs, err := rulesOf(ruleset)
	if err != nil {
		return asMisuse(err)
	}
	switch format {
	case "text":
		return a.writeStdout(func(w io.Writer) error { return printRules(w, rs) })
	case "json":
		return a.writeStdout(func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			return e.Encode(listed(rs))
		})
	default:
		return misuse("use text or json", "unknown output format %q", format)
	}
}

// rulesOf is a ruleset's rules, or without a name the whole catalogue.
func rulesOf(ruleset string) ([]rule.Rule, error) {
	if ruleset == "" {
		var ids []string
		for _, e := range rule.Catalogue() {
			ids = append(ids, e.ID)
		}
		rs, err := rule.Select(&rule.Ruleset{}, ids)
		if err != nil {
			return nil, err
		}
		return rs.Rules, nil
	}
	rs, err := loadRuleset(ruleset, nil)
	if err != nil {
		return nil, err
	}
	return rs.Rules, nil
}

func listed(rules []rule.Rule) []listedRule {
	out := []listedRule{}
	for _, r := range rules {
		l := listedRule{ID: r.ID, Kind: r.Kind.Name, Severity: r.Severity, Title: r.Title, Aliases: []listedAlias{}, Controls: []listedControl{}}
		for _, alias := range r.Aliases {
			l.Aliases = append(l.Aliases, listedAlias{alias.Scheme, alias.Name})
		}
		for _, c := range r.Controls {
			l.Controls = append(l.Controls, listedControl{c.Framework, c.IDs})
		}
		out = append(out, l)
	}
	return out
}

func printRules(w io.Writer, rules []rule.Rule) error {
	width := len("RULE")
	for _, r := range rules {
		width = max(width, len(r.ID))
	}
	if _, err := fmt.Fprintf(w, "%-*s  %-8s  %s\n", width, "RULE", "SEVERITY", "CLAIM"); err != nil {
		return err
	}
	for _, r := range rules {
		if _, err := fmt.Fprintf(w, "%-*s  %-8s  %s\n", width, r.ID, r.Severity, r.Title); err != nil {
			return err
		}
		if names := shortNames(r); names != "" {
			if _, err := fmt.Fprintf(w, "%-*s  %-8s  also %s\n", width, "", "", names); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintln(w, "\nkeyreeve rules show RULE explains one.")
	return err
}

// shortNames are the names elsewhere that people know a rule by; its page has all of them.
func shortNames(r rule.Rule) string {
	var names []string
	for _, alias := range r.Aliases {
		if !strings.HasPrefix(alias.Scheme, "CIS") && !slices.Contains(names, alias.Name) {
			names = append(names, alias.Name)
		}
	}
	return strings.Join(names, ", ")
}

func (a *app) rulesShowCommand(ruleset *string) *cobra.Command {
	var from, user string
	c := &cobra.Command{
		Use:   "show RULE",
		Short: "Explain a rule: reading, risk, how to check and fix, way back, controls",
		Long: "show prints a rule's page as Markdown. With --from, an audit written by keyreeve audit -o json,\n" +
			"the commands in it carry the real names of the first failing verdict, or of the one about\n" +
			"--user.",
		Example: "  keyreeve rules show key-age-90\n  keyreeve rules show IAM-043 --from audit.json --user ana",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misuse("keyreeve rules show RULE", "show takes one rule, not %d", len(args))
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return ruleIDs(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error { return a.showRule(*ruleset, args[0], from, user) },
	}
	c.Flags().StringVar(&from, "from", "", "an audit as JSON, a `FILE`, to take real names from")
	c.Flags().StringVar(&user, "user", "", "with --from: the verdict about this `NAME`")
	return c
}

func (a *app) showRule(ruleset, id, from, user string) error {
	base := &rule.Ruleset{}
	if ruleset != "" {
		rs, err := loadRuleset(ruleset, nil)
		if err != nil {
			return asMisuse(err)
		}
		base = rs
	}
	chosen, err := rule.Select(base, []string{id})
	if err != nil {
		return asMisuse(err)
	}
	var pages []string
	for _, r := range chosen.Rules {
		sample, err := a.sample(r, from, user)
		if err != nil {
			return err
		}
		page, err := rule.Page(r, sample)
		if err != nil {
			return err
		}
		pages = append(pages, page)
	}
	return a.writeStdout(func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Join(pages, "\n---\n\n"))
		return err
	})
}

// sample takes real names from a failing verdict of r in an audit; nil without --from.
func (a *app) sample(r rule.Rule, from, user string) (*rule.Sample, error) {
	if from == "" {
		if user != "" {
			return nil, misuse("name the audit with --from", "--user goes with --from")
		}
		return nil, nil
	}
	_, verdicts, err := a.readAudit(from)
	if err != nil {
		return nil, err
	}
	for i := range verdicts {
		v := &verdicts[i]
		if v.Rule == r.ID && v.Status == finding.Fail && (user == "" || strings.EqualFold(v.User, user)) {
			s := &rule.Sample{Account: v.Account.ID, Partition: v.Account.Partition, User: v.User}
			if v.Key != nil {
				s.KeyID = v.Key.ID
			}
			if a.global.maskKeys {
				s.KeyID = "" // a command with half an id would be wrong; the page says KEY-ID
			}
			return s, nil
		}
	}
	if user != "" {
		return nil, misuse("leave out --user for the first failing verdict", "%q has no failing verdict of %s about %q", from, r.ID, user)
	}
	return nil, misuse("leave out --from for the page with placeholders", "%q has no failing verdict of %s", from, r.ID)
}

func ruleIDs() []string {
	var ids []string
	for _, e := range rule.Catalogue() {
		ids = append(ids, e.ID)
	}
	return ids
}
