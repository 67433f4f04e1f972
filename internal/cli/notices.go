package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/channel"
	"github.com/keyreeve/keyreeve/internal/config"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/notice"
	"github.com/keyreeve/keyreeve/internal/report"
	"github.com/keyreeve/keyreeve/internal/yamlfile"
)

func (a *app) noticesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "notices",
		Short: "Who is told what changed: what was sent, test a channel",
		Long: "Who is told what changed is in the settings file, under notices:. Secrets, such as the address of a webhook,\n" +
			"stand in variables or in files that nobody else may read, which the settings name.",
		Example: "  keyreeve notices list\n  keyreeve notices test team",
		Args:    noArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.noticesListCommand(), a.noticesTestCommand())
	return c
}

func (a *app) noticesListCommand() *cobra.Command {
	var format string
	var limit int
	c := &cobra.Command{
		Use:   "list",
		Short: "What keyreeve serve has sent, and what waits",
		Long: "list tells of the messages that keyreeve serve has put into the outbox, the last ones first: which channel, what about,\n" +
			"whether it was sent, what the channel answered, and when one that failed is tried again; and how many wait.",
		Example: "  keyreeve notices list\n  keyreeve notices list -o json --limit 0",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := refuseEmptyFlags(c); err != nil {
				return err
			}
			return a.listNotices(c.Context(), format, limit)
		},
	}
	c.Flags().StringVarP(&format, "output", "o", "text", "`FORMAT`: text, json")
	c.Flags().IntVar(&limit, "limit", 20, "most `MESSAGES` to list; 0: all")
	completeValues(c, "output", []string{"text", "json"})
	return c
}

func (a *app) listNotices(ctx context.Context, format string, limit int) error {
	f, err := textOrJSON(format)
	if err != nil {
		return err
	}
	if limit < 0 {
		return misuse("use 0 for all", "--limit %d", limit)
	}
	var found []notice.Record
	waiting := 0
	db, err := a.openNamed(ctx)
	if err != nil {
		return err
	}
	if db != nil {
		defer func() { _ = db.Close() }()
		if found, err = db.Outbox().Notices(ctx, limit); err != nil {
			return err
		}
		if waiting, err = db.Outbox().Waiting(ctx); err != nil {
			return err
		}
	}
	opt := a.reportOptions()
	return a.writeStdout(func(w io.Writer) error { return report.WriteNotices(w, f, found, waiting, opt) })
}

// testLimit is how long a test waits for its channel.
const testLimit = 30 * time.Second

func (a *app) noticesTestCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "test CHANNEL",
		Short: "Send one message that says it is a test",
		Long: "test sends one message, marked as a test, to a channel of the settings, at once and once: it does not wait in\n" +
			"an outbox and is not tried again. It prints what the channel said. Security Hub has no test: a finding stays.",
		Example: "  keyreeve notices test team",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misuse("keyreeve notices test CHANNEL", "test takes the name of one channel")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return a.testChannel(c.Context(), args[0]) },
	}
}

func (a *app) testChannel(ctx context.Context, name string) error {
	set, path, err := a.readConfig(a.sys.Now())
	if err != nil {
		return asMisuse(err)
	}
	n := set.Notices()
	i := slices.IndexFunc(n.Channels, func(c config.Channel) bool { return c.Name == name })
	switch {
	case len(n.Channels) == 0:
		return misuse("docs/notices.md shows the section notices: of keyreeve.yaml", "no settings name a channel")
	case i < 0:
		var names []string
		for _, c := range n.Channels {
			names = append(names, c.Name)
		}
		return misuse(yamlfile.DidYouMean(name, names), "%s has no channel %q", path, name)
	case n.Channels[i].Kind == channel.SecurityHub:
		return misuse("aws securityhub describe-hub tells whether it is enabled", "channel %q is Security Hub, where a test would stay as a finding", name)
	}
	c, closes, err := a.openChannel(ctx, n.Channels[i])
	if err != nil {
		return err
	}
	defer closes()
	ctx, cancel := context.WithTimeout(ctx, testLimit)
	defer cancel()
	m := notice.NewTest(n.Routing.Channels[i], a.sys.Now())
	receipt, err := c.Send(ctx, m)
	if err != nil {
		return fmt.Errorf("channel %q: %w", name, err)
	}
	line := fmt.Sprintf("channel %s took test %s", name, m.ID)
	if receipt.Answer != "" {
		line += ", and said: " + strings.Map(printable, receipt.Answer)
	}
	_, err = fmt.Fprintln(a.sys.Stdout, line)
	return err
}

