package report

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/plan"
)

// PlanFormats lists the formats that WritePlan takes.
func PlanFormats() []Format { return []Format{Text, JSON} }

// WritePlan writes a plan: JSON as a file holds it (the plan must be sealed), or text for the person who
// decides about it at now. limit is how many steps apply carries out in one run; 0 says nothing about it.
//
// JSON with MaskKeys is an error: such a plan could not be applied, and its digest would be wrong.
func WritePlan(w io.Writer, f Format, p *plan.Plan, o Options, now time.Time, limit int) error {
	buf := bufio.NewWriter(w)
	switch f {
	case JSON:
		if o.MaskKeys {
			return errors.New("a plan in JSON holds its key ids in full, masked it could not be applied: write text, or do not mask")
		}
		body, err := p.Encode()
		if err != nil {
			return fmt.Errorf("write plan: %w", err)
		}
		_, _ = buf.Write(body) // buf keeps the error
	case Text:
		t := &planText{page: page{w: buf, width: o.width(), color: o.Color}, plan: p, now: now}
		if o.MaskKeys {
			t.hide = hider(p)
		}
		t.write(limit)
	default:
		return fmt.Errorf("a plan is written as %v, not as %q", PlanFormats(), string(f))
	}
	if err := buf.Flush(); err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	return nil
}

// planText lays out a plan: an account at a time, its users with their steps, what was left out, the sum.
type planText struct {
	page
	plan *plan.Plan
	now  time.Time
	hide *strings.Replacer // masks the plan's key ids; nil: shown in full
	left []plan.LeftOut    // as it is shown
	key  int               // columns of the widest key id
	age  int               // and of the longest age
}

// hider masks each key id of the plan wherever it stands, also one that does not look like an id.
func hider(p *plan.Plan) *strings.Replacer {
	var pairs []string
	add := func(id string) {
		if id != "" {
			pairs = append(pairs, id, fact.MaskID(id))
		}
	}
	for i := range p.Steps {
		add(p.Steps[i].KeyID)
		for _, id := range p.Steps[i].Choices {
			add(id)
		}
		for _, k := range p.Steps[i].Expect.Siblings {
			add(k.KeyID)
		}
	}
	for i := range p.LeftOut {
		add(p.LeftOut[i].KeyID)
	}
	return strings.NewReplacer(pairs...)
}

// show makes text of the plan safe to show.
func (t *planText) show(s string) string {
	if t.hide != nil {
		s = Mask(t.hide.Replace(s))
	}
	return clean(s)
}

func (t *planText) write(limit int) {
	p := t.plan
	for i := range p.Steps {
		s := &p.Steps[i]
		t.key = max(t.key, lipgloss.Width(t.keyOf(s)))
		t.age = max(t.age, len(t.ageOf(s)))
	}
	t.line(0, 2, piece{product, strong}, piece{"plan,", normal}, piece{t.show(p.Ruleset), normal}, piece{"rules, made", normal},
		piece{moment(p.CreatedAt), strong}, piece{relative(p.CreatedAt, t.now), normal})
	if p.AsOf.Sub(p.CreatedAt).Abs() >= time.Minute {
		t.line(0, 2, piece{"judged as if it were", warn}, piece{moment(p.AsOf), warn})
	}
	if len(p.Steps) > 0 {
		t.line(0, 2, piece{fmt.Sprintf("A key used in the last %s counts as in use; one that was deactivated is deleted after %s of quiet.",
			seconds(p.Terms.Settling), seconds(p.Terms.Quiet)), faint})
	}
	for i := range p.Accounts {
		t.account(&p.Accounts[i])
	}
	t.left = merged(p.LeftOut)
	t.leftOut()
	t.blank()
	t.sum(limit)
}

