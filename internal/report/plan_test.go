package report_test

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/keyreeve/keyreeve/internal/plan"
	"github.com/keyreeve/keyreeve/internal/report"
)

var ansi = regexp.MustCompile(`\x1b\[[0-9;]*m`)

func before(d time.Duration) *time.Time {
	t := asOf.Add(-d)
	return &t
}

const oneDay = 24 * time.Hour

// planStep is a step about key number n of a user.
func planStep(id string, a plan.Action, user string, n int, age time.Duration) plan.Step {
	return plan.Step{
		ID: id, Action: a, Account: prod.ID, User: user, UserARN: arn(prod, user), UserID: "AIDAFAKE" + strings.ToUpper(id),
		KeyID: fmt.Sprintf("AKIAFAKEPROD%08d", n), Expect: plan.Expect{Status: plan.Active, CreatedAt: asOf.Add(-age), Siblings: []plan.Sibling{}},
		NotBefore: asOf, Reversible: a != plan.Delete, Because: []string{"v" + id}, Rules: []string{"key-age-90"}, DependsOn: []string{}, Choices: []string{},
	}
}

// broken is a writer whose disk is full.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

// fullPlan has every action, and every guard.
func fullPlan() *plan.Plan {
	gone := planStep("9b41d07e", plan.Delete, "ci-deploy", 1, 1204*oneDay)
	gone.Expect.Status, gone.Expect.InactiveSince, gone.Expect.LastUsedAt = plan.Inactive, before(8*oneDay), before(700*oneDay)
	gone.Why, gone.Risk = "deactivated by keyreeve and quiet since", "last used 700 days ago by sts; cannot be undone"
	gone.Rules = []string{"key-unused-90", "key-age-30", "key-age-90", "key-unused-45"}
	old := planStep("c0ffee12", plan.Deactivate, "ci-deploy", 2, 203*oneDay)
	old.Why, old.Risk, old.Then = "not used for 101 days, the limit is 45", "last used 101 days ago by s3 in us-east-1; sessions made with it may live up to 36 hours", plan.Delete
	old.Rules, old.DependsOn = []string{"key-unused-45", "key-unused-90"}, []string{"9b41d07e"}
	fresh := planStep("d1e2f3a4", plan.Delete, "setup", 3, 40*oneDay)
	fresh.Why, fresh.Risk, fresh.Rules = "never used since it was made with the user", "never used in the 40 days since it was made; cannot be undone", []string{"key-created-with-user"}
	unknown := planStep("e7e7e7e7", plan.Delete, "setup", 4, 400*oneDay)
	unknown.Expect.Status, unknown.Why, unknown.Risk, unknown.Rules = plan.Inactive, "inactive, --trust-inactive", "cannot be undone", []string{"inactive-key"}
	open := planStep("5a5a5a5a", plan.Deactivate, "two-keys", 0, 100*oneDay)
	open.KeyID, open.Undecided, open.Choices = "", "both were used in the last 7 days", []string{"AKIAFAKEPROD00000005", "AKIAFAKEPROD00000006"}
	open.Why, open.Risk, open.Rules = "2 active keys, the limit is 1", "the key that is not kept is in use", []string{"multiple-active-keys"}
	open.Expect.Siblings = []plan.Sibling{
		{KeyID: "AKIAFAKEPROD00000005", Status: plan.Active, CreatedAt: *before(100 * oneDay), LastUsedAt: before(3 * time.Hour)},
		{KeyID: "AKIAFAKEPROD00000006", Status: plan.Active, CreatedAt: *before(10 * oneDay)},
	}
	turn := planStep("77aa88bb", plan.Rotate, "two-keys", 5, 100*oneDay)
	turn.Why, turn.Risk = "100 days old, the limit is 90", "used 3 hours ago by s3 in us-east-1"
	later := planStep("0badcafe", plan.Deactivate, "vendor", 7, 90*oneDay+4*time.Hour)
	later.Why, later.Risk, later.NotBefore, later.AllowUsed = "not used by anybody we know", "used 3 minutes ago by sqs in eu-west-1", asOf.Add(7*oneDay+210*time.Minute), true
	p := &plan.Plan{
		Schema: plan.Schema, Tool: plan.Tool{Name: "keyreeve", Version: "1.2.3"}, CreatedAt: asOf.Add(-time.Minute), AsOf: asOf.Add(-time.Minute), Ruleset: "default",
		Terms: plan.Terms{Settling: 7 * 86400, Quiet: 7 * 86400},
		Accounts: []plan.Account{{
			ID: prod.ID, Partition: "aws", Name: prod.Name, Caller: "arn:aws:sts::111122223333:assumed-role/Audit/ana", Source: "live",
			ReadAt: asOf.Add(-2 * time.Minute), Complete: true, Users: 1200, Keys: 18, ActiveKeys: 15,
		}},
		Steps: []plan.Step{gone, old, fresh, unknown, open, turn, later}, LeftOut: []plan.LeftOut{},
	}
	for i, g := range plan.Guards() {
		l := plan.LeftOut{Account: prod.ID, User: fmt.Sprintf("user-%02d", i), KeyID: fmt.Sprintf("AKIAFAKELEFT%08d", i), Guard: g, Rules: []string{"key-age-90"}}
		l.Why = "the reason of " + string(g)
		if g == plan.GuardLastKey {
			l.Why, l.Hint = "used 2 hours ago by s3 in us-east-1", "--allow-used "+l.KeyID+" permits it"
		}
		if g == plan.GuardRoot {
			l.User, l.KeyID, l.Why, l.Hint = "<root_account>", "", "root has 1 access key", "keyreeve rules show root-access-key lists the steps"
		}
		p.LeftOut = append(p.LeftOut, l)
	}
	return p
}

