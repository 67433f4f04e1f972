// Package cli is the command line: one file a command, each of which reads its flags into a struct, checks
// them, calls one function of an engine and renders what comes back. The exit codes and the wiring of the
// packages below live here too.
//
// It decides nothing about keys. Its promises: results go to standard output and everything for people to
// standard error; a run that did not get what it was asked for never exits with 0; a file it writes is
// whole or not there; mistakes of the caller are told before anything is read from an account.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/credreport"
	"github.com/keyreeve/keyreeve/internal/report"
)

// System is the part of the world that the program touches, so that a test can hold it in its hand.
type System struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
	Now    func() time.Time
	Wait   func(ctx context.Context, d time.Duration) error // nil: a timer
	// OnWrite hears of each write to the journal, before and after it: crash tests end the process there. May be nil.
	OnWrite func(point string)
}

// Host is the machine the program runs on.
func Host() System {
	return System{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Now: time.Now}
}

// terminal tells whether w is one, and how wide.
func terminal(w io.Writer) (width int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		width = 80
	}
	return width, true
}

// globals are the flags of every command.
type globals struct {
	config      string
	db          string
	profile     string
	region      string
	endpointURL string
	logLevel    string
	logFormat   string
	noColor     bool
	quiet       bool
	maskKeys    bool
}

func (g *globals) register(f *pflag.FlagSet) {
	f.StringVar(&g.config, "config", "", "settings `FILE` (default ./keyreeve.yaml, then $XDG_CONFIG_HOME/keyreeve/keyreeve.yaml; absent is fine)")
	f.StringVar(&g.db, "db", "", "journal at `URL`: sqlite:PATH or postgres://... (default sqlite:$XDG_STATE_HOME/keyreeve/keyreeve.db)")
	f.StringVar(&g.profile, "profile", "", "`NAME` of a profile in the AWS configuration files")
	f.StringVar(&g.region, "region", "", "AWS region `NAME` (default us-east-1; IAM is the same in all of a partition)")
	f.StringVar(&g.endpointURL, "endpoint-url", "", "`URL` to call instead of AWS")
	f.StringVar(&g.logLevel, "log-level", "warn", "`LEVEL` to log from: debug, info, warn, error")
	f.StringVar(&g.logFormat, "log-format", "text", "`FORMAT` of the log: text, json")
	f.BoolVar(&g.noColor, "no-color", false, "no colour (the variable NO_COLOR does the same)")
	f.BoolVar(&g.quiet, "quiet", false, "no progress and no warnings on standard error; errors only")
	f.BoolVar(&g.maskKeys, "mask-keys", false, "show only the ends of access key ids")
}

// app is one run of the program.
type app struct {
	sys     System
	version string
	global  globals
	calls   awsiam.Counters // what this process asked of AWS
}

// Run carries out one command line and returns its exit code.
func Run(ctx context.Context, args []string, sys System) int {
	a := &app{sys: sys, version: Version()}
	root := a.root() //nolint:contextcheck // cobra hands ctx to each command
	root.SetArgs(args)
	root.SetIn(sys.Stdin)
	root.SetOut(sys.Stdout)
	root.SetErr(sys.Stderr)
	return a.report(root.ExecuteContext(ctx))
}

// report tells what went wrong, if anything, and chooses the exit code.
func (a *app) report(err error) int {
	var coded *exitError
	var stopped *interrupted
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &coded) && coded.err == nil:
		return coded.code
	case errors.As(err, &stopped):
		a.say("interrupted: %s; nothing was written", stopped.doing)
		return ExitBroke
	case errors.As(err, &coded):
		a.sayError(coded.err)
		return coded.code
	default:
		a.sayError(err)
		return codeOf(err)
	}
}

// sayError tells an error and, where it knows one, the next move.
func (a *app) sayError(err error) {
	a.say("error: %v", err)
	var hinted interface{ Hint() string }
	var bad *credreport.Error
	switch {
	case errors.As(err, &hinted) && hinted.Hint() != "":
		a.say("hint: %s", hinted.Hint())
	case errors.As(err, &bad) && bad.Hint != "":
		a.say("hint: %s", bad.Hint)
	}
}

// say writes a line for people, of printable text only: file names and answers of servers must not move the cursor.
// Nothing can be done when standard error is gone.
func (a *app) say(format string, args ...any) {
	text := strings.Map(printable, fmt.Sprintf(format, args...))
	if a.global.maskKeys {
		text = report.Mask(text)
	}
	_, _ = fmt.Fprintln(a.sys.Stderr, text)
}

