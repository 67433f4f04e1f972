package fakeaws

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// notApplicable stands in reports and last uses where there is nothing to say.
const notApplicable = "N/A"

// reportLife is how long AWS serves one report before it makes another.
const reportLife = 4 * time.Hour

// report is the one report of an account: none, one being made, or one made.
type report struct {
	pending int       // polls left until it is made; 0: none is being made
	made    time.Time // zero: none is
	body    []byte    // nil: of a lazy account that has not changed since, and can be written when it is asked for
}

func (r report) present() bool { return !r.made.IsZero() }

func (a *Account) reportFresh() bool {
	return a.report.present() && a.cloud.now.Sub(a.report.made) < reportLife
}

// generate is GenerateCredentialReport; it returns the state.
func (a *Account) generate() string {
	switch {
	case a.report.pending > 0:
		if !a.poll() {
			return "INPROGRESS"
		}
		return "COMPLETE"
	case a.reportFresh():
		return "COMPLETE"
	case a.cloud.switches.ReportPolls == 0:
		a.makeReport()
		return "COMPLETE"
	default:
		a.report.pending = a.cloud.switches.ReportPolls
		return "STARTED"
	}
}

// poll counts a look at a report being made, and tells whether it is made now.
func (a *Account) poll() bool {
	a.report.pending--
	if a.report.pending > 0 {
		return false
	}
	a.makeReport()
	return true
}

func (a *Account) getReport() ([]byte, time.Time, error) {
	if a.report.pending > 0 && !a.poll() {
		return nil, time.Time{}, &Error{404, "ReportInProgress", "Credential report is not ready."}
	}
	switch {
	case !a.report.present():
		return nil, time.Time{}, &Error{410, "ReportNotPresent", "No report found. Generate one."}
	case !a.reportFresh():
		return nil, time.Time{}, &Error{410, "ReportExpired", "The report has expired. Generate one."}
	case a.report.body == nil:
		return a.renderReport(), a.report.made, nil
	default:
		return a.report.body, a.report.made, nil
	}
}

func (a *Account) makeReport() {
	a.report = report{made: a.cloud.now}
	if a.made == nil || a.made.changed {
		a.report.body = a.renderReport()
	}
}

// CredentialReport is the report that the account would give now, whatever AWS-like caching says.
func (a *Account) CredentialReport() []byte {
	a.lock()
	defer a.cloud.mu.Unlock()
	return a.renderReport()
}

// rowSize is about the length of a row.
const rowSize = 256

// renderReport writes what AWS would: root first, users by name, LF, and no end to the last line.
func (a *Account) renderReport() []byte {
	out := make([]byte, 0, (len(a.users)+3)*rowSize)
	out = append(out, reportHeader...)
	root := a.rootCreated
	out = row(out, "<root_account>", "arn:"+a.partition+":iam::"+a.id+":root", root)
	out = append(out, "true,"...)
	out = appendStamp(out, root.AddDate(1, 0, 0))
	out = append(out, ',')
	out = appendStamp(out, root)
	out = append(out, ",not_supported,true"...)
	out = a.keyCells(out, a.rootKeys)
	arn := "arn:" + a.partition + ":iam::" + a.id + ":user"
	for _, u := range a.sorted() {
		out = row(out, u.name, arn+u.path+u.name, u.created)
		out = strconv.AppendBool(out, u.password)
		out = passwordCells(out, u)
		out = strconv.AppendBool(append(out, ','), u.mfa)
		out = a.keyCells(out, u.keys)
	}
	return out
}

const reportHeader = "user,arn,user_creation_time," +
	"password_enabled,password_last_used,password_last_changed,password_next_rotation,mfa_active," +
	"access_key_1_active,access_key_1_last_rotated," +
	"access_key_1_last_used_date,access_key_1_last_used_region,access_key_1_last_used_service," +
	"access_key_2_active,access_key_2_last_rotated," +
	"access_key_2_last_used_date,access_key_2_last_used_region,access_key_2_last_used_service," +
	"cert_1_active,cert_1_last_rotated,cert_2_active,cert_2_last_rotated"

// row begins a row with the cells that each has.
func row(out []byte, name, arn string, created time.Time) []byte {
	out = appendCell(append(out, '\n'), name)
	out = appendCell(append(out, ','), arn)
	out = appendStamp(append(out, ','), created)
	return append(out, ',')
}

// appendCell quotes a cell where it has to be.
func appendCell(out []byte, text string) []byte {
	if !strings.ContainsAny(text, ",\"\r\n") {
		return append(out, text...)
	}
	return append(append(append(out, '"'), strings.ReplaceAll(text, `"`, `""`)...), '"')
}

func passwordCells(out []byte, u *user) []byte {
	switch {
	case !u.password:
		return append(out, ",N/A,N/A,N/A"...)
	case u.passwordUsed.IsZero():
		out = append(out, ",no_information,"...)
	default:
		out = append(appendStamp(append(out, ','), u.passwordUsed), ',')
	}
	return append(appendStamp(out, u.passwordSet), ",N/A"...)
}

// keyCells are the ten cells of the two slots, and those of no certificate; a third key is not in the report.
func (a *Account) keyCells(out []byte, keys []*key) []byte {
	for slot := 1; slot <= 2; slot++ {
		i := slices.IndexFunc(keys, func(k *key) bool { return k.slot == slot })
		if i < 0 {
			out = append(out, ",false,N/A,N/A,N/A,N/A"...)
			continue
		}
		k := keys[i]
		out = strconv.AppendBool(append(out, ','), k.active)
		out = appendStamp(append(out, ','), k.created)
		last, used := a.lastUse(k)
		if !used {
			out = append(out, ",N/A,N/A,N/A"...)
			continue
		}
		out = appendStamp(append(out, ','), last.at)
		out = appendCell(append(out, ','), last.region)
		out = appendCell(append(out, ','), last.service)
	}
	return append(out, ",false,N/A,false,N/A"...)
}

// stampLayout is how IAM writes a time, to the second.
const stampLayout = "2006-01-02T15:04:05Z"

func stamp(t time.Time) string { return t.UTC().Format(stampLayout) }

func appendStamp(out []byte, t time.Time) []byte { return t.UTC().AppendFormat(out, stampLayout) }
