package role

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The letters and lengths that IAM and STS take. Of a path they take more than is needed, quotes and braces among
// them; here it is letters, digits and +=,.@_-.
var (
	account   = regexp.MustCompile(`^[0-9]{12}$`)
	roleARN   = regexp.MustCompile(`^arn:(aws[a-z-]*):iam::[0-9]{12}:role/(?:[\w+=,.@-]+/)*[\w+=,.@-]{1,64}$`)
	external  = regexp.MustCompile(`^[\w+=,.@:/-]{2,}$`)
	orgID     = regexp.MustCompile(`^o-[a-z0-9]{10,32}$`)
	name      = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
	path      = regexp.MustCompile(`^/(?:[\w+=,.@-]+/)*$`)
	partition = regexp.MustCompile(`^aws(-[a-z]+)*$`)
	ownPolicy = regexp.MustCompile(`^(?:[\w+=,.@-]+/)*[\w+=,.@-]{1,128}$`)
	awsPolicy = regexp.MustCompile(`^arn:(aws[a-z-]*):iam::aws:policy/((?:[\w+=,.@-]+/)*[\w+=,.@-]{1,128})$`)
)

const (
	longestARN      = 2048
	longestPath     = 512
	longestExternal = 1224
	minSession      = time.Hour // AWS takes no less
	maxSession      = 12 * time.Hour
)

// IsName tells whether text can be the name of a role, after its path where it has one: security/keyreeve-audit.
func IsName(text string) bool {
	cut := strings.LastIndexByte(text, '/') + 1
	return name.MatchString(text[cut:]) && path.MatchString("/"+text[:cut]) && len(text[:cut]) < longestPath
}

// IsPartition tells whether text looks like the name of a partition: aws, aws-cn, aws-us-gov, aws-eusc and the like.
func IsPartition(text string) bool { return partition.MatchString(text) }

// Validate reports every mistake of s at once.
func (s *Settings) Validate() error {
	return errors.Join(append(s.checkRoles(), s.checkTrust(), s.checkIDs(), s.checkPlace(), s.checkBoundary(), s.checkSession(), s.checkProtect())...)
}

func (s *Settings) checkRoles() []error {
	var errs []error
	if len(s.Roles) == 0 {
		errs = append(errs, errors.New("no role to make"))
	}
	seen := map[Mode]bool{}
	for _, r := range s.Roles {
		if !r.Mode.Valid() {
			errs = append(errs, fmt.Errorf("unknown mode %q", r.Mode))
			continue
		}
		if seen[r.Mode] {
			errs = append(errs, fmt.Errorf("two roles for %s", r.Mode))
		}
		seen[r.Mode] = true
		if n := s.NameOf(r.Mode); !name.MatchString(n) {
			errs = append(errs, fmt.Errorf("%q is no name of a role: 1 to 64 letters, digits and +=,.@-_", n))
		}
	}
	return errs
}

func (s *Settings) checkTrust() error {
	switch {
	case account.MatchString(s.Trust):
		return nil
	case s.Trust == "":
		return errors.New("nobody is named who may assume the roles")
	case strings.Contains(s.Trust, ":user/"):
		return fmt.Errorf("%q is a user, whose key would open every account: trust a role, or the account's twelve digits", s.Trust)
	case len(s.Trust) > longestARN || !roleARN.MatchString(s.Trust):
		return fmt.Errorf("%q is neither an account nor the ARN of a role: 111122223333, or arn:aws:iam::111122223333:role/keyreeve", s.Trust)
	default:
		return s.checkPartition("the role "+s.Trust, roleARN.FindStringSubmatch(s.Trust)[1])
	}
}

// checkPartition refuses an ARN of another partition than the one that was asked for: nothing in one reaches another.
func (s *Settings) checkPartition(what, got string) error {
	if want := s.partition(); got != want {
		return fmt.Errorf("%s is in partition %s, not in %s", what, got, want)
	}
	return nil
}

func (s *Settings) checkIDs() error {
	var errs []error
	if s.ExternalID != "" && (len(s.ExternalID) > longestExternal || !external.MatchString(s.ExternalID)) {
		errs = append(errs, fmt.Errorf("%q is no external id: 2 to 1224 letters, digits and +=,.@:/-_", s.ExternalID))
	}
	if s.OrgID != "" && !orgID.MatchString(s.OrgID) {
		errs = append(errs, fmt.Errorf("%q is no id of an organisation, such as o-a1b2c3d4e5", s.OrgID))
	}
	return errors.Join(errs...)
}

func (s *Settings) checkPlace() error {
	var errs []error
	if s.Path != "" && !isPath(s.Path) {
		errs = append(errs, fmt.Errorf("%q is no path of roles, such as /security/", s.Path))
	}
	if s.Partition != "" && !IsPartition(s.Partition) {
		errs = append(errs, fmt.Errorf("%q is no partition, such as aws, aws-cn or aws-us-gov", s.Partition))
	}
	return errors.Join(errs...)
}

func isPath(text string) bool { return path.MatchString(text) && len(text) <= longestPath }

func (s *Settings) checkBoundary() error {
	if s.Boundary == "" || ownPolicy.MatchString(s.Boundary) {
		return nil
	}
	if of := awsPolicy.FindStringSubmatch(s.Boundary); of != nil {
		return s.checkPartition("the permissions boundary "+s.Boundary, of[1])
	}
	return fmt.Errorf("the permissions boundary %q is neither the name of a policy that each account has nor the ARN of one of AWS's own", s.Boundary)
}

func (s *Settings) checkSession() error {
	if d := s.session(); d < minSession || d > maxSession || d%time.Second != 0 {
		return fmt.Errorf("a session of %s: IAM takes whole seconds from 1h to 12h", d)
	}
	return nil
}

func (s *Settings) checkProtect() error {
	var errs []error
	for i, p := range s.Protect {
		switch {
		case !isPath(p):
			errs = append(errs, fmt.Errorf("%q is no path of users, such as /break-glass/", p))
		case p == "/":
			errs = append(errs, fmt.Errorf("the path %q is of every user: then leave the role out", p))
		case slices.Contains(s.Protect[:i], p):
			errs = append(errs, fmt.Errorf("the path %q twice", p))
		}
	}
	if len(s.Protect) > 0 && !slices.ContainsFunc(s.Roles, func(r Role) bool { return len(r.Changes) > 0 }) {
		errs = append(errs, errors.New("there is nothing to protect users from: no role changes keys"))
	}
	return errors.Join(errs...)
}

func (s *Settings) session() time.Duration {
	if s.MaxSession == 0 {
		return DefaultSession
	}
	return s.MaxSession
}

func (s *Settings) partition() string {
	if s.Partition != "" {
		return s.Partition
	}
	if of := roleARN.FindStringSubmatch(s.Trust); of != nil {
		return of[1]
	}
	return DefaultPartition
}