func (t *planText) account(a *plan.Account) {
	t.blank()
	t.heading(strong, t.show(accountName(fact.Account{ID: a.ID, Name: a.Name})))
	read := "read"
	if a.Source != "" {
		read += " " + t.show(a.Source)
	}
	t.line(2, 4, piece{read, normal}, piece{moment(a.ReadAt), normal}, piece{relative(a.ReadAt, t.now), normal},
		piece{"by " + t.show(a.Caller), normal})
	t.line(2, 4, piece{fmt.Sprintf("%s, %s (%s active)", plural(a.Users, "user"), plural(a.Keys, "key"), number(a.ActiveKeys)), normal})
	if a.Complete {
		t.line(2, 4, piece{"evidence complete", faint})
	} else {
		t.line(2, 4, piece{"INCOMPLETE", bad}, piece{"Not everything was read: users it concerns have no step.", strong})
	}
	user, first := "", true
	for i := range t.plan.Steps {
		s := &t.plan.Steps[i]
		if s.Account != a.ID {
			continue
		}
		if first || s.User != user {
			t.blank()
			t.line(2, 4, piece{t.show(userName(s.User)), strong})
		}
		user, first = s.User, false
		t.step(s)
	}
}

const (
	stepIndent  = 6 // of what is said about a step
	actionWidth = len("deactivate")
	labelWidth  = len("choose")
)

func (t *planText) step(s *plan.Step) {
	age := rightText(t.ageOf(s), t.age) + " old"
	if s.Open() {
		age = strings.Repeat(" ", len(age))
	}
	id := t.show(s.ID)
	head := padded(t.keyOf(s), t.key) + "  " + age + "  "
	if stepIndent+actionWidth+2+lipgloss.Width(head)+len("step ")+len(id) <= t.width {
		head += t.style(faint, "step ")
	}
	t.put("    " + t.sign(s) + "  " + head + id + "\n")
	t.say("why", piece{t.show(s.Why), normal}, piece{t.show(because(s.Rules)), faint})
	if !strings.Contains(s.Why, s.Undecided) {
		t.say("open", piece{t.show(s.Undecided), warn})
	}
	if s.AllowUsed {
		t.say("note", piece{"in use, and the user's last active key: --allow-used permits it", bad})
	}
	if !s.Open() { // the choices say who uses what
		t.say("risk", piece{t.show(s.Risk), normal})
	}
	t.say("now", piece{t.standing(s), normal})
	for _, key := range s.Choices {
		t.say("choose", piece{"--keep " + t.show(key), strong}, piece{t.choice(s, key), normal})
	}
	text, tn := wayBack(s)
	t.say("back", piece{text, tn})
	if s.NotBefore.After(t.now) {
		t.say("when", piece{"from " + moment(s.NotBefore), warn}, piece{relative(s.NotBefore, t.now), normal})
	}
	if s.Then == plan.Delete {
		t.say("then", piece{"delete after " + seconds(t.plan.Terms.Quiet) + " of quiet, by a later plan", normal})
	}
	if len(s.DependsOn) > 0 {
		t.say("after", piece{"step " + t.show(strings.Join(s.DependsOn, ", step ")) + " is done", normal})
	}
}

// say writes a line about a step, if there is anything to say.
func (t *planText) say(label string, pieces ...piece) {
	if !slices.ContainsFunc(pieces, func(p piece) bool { return strings.TrimSpace(p.text) != "" }) {
		return
	}
	t.put(strings.Repeat(" ", stepIndent) + t.style(faint, padded(label, labelWidth)) + "  ")
	t.flow(stepIndent+labelWidth+2, stepIndent+labelWidth+2, pieces...)
}

// sign is the mark and the word of what a step does; the colour repeats it.
func (t *planText) sign(s *plan.Step) string {
	mark, word, color := "-", string(s.Action), lipgloss.Yellow
	switch {
	case s.Open():
		mark, word, color = "?", "undecided", lipgloss.Magenta
	case s.Action == plan.Delete:
		mark, color = "x", lipgloss.Red
	case s.Action == plan.Rotate:
		mark, color = "~", lipgloss.Cyan
	}
	text := mark + " " + padded(word, actionWidth)
	if !t.color {
		return text
	}
	return lipgloss.NewStyle().Bold(true).Foreground(color).Render(text)
}

func (t *planText) keyOf(s *plan.Step) string {
	if s.Open() {
		return "one of " + plural(len(s.Choices), "key")
	}
	return t.show(s.KeyID)
}

