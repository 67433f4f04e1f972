package report

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

const day = 24 * time.Hour

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return number(n) + " " + noun + "s"
}

// number groups thousands: 1,204,000.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// minute writes an instant for people, in UTC: 2026-11-22 03:10Z.
func minute(t fact.Time) string {
	if !t.Known() {
		return t.String()
	}
	return t.Time().Format("2006-01-02 15:04Z")
}

// date writes the UTC day of an instant; a dash when there is none.
func date(t fact.Time) string {
	if !t.Known() {
		return "-"
	}
	return t.Time().Format("2006-01-02")
}

// span writes a length of time with its two largest units: 2 h 50 min. It rounds down.
func span(d time.Duration) string {
	two := func(a time.Duration, unitA string, b time.Duration, unitB string) string {
		if b == 0 {
			return fmt.Sprintf("%d %s", a, unitA)
		}
		return fmt.Sprintf("%d %s %d %s", a, unitA, b, unitB)
	}
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < day:
		return two(d/time.Hour, "h", d%time.Hour/time.Minute, "min")
	default:
		return two(d/day, "d", d%day/time.Hour, "h")
	}
}

// short writes a length of time for a narrow column: 203d, 5h, 12min. It rounds down.
func short(d time.Duration) string {
	switch {
	case d < 0:
		return "future" // later than the moment of judgement
	case d < time.Hour:
		return fmt.Sprintf("%dmin", d/time.Minute)
	case d < day:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/day)
	}
}

// sinceThen is short for the time from t to now, or why there is none.
func sinceThen(t fact.Time, now time.Time) string {
	if !t.Known() {
		return t.String()
	}
	return short(fact.At(now).Sub(t))
}

// ageText is the age of a key for a narrow column. In the day after a limit of the key-age rules it is exact
// enough to tell a key that fails from one that passes: 90d passes, 90d+ (less than an hour more) and 90d4h fail.
func ageText(created fact.Time, now time.Time) string {
	if !created.Known() {
		return created.String()
	}
	d := fact.At(now).Sub(created)
	text := short(d)
	switch days, rest := d/day, d%day; {
	case days != 30 && days != 45 && days != 90 || rest <= 0:
		return text
	case rest < time.Hour:
		return text + "+"
	default:
		return fmt.Sprintf("%s%dh", text, rest/time.Hour)
	}
}

// lastUse writes when and by what a key was last used: 2h s3 us-east-1, never, unknown.
func lastUse(u fact.Use, now time.Time) string {
	out := sinceThen(u.At, now)
	if u.At.Known() {
		for _, s := range []string{u.Service, u.Region} {
			if s != "" && s != "N/A" {
				out += " " + clean(s)
			}
		}
	}
	return out
}

func accountName(acc fact.Account) string {
	id := clean(acc.ID)
	if id == "" {
		id = "account unknown"
	}
	if acc.Name != "" {
		return id + " " + clean(acc.Name)
	}
	return id
}

// theAccount stands for the user in a verdict about the account: its users could not be read.
const theAccount = "the account"

// userName is the user of a verdict for people.
func userName(user string) string {
	if user == "" {
		return theAccount
	}
	return clean(user)
}

// subjectName names what a verdict is about: user "alice", key slot 1.
func subjectName(v *finding.Verdict) string {
	name := "user " + clean(v.User)
	switch v.User {
	case "":
		name = theAccount
	case fact.RootName:
		name = "root user"
	}
	if v.Key != nil {
		name += ", key " + strings.TrimPrefix(keyName(v.Key), "key ")
	}
	return name
}

// accountResource names an account the way AWS names one as a resource.
func accountResource(acc fact.Account) string { return "AWS::::Account:" + acc.ID }

// remedyText is the remedy as a sentence.
func remedyText(remedy finding.Remedy) string {
	switch remedy {
	case finding.Rotate:
		return "Rotate: make a new key, hand it over, test it, deactivate the old one, wait some days, check its last use, delete it."
	case finding.Deactivate:
		return "Deactivate the key, wait, then delete it."
	case finding.Delete:
		return "Delete the key once it has been quiet long enough."
	case finding.KeepOne:
		return "Keep the key that is shown to work, deactivate the others, and read back what is left."
	case finding.Guide:
		return "A person has to act: keyreeve rules show lists the steps."
	case "":
		return ""
	default:
		return clean(string(remedy))
	}
}

// severityTitle is the word that other formats spell with a capital.
func severityTitle(s finding.Severity) string {
	switch s {
	case finding.Low:
		return "Low"
	case finding.Medium:
		return "Medium"
	case finding.High:
		return "High"
	case finding.Critical:
		return "Critical"
	default:
		return "Unknown"
	}
}

// severitiesDown lists severities, heaviest first.
func severitiesDown() []finding.Severity {
	return []finding.Severity{finding.Critical, finding.High, finding.Medium, finding.Low}
}

// homeRegion is where a partition keeps IAM; empty for a partition that is not known here.
func homeRegion(partition string) string {
	switch partition {
	case "aws":
		return "us-east-1"
	case "aws-cn":
		return "cn-north-1"
	case "aws-us-gov":
		return "us-gov-west-1"
	case "aws-iso":
		return "us-iso-east-1"
	case "aws-iso-b":
		return "us-isob-east-1"
	case "aws-eusc":
		return "eusc-de-east-1"
	default:
		return ""
	}
}
