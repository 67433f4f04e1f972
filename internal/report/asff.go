package report

import (
	"bufio"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/notice"
)

// Limits that BatchImportFindings sets, in characters and items.
const (
	asffTitleMax        = 256
	asffTextMax         = 1024
	asffRecommendMax    = 512
	asffNoteMax         = 512
	asffRequirementsMax = 32
)

type asffFinding struct {
	SchemaVersion string            `json:"SchemaVersion"`
	ID            string            `json:"Id"`
	ProductARN    string            `json:"ProductArn"`
	GeneratorID   string            `json:"GeneratorId"`
	AccountID     string            `json:"AwsAccountId"`
	Types         []string          `json:"Types"`
	FirstObserved string            `json:"FirstObservedAt,omitempty"`
	CreatedAt     string            `json:"CreatedAt"`
	UpdatedAt     string            `json:"UpdatedAt"`
	Severity      asffSeverity      `json:"Severity"`
	Title         string            `json:"Title"`
	Description   string            `json:"Description"`
	Remediation   *asffRemediation  `json:"Remediation,omitempty"`
	ProductFields map[string]string `json:"ProductFields"`
	Resources     []asffResource    `json:"Resources"`
	Compliance    asffCompliance    `json:"Compliance"`
	Workflow      *asffWorkflow     `json:"Workflow,omitempty"`
	RecordState   string            `json:"RecordState"`
	Note          *asffNote         `json:"Note,omitempty"`
	Provider      *asffProvider     `json:"FindingProviderFields,omitempty"`
}

// asffProvider is what an import anew may change of a finding that is there.
type asffProvider struct {
	Severity asffSeverity `json:"Severity"`
	Types    []string     `json:"Types"`
}

type asffSeverity struct {
	Label    string `json:"Label"`
	Original string `json:"Original"`
}

type asffRemediation struct {
	Recommendation asffRecommendation `json:"Recommendation"`
}

type asffRecommendation struct {
	Text string `json:"Text"`
}

type asffResource struct {
	Type      string       `json:"Type"`
	ID        string       `json:"Id"`
	Partition string       `json:"Partition,omitempty"`
	Region    string       `json:"Region,omitempty"`
	Details   *asffDetails `json:"Details,omitempty"`
}

type asffDetails struct {
	User *asffUser `json:"AwsIamUser,omitempty"`
	Key  *asffKey  `json:"AwsIamAccessKey,omitempty"`
}

type asffUser struct {
	UserName string `json:"UserName"`
}

type asffKey struct {
	AccessKeyID   string `json:"AccessKeyId,omitempty"`
	AccountID     string `json:"AccountId"`
	CreatedAt     string `json:"CreatedAt,omitempty"`
	PrincipalName string `json:"PrincipalName"`
	PrincipalType string `json:"PrincipalType"`
	Status        string `json:"Status"`
}

type asffCompliance struct {
	Status              string       `json:"Status"`
	RelatedRequirements []string     `json:"RelatedRequirements,omitempty"`
	StatusReasons       []asffReason `json:"StatusReasons,omitempty"`
}

type asffReason struct {
	ReasonCode  string `json:"ReasonCode"`
	Description string `json:"Description"`
}

type asffWorkflow struct {
	Status string `json:"Status"`
}

type asffNote struct {
	Text      string `json:"Text"`
	UpdatedBy string `json:"UpdatedBy"`
	UpdatedAt string `json:"UpdatedAt"`
}

