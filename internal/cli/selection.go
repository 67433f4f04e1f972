package cli

import (
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/rule"
)

// selectionFlags say what is judged and how the account is read; audit and plan share them.
type selectionFlags struct {
	asOf        string
	ruleset     string
	rules       []string
	exceptions  string
	concurrency int
	rate        float64
}

func (f *selectionFlags) register(c *cobra.Command) {
	fs := c.Flags()
	fs.StringVar(&f.asOf, "as-of", "", "judge as if it were `TIME` (RFC 3339, or a date for its first instant in UTC)")
	fs.StringVar(&f.ruleset, "ruleset", "default", "built-in `NAME` or a file: "+strings.Join(rule.BuiltinNames(), ", "))
	fs.StringSliceVar(&f.rules, "rule", nil, "only these rules, by `ID` or alias (IAM-043, a Prowler check id)")
	fs.StringVar(&f.exceptions, "exceptions", "", "accepted risks, a YAML `FILE`; those of the settings file hold too")
	fs.IntVar(&f.concurrency, "concurrency", 8, "most `CALLS` to AWS at once; with --org, accounts that are read at once (then 32 by default)")
	fs.Float64Var(&f.rate, "rate", 0, "most `CALLS` to AWS a second, in each account; 0: no fixed limit, slower when AWS throttles")
	completeValues(c, "ruleset", rule.BuiltinNames())
	completeLater(c, "rule", ruleIDs)
}

// limits refuses numbers of calls that make no sense.
func (f *selectionFlags) limits() error {
	if f.concurrency < 1 || f.concurrency > 256 {
		return misuse("use 1 to 256", "--concurrency %d", f.concurrency)
	}
	if !(f.rate >= 0 && f.rate < 1e6) {
		return misuse("use calls a second, or 0 for no fixed limit", "--rate %v", f.rate)
	}
	return nil
}

// loadRuleset finds a built-in ruleset or reads a file, and narrows it to the rules asked for.
func loadRuleset(name string, ids []string) (*rule.Ruleset, error) {
	var rs *rule.Ruleset
	var err error
	if slices.Contains(rule.BuiltinNames(), name) {
		rs, err = rule.Builtin(name)
	} else {
		var data []byte
		data, err = os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			return nil, misuse("built in are "+strings.Join(rule.BuiltinNames(), ", "), "no ruleset and no file %q", name)
		}
		if err == nil {
			rs, err = rule.Load(name, data)
		}
	}
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return rs, nil
	}
	return rule.Select(rs, ids)
}
