package fakeaws

import (
	"bytes"
	"encoding/csv"
	"strconv"
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

// renderReport writes what AWS would: root first, users by name, LF, and no end to the last line.
func (a *Account) renderReport() []byte {
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	write := func(row []string) { _ = w.Write(row) } // a bytes.Buffer takes everything
	write(reportHeader())
	root := []string{
		"<root_account>", "arn:" + a.partition + ":iam::" + a.id + ":root", stamp(a.rootCreated),
		"true", stamp(a.rootCreated.AddDate(1, 0, 0)), stamp(a.rootCreated), "not_supported", "true",
	}
	write(append(append(root, a.keyCells(a.rootKeys)...), certCells()...))
	for _, u := range a.sorted() {
		row := []string{u.name, a.arn(u), stamp(u.created), strconv.FormatBool(u.password)}
		row = append(row, passwordCells(u)...)
		row = append(row, strconv.FormatBool(u.mfa))
		write(append(append(row, a.keyCells(u.keys)...), certCells()...))
	}
	w.Flush()
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}

func reportHeader() []string {
	return []string{
		"user", "arn", "user_creation_time",
		"password_enabled", "password_last_used", "password_last_changed", "password_next_rotation", "mfa_active",
		"access_key_1_active", "access_key_1_last_rotated",
		"access_key_1_last_used_date", "access_key_1_last_used_region", "access_key_1_last_used_service",
		"access_key_2_active", "access_key_2_last_rotated",
		"access_key_2_last_used_date", "access_key_2_last_used_region", "access_key_2_last_used_service",
		"cert_1_active", "cert_1_last_rotated", "cert_2_active", "cert_2_last_rotated",
	}
}

func passwordCells(u *user) []string {
	switch {
	case !u.password:
		return []string{notApplicable, notApplicable, notApplicable}
	case u.passwordUsed.IsZero():
		return []string{"no_information", stamp(u.passwordSet), notApplicable}
	default:
		return []string{stamp(u.passwordUsed), stamp(u.passwordSet), notApplicable}
	}
}

// keyCells are the ten cells of the two slots; a third key is not in the report.
func (a *Account) keyCells(keys []*key) []string {
	var out []string
	for slot := 1; slot <= 2; slot++ {
		cells := []string{"false", notApplicable, notApplicable, notApplicable, notApplicable}
		for _, k := range keys {
			if k.slot != slot {
				continue
			}
			cells[0], cells[1] = strconv.FormatBool(k.active), stamp(k.created)
			if last, ok := a.lastUse(k); ok {
				cells[2], cells[3], cells[4] = stamp(last.at), last.region, last.service
			}
		}
		out = append(out, cells...)
	}
	return out
}

func certCells() []string { return []string{"false", notApplicable, "false", notApplicable} }

// stamp is a time as IAM writes it, to the second.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
