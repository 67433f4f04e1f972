package report

import (
	"bufio"

	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
)

const ocsfVersion = "1.8.0"

type ocsfFinding struct {
	ActivityID     int              `json:"activity_id"`
	ActivityName   string           `json:"activity_name"`
	CategoryUID    int              `json:"category_uid"`
	CategoryName   string           `json:"category_name"`
	ClassUID       int              `json:"class_uid"`
	ClassName      string           `json:"class_name"`
	TypeUID        int              `json:"type_uid"`
	TypeName       string           `json:"type_name"`
	SeverityID     int              `json:"severity_id"`
	Severity       string           `json:"severity"`
	StatusID       int              `json:"status_id"`
	Status         string           `json:"status"`
	StatusCode     string           `json:"status_code"`
	StatusDetail   string           `json:"status_detail,omitempty"`
	Time           int64            `json:"time"` // milliseconds since 1970, like every *_time of OCSF
	TimezoneOffset int              `json:"timezone_offset"`
	Message        string           `json:"message"`
	IsAlert        bool             `json:"is_alert"`
	ConfidenceID   int              `json:"confidence_id"`
	Confidence     string           `json:"confidence"`
	Metadata       ocsfMetadata     `json:"metadata"`
	FindingInfo    ocsfInfo         `json:"finding_info"`
	Cloud          ocsfCloud        `json:"cloud"`
	Resources      []ocsfResource   `json:"resources"`
	Evidences      []ocsfEvidence   `json:"evidences"`
	Observables    []ocsfObservable `json:"observables"`
	Remediation    *ocsfRemedy      `json:"remediation,omitempty"`
	Unmapped       map[string]any   `json:"unmapped"`
}

type ocsfMetadata struct {
	Version   string      `json:"version"`
	Profiles  []string    `json:"profiles"`
	Product   ocsfProduct `json:"product"`
	EventCode string      `json:"event_code"`
	UID       string      `json:"uid"`
}

type ocsfProduct struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
	UID        string `json:"uid"`
	Version    string `json:"version,omitempty"`
}

type ocsfInfo struct {
	UID         string       `json:"uid"`
	Title       string       `json:"title"`
	Desc        string       `json:"desc"`
	Types       []string     `json:"types"`
	CreatedTime int64        `json:"created_time"`
	FirstSeen   *int64       `json:"first_seen_time,omitempty"`
	LastSeen    int64        `json:"last_seen_time"`
	Analytic    ocsfAnalytic `json:"analytic"`
}

type ocsfAnalytic struct {
	Name   string `json:"name"`
	UID    string `json:"uid"`
	TypeID int    `json:"type_id"`
	Type   string `json:"type"`
}

type ocsfCloud struct {
	Provider  string       `json:"provider"`
	Region    string       `json:"region,omitempty"`
	Partition string       `json:"cloud_partition,omitempty"`
	Account   *ocsfAccount `json:"account,omitempty"`
}

type ocsfAccount struct {
	UID    string `json:"uid"`
	Name   string `json:"name,omitempty"`
	TypeID int    `json:"type_id"`
	Type   string `json:"type"`
}

type ocsfResource struct {
	UID       string         `json:"uid"`
	Name      string         `json:"name"`
	Type      string         `json:"type"`
	Provider  string         `json:"provider"`
	Region    string         `json:"region,omitempty"`
	Partition string         `json:"cloud_partition,omitempty"`
	RoleID    int            `json:"role_id"`
	Role      string         `json:"role"`
	Data      map[string]any `json:"data,omitempty"`
}

type ocsfEvidence struct {
	Name string         `json:"name"`
	User *ocsfUser      `json:"user,omitempty"` // none where the account itself is the subject
	Data map[string]any `json:"data"`
}

type ocsfUser struct {
	Name        string           `json:"name"`
	UID         string           `json:"uid"`
	Credentials []ocsfCredential `json:"programmatic_credentials,omitempty"`
}

type ocsfCredential struct {
	Type     string `json:"type"`
	UID      string `json:"uid"`
	LastUsed *int64 `json:"last_used_time,omitempty"`
}

type ocsfObservable struct {
	Name   string `json:"name"`
	TypeID int    `json:"type_id"`
	Type   string `json:"type"`
	Value  string `json:"value"`
}

type ocsfRemedy struct {
	Desc string `json:"desc"`
}

