package credreport

import (
	"fmt"
	"strings"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// home is the account of the first row. All rows must be of it.
type home struct {
	account fact.Account
	prefix  string // arn:PARTITION:iam::ACCOUNT: which all ARNs begin with
}

// findHome reads the account from the first row of ck; nil when ck has no row.
func findHome(ck chunk, columns []column) (*home, *fault) {
	i := skipBlankLines(ck.text, 0)
	if i == len(ck.text) {
		return nil, nil
	}
	p := newParser(columns, "")
	p.chunk = ck
	var c cells
	next, flt := p.fill(i, &c)
	if flt == nil {
		h, ok := parseHome(c.arn)
		if ok {
			return &h, nil
		}
		flt = &fault{at: p.fieldOf(kindARN).at, text: c.arn, problem: "arn is not the ARN of an IAM user"}
	}
	p.hintAtEnd(flt, next)
	return nil, flt
}

// parseHome reads the account of an ARN of IAM. It gives copies, not views of arn.
func parseHome(arn string) (home, bool) {
	part := strings.SplitN(arn, ":", 6)
	if len(part) < 6 || part[0] != "arn" || part[2] != "iam" || part[3] != "" {
		return home{}, false
	}
	partition, id := strings.Clone(part[1]), strings.Clone(part[4])
	if partition != "aws" && !strings.HasPrefix(partition, "aws-") || !only(partition, inPlain) {
		return home{}, false
	}
	if !fact.IsAccountID(id) {
		return home{}, false
	}
	return home{
		account: fact.Account{ID: id, Partition: partition},
		prefix:  "arn:" + partition + ":iam::" + id + ":",
	}, true
}

// path is the path of the row's user, empty for root. Name and ARN must be those of one user of this
// account.
func (h *home) path(c *cells) (path, problem string) {
	if !strings.HasPrefix(c.arn, h.prefix) {
		return "", h.stranger(c.arn)
	}
	rest := c.arn[len(h.prefix):]
	if c.user == fact.RootName {
		if rest != "root" {
			return "", "arn is not that of the root user"
		}
		return "", ""
	}
	const kind = "user"
	if !strings.HasPrefix(rest, kind) || !strings.HasSuffix(rest[len(kind):], c.user) {
		return "", fmt.Sprintf("arn is not that of user %q", c.user)
	}
	path = rest[len(kind) : len(rest)-len(c.user)]
	if path != "/" && (len(path) < 2 || path[0] != '/' || path[len(path)-1] != '/' || !only(path, inPath)) {
		return "", fmt.Sprintf("arn is not that of user %q", c.user)
	}
	return path, ""
}

// stranger words what is wrong with an ARN of elsewhere.
func (h *home) stranger(arn string) string {
	other, ok := parseHome(arn)
	switch {
	case !ok:
		return "arn is not the ARN of an IAM user"
	case other.account.ID != h.account.ID:
		return fmt.Sprintf("arn is of account %s, the rows before are of %s", other.account.ID, h.account.ID)
	default:
		return fmt.Sprintf("arn is of partition %s, the rows before are of %s", other.account.Partition, h.account.Partition)
	}
}
