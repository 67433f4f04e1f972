package rule

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// allRules are the rules of every built-in ruleset, and some of a user.
func allRules(t *testing.T) []Rule {
	t.Helper()
	var out []Rule
	for _, name := range BuiltinNames() {
		out = append(out, builtin(t, name).Rules...)
	}
	for _, data := range samples(t, "ruleset/good") {
		out = append(out, loaded(t, string(data)).Rules...)
	}
	return out
}

func TestPage_everyRuleHasEverySection(t *testing.T) {
	real := &Sample{Account: "111122223333", Partition: "aws", User: "ana", KeyID: "AKIAIOSFODNN7EXAMPLE"}
	for _, r := range allRules(t) {
		for _, s := range []*Sample{nil, real} {
			text, err := Page(r, s)
			if err != nil {
				t.Errorf("%s: %v", r.ID, err)
				continue
			}
			at := 0
			for _, heading := range []string{
				"# " + r.ID + ": " + r.Title + "\n", "\n## Reading\n", "\n## Why\n", "\n## Risk\n", "\n## How to check\n", "\n### By console\n", "\n### By AWS CLI\n",
				"\n## How to fix\n", "\n### By console\n", "\n### By AWS CLI\n", "\n## Backout\n", "\n## Controls\n", "\n## Names elsewhere\n", "\n## False positives",
			} {
				next := strings.Index(text[at:], heading)
				if next < 0 {
					t.Errorf("%s: no section %q in its place", r.ID, strings.TrimSpace(heading))
					break
				}
				at += next
			}
			for _, residue := range []string{"<no value>", "{{", "}}", "%!", "<nil>", "\n\n\n\n"} {
				if strings.Contains(text, residue) {
					t.Errorf("%s: the page has %q", r.ID, residue)
				}
			}
			if fences(text)%2 != 0 {
				t.Errorf("%s: a code block is not closed", r.ID)
			}
		}
	}
}