// masked writes to w with key ids masked, one call of Write at a time: a line of the log is one.
type masked struct{ w io.Writer }

func (m masked) Write(b []byte) (int, error) {
	_, err := io.WriteString(m.w, report.Mask(string(b)))
	return len(b), err
}

func printable(r rune) rune {
	if r == '\n' || unicode.IsPrint(r) {
		return r
	}
	return '\uFFFD'
}

// interrupted is the end of a run that a person stopped before it wrote anything.
type interrupted struct{ doing string }

func (e *interrupted) Error() string { return "interrupted: " + e.doing }

func (a *app) warn(format string, args ...any) {
	if !a.global.quiet {
		a.say("warning: "+format, args...)
	}
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "keyreeve",
		Short: "See, judge, fix and prove the state of AWS IAM access keys",
		Long: "keyreeve judges the access keys of AWS accounts by documented rules: from credential reports on disk,\n" +
			"or live with eight calls for a whole account and one for each failing user.",
		Example: "  keyreeve demo                                  # the whole story, no AWS account needed\n" +
			"  keyreeve audit                                 # the account of your credentials\n" +
			"  keyreeve audit report.csv -o html=keys.html    # a credential report on disk\n" +
			"  keyreeve rules show key-age-90                 # what a rule means and how to fix it",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return misuse("", "unknown command %q", args[0])
			}
			return nil
		},
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.global.check() },
		Version:           a.version,
		SilenceErrors:     true, // report tells them
		SilenceUsage:      true,
	}
	root.SetUsageTemplate(usage)
	root.SetVersionTemplate("keyreeve {{.Version}}\n")
	root.SetHelpCommand(helpCommand())
	a.global.register(root.PersistentFlags())
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return misuse(fmt.Sprintf("%s --help lists the flags", c.CommandPath()), "%v", err)
	})
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(a.auditCommand(), a.planCommand(), a.applyCommand(), a.undoCommand(), a.rotateCommand(), a.runsCommand(),
		a.requestCommand(), a.requestsCommand(), a.historyCommand(), a.trendCommand(),
		a.diffCommand(), a.rulesCommand(), a.orgCommand(), a.policyCommand(), a.doctorCommand(), a.noticesCommand(), a.serveCommand(), a.dbCommand(), a.demoCommand(), a.versionCommand(), a.manCommand(), exitCodesTopic())
	return root
}

// helpCommand is cobra's own, but an unknown topic is misuse.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command, and exit-codes",
		RunE: func(c *cobra.Command, args []string) error {
			found, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return misuse("keyreeve help lists the commands", "no command %q", strings.Join(args, " "))
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

// refuseEmptyFlags finds a flag that was given an empty value: mostly a variable that is not set.
func refuseEmptyFlags(c *cobra.Command) error {
	var errs []error
	c.Flags().Visit(func(f *pflag.Flag) {
		if v := f.Value.String(); v == "" || v == "[]" {
			errs = append(errs, misuse("leave it out, or give it a value", "--%s is empty", f.Name))
		}
	})
	return errors.Join(errs...)
}

// usage is how help looks: cobra's own, wrapped for a terminal of 100 columns.
const usage = `Usage:{{if .Runnable}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if (or .IsAvailableCommand (eq .Name "help"))}}
  {{rpad .Name .NamePadding }} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsagesWrapped 100 | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Flags of every command:
{{.InheritedFlags.FlagUsagesWrapped 100 | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableSubCommands}}

{{.CommandPath}} COMMAND --help tells more of one; keyreeve help exit-codes explains the exit codes.{{end}}
`

// check refuses values that no command understands.
func (g *globals) check() error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(g.logLevel)); err != nil {
		return misuse("use debug, info, warn or error", "unknown log level %q", g.logLevel)
	}
	if g.logFormat != "text" && g.logFormat != "json" {
		return misuse("use text or json", "unknown log format %q", g.logFormat)
	}
	return nil
}

// log is the log for what a run does inside; standard error by --log-level and --log-format.
func (a *app) log() *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(a.global.logLevel)) // checked before any command runs
	opt := &slog.HandlerOptions{Level: level}
	out := a.sys.Stderr
	if a.global.maskKeys {
		out = masked{out}
	}
	if a.global.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, opt))
	}
	return slog.New(slog.NewTextHandler(out, opt))
}

// color tells whether what goes to w may be coloured.
func (a *app) color(w io.Writer) bool {
	_, ok := terminal(w)
	return ok && !a.global.noColor && a.sys.Getenv("NO_COLOR") == "" && a.sys.Getenv("TERM") != "dumb"
}
