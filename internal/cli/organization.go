package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/rule"
	"github.com/keyreeve/keyreeve/internal/spool"
)

const (
	// accountsAtOnce is how many accounts of an organisation are read at once where --concurrency does not say.
	accountsAtOnce = 32
	// callsInAccount bounds the calls under way in one account of an organisation.
	callsInAccount = 8
)

// orgFlags say which accounts of an organisation are read, and by which role.
type orgFlags struct {
	org        bool
	accounts   []string
	exclude    []string
	units      []string
	role       string
	externalID string
	session    string
	assumeRate float64
}

func (f *orgFlags) register(c *cobra.Command) {
	fs := c.Flags()
	fs.BoolVar(&f.org, "org", false, "every account of the organisation; the credentials are those of its management account or a delegated administrator")
	fs.StringSliceVar(&f.accounts, "accounts", nil, "with --org, only these accounts, by `ID`")
	fs.StringSliceVar(&f.exclude, "exclude-accounts", nil, "with --org, all accounts but these, by `ID`")
	fs.StringSliceVar(&f.units, "ou", nil, "with --org, only the accounts in and below the organisational unit, by `PATH` (Root/Workloads) or id")
	fs.StringVar(&f.role, "org-role", awsiam.DefaultRole, "with --org, the `ROLE` to assume in each account, with its path where it has one; keyreeve org setup makes it")
	fs.StringVar(&f.externalID, "external-id", "", "with --org, the `ID` that the role asks for")
	fs.Float64Var(&f.assumeRate, "assume-rate", awsiam.DefaultAssumeRate, "with --org, most `ROLES` to assume a second: STS takes 600 calls a second of an account")
	fs.StringVar(&f.session, "session-name", "keyreeve", "with --org, the `NAME` of the role's sessions, as the accounts' logs show it")
}

// check finds flags of the organisation without --org, and accounts that are none.
func (f *orgFlags) check(c *cobra.Command) error {
	var errs []error
	if !f.org {
		for _, name := range []string{"accounts", "exclude-accounts", "ou", "org-role", "external-id", "session-name", "assume-rate", "resume"} {
			if flag := c.Flags().Lookup(name); flag != nil && flag.Changed {
				errs = append(errs, misuse("add --org, or leave it out", "--%s is about an organisation", name))
			}
		}
	}
	if _, name, found := strings.Cut(f.role, ":role/"); found {
		errs = append(errs, misuse("--org-role "+name, "--org-role %q is the ARN of one role: the name alone is the same in each account", f.role))
	} else if err := f.member().Validate(); err != nil {
		errs = append(errs, misuse("keyreeve org setup makes the role, and says which it is", "%v", err))
	}
	if !(f.assumeRate > 0 && f.assumeRate < 1e6) {
		errs = append(errs, misuse("use roles a second", "--assume-rate %v", f.assumeRate))
	}
	for _, list := range [][]string{f.accounts, f.exclude} {
		for _, id := range list {
			if !fact.IsAccountID(id) {
				errs = append(errs, misuse("an account id has twelve digits", "%q is no account id", id))
			}
		}
	}
	return errors.Join(errs...)
}

// member says how to enter an account.
func (f *orgFlags) member() awsiam.MemberSettings {
	return awsiam.MemberSettings{Role: f.role, ExternalID: f.externalID, SessionName: f.session}
}

// organization is an organisation that is about to be read.
type organization struct {
	id      string
	members *awsiam.Members
	open    awsiam.MemberSettings
	chosen  []member // that are to be read
	there   []string // ids of all accounts that can be read, also of those that are not to be
	absent  []string // what --accounts and --ou ask for and the organisation does not have
	notes   []string // of accounts that are left out
}

// member is one account of it.
type member struct {
	fact.Member
	gaps []fact.Gap // what the organisation would not tell of it
}