// crowdedPlan leaves out many keys for few reasons, and is made of incomplete evidence for another day.
func crowdedPlan() *plan.Plan {
	p := fullPlan()
	p.Steps, p.LeftOut, p.AsOf, p.Accounts[0].Complete = p.Steps[:2], nil, asOf.Add(30*oneDay), false
	for i := range 60 {
		key := fmt.Sprintf("AKIAFAKECROW%08d", i)
		p.LeftOut = append(p.LeftOut,
			plan.LeftOut{Account: prod.ID, User: fmt.Sprintf("old-%02d", i), KeyID: key, Guard: plan.GuardQuiet, Why: "inactive, and not by keyreeve", Hint: "--trust-inactive, if you know that they have been inactive for long", Rules: []string{"inactive-key"}},
			plan.LeftOut{Account: prod.ID, User: fmt.Sprintf("sole-%02d", i), KeyID: key, Guard: plan.GuardLastKey, Why: fmt.Sprintf("used %d hours ago by s3 in us-east-1", i+2), Hint: "--allow-used " + key + " permits it", Rules: []string{"key-age-90"}},
		)
	}
	return p
}

func hostilePlan() *plan.Plan {
	p := fullPlan()
	p.Ruleset = hostile
	p.Accounts[0].Name, p.Accounts[0].Caller, p.Accounts[0].Source = hostile, hostile, hostile
	for i := range p.Steps {
		s := &p.Steps[i]
		s.User, s.Why, s.Risk = hostile+strings.Repeat("x", 150), hostile+"\n"+strings.Repeat("w", 200), "a\tb\r\x00"+hostile
		s.Rules = append(s.Rules, hostile)
	}
	for i := range p.LeftOut {
		l := &p.LeftOut[i]
		l.User, l.Why, l.Hint, l.Guard = hostile, hostile, hostile+"\n", plan.Guard(hostile)
	}
	return p
}

func calmPlan(complete bool) *plan.Plan {
	p := fullPlan()
	p.Steps, p.LeftOut, p.Accounts[0].Complete = []plan.Step{}, []plan.LeftOut{}, complete
	return p
}