// writeASFF writes {"Findings": [...]} as Security Hub's BatchImportFindings takes it; that call accepts at
// most 100 findings of one account at a time, so a longer list has to be sent in parts. A finding belongs to an account:
// evidence that names none is an error here.
func writeASFF(w *bufio.Writer, a *finding.Audit, o Options) error {
	if _, err := w.WriteString("{\n  \"Findings\": "); err != nil {
		return err
	}
	var homeless *finding.Verdict
	err := writeList(w, "    ", func(yield func(asffFinding) bool) {
		for v := range a.Verdicts {
			if v.Account.ID == "" || v.Account.Partition == "" {
				homeless = v
				return
			}
			if o.shown(v.Status) && !yield(toASFF(v, a, o)) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	if homeless != nil {
		return fmt.Errorf("the evidence does not name the account of %s, and a finding needs one", subjectName(homeless))
	}
	_, err = w.WriteString("\n}\n")
	return err
}

// Import says how a verdict is told to a Security Hub, again each time that it changes.
type Import struct {
	Account string        // of the hub, twelve digits: it takes findings of its own account only
	Region  string        // of the hub; empty means the partition's IAM home region
	At      time.Time     // when the verdict opened or closed
	Closed  notice.Reason // empty: the verdict is open
}

// Finding writes a verdict in ASFF for an import: the id never changes, At is the time of the update, and what the users of
// Security Hub write themselves (workflow, note) is not in it. A closed one is archived. Where the hub is of another account
// than the verdict, the finding is of the hub's, and its resources and product fields name the verdict's.
func Finding(v *finding.Verdict, i Import) ([]byte, error) {
	if v.Account.ID == "" || v.Account.Partition == "" || i.Account == "" {
		return nil, fmt.Errorf("the account of %s is not known, and a finding needs one", subjectName(v))
	}
	open := *v
	open.Status, open.Exception = finding.Fail, nil // as it was when it opened
	f := toASFF(&open, &finding.Audit{AsOf: i.At}, Options{Region: i.Region})
	f.Workflow, f.AccountID = nil, i.Account
	f.ProductARN = productARN(v.Account.Partition, orHome(i.Region, v.Account.Partition), i.Account)
	f.Provider = &asffProvider{f.Severity, f.Types}
	f.ProductFields["keyreeve/account"] = v.Account.ID
	for name, value := range f.ProductFields {
		if value == "" {
			delete(f.ProductFields, name)
		}
	}
	if i.Closed != "" {
		f.RecordState, f.ProductFields["keyreeve/closed"] = "ARCHIVED", string(i.Closed)
	}
	switch i.Closed {
	case notice.Fixed:
		f.Compliance.Status, f.ProductFields["keyreeve/status"] = "PASSED", string(finding.Pass)
	case notice.Excepted:
		f.ProductFields["keyreeve/status"] = string(finding.Excepted)
	case notice.UserGone, notice.RuleChanged, notice.AccountGone:
		f.Compliance.Status = "NOT_AVAILABLE"
		f.Compliance.StatusReasons = []asffReason{{strings.ToUpper(strings.ReplaceAll(string(i.Closed), " ", "_")), string(i.Closed)}}
	}
	return json.Marshal(f)
}

func productARN(partition, region, account string) string {
	return fmt.Sprintf("arn:%s:securityhub:%s:%s:product/%s/default", partition, region, account, account)
}

func orHome(region, partition string) string {
	if region == "" {
		return homeRegion(partition)
	}
	return region
}

func toASFF(v *finding.Verdict, a *finding.Audit, o Options) asffFinding {
	out := asffFinding{
		SchemaVersion: "2018-10-08",
		ID:            product + "/" + v.Account.ID + "/" + v.ID,
		ProductARN:    productARN(v.Account.Partition, orHome(o.Region, v.Account.Partition), v.Account.ID),
		GeneratorID:   cutRunes(product+"/"+v.Rule, asffTitleMax), AccountID: v.Account.ID,
		Types:         []string{"Software and Configuration Checks/AWS Security Best Practices"},
		FirstObserved: stampText(v.Since), CreatedAt: stampText(v.Since), UpdatedAt: instant(a.AsOf),
		Severity: asffSeverity{strings.ToUpper(string(v.Severity)), string(v.Severity)},
		Title:    cutRunes(titleOf(v)+" ("+subjectName(v)+")", asffTitleMax),
		Description: cutRunes(
			strings.TrimSpace(subjectName(v)+": "+clean(v.Message)), asffTextMax),
		ProductFields: map[string]string{
			"keyreeve/rule": v.Rule, "keyreeve/kind": v.Kind, "keyreeve/ruleset": a.Ruleset,
			"keyreeve/remedy": string(v.Remedy), "keyreeve/status": string(v.Status),
		},
		Resources: asffResources(v), RecordState: "ACTIVE", Workflow: &asffWorkflow{},
		Compliance: asffCompliance{RelatedRequirements: asffRequirements(v.Controls)},
	}
	if out.CreatedAt == "" {
		out.CreatedAt = instant(a.AsOf)
	}
	if text := remedyText(v.Remedy); text != "" {
		out.Remediation = &asffRemediation{asffRecommendation{cutRunes(text, asffRecommendMax)}}
	}
	asffJudge(&out, v)
	return out
}

// asffJudge sets what depends on the status. An excepted verdict still fails: it is suppressed, not passed.
func asffJudge(out *asffFinding, v *finding.Verdict) {
	switch v.Status {
	case finding.Fail:
		out.Compliance.Status, out.Workflow.Status = "FAILED", "NEW"
	case finding.Excepted:
		out.Compliance.Status, out.Workflow.Status = "FAILED", "SUPPRESSED"
	case finding.Pass:
		out.Compliance.Status, out.Workflow.Status = "PASSED", "RESOLVED"
		out.Severity.Label = "INFORMATIONAL"
	default:
		out.Compliance.Status, out.Workflow.Status = "NOT_AVAILABLE", "NEW"
		out.Compliance.StatusReasons = []asffReason{{"EVIDENCE_NOT_READ", cutRunes(clean(v.Message), asffTextMax)}}
	}
	if e := v.Exception; e != nil {
		out.Note = &asffNote{
			cutRunes(clean(e.Reason+" (until "+date(e.Expires)+")"), asffNoteMax), cutRunes(clean(e.Owner), asffNoteMax),
			out.UpdatedAt,
		}
	}
}

func asffResources(v *finding.Verdict) []asffResource {
	region := homeRegion(v.Account.Partition)
	user := asffResource{Type: "AwsIamUser", ID: v.UserARN, Partition: v.Account.Partition, Region: region}
	if v.User == "" || v.User == fact.RootName {
		user.Type, user.ID = "AwsAccount", accountResource(v.Account)
	} else {
		user.Details = &asffDetails{User: &asffUser{v.User}}
	}
	if user.ID == "" {
		user.ID = v.User
	}
	if v.Key == nil {
		return []asffResource{user}
	}
	k := v.Key
	key := asffResource{
		Type: "AwsIamAccessKey", ID: "AWS::IAM::AccessKey:" + k.ID, Partition: v.Account.Partition, Region: region,
		Details: &asffDetails{Key: &asffKey{
			AccessKeyID: k.ID, AccountID: v.Account.ID, CreatedAt: stampText(k.Created), PrincipalName: v.User,
			PrincipalType: "IAMUser", Status: "Inactive",
		}},
	}
	if k.ID == "" { // a report names no keys: the user and the slot stand for it
		key.ID = user.ID + "/" + strings.ReplaceAll(keyName(k), " ", "-")
	}
	if v.User == fact.RootName {
		key.Details.Key.PrincipalType = "Root"
	}
	if k.Active {
		key.Details.Key.Status = "Active"
	}
	return []asffResource{key, user}
}

func asffRequirements(cs []finding.Control) []string {
	var out []string
	for _, c := range cs {
		for _, id := range c.IDs {
			out = append(out, c.Framework+" "+id)
		}
	}
	slices.Sort(out)
	return out[:min(len(out), asffRequirementsMax)]
}
