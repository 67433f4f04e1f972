package report

import (
	"bufio"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

const sarifSchema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

type sarifText struct {
	Text string `json:"text"`
}

type sarifRule struct {
	ID                   string          `json:"id"`
	Name                 string          `json:"name"`
	ShortDescription     sarifText       `json:"shortDescription"`
	Help                 sarifText       `json:"help"`
	DefaultConfiguration sarifLevel      `json:"defaultConfiguration"`
	Properties           sarifProperties `json:"properties"`
}

type sarifLevel struct {
	Level string `json:"level"`
}

type sarifProperties struct {
	Severity         string   `json:"severity"`
	SecuritySeverity string   `json:"security-severity"` // a number in a string, as GitHub reads it
	Tags             []string `json:"tags"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name           string      `json:"name"`
	Version        string      `json:"version,omitempty"`
	InformationURI string      `json:"informationUri"`
	Rules          []sarifRule `json:"rules"`
}

type sarifInvocation struct {
	Successful    bool                `json:"executionSuccessful"`
	Notifications []sarifNotification `json:"toolExecutionNotifications"`
}

type sarifNotification struct {
	Level   string    `json:"level"`
	Message sarifText `json:"message"`
}

type sarifResult struct {
	RuleID       string             `json:"ruleId"`
	RuleIndex    *int               `json:"ruleIndex,omitempty"`
	Kind         string             `json:"kind"`
	Level        string             `json:"level"`
	Message      sarifText          `json:"message"`
	Locations    []sarifLocation    `json:"locations"`
	Fingerprints map[string]string  `json:"partialFingerprints"`
	Suppressions []sarifSuppression `json:"suppressions,omitempty"`
	Properties   map[string]any     `json:"properties"`
}

type sarifLocation struct {
	Physical sarifPhysical  `json:"physicalLocation"`
	Logical  []sarifLogical `json:"logicalLocations"`
}

type sarifPhysical struct {
	Artifact sarifArtifact `json:"artifactLocation"`
	Region   sarifRegion   `json:"region"`
}

type sarifArtifact struct {
	URI string `json:"uri"`
}

type sarifRegion struct {
	StartLine int `json:"startLine"`
}

type sarifLogical struct {
	Name string `json:"name"`
	Full string `json:"fullyQualifiedName"`
	Kind string `json:"kind"`
}

type sarifSuppression struct {
	Kind          string         `json:"kind"`
	Status        string         `json:"status"`
	Justification string         `json:"justification"`
	Properties    map[string]any `json:"properties"`
}

// writeSARIF writes SARIF 2.1.0. Failing verdicts are results, excepted ones are suppressed results, unknown
// ones are of kind "open". Passing verdicts are left out even with Options.All: code scanning takes every
// result for an alert. Each result names its user, or the account, as a logical location, and, because code
// scanning asks for a file, the report it stands in; live evidence has no file, so there a path
// aws-iam/ACCOUNT/USER stands for the user. The line is always 1. What was not read or not judged, exceptions
// that did nothing and notes are notifications of the run.
func writeSARIF(w *bufio.Writer, a *finding.Audit, _ Options) error {
	index := make(map[string]int, len(a.Summary))
	driver := sarifDriver{Name: product, Version: a.Version, InformationURI: homepage, Rules: []sarifRule{}}
	for i, r := range a.Summary {
		index[r.Rule] = i
		driver.Rules = append(driver.Rules, toSARIFRule(r))
	}
	evidence := make(map[string]fact.Evidence, len(a.Accounts))
	for i := range a.Accounts {
		evidence[a.Accounts[i].Account.ID] = a.Accounts[i].Evidence
	}

	enc := newEncoder(w, "      ", "  ")
	put := func(text string, v any) error {
		if _, err := w.WriteString(text); err != nil {
			return err
		}
		return enc.write(v)
	}
	open := "{\n  \"$schema\": \"" + sarifSchema + "\",\n  \"version\": \"2.1.0\",\n  \"runs\": [\n    {\n      \"tool\": "
	if err := put(open, sarifTool{driver}); err != nil {
		return err
	}
	details := map[string]string{"id": product + "/" + a.Ruleset + "/" + instant(a.AsOf)}
	if err := put(",\n      \"automationDetails\": ", details); err != nil {
		return err
	}
	if err := put(",\n      \"invocations\": ", []sarifInvocation{sarifRun(a)}); err != nil {
		return err
	}
	if _, err := w.WriteString(",\n      \"results\": "); err != nil {
		return err
	}
	err := writeList(w, "        ", func(yield func(sarifResult) bool) {
		for v := range a.Verdicts {
			if v.Status == finding.Pass {
				continue
			}
			r := toSARIFResult(v, evidence[v.Account.ID])
			if i, ok := index[v.Rule]; ok {
				r.RuleIndex = &i
			}
			if !yield(r) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	_, err = w.WriteString("\n    }\n  ]\n}\n")
	return err
}

func toSARIFRule(r finding.RuleResult) sarifRule {
	title := r.Title
	if title == "" {
		title = r.Rule
	}
	return sarifRule{
		ID: r.Rule, Name: r.Rule, ShortDescription: sarifText{title},
		Help:                 sarifText{"Run: keyreeve rules show " + r.Rule},
		DefaultConfiguration: sarifLevel{sarifLevelOf(r.Severity)},
		Properties: sarifProperties{
			string(r.Severity), securitySeverity(r.Severity), []string{"security", "aws", "iam"},
		},
	}
}

// sarifRun tells what stands beside the results. A run with gaps did not succeed as a whole.
func sarifRun(a *finding.Audit) sarifInvocation {
	run := sarifInvocation{Successful: a.Complete, Notifications: []sarifNotification{}}
	tell := func(level, text string) {
		run.Notifications = append(run.Notifications, sarifNotification{level, sarifText{text}})
	}
	for i := range a.Accounts {
		for _, g := range a.Accounts[i].Gaps {
			tell("error", "not read: "+gapText(a.Accounts[i].Account, g))
		}
	}
	for _, n := range a.NotJudged {
		tell("warning", "not judged: "+clean(n.Rule)+": "+whyText(n))
	}
	for i := range a.Exceptions {
		tell("warning", noticeText(&a.Exceptions[i]))
	}
	for _, n := range a.Notes {
		tell("note", clean(n))
	}
	return run
}

func toSARIFResult(v *finding.Verdict, e fact.Evidence) sarifResult {
	r := sarifResult{
		RuleID: v.Rule, Kind: "fail", Level: sarifLevelOf(v.Severity),
		Message: sarifText{subjectName(v) + ": " + v.Message},
		Locations: []sarifLocation{{
			Physical: sarifPhysical{sarifArtifact{sarifURI(v, e)}, sarifRegion{1}},
			Logical:  []sarifLogical{sarifSubject(v)},
		}},
		Fingerprints: map[string]string{"keyreeveVerdict/v1": v.ID},
		Properties: map[string]any{
			"account": v.Account.ID, "user": v.User, "severity": string(v.Severity), "status": string(v.Status),
			"remedy": v.Remedy, "since": stamp(v.Since), "key": toWireKey(v.Key),
		},
	}
	if v.Status == finding.Unknown {
		r.Kind, r.Level = "open", "none" // the standard allows no level beside another kind than fail
	}
	if e := v.Exception; e != nil {
		r.Suppressions = []sarifSuppression{{
			Kind: "external", Status: "accepted", Justification: e.Reason,
			Properties: map[string]any{"owner": e.Owner, "expires": stamp(e.Expires)},
		}}
	}
	return r
}

func sarifSubject(v *finding.Verdict) sarifLogical {
	if v.User == "" {
		return sarifLogical{Name: accountName(v.Account), Full: accountResource(v.Account), Kind: "resource"}
	}
	return sarifLogical{Name: v.User, Full: v.UserARN, Kind: "resource"}
}

func sarifURI(v *finding.Verdict, e fact.Evidence) string {
	if e.Source != fact.ReportFile || e.Path == "" || e.Path == "-" {
		return strings.TrimSuffix("aws-iam/"+url.PathEscape(v.Account.ID)+"/"+url.PathEscape(v.User), "/")
	}
	path := filepath.ToSlash(e.Path)
	parts := strings.Split(path, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	uri := strings.Join(parts, "/")
	switch {
	case strings.HasPrefix(uri, "/"):
		return "file://" + uri
	case strings.Contains(parts[0], ":"):
		return "./" + uri // a first segment with a colon would read as a scheme
	default:
		return uri
	}
}

func sarifLevelOf(s finding.Severity) string {
	switch s {
	case finding.Critical, finding.High:
		return "error"
	case finding.Medium:
		return "warning"
	case finding.Low:
		return "note"
	default:
		return "warning"
	}
}

// securitySeverity is a number in the middle of the band that code scanning gives the same name.
func securitySeverity(s finding.Severity) string {
	switch s {
	case finding.Critical:
		return "9.5"
	case finding.High:
		return "8.0"
	case finding.Medium:
		return "5.5"
	case finding.Low:
		return "2.0"
	default:
		return "5.5"
	}
}