func TestPage_fillsInRealNames(t *testing.T) {
	r := builtin(t, "default").Rules[4]
	text, err := Page(r, &Sample{Account: "111122223333", User: "ana", KeyID: "AKIAIOSFODNN7EXAMPLE"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"aws iam update-access-key --user-name ana --access-key-id AKIAIOSFODNN7EXAMPLE --status Inactive",
		"aws iam update-access-key --user-name ana --access-key-id AKIAIOSFODNN7EXAMPLE --status Active",
		"must print 111122223333", "more than 90 days have passed", "| CIS AWS Foundations 5.0 | 1.13 |",
		"- Conformity: IAM-038", `user: "ana"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page of %s lacks %q", r.ID, want)
		}
	}
	if strings.Contains(text, "USER") || strings.Contains(text, "KEY-ID") {
		t.Error("a placeholder is left")
	}
}

// fences counts the lines that open or close a code block.
func fences(text string) int { return strings.Count("\n"+text, "\n```") }

// commands are the lines of the shell blocks of a page.
func commands(text string) []string {
	var out []string
	inside := false
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```sh"
		case inside:
			out = append(out, line)
		}
	}
	return out
}

func TestPage_deactivatesBeforeItDeletes(t *testing.T) {
	for _, r := range allRules(t) {
		text, err := Page(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, fix, _ := strings.Cut(text, "\n## How to fix\n")
		inactive, deleted := strings.Index(fix, "--status Inactive"), strings.Index(fix, "aws iam delete-access-key")
		switch {
		case r.Kind.Name == "inactive-key", r.Kind.Name == "root-access-key": // from outside root's keys can only be deleted
			if strings.Index(fix, "list-access-keys") > deleted {
				t.Errorf("%s: deletes before it looks", r.ID)
			}
		case deleted >= 0 && (inactive < 0 || inactive > deleted):
			t.Errorf("%s: deletes before it deactivates", r.ID)
		}
		for _, c := range commands(text) {
			if strings.Contains(c, "detach-user-policy") {
				t.Errorf("%s: %s", r.ID, c)
			}
		}
	}
}

func TestPage_warnsAtEveryStepThatCannotBeUndone(t *testing.T) {
	for _, r := range allRules(t) {
		text, err := Page(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(text, "\n")
		for i, line := range lines {
			switch {
			case strings.HasPrefix(line, "aws iam delete-") && !strings.Contains(lines[i-1], "cannot be undone"),
				strings.Contains(line, ". ") && strings.Contains(line, "**Delete**") && !strings.Contains(line, "cannot be undone"):
				t.Errorf("%s: no warning at %q", r.ID, line)
			}
		}
	}
}

func TestPage_ofRootPromisesNoWayBackFromOutside(t *testing.T) {
	text, err := Page(builtin(t, "default").Rules[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commands(text) {
		if strings.HasPrefix(c, "aws iam update-access-key") {
			t.Errorf("the task policy denies %s", c)
		}
	}
	for _, want := range []string{"From outside a key can only be deleted", "There is no backout", "takes a sign-in as root", `user: "<root_account>"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestPage_regionsAreThoseOfThePartition(t *testing.T) {
	for partition, want := range map[string]string{"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1", "aws-iso": "", "aws-eusc": "", "": ""} {
		for _, r := range allRules(t) {
			text, err := Page(r, &Sample{Account: "111122223333", Partition: partition, User: "ana"})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range commands(text) {
				_, flag, has := strings.Cut(c, "--region ")
				if has && (want == "" || !strings.HasPrefix(flag, want+" ")) || want != "" && !has && strings.Contains(c, "aws sts assume-root") {
					t.Errorf("%s in partition %q: %s", r.ID, partition, c)
				}
			}
		}
	}
}

// The block that makes and tests a new key, run with a stand-in for the AWS CLI that tells who calls it.
func TestPage_newKeyIsTestedWithItselfAndNothingElse(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal("this test needs bash")
	}
	bin := t.TempDir()
	stub := "#!" + bash + "\necho \"$AWS_ACCESS_KEY_ID/$AWS_SECRET_ACCESS_KEY/$AWS_SESSION_TOKEN/$AWS_PROFILE: $*\"\n"
	for name, text := range map[string]string{"aws": stub, "sleep": "#!" + bash + "\n"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	tested := map[string]bool{} // blocks
	for _, r := range allRules(t) {
		text, err := Page(r, &Sample{Account: "111122223333", Partition: "aws-cn", User: "ana"})
		if err != nil {
			t.Fatal(err)
		}
		for block := range strings.SplitSeq(text, "```sh\n") {
			block, _, _ = strings.Cut(block, "```")
			if !strings.Contains(block, "aws iam create-access-key") || tested[block] {
				continue
			}
			tested[block] = true
			run := func(typed string) string {
				cmd := exec.Command(bash, "-c", block)
				cmd.Env = []string{"PATH=" + bin, "AWS_ACCESS_KEY_ID=ADMIN", "AWS_SECRET_ACCESS_KEY=admin", "AWS_SESSION_TOKEN=token", "AWS_PROFILE=admin"}
				cmd.Stdin = strings.NewReader(typed)
				out, _ := cmd.Output() // it fails where nothing is typed
				return string(out)
			}
			const call = "NEW/new//: sts get-caller-identity --region cn-north-1 --query Arn --output text"
			got := run("NEW\nnew\n")
			if strings.Count(got, call) != 5 || strings.Count(got, "get-caller-identity") != 5 ||
				!strings.Contains(got, "ADMIN/admin/token/admin: iam get-user --user-name ana --query User.Arn --output text") {
				t.Errorf("%s: the new key is not tested:\n%s", r.ID, got)
			}
			for _, typed := range []string{"", "\n\n", "NEW\n\n"} {
				if got := run(typed); strings.Contains(got, "get-caller-identity") {
					t.Errorf("%s: %q typed, and other credentials answer:\n%s", r.ID, typed, got)
				}
			}
		}
		if strings.Contains(text, "create-access-key") && !strings.Contains(text, "all five lines must be the ARN") {
			t.Errorf("%s: a new key that nobody tests", r.ID)
		}
	}
	if len(tested) == 0 {
		t.Error("no page makes a new key")
	}
}

func TestPage_ofAScopedRuleClaimsNoControl(t *testing.T) {
	text, err := Page(loaded(t, "rules:\n  - id: key-age-90\n    scope: {users: [a]}\n").Rules[0], nil)
	if err != nil || strings.Contains(text, "1.13 |") || !strings.Contains(text, "None: the rule holds for a part of the account") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestPage_hostileNamesStayOneWord(t *testing.T) {
	for _, name := range []string{
		"a; touch /tmp/x", "$(id)", "`id`", "a'b", `a"b\`, "-rf", "--help", "a b", "x\ny", "```\nrm -rf /", "{{.ID}}", "é", "\x1b[2J", "\xff", "*", "~", "#x", "a\u202eb",
	} {
		for _, r := range allRules(t) {
			text, err := Page(r, &Sample{Account: "111122223333", User: name, KeyID: "AKIA1"})
			if err != nil {
				t.Fatal(err)
			}
			if strings.ContainsAny(text, "\x1b\r\u202e") || strings.Contains(text, "\nrm -rf") || fences(text)%2 != 0 {
				t.Errorf("%s: name %q breaks the page", r.ID, name)
			}
		}
	}
}

func TestShellQuote_aShellReadsTheNameBack(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal("this test needs bash")
	}
	for _, name := range []string{"ana", "", "a'b", "$(id)", "`id`", `a"b\`, "a b", "x\ny", "é", "\x1b[2J", "*", "~", "#x", "!!", "a\tb'c\\d"} {
		out, err := exec.Command(bash, "-c", "printf %s "+shellQuote(name)).Output()
		if err != nil || string(out) != name {
			t.Errorf("%q quoted as %s is read as %q, %v", name, shellQuote(name), out, err)
		}
	}
}

func TestYamlText_isReadBack(t *testing.T) {
	for _, name := range []string{"ana", "a'b", `a"b\`, "x\ny", "é", "\x1b[2J", "*", "# x", "a: b", "yes"} {
		var got struct{ User string }
		if err := yaml.Unmarshal([]byte("user: "+yamlText(name)+"\n"), &got); err != nil || got.User != name {
			t.Errorf("%q written as %s is read as %q, %v", name, yamlText(name), got.User, err)
		}
	}
}

func TestPage_aboutAUserNamesNoKeyToDelete(t *testing.T) {
	for _, r := range allRules(t) {
		text, err := Page(r, &Sample{Account: "x\ny", Partition: "a;b", User: "ana", KeyID: "AKIAIOSFODNN7EXAMPLE"})
		if err != nil {
			t.Fatal(err)
		}
		if r.Kind.Subject != ForKey && strings.Contains(text, "AKIAIOSFODNN7EXAMPLE") {
			t.Errorf("%s: the page picked a key", r.ID)
		}
		if strings.Contains(text, "a;b") || strings.Contains(text, "x\ny") {
			t.Errorf("%s: an account or partition that is none stands on the page", r.ID)
		}
	}
}

func TestPage_ofRootNeverNamesAUser(t *testing.T) {
	text, err := Page(builtin(t, "default").Rules[0], &Sample{Account: "111122223333", Partition: "aws-cn", User: fact.RootName})
	if err != nil || strings.Contains(text, "--user-name") || !strings.Contains(text, "arn:aws-cn:iam::aws:policy/root-task/IAMDeleteRootUserCredentials") {
		t.Errorf("%v\n%s", err, text)
	}
}
