package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/plan"
	"github.com/keyreeve/keyreeve/internal/report"
)

// accountPlan is what came of planning one account: a plan, or why there is none.
type accountPlan struct {
	account fact.Account
	plan    *plan.Plan
	gaps    int
	err     error
}

// planOrganization makes a plan for each account of an organisation, each a file of its own: whoever applies one holds
// credentials of that account alone.
func (a *app) planOrganization(ctx context.Context, p *planRequest) error {
	if p.out != "" {
		if err := os.MkdirAll(p.out, 0o700); err != nil {
			return misuse("name a directory that can be made", "--out: %v", err)
		}
	}
	made, notes, err := a.planAccounts(ctx, p)
	if err != nil {
		return err
	}
	steps, incomplete := 0, false
	rows := make([]report.AccountPlan, 0, len(made))
	for i := range made {
		m := &made[i]
		row := report.AccountPlan{Account: m.account, Plan: m.plan, Err: m.err}
		path := filepath.Join(p.out, m.account.ID+".json")
		switch {
		case p.out == "":
		case m.plan == nil || len(m.plan.Steps) == 0:
			if err := dropPlan(path, m.account.ID); err != nil {
				return err
			}
		default:
			row.Path = path
			body, err := m.plan.Encode()
			if err != nil {
				return err
			}
			if err := writeFile(row.Path, func(w io.Writer) error { _, err := w.Write(body); return err }); err != nil {
				return err
			}
		}
		if m.plan != nil {
			steps += len(m.plan.Steps)
			incomplete = incomplete || m.gaps > 0 || slices.ContainsFunc(m.plan.Accounts, func(acc plan.Account) bool { return !acc.Complete })
		}
		incomplete = incomplete || m.err != nil
		rows = append(rows, row)
	}
	opt := a.reportOptions()
	if err := a.writeStdout(func(w io.Writer) error { return report.WritePlans(w, rows, opt) }); err != nil {
		return err
	}
	for _, n := range notes {
		a.warn("%s", n)
	}
	if p.out != "" && steps > 0 && !a.global.quiet {
		a.say("next: keyreeve apply %s, with credentials that may change that account (--remediate-role)", filepath.Join(p.out, "ACCOUNT.json"))
	}
	if incomplete {
		a.warn("the plans are incomplete: what was not read has no step")
		return &exitError{code: ExitIncomplete}
	}
	return nil
}

// dropPlan removes the account's plan that an earlier run wrote: beside the new ones it would pass for one of them. What is no
// plan of that account stays.
func dropPlan(path, account string) error {
	if !isPlanOf(path, account) {
		return nil
	}
	return os.Remove(path)
}

func isPlanOf(path, account string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // only read
	old, err := plan.Decode(f)
	return err == nil && len(old.Accounts) == 1 && old.Accounts[0].ID == account
}

// planAccounts reads the accounts and plans each; the plans are in the order of the accounts' ids.
func (a *app) planAccounts(ctx context.Context, p *planRequest) ([]accountPlan, []string, error) {
	bar := a.progress()
	defer bar.stop()
	o, err := a.openOrganization(ctx, &p.org, a.settings(p.read.Concurrency, p.rate), p.judge.Ruleset)
	if err != nil {
		return nil, nil, err
	}
	defer o.close()
	var (
		mu   sync.Mutex
		done int
		g    errgroup.Group
		out  = make([]accountPlan, len(o.chosen))
	)
	g.SetLimit(p.read.Concurrency)
	for i, m := range o.chosen {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			out[i] = a.planMember(ctx, o, m, p)
			mu.Lock()
			defer mu.Unlock()
			done++
			bar.show("accounts", done, len(o.chosen))
			return nil
		})
	}
	_ = g.Wait() // what went wrong stands with its account
	if ctx.Err() != nil {
		return nil, nil, &interrupted{"reading " + bar.said()}
	}
	return out, o.notes, nil
}

func (a *app) planMember(ctx context.Context, o *organization, m member, p *planRequest) accountPlan {
	out := accountPlan{account: m.Account}
	r, err := o.members.Open(ctx, m.Account, o.open)
	if err != nil {
		out.err = err
		return out
	}
	how := p.read
	how.Concurrency, how.Account = min(how.Concurrency, callsInAccount), m.Account
	read, err := a.readAccount(ctx, r, p, how)
	if err != nil {
		out.err = fmt.Errorf("read account %s: %w", m.ID, err)
		return out
	}
	read.snapshot.Gaps = append(read.snapshot.Gaps, m.gaps...)
	each := *p // planFrom notes the instant in it
	made, result, err := a.planFrom(read, &each)
	if err != nil {
		out.err = err
		return out
	}
	out.plan, out.gaps = made, len(result.Accounts[0].Gaps)
	return out
}
