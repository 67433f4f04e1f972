package rule

import (
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/yamlfile"
)

//go:embed pages/*.md
var pages embed.FS

// Sample is the subject that a page's commands are filled in for; what is empty stays a placeholder.
type Sample struct {
	Account   string // twelve digits
	Partition string // aws, aws-cn, ...
	User      string
	KeyID     string
}

const noPartition = "PARTITION"

// page is what the templates of a page see. Commands and YAML come quoted.
type page struct {
	ID, Title, Severity, Kind, Names, Scope string

	Limit, Grace, Window, MaxActive string // thresholds in words; Grace is empty for none
	ConsoleOnly                     bool

	Account, Partition, Console              string
	UserFlag, KeyFlag, AccountFlag, YAMLUser string
	RegionFlag                               string // with a blank before it; empty where the partition's regions are not known
	Key                                      string // quoted for a shell

	Controls, Elsewhere string

	Subject, When, Fail, Message, Because, Remedy string // of a custom rule
}

// Page is the knowledge page of a rule in Markdown: its exact reading, why, how to check and to fix it, backout, controls
// and names elsewhere. s may be nil.
func Page(r Rule, s *Sample) (string, error) {
	file := "pages/" + r.Kind.Name + ".md"
	t, err := template.New("layout.md").Option("missingkey=error").ParseFS(pages, "pages/layout.md", "pages/shared.md", file)
	if err != nil {
		return "", fmt.Errorf("page of rule %q: %w", r.ID, err)
	}
	var b strings.Builder
	if err := t.Execute(&b, newPage(&r, s)); err != nil {
		return "", fmt.Errorf("page of rule %q: %w", r.ID, err)
	}
	return b.String(), nil
}

func newPage(r *Rule, s *Sample) page {
	if s == nil {
		s = &Sample{}
	}
	account, partition, user, key := orElse(s.Account, "ACCOUNT-ID"), orElse(s.Partition, noPartition), orElse(s.User, "USER"), orElse(s.KeyID, "KEY-ID")
	if !fact.IsAccountID(account) {
		account = "ACCOUNT-ID"
	}
	if strings.Trim(partition, "abcdefghijklmnopqrstuvwxyz-") != "" {
		partition = noPartition
	}
	yamlUser := user
	if r.Kind.Subject == ForRoot {
		yamlUser = fact.RootName
	}
	if user == fact.RootName || strings.Contains(user, "://") {
		user = "USER" // the AWS CLI would read a name such as file://x as a file
	}
	if r.Kind.Subject != ForKey {
		key = "KEY-ID" // which of the user's keys is for a person to find out
	}
	p := page{
		ID: r.ID, Title: r.Title, Severity: capital(string(r.Severity)), Kind: r.Kind.Name, Scope: r.Scope.text(),
		Limit: limitOf(r), Window: limitText(r.Params.Window), ConsoleOnly: r.Params.ConsoleOnly,
		MaxActive: plural(r.Params.MaxActive, "key"),
		Account:   account, Partition: partition, Console: consoleOf(partition),
		UserFlag: flag("user-name", user), KeyFlag: flag("access-key-id", key), AccountFlag: flag("target-principal", account),
		YAMLUser: yamlText(yamlUser), RegionFlag: regionFlag(partition), Key: shellQuote(key),
	}
	if r.Params.Grace > 0 {
		p.Grace = limitText(r.Params.Grace)
	}
	p.Names, p.Elsewhere = elsewhere(r)
	p.Controls = controlTableOf(serves(r))
	if r.Scope != nil {
		p.Controls = "None: the rule holds for a part of the account, and a control asks about all of it."
	}
	if r.Kind.Name == customKind {
		p.describe(r)
	}
	return p
}

// describe asks a custom rule for its texts, which stand beside each of its failures.
func (p *page) describe(r *Rule) {
	message, facts := r.Kind.Explain(&r.Params, &fact.User{}, nil, fact.Time{}, Outcome{Result: Fails})
	text := func(name string) string { s, _ := facts[name].(string); return s }
	p.Message, p.Fail, p.When, p.Because = capital(message)+".", text("fail"), text("when"), text("why")
	p.Subject, p.Remedy = string(r.Kind.Subject), string(r.Kind.Remedy(&r.Params, &fact.User{}, nil))
}

func limitOf(r *Rule) string {
	switch r.Kind.Name {
	case "key-unused":
		return limitText(r.Params.MaxUnused)
	case "inactive-key":
		return limitText(r.Params.MaxInactive)
	default:
		return limitText(r.Params.MaxAge)
	}
}