func (t *planText) ageOf(s *plan.Step) string {
	if s.Open() {
		return ""
	}
	return ageText(known(s.Expect.CreatedAt), t.now)
}

// standing says how a key stands that is to be deleted.
func (t *planText) standing(s *plan.Step) string {
	switch since := s.Expect.InactiveSince; {
	case s.Action != plan.Delete || s.Open():
		return ""
	case s.Expect.Status == plan.Active:
		return "still active"
	case since != nil:
		return "inactive since " + moment(*since) + " " + relative(*since, t.now)
	default:
		return "inactive, not known since when"
	}
}

func (t *planText) choice(s *plan.Step, key string) string {
	i := slices.IndexFunc(s.Expect.Siblings, func(k plan.Sibling) bool { return k.KeyID == key })
	if i < 0 {
		return ""
	}
	k := &s.Expect.Siblings[i]
	text := ageText(known(k.CreatedAt), t.now) + " old, "
	if k.LastUsedAt == nil {
		return text + "never used"
	}
	return text + "last used " + moment(*k.LastUsedAt) + " " + relative(*k.LastUsedAt, t.now)
}

func wayBack(s *plan.Step) (string, tone) {
	switch {
	case s.Open():
		return "", normal
	case !s.Reversible:
		return "cannot be undone", bad
	case s.Action == plan.Rotate:
		return "can be cancelled until the old key is deleted", normal
	default:
		return "keyreeve undo RUN", normal
	}
}

// sum ends the text: what the plan comes to, and what stands in its way.
func (t *planText) sum(limit int) {
	c, left := t.plan.Counts(), len(t.left)
	complete := !slices.ContainsFunc(t.plan.Accounts, func(a plan.Account) bool { return !a.Complete })
	switch {
	case len(t.plan.Steps)+left == 0 && complete:
		t.line(0, 2, piece{"Nothing to do: no key that was selected asks for a change.", good})
	case len(t.plan.Steps)+left == 0:
		t.line(0, 2, piece{"Nothing to do in what was read, and not everything was: see INCOMPLETE above.", warn})
	default:
		t.line(0, 2, piece{"Plan:", strong}, piece{t.comesTo(c), strong})
	}
	if !complete && len(t.plan.Steps)+left > 0 {
		t.line(0, 2, piece{"INCOMPLETE", bad}, piece{"Not everything was read: there may be more to do than this plan says.", strong})
	}
	if c.Undecided > 0 {
		t.line(0, 2, piece{"undecided:", warn}, piece{"apply leaves it as it is; plan again with --keep KEYID to decide.", normal})
	}
	if due := len(t.plan.Due(t.now)); limit > 0 && due > limit {
		t.line(0, 2, piece{"limit:", warn}, piece{fmt.Sprintf(
			"apply allows %s a run in this account, and %s are due now: --max-steps %d allows them all, --only narrows the plan.",
			plural(limit, "step"), number(due), due), normal})
	}
	if len(t.plan.Steps) > 1 {
		t.line(0, 2, piece{"hint:", faint}, piece{"keyreeve plan --only " + t.show(t.plan.Steps[0].ID) + " plans that step alone", normal})
	}
}

// comesTo is 12 to deactivate, 2 to delete (cannot be undone); 4 left out.
func (t *planText) comesTo(c plan.Counts) string {
	var parts []string
	add := func(n int, what string) {
		if n > 0 {
			parts = append(parts, number(n)+" "+what)
		}
	}
	add(c.Deactivate, "to deactivate")
	add(c.Delete, "to delete (cannot be undone)")
	add(c.Rotate, "to rotate")
	add(c.Undecided, "undecided")
	text := strings.Join(parts, ", ")
	if text == "" {
		text = "nothing to carry out"
	}
	waiting := 0 // rotations too
	for i := range t.plan.Steps {
		if s := &t.plan.Steps[i]; !s.Open() && s.NotBefore.After(t.now) {
			waiting++
		}
	}
	if waiting > 0 {
		text += "; " + number(waiting) + " of them not due yet"
	}
	if len(t.left) > 0 {
		text += "; " + number(len(t.left)) + " left out"
	}
	return text + "."
}