// writeOCSF writes a JSON array of OCSF Detection Findings (class 2004, profile cloud), one a verdict.
// The class has no place for compliance: rule, facts and controls stand in unmapped.
func writeOCSF(w *bufio.Writer, a *finding.Audit, o Options) error {
	err := writeList(w, "  ", func(yield func(ocsfFinding) bool) {
		for v := range a.Verdicts {
			if o.shown(v.Status) && !yield(toOCSF(v, a)) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return w.WriteByte('\n')
}

func toOCSF(v *finding.Verdict, a *finding.Audit) ocsfFinding {
	now := a.AsOf.UnixMilli()
	out := ocsfFinding{
		ActivityID: 1, ActivityName: "Create", CategoryUID: 2, CategoryName: "Findings",
		ClassUID: 2004, ClassName: "Detection Finding", TypeUID: 200401, TypeName: "Detection Finding: Create",
		Severity: severityTitle(v.Severity), SeverityID: ocsfSeverity(v.Severity),
		Time: now, Message: subjectName(v) + ": " + v.Message, ConfidenceID: 3, Confidence: "High",
		Metadata: ocsfMetadata{
			Version: ocsfVersion, Profiles: []string{"cloud"}, EventCode: v.Rule, UID: v.ID,
			Product: ocsfProduct{product, product, product, a.Version},
		},
		FindingInfo: ocsfInfo{
			UID: v.ID, Title: titleOf(v), Desc: v.Message, Types: []string{"Software and Configuration Checks"},
			CreatedTime: now, LastSeen: now, FirstSeen: millis(v.Since),
			Analytic: ocsfAnalytic{titleOf(v), v.Rule, 1, "Rule"},
		},
		Cloud: ocsfCloud{
			Provider: "AWS", Region: homeRegion(v.Account.Partition), Partition: v.Account.Partition,
		},
		Resources:   []ocsfResource{ocsfResourceOf(v)},
		Evidences:   []ocsfEvidence{ocsfEvidenceOf(v)},
		Observables: []ocsfObservable{{"resources[0].uid", 10, "Resource UID", ocsfUID(v)}},
		Unmapped: map[string]any{
			"rule": v.Rule, "kind": v.Kind, "ruleset": a.Ruleset, "facts": toWireVerdict(v).Facts,
			"compliance": toWireVerdict(v).Controls, "audit_complete": a.Complete,
		},
	}
	out.StatusID, out.Status, out.StatusCode = ocsfStatus(v.Status)
	out.StatusDetail = v.Message
	if v.Since.Known() {
		out.FindingInfo.CreatedTime = *millis(v.Since)
	}
	if e := v.Exception; e != nil {
		out.StatusDetail = "accepted by " + e.Owner + " until " + date(e.Expires) + ": " + e.Reason
		out.Unmapped["exception"] = toWireException(e)
	}
	if v.Account.ID != "" {
		out.Cloud.Account = &ocsfAccount{v.Account.ID, v.Account.Name, 10, "AWS Account"}
	}
	if text := remedyText(v.Remedy); text != "" {
		out.Remediation = &ocsfRemedy{text}
	}
	return out
}

// ocsfUID is the unique id of what a verdict is about: the ARN of its user, or the account's id.
func ocsfUID(v *finding.Verdict) string {
	if v.User == "" {
		return v.Account.ID
	}
	return v.UserARN
}

func ocsfResourceOf(v *finding.Verdict) ocsfResource {
	r := ocsfResource{
		UID: ocsfUID(v), Name: v.User, Type: "AwsIamUser", Provider: "AWS", Region: homeRegion(v.Account.Partition),
		Partition: v.Account.Partition, RoleID: 3, Role: "Affected",
	}
	switch v.User {
	case "":
		r.Type, r.Name = "AwsAccount", accountName(v.Account)
	case fact.RootName:
		r.Type = "AwsAccount"
	}
	if v.Key != nil {
		r.Data = map[string]any{"access_key": toWireKey(v.Key)}
	}
	return r
}

func ocsfEvidenceOf(v *finding.Verdict) ocsfEvidence {
	data := toWireVerdict(v).Facts
	if v.User == "" {
		return ocsfEvidence{Name: "account", Data: data}
	}
	e := ocsfEvidence{Name: "user", User: &ocsfUser{Name: v.User, UID: v.UserARN}, Data: data}
	if v.Key == nil {
		return e
	}
	e.Name = "access key"
	if v.Key.ID != "" { // a credential without an id is none to OCSF
		e.User.Credentials = []ocsfCredential{{"access key", v.Key.ID, millis(v.Key.LastUsed.At)}}
	}
	return e
}

func titleOf(v *finding.Verdict) string {
	if v.Title != "" {
		return v.Title
	}
	return v.Rule
}

func millis(t fact.Time) *int64 {
	if !t.Known() {
		return nil
	}
	ms := t.Time().UnixMilli()
	return &ms
}

func ocsfSeverity(s finding.Severity) int {
	switch s {
	case finding.Low:
		return 2
	case finding.Medium:
		return 3
	case finding.High:
		return 4
	case finding.Critical:
		return 5
	default:
		return 0
	}
}

func ocsfStatus(s finding.Status) (id int, name, code string) {
	switch s {
	case finding.Fail:
		return 1, "New", "FAIL"
	case finding.Excepted:
		return 3, "Suppressed", "EXCEPTED"
	case finding.Pass:
		return 4, "Resolved", "PASS"
	default:
		return 0, "Unknown", "UNKNOWN"
	}
}