func planText(t *testing.T, p *plan.Plan, o report.Options, limit int) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.WritePlan(&b, report.Text, p, o, asOf, limit); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// checkText is what holds for every text: no control character but ours, no trailing blank, no line too wide.
func checkText(t *testing.T, name, out string, o report.Options) {
	t.Helper()
	width := o.Width
	if width == 0 {
		width = 100
	}
	plain := ansi.ReplaceAllString(out, "")
	if !o.Color && plain != out {
		t.Errorf("%s: escape codes without colour: %q", name, out)
	}
	for line := range strings.Lines(plain) {
		line = strings.TrimSuffix(line, "\n")
		if strings.TrimRight(line, " ") != line {
			t.Errorf("%s: a trailing blank: %q", name, line)
		}
		if n := (&runewidth.Condition{}).StringWidth(line); n > width {
			t.Errorf("%s: %d columns, want at most %d: %q", name, n, width, line)
		}
		for _, r := range line {
			if rule := o.Color && r == '─'; r < 0x20 || r > 0x7e && !rule {
				t.Errorf("%s: %U in %q", name, r, line)
			}
		}
	}
}

func TestWritePlan_looksAsTheGoldenFilesShow(t *testing.T) {
	for name, c := range map[string]struct {
		p     *plan.Plan
		o     report.Options
		limit int
	}{
		"full":       {fullPlan(), report.Options{}, 3},
		"full.60":    {fullPlan(), report.Options{Width: 60}, 0},
		"full.color": {fullPlan(), report.Options{Width: 80, Color: true}, 0},
		"full.mask":  {fullPlan(), report.Options{Width: 80, MaskKeys: true}, 25},
		"crowded":    {crowdedPlan(), report.Options{Width: 80}, 0},
		"hostile":    {hostilePlan(), report.Options{Width: 80}, 0},
		"calm":       {calmPlan(true), report.Options{Width: 80}, 3},
	} {
		out := planText(t, c.p, c.o, c.limit)
		checkText(t, name, out, c.o)
		golden(t, "plan."+name+".text", out)
	}
}

func TestWritePlan_staysCleanAndWithinAnyWidth(t *testing.T) {
	for name, p := range map[string]*plan.Plan{"full": fullPlan(), "crowded": crowdedPlan(), "hostile": hostilePlan(), "calm": calmPlan(true), "unread": calmPlan(false)} {
		for _, width := range []int{0, 60, 72, 80, 120, 200} {
			for _, color := range []bool{false, true} {
				o := report.Options{Width: width, Color: color}
				checkText(t, fmt.Sprintf("%s at %d", name, width), planText(t, p, o, 1), o)
			}
		}
	}
}

func TestWritePlan_colorChangesNoWord(t *testing.T) {
	o := report.Options{Width: 80}
	plain := planText(t, fullPlan(), o, 1)
	o.Color = true
	color := strings.ReplaceAll(ansi.ReplaceAllString(planText(t, fullPlan(), o, 1), ""), "─", "-")
	if plain != color {
		t.Errorf("with colour it reads differently:\n%s\nwithout:\n%s", color, plain)
	}
}

func TestWritePlan_maskLeavesNoKeyID(t *testing.T) {
	for name, p := range map[string]*plan.Plan{"full": fullPlan(), "crowded": crowdedPlan()} {
		out := planText(t, p, report.Options{MaskKeys: true}, 0)
		if id := regexp.MustCompile(`AKIAFAKE\w*`).FindString(out); id != "" {
			t.Errorf("%s: masked text holds %q:\n%s", name, id, out)
		}
		if !strings.Contains(out, "AKIA****") {
			t.Errorf("%s: no masked id:\n%s", name, out)
		}
	}
}

