package awsiam

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"golang.org/x/time/rate"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/wire"
)

// DefaultRole is the name of the role by which Members reads an account, where nobody names another.
const DefaultRole = "keyreeve-audit"

const (
	actionAssumeRole = "sts:AssumeRole"

	// memberSession is how long the role of a member is assumed for: every role lets a session last that long, and
	// no longer where it is assumed by the credentials of another role.
	memberSession = time.Hour

	// DefaultAssumeRate leaves most of the 600 calls a second that STS takes of an account in a region to others.
	DefaultAssumeRate = 100

	// memberConnections are kept open at most while nobody uses them: accounts in turn use the same ones.
	memberConnections = 2048
)

// Members opens the accounts of an organisation, by the thousand: one chain of credentials, one set of connections,
// and in each account a role that is assumed once and renewed before it ends. It is safe for concurrent use.
type Members struct {
	base     *client
	caller   fact.Caller
	sts      *sts.Client   // assumes roles; has no meter of its own
	assuming *rate.Limiter // of all accounts
}

// MemberSettings say how to read one account of an organisation.
type MemberSettings struct {
	Role        string // its name, after its path where it has one: ops/keyreeve-audit; empty means DefaultRole
	ExternalID  string // that the role asks for; empty: none
	SessionName string // as the account's log shows it; empty means keyreeve

	Concurrency int     // operations under way at once in the account; 0 means Settings.Concurrency
	Rate        float64 // HTTP requests a second in the account, retries included; 0 means Settings.Rate
}

// Validate reports every mistake of s at once: what holds for all accounts need not be found out in each.
func (s MemberSettings) Validate() error {
	role := Settings{
		RoleARN:    "arn:aws:iam::000000000000:role/" + strings.TrimPrefix(orDefault(s.Role, DefaultRole), "/"),
		ExternalID: s.ExternalID, SessionName: s.SessionName, Concurrency: s.Concurrency, Rate: s.Rate,
	}
	return role.Validate()
}

// OpenMembers reads the configuration, and asks STS who is calling: that account needs no role. Settings.Concurrency
// and Settings.Rate hold for each account on its own, Settings.AssumeRate for the roles of all. Settings.Now is needed:
// sessions are renewed by it. The endpoint of STS is that of the region of s, or the global one where the region has none.
func OpenMembers(ctx context.Context, s Settings) (*Members, error) {
	if s.Now == nil {
		return nil, &Error{Doing: "open AWS", Kind: ErrSettings, Err: errors.New("without a clock, sessions cannot be renewed in time")}
	}
	base, err := connect(ctx, s, purposeOrg)
	if err != nil {
		return nil, err
	}
	base.keepIdle(memberConnections)
	caller, err := base.Caller(ctx)
	if err != nil {
		base.Close()
		return nil, err
	}
	limit := orDefault(s.AssumeRate, DefaultAssumeRate)
	return &Members{
		base: base, caller: caller,
		sts:      sts.NewFromConfig(base.cfg, base.stsEndpoint),
		assuming: rate.NewLimiter(rate.Limit(limit), max(1, int(limit))),
	}, nil
}

// Caller is whose credentials assume the roles.
func (m *Members) Caller() fact.Caller { return m.caller }

// Close ends the idle connections, also those of the Readers. What was opened stays usable.
func (m *Members) Close() { m.base.Close() }

// Open assumes the role of an account and gives a Reader of it, which counts sts:AssumeRole among its calls. The
// caller's own account is read by the caller's own credentials, without a role and without a call. An empty
// account.Partition is the caller's.
//
// The Reader needs no Close. Each has concurrency and rate of its own.
func (m *Members) Open(ctx context.Context, account fact.Account, s MemberSettings) (*Reader, error) {
	account.Partition = orDefault(account.Partition, m.caller.Account.Partition)
	role, err := m.role(account, s)
	if err != nil {
		return nil, &Error{Doing: fmt.Sprintf("open account %q", account.ID), Subject: account.ID, Kind: ErrSettings, Err: err}
	}
	c := m.base.branch(role)
	c.account.Store(&account.ID)
	if account.ID == m.caller.Account.ID {
		c.told.Store(&m.caller)
		c.sign(m.base.signer, m.base.role.bases)
		return &Reader{c}, nil
	}
	session := &session{
		now: role.Now, turn: make(chan struct{}, 1),
		assume: func(ctx context.Context) (aws.Credentials, error) { return m.assume(ctx, c, account) },
	}
	if _, err := session.Retrieve(ctx); err != nil {
		return nil, err
	}
	c.sign(named{session}, append(slices.Clone(m.base.role.bases), m.base.signer))
	return &Reader{c}, nil
}

