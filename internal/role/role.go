// Package role writes what makes the roles that keyreeve assumes in the accounts of an organisation: a
// CloudFormation template for a StackSet, or a Terraform module.
//
// It knows how both say a role, who may assume it and what it may do, and writes no account's id or partition
// beside those it was given: the same text serves every account.
//
// It refuses to add to a role: what a role may do is said by the caller, as a policy, and stands in the text
// action for action. It calls nobody and writes no file.
//
// Its promise: same settings, same bytes; and every mistake of the settings is told at once.
package role

import (
	"strings"
	"time"
)

// Mode is what a role is for.
type Mode string

// The modes.
const (
	Audit     Mode = "audit"     // to read
	Remediate Mode = "remediate" // to deactivate and delete keys
	Rotate    Mode = "rotate"    // that, and to make keys
)

// Modes are all modes, from the one that may do least.
func Modes() []Mode { return []Mode{Audit, Remediate, Rotate} }

// Valid tells whether m is one of Modes.
func (m Mode) Valid() bool { return m == Audit || m == Remediate || m == Rotate }

// Document is an IAM policy, as AWS takes it.
// Format: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
type Document struct {
	Version   string // 2012-10-17
	Statement []Statement
}

// Statement is one statement of a policy.
type Statement struct {
	Sid      string
	Effect   string // Allow or Deny
	Action   []string
	Resource string // an ARN, in which * and ? stand for what differs; arn:*: begins one of any partition
}

// Role is a role to make.
type Role struct {
	Mode    Mode
	Policy  Document
	Changes []string // the actions of Policy that change users' keys, sorted; they are denied under Settings.Protect
}

const (
	// DefaultName is the name of the read role.
	DefaultName = "keyreeve-audit"
	// DefaultPartition is the partition of an account that says nothing else.
	DefaultPartition = "aws"
	// DefaultSession is how long a session of a role may last. Where one role assumes another, AWS allows no more.
	DefaultSession = time.Hour
)

// Settings say what roles to make. Trust and Roles are required; every other zero value is usable.
type Settings struct {
	Roles []Role // each mode at most once

	// Trust may assume the roles: the twelve digits of an account, and so whoever that account lets assume
	// roles, or the ARN of a role.
	Trust      string
	ExternalID string // that whoever assumes a role must name; empty: none
	OrgID      string // of the organisation, such as o-a1b2c3d4e5, that whoever assumes a role must belong to; empty: any

	Name      string // of the read role; empty means DefaultName; see NameOf
	Path      string // of the roles; empty means /
	Partition string // empty means that of Trust where it is an ARN, else DefaultPartition

	// Boundary limits what the roles may do, whatever their policies say: the name, after its path where it has
	// one, of a policy that each account has, or the ARN of one of AWS's own. Empty: none.
	Boundary   string
	MaxSession time.Duration // of a role, in whole seconds; 0 means DefaultSession

	// Protect are paths of users, such as /break-glass/, whose keys the roles may not change.
	Protect []string
}

// NameOf is the name of the role for a mode: the read role has Settings.Name, and the others its name with their
// mode in place of a final -audit, or after it.
func (s *Settings) NameOf(m Mode) string {
	name := s.Name
	if name == "" {
		name = DefaultName
	}
	if m == Audit {
		return name
	}
	return strings.TrimSuffix(name, "-"+string(Audit)) + "-" + string(m)
}

// Title is the mode as resources are named after it: AuditRole.
func (m Mode) Title() string { return strings.ToUpper(string(m[:1])) + string(m[1:]) }

// Purpose says what the role is for, in the letters that IAM takes for a description.
func (m Mode) Purpose() string {
	switch m {
	case Remediate:
		return "keyreeve deactivates and deletes access keys, and looks before and after"
	case Rotate:
		return "keyreeve makes, deactivates and deletes access keys, and looks before and after"
	default:
		return "keyreeve reads users and their access keys, and changes nothing"
	}
}