// Two keys whose masked ids are the same are still told apart by what is said of them.
func TestWritePlan_maskedChoicesKeepTheirOwnFacts(t *testing.T) {
	p := fullPlan()
	s := &p.Steps[4]
	s.Choices = []string{"AKIAFAKEPROD1AAAAAAA", "AKIAFAKEPROD2AAAAAAA"}
	s.Expect.Siblings[0].KeyID, s.Expect.Siblings[1].KeyID = s.Choices[0], s.Choices[1]
	out := planText(t, p, report.Options{MaskKeys: true}, 0)
	for _, want := range []string{"--keep AKIA****AAAA 100d old, last used", "--keep AKIA****AAAA 10d old, never used"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

func TestWritePlan_saysWhatADecisionNeeds(t *testing.T) {
	full, one := fullPlan(), fullPlan()
	one.Steps, one.LeftOut = one.Steps[:1], nil
	onlyLeft := fullPlan()
	onlyLeft.Steps = nil
	two := fullPlan()
	two.Accounts = append(two.Accounts, plan.Account{ID: china.ID, ReadAt: asOf, Complete: true})
	two.Steps[6].Account, two.LeftOut[0].Account = china.ID, china.ID
	for name, c := range map[string]struct {
		p     *plan.Plan
		limit int
		want  []string
		not   []string
	}{
		"full": {full, 3, []string{
			"Plan: 2 to deactivate, 3 to delete (cannot be undone), 1 to rotate, 1 undecided; 1 of them not due yet; 17 left out.\n",
			"apply allows 3 steps a run in this account, and 4 are due now: --max-steps 4",
			"from 2026-11-29 09:30 UTC (in 8 days)", "delete after 7 days of quiet", "keyreeve undo RUN", "cannot be undone",
			"evidence complete", "step c0ffee12", "open    both were used in the last 7 days\n", "still active", "inactive since 2026-11-14 06:00 UTC (8 days ago)",
		}, []string{"INCOMPLETE", "judged as if"}},
		"two accounts": {two, 0, []string{"\n444455556666 ---", "user-00 AKIAFAKELEFT00000000 in 444455556666:", "user-02 AKIAFAKELEFT00000002 in 111122223333:"}, nil},
		"at the limit": {full, 4, nil, []string{"limit:"}},
		"no limit":     {full, 0, nil, []string{"limit:"}},
		"one step":     {one, 0, []string{"Plan: 1 to delete (cannot be undone).\n"}, []string{"left out", "Left out", "--only", "undecided"}},
		"only left":    {onlyLeft, 0, []string{"Plan: nothing to carry out; 17 left out.\n"}, []string{"Nothing to do"}},
		"crowded": {crowdedPlan(), 0, []string{
			"INCOMPLETE Not everything was read", "judged as if it were 2026-12-22 06:00 UTC", "more, all in -o json",
		}, []string{"evidence complete"}},
		"calm":   {calmPlan(true), 3, []string{"Nothing to do: no key that was selected asks for a change.\n"}, []string{"Plan:", "Left out", "not everything"}},
		"unread": {calmPlan(false), 3, []string{"Nothing to do in what was read, and not everything was"}, []string{"Plan:", "no key that was selected"}},
	} {
		out := planText(t, c.p, report.Options{Width: 200}, c.limit)
		for _, w := range c.want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %q in:\n%s", name, w, out)
			}
		}
		for _, w := range c.not {
			if strings.Contains(out, w) {
				t.Errorf("%s: %q in:\n%s", name, w, out)
			}
		}
	}
}

func TestWritePlan_countsEverythingLeftOut(t *testing.T) {
	out := planText(t, crowdedPlan(), report.Options{Width: 80}, 0)
	for _, user := range []string{"old", "sole"} {
		shown := len(regexp.MustCompile(user+`-\d\d`).FindAllString(out, -1))
		if want := fmt.Sprintf("and %d more", 60-shown); !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
			t.Errorf("%d users %s are named, want %q in:\n%s", shown, user, want, out)
		}
	}
	for _, g := range plan.Guards() {
		if !strings.Contains(planText(t, fullPlan(), report.Options{}, 0), "("+string(g)+")") {
			t.Errorf("guard %s is not named", g)
		}
	}
}