// role is the settings for the Reader of an account.
func (m *Members) role(account fact.Account, s MemberSettings) (Settings, error) {
	out := m.base.set
	if !fact.IsAccountID(account.ID) {
		return out, errors.New("an account id has twelve digits")
	}
	if account.Partition != m.caller.Account.Partition {
		return out, fmt.Errorf("it is in partition %q, and the credentials are of partition %q", account.Partition, m.caller.Account.Partition)
	}
	out.RoleARN = "arn:" + account.Partition + ":iam::" + account.ID + ":role/" + strings.TrimPrefix(orDefault(s.Role, DefaultRole), "/")
	out.ExternalID, out.SessionName = s.ExternalID, orDefault(s.SessionName, defaultSession)
	out.Concurrency, out.Rate = orDefault(s.Concurrency, out.Concurrency), orDefault(s.Rate, out.Rate)
	return out, out.Validate()
}

// assume gives the credentials of the role of c, in the account and no other.
func (m *Members) assume(ctx context.Context, c *client, account fact.Account) (aws.Credentials, error) {
	doing := fmt.Sprintf("assume role %q", c.set.RoleARN)
	in := &sts.AssumeRoleInput{
		RoleArn: &c.set.RoleARN, RoleSessionName: &c.set.SessionName, DurationSeconds: aws.Int32(int32(memberSession / time.Second)),
	}
	if c.set.ExternalID != "" {
		in.ExternalId = &c.set.ExternalID
	}
	c.meter.count(actionAssumeRole)
	out, err := m.sts.AssumeRole(ctx, in, func(o *sts.Options) {
		o.APIOptions = append(o.APIOptions, c.meter.inside(m.assuming))
	})
	if err != nil {
		e := c.failure(ctx, actionAssumeRole, doing, c.set.RoleARN, err)
		e.Purpose = purposeOrg
		if errors.Is(e.Kind, ErrDenied) {
			e.hint = m.refusalHint(c.set)
		}
		return aws.Credentials{}, e
	}
	if out.AssumedRoleUser == nil || out.Credentials == nil || aws.ToString(out.Credentials.AccessKeyId) == "" ||
		aws.ToString(out.Credentials.SecretAccessKey) == "" || aws.ToString(out.Credentials.SessionToken) == "" {
		return aws.Credentials{}, c.unusable(ctx, actionAssumeRole, doing, c.set.RoleARN, "it holds no credentials, or does not say whose")
	}
	arn := aws.ToString(out.AssumedRoleUser.Arn)
	if !strings.HasPrefix(arn, "arn:"+account.Partition+":sts::"+account.ID+":assumed-role/") {
		return aws.Credentials{}, c.unusable(ctx, actionAssumeRole, doing, c.set.RoleARN, "the session is %q, not of that account", arn)
	}
	c.told.Store(&fact.Caller{
		Account: fact.Account{ID: account.ID, Partition: account.Partition}, ARN: arn, ID: aws.ToString(out.AssumedRoleUser.AssumedRoleId),
	})
	return aws.Credentials{
		AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey,
		SessionToken: *out.Credentials.SessionToken, Source: "keyreeve",
	}, nil
}

// refusalHint tells what may be missing where AWS only says no: it does not tell a role that is not there from one
// that wants another external id.
func (m *Members) refusalHint(s Settings) string {
	external := "no external id"
	if s.ExternalID != "" {
		external = fmt.Sprintf("the external id %q", s.ExternalID)
	}
	return fmt.Sprintf("keyreeve org setup prints the role: it has to be in the account, to trust %s and to ask for %s, "+
		"and the one who assumes it needs sts:AssumeRole", m.caller.ARN, external)
}

// session holds the credentials of a role while they last.
type session struct {
	assume func(context.Context) (aws.Credentials, error)
	now    func() time.Time
	turn   chan struct{} // taken by the one who looks, and assumes the role if need be
	held   aws.Credentials
	since  time.Time
}

// Retrieve counts the time from when the role was assumed, by our clock alone: how far that is off does not matter.
func (s *session) Retrieve(ctx context.Context) (aws.Credentials, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return aws.Credentials{}, ctx.Err()
	}
	now := s.now()
	if age := now.Sub(s.since); s.held.HasKeys() && age >= 0 && age < memberSession-renewal {
		return s.held, nil
	}
	got, err := s.assume(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	s.held, s.since = got, now
	return got, nil
}

// keepIdle raises the number of connections that wait for their next use.
func (c *client) keepIdle(n int) {
	if t, ok := c.http.Transport.(*wire.Transport); ok {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = n, n
	}
}