// text says where a scope holds; empty for everywhere.
func (s *Scope) text() string {
	if s == nil {
		return ""
	}
	var parts []string
	for _, l := range []struct {
		what string
		list []string
	}{{"accounts", s.Accounts}, {"organisational units", s.OUs}, {"user paths", s.Paths}, {"users", s.Users}} {
		if len(l.list) > 0 {
			parts = append(parts, l.what+" "+yamlfile.OrList(l.list))
		}
	}
	for _, l := range []struct {
		what string
		tags map[string]string
	}{{"accounts", s.AccountTags}, {"users", s.Tags}} {
		var tags []string
		for key, value := range l.tags {
			tags = append(tags, key+"="+value)
		}
		slices.Sort(tags)
		if len(tags) > 0 {
			parts = append(parts, l.what+" with the tags "+strings.Join(tags, ", "))
		}
	}
	return strings.Join(parts, "; ")
}

// consoleOf names the IAM console of a partition.
func consoleOf(partition string) string {
	switch partition {
	case noPartition, "aws":
		return "https://console.aws.amazon.com/iam/"
	case "aws-cn":
		return "https://console.amazonaws.cn/iam/"
	case "aws-us-gov":
		return "https://console.amazonaws-us-gov.com/iam/"
	default:
		return "the IAM console of your partition (" + partition + ")"
	}
}

// regionFlag names a region of a partition for the commands that need a regional endpoint. IAM is the same in all of them.
func regionFlag(partition string) string {
	switch partition {
	case "aws":
		return " --region us-east-1"
	case "aws-cn":
		return " --region cn-north-1"
	case "aws-us-gov":
		return " --region us-gov-west-1"
	default:
		return ""
	}
}

// elsewhere lists the names of a rule but for CIS numbers, which stand among the controls: in short, and as a section.
func elsewhere(r *Rule) (short, section string) {
	var names, lines []string
	for _, a := range r.Aliases {
		if isCIS(a.Scheme) {
			continue
		}
		names = append(names, a.Name)
		lines = append(lines, fmt.Sprintf("- %s: %s", a.Scheme, a.Name))
	}
	if len(lines) == 0 {
		return "", "None that we know of."
	}
	return strings.Join(names, ", "), strings.Join(lines, "\n")
}

// controlTableOf writes the clauses that catalogue rules serve as a table, with numbered sources below.
func controlTableOf(ids []string) string {
	var rows, sources, packs, named []string
	number := func(s string) string {
		if !slices.Contains(sources, s) {
			sources = append(sources, s)
		}
		return strconv.Itoa(slices.Index(sources, s) + 1)
	}
	for _, row := range controls().Mappings {
		if !slices.Contains(ids, row.Rule) {
			continue
		}
		var at []string
		for _, s := range row.Sources {
			at = append(at, number(s))
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %s |", row.Framework, strings.Join(row.IDs, ", "), strings.Join(at, ", ")))
	}
	for _, row := range controls().Named {
		switch {
		case !slices.Contains(ids, row.Rule):
		case strings.HasPrefix(row.Framework, "AWS Config conformance pack "):
			packs = append(packs, row.Framework)
		case !slices.Contains(named, row.Framework):
			named = append(named, row.Framework)
		}
	}
	var parts []string
	if len(rows) > 0 {
		parts = append(parts, "| framework | controls | sources |\n|---|---|---|\n"+strings.Join(rows, "\n"))
	} else {
		parts = append(parts, "No framework asks for it by number.")
	}
	if len(named) > 0 {
		parts = append(parts, "Named by, without a clause that a public source gives: "+strings.Join(named, ", ")+".")
	}
	if len(packs) > 0 {
		parts = append(parts, fmt.Sprintf("Part of %s of AWS Config.", plural(len(packs), "conformance pack")))
	}
	if len(sources) > 0 {
		var list []string
		for i, s := range sources {
			list = append(list, fmt.Sprintf("%d. %s", i+1, s))
		}
		parts = append(parts, "Sources:\n\n"+strings.Join(list, "\n"))
	}
	return strings.Join(parts, "\n\n")
}

// flag writes a flag of the AWS CLI; a value that begins with a dash would be read as another flag.
func flag(name, value string) string {
	if strings.HasPrefix(value, "-") {
		return "--" + name + "=" + shellQuote(value)
	}
	return "--" + name + " " + shellQuote(value)
}

// shellQuote writes s as one word of a POSIX shell; text with control characters as one of bash, so that it stays on its line.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_@%+=:,./-", r)
	}
	switch {
	case s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0:
		return s
	case strings.IndexFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) < 0:
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= ' ' && c < 0x7f && c != '\'' && c != '\\' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return "$'" + b.String() + "'"
}

// yamlText writes s as a YAML string in double quotes, on one line.
func yamlText(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return `"` + b.String() + `"`
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