// openChannel makes a channel of its settings, with its secrets, and calls nobody. What it returns last ends the connections.
func (a *app) openChannel(ctx context.Context, c config.Channel) (notice.Channel, func(), error) {
	out, closes, err := a.makeChannel(ctx, c)
	if err != nil {
		return nil, nil, asMisuse(fmt.Errorf("channel %q: %w", c.Name, err))
	}
	return out, closes, nil
}

func (a *app) makeChannel(ctx context.Context, c config.Channel) (notice.Channel, func(), error) {
	address, err1 := a.secret(c.URL)
	key, err2 := a.secret(c.Key)
	password, err3 := a.secret(c.Password)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, nil, err
	}
	switch c.Kind {
	case channel.Slack:
		s := *c.Hook
		s.URL = address
		out, err := channel.NewSlack(s)
		return opened(out, err)
	case channel.Teams:
		s := *c.Hook
		s.URL = address
		out, err := channel.NewTeams(s)
		return opened(out, err)
	case channel.Webhook:
		s := *c.Webhook
		if !c.URL.None() {
			s.URL = address
		}
		s.Key, s.Now = key, a.sys.Now
		out, err := channel.NewWebhook(s)
		return opened(out, err)
	case channel.Mail:
		s := *c.Mail
		s.Password = password
		out, err := channel.NewMail(s)
		return out, func() {}, err
	default:
		return a.awsChannel(ctx, c)
	}
}

// opened is a channel with what ends its connections.
func opened[C interface {
	notice.Channel
	Close()
}](c C, err error) (notice.Channel, func(), error) {
	if err != nil {
		return nil, nil, err
	}
	return c, c.Close, nil
}

// noticeAttempts of a call to AWS are made by the SDK: the outbox tries again later.
const noticeAttempts = 3

func (a *app) awsChannel(ctx context.Context, c config.Channel) (notice.Channel, func(), error) {
	s := a.settings(0, 0)
	s.MaxAttempts, s.RoleARN, s.ExternalID = noticeAttempts, c.AWS.RoleARN, c.AWS.ExternalID
	if c.AWS.Region != "" {
		s.Region = c.AWS.Region
	}
	switch c.Kind {
	case channel.SNS:
		topics, err := awsiam.OpenTopics(ctx, s)
		if err != nil {
			return nil, nil, err
		}
		return channel.NewSNS(c.Name, c.AWS.Place, topics), topics.Close, nil
	case channel.EventBridge:
		buses, err := awsiam.OpenBuses(ctx, s)
		if err != nil {
			return nil, nil, err
		}
		return channel.NewEventBridge(c.Name, c.AWS.Place, buses), buses.Close, nil
	case channel.SecurityHub:
		hub, err := awsiam.OpenHub(ctx, s)
		if err != nil {
			return nil, nil, err
		}
		return channel.NewSecurityHub(c.Name, hub, asHubFinding), hub.Close, nil
	default:
		return nil, nil, errors.New("unknown kind of channel " + string(c.Kind))
	}
}

func asHubFinding(v *finding.Verdict, account, region string, at time.Time, closed notice.Reason) ([]byte, error) {
	return report.Finding(v, report.Import{Account: account, Region: region, At: at, Closed: closed})
}

// longestSecret is of what a file with a secret may hold.
const longestSecret = 16 << 10

// secret looks up what the settings only name. Line breaks at its end are not part of it.
func (a *app) secret(ref config.SecretRef) (fact.Secret, error) {
	switch {
	case ref.None():
		return fact.Secret{}, nil
	case ref.Env != "":
		text := strings.TrimRight(a.sys.Getenv(ref.Env), "\r\n")
		if text == "" {
			return fact.Secret{}, misuse("set it where keyreeve runs", "the variable %s is empty", ref.Env)
		}
		return fact.NewSecret(text), nil
	}
	f, err := os.Open(ref.File)
	if err != nil {
		return fact.Secret{}, misuse("the settings name it", "a secret: %v", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	switch {
	case err != nil:
		return fact.Secret{}, fmt.Errorf("a secret: %w", err)
	case !info.Mode().IsRegular():
		return fact.Secret{}, misuse("", "the secret %s is not a file", ref.File)
	case runtime.GOOS != "windows" && info.Mode().Perm()&othersMay != 0: // Windows has no such bits
		return fact.Secret{}, misuse("chmod 600 "+ref.File, "the secret %s may be read by others (mode %04o)", ref.File, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, longestSecret+1))
	text := strings.TrimRight(string(data), "\r\n")
	switch {
	case err != nil:
		return fact.Secret{}, fmt.Errorf("a secret: %w", err)
	case text == "" || len(data) > longestSecret:
		return fact.Secret{}, misuse("it holds the secret and nothing else", "the secret %s is empty, or too long to be one", ref.File)
	}
	return fact.NewSecret(text), nil
}

// othersMay are the bits of a mode that let others than the owner at a file.
const othersMay fs.FileMode = 0o077