func TestWritePlan_leavesOutAUserOnceWhereTheKeySaysTheSame(t *testing.T) {
	p := calmPlan(true)
	row := func(user, key, why, rule string) plan.LeftOut {
		return plan.LeftOut{Account: prod.ID, User: user, KeyID: key, Guard: plan.GuardIncomplete, Why: why, Hint: "read again", Rules: []string{rule}}
	}
	const unread = "the tags could not be read"
	p.LeftOut = []plan.LeftOut{
		row("route-planner-poc", "", unread, "multiple-active-keys"),
		row("route-planner-poc", "AKIAFAKEPOCA00000001", unread, "key-age-90"),
		row("route-planner-poc", "AKIAFAKEPOCB00000002", unread, "key-age-90"),
		row("other", "", unread, "password-and-key"), // has no row about a key
		row("third", "", "the password could not be read", "password-and-key"),
		row("third", "AKIAFAKETHRD00000003", unread, "key-age-90"), // another reason
	}
	elsewhere := row("fourth", "AKIAFAKEFRTH00000004", unread, "key-age-90")
	elsewhere.Guard = plan.GuardQuiet
	p.LeftOut = append(p.LeftOut, row("fourth", "", unread, "password-and-key"), elsewhere) // another guard
	out := strings.Join(strings.Fields(planText(t, p, report.Options{Width: 200}, 0)), " ")
	for _, want := range []string{
		"route-planner-poc AKIAFAKEPOCA00000001, route-planner-poc AKIAFAKEPOCB00000002, other, third AKIAFAKETHRD00000003, fourth: the tags could not be read",
		"third: the password could not be read", "fourth AKIAFAKEFRTH00000004:", "not everything was read: 6 (", "; 7 left out.", "multiple-active-keys",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if len(p.LeftOut) != 8 || len(p.LeftOut[1].Rules) != 1 {
		t.Errorf("the plan itself was changed: %+v", p.LeftOut)
	}
}

func TestWritePlan_writesThePlanItselfAsJSON(t *testing.T) {
	p := fullPlan()
	var b bytes.Buffer
	if err := report.WritePlan(&b, report.JSON, p, report.Options{}, asOf, 3); err == nil || b.Len() > 0 {
		t.Errorf("a plan without a digest: error %v and %d bytes, want an error and nothing", err, b.Len())
	}
	if err := p.Seal(); err != nil {
		t.Fatal(err)
	}
	if err := report.WritePlan(&b, report.JSON, p, report.Options{Width: 60, Color: true}, asOf, 3); err != nil {
		t.Fatal(err)
	}
	if want, err := p.Encode(); err != nil || !bytes.Equal(want, b.Bytes()) {
		t.Errorf("JSON is not what Encode gives (%v):\n%s", err, b.String())
	}
	b.Reset()
	if err := report.WritePlan(&b, report.JSON, p, report.Options{MaskKeys: true}, asOf, 3); err == nil || b.Len() > 0 {
		t.Errorf("a masked plan in JSON: error %v and %d bytes, want an error and nothing", err, b.Len())
	}
}

func TestWritePlan_refusesOtherFormatsAndReturnsWriteErrors(t *testing.T) {
	for _, f := range report.Formats() {
		err := report.WritePlan(&bytes.Buffer{}, f, fullPlan(), report.Options{}, asOf, 0)
		if takes := f == report.Text; (err == nil) != takes && f != report.JSON {
			t.Errorf("%s: %v", f, err)
		}
	}
	if err := report.WritePlan(broken{}, report.Text, fullPlan(), report.Options{}, asOf, 0); err == nil {
		t.Error("an error of the writer is lost")
	}
}