// openOrganization reads which accounts there are, chooses among them, and opens the way into them. To ask for what is not there is
// misuse. rs tells what the rules ask of them.
func (a *app) openOrganization(ctx context.Context, f *orgFlags, set awsiam.Settings, rs *rule.Ruleset) (*organization, error) {
	set.Concurrency, set.AssumeRate = min(set.Concurrency, callsInAccount), f.assumeRate
	o, err := a.readOrganization(ctx, f, set, rs)
	if err != nil {
		return nil, err
	}
	if len(o.absent) > 0 {
		return nil, misuse("keyreeve org accounts tells which accounts there are, and where", "%s", strings.Join(o.absent, "\n"))
	}
	if o.members, err = awsiam.OpenMembers(ctx, set); err != nil {
		return nil, err
	}
	return o, nil
}

// readOrganization reads which accounts there are, and chooses among them.
func (a *app) readOrganization(ctx context.Context, f *orgFlags, set awsiam.Settings, rs *rule.Ruleset) (*organization, error) {
	reader, err := awsiam.OpenOrganization(ctx, set)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	org, err := reader.Read(ctx)
	if err != nil {
		return nil, err
	}
	o := &organization{id: org.ID, open: f.member()}
	if err := reader.Place(ctx, &org); err != nil {
		if len(f.units) > 0 || ctx.Err() != nil {
			return nil, err
		}
		o.notes = append(o.notes, "organisational units were not read: "+err.Error())
	}
	if err := o.choose(&org, f); err != nil {
		return nil, err
	}
	if rs != nil && rs.AsksAccountTags() {
		if err := o.readTags(ctx, reader, set.Concurrency); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (o *organization) close() { o.members.Close() }

// choose keeps the accounts that the flags mean and that can be read.
func (o *organization) choose(org *fact.Organization, f *orgFlags) error {
	for _, id := range f.accounts {
		if _, ok := org.Member(id); !ok {
			o.absent = append(o.absent, fmt.Sprintf("account %s is not in organisation %s", id, org.ID))
		}
	}
	for _, ou := range f.units {
		if _, ok := org.Unit(ou); !ok {
			o.absent = append(o.absent, fmt.Sprintf("organisation %s has no unit %q", org.ID, ou))
		}
	}
	for _, id := range f.exclude {
		if _, ok := org.Member(id); !ok { // it left, or is mistyped
			o.notes = append(o.notes, fmt.Sprintf("account %s, which --exclude-accounts names, is not in organisation %s", id, org.ID))
		}
	}
	var closed []string
	for _, m := range org.Members {
		if m.State.Readable() {
			o.there = append(o.there, m.ID)
		}
		switch {
		case len(f.accounts) > 0 && !slices.Contains(f.accounts, m.ID), slices.Contains(f.exclude, m.ID),
			len(f.units) > 0 && !slices.ContainsFunc(f.units, m.Under):
		case !m.State.Readable():
			closed = append(closed, fmt.Sprintf("%s (%s)", m.ID, strings.ToLower(strings.ReplaceAll(string(m.State), "_", " "))))
		default:
			o.chosen = append(o.chosen, member{Member: m})
		}
	}
	if n := len(closed); n > 0 {
		o.notes = append(o.notes, fmt.Sprintf("%s left out, for nobody can read them: %s", countAccounts(n), firstFew(closed)))
	}
	if len(o.chosen) == 0 {
		why := append(slices.Clone(o.absent), fmt.Sprintf("no account of organisation %s is left to read", org.ID))
		return misuse("keyreeve org accounts lists them", "%s", strings.Join(why, "\n"))
	}
	return nil
}

func countAccounts(n int) string {
	if n == 1 {
		return "1 account"
	}
	return fmt.Sprintf("%d accounts", n)
}

func firstFew(list []string) string {
	const most = 5
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}

// accountTags is what is asked of the organisation to read the tags of an account.
const accountTags = "ListTagsForResource"

// readTags reads the tags of the chosen accounts, one call each; those that cannot be read are gaps. The error is that of ctx.
func (o *organization) readTags(ctx context.Context, r *awsiam.Organization, atOnce int) error {
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i := range o.chosen {
		g.Go(func() error {
			m := &o.chosen[i]
			var err error
			if m.Tags, err = r.AccountTags(ctx, m.ID); err != nil {
				m.gaps = []fact.Gap{{Account: m.ID, Reading: accountTags, Why: err.Error(), Denied: errors.Is(err, fact.ErrDenied)}}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

// audited are the chosen accounts as audit reads them.
func (o *organization) audited() []audit.Member {
	out := make([]audit.Member, len(o.chosen))
	for i, m := range o.chosen {
		out[i] = audit.Member{Account: m.Account, Gaps: m.gaps, Open: func(ctx context.Context) (audit.Reader, func(), error) {
			r, err := o.members.Open(ctx, m.Account, o.open)
			if err != nil {
				return nil, nil, err
			}
			return r, func() {}, nil
		}}
	}
	return out
}

// auditOrganization reads and judges the accounts of an organisation.
func (a *app) auditOrganization(ctx context.Context, p *auditPlan, bar *progress) (*finding.Audit, error) {
	o, err := a.openOrganization(ctx, &p.org, a.settings(p.how.Concurrency, p.rate), p.opt.Ruleset)
	if err != nil {
		return nil, err
	}
	defer o.close()
	how := audit.OrganizationOptions{LiveOptions: p.how, Accounts: p.how.Concurrency}
	how.Concurrency = min(how.Concurrency, callsInAccount)
	how.Progress = bar.show
	kept := a.spool(o, p)
	if kept != nil {
		defer func() { _ = kept.Close() }() // done, or left to --resume
		how.Spool, how.Began = kept, kept.Run().StartedAt
	}
	result, err := audit.Organization(ctx, o.audited(), how, p.opt)
	if ctx.Err() != nil {
		hint := ""
		if kept != nil {
			hint = "; --resume goes on with the others"
		}
		return nil, &interrupted{"reading " + bar.said() + hint}
	}
	if err != nil {
		return nil, err
	}
	if p.left != nil {
		if err := p.left(ctx, o); err != nil {
			return nil, err
		}
	}
	result.Notes = append(o.notes, result.Notes...)
	if kept != nil {
		if err := kept.Done(); err != nil {
			a.log().Warn("remove what was read", "error", err)
		}
	}
	return result, nil
}

// spool is where what is read is kept until the run is done: that of the run to take up again, or a new one; nil where nothing
// can be kept.
func (a *app) spool(o *organization, p *auditPlan) *spool.Spool {
	dir, err := a.stateDir()
	if err != nil {
		return nil
	}
	dir = filepath.Join(dir, "reading")
	now := a.sys.Now().UTC().Truncate(time.Second)
	run := spool.Run{Organization: o.id, Evidence: p.how.Evidence, Confirm: p.confirm, Asks: asks(&p.opt, now), StartedAt: now}
	if p.resume {
		s, unlike := spool.Resume(dir, run, now)
		switch {
		case s != nil:
			a.say("going on with the audit that began at %s: %s read already", s.Run().StartedAt.Format(time.RFC3339), countAccounts(len(s.Accounts())))
			return s
		case unlike:
			a.say("the audit of organisation %s that was broken off went by other rules, accepted risks or flags; starting anew", o.id)
		default:
			a.say("no audit of organisation %s was broken off in the last day; starting anew", o.id)
		}
	}
	s, err := spool.Begin(dir, run)
	if err != nil {
		a.log().Warn("what is read cannot be kept for --resume", "error", err)
		return nil
	}
	return s
}

// asks is a digest of what decides who fails, and is read again: the rules, the accepted risks that hold, the instant that
// was asked for.
func asks(opt *audit.Options, now time.Time) string {
	var held []string
	for _, e := range opt.Exceptions.All() {
		if e.Expires.Compare(fact.At(now)) > 0 {
			held = append(held, fmt.Sprintf("%q %q %q %q %v", e.Rule, e.Account, e.User, e.Key, e.Tag))
		}
	}
	text, err := json.Marshal([]any{audit.Terms(opt.Ruleset), held, opt.AsOf})
	if err != nil { // all of it is plain values
		panic(err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
