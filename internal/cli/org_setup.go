package cli

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/role"
)

// orgSetupFlags are the flags of `keyreeve org setup`, as they were written.
type orgSetupFlags struct {
	role.Settings
	format     string
	modes      []string
	generate   bool
	maxSession string
	out        string
}

func (a *app) orgSetupCommand() *cobra.Command {
	var f orgSetupFlags
	c := &cobra.Command{
		Use:   "setup",
		Short: "Print what makes the roles in the accounts: a CloudFormation template or a Terraform module",
		Long: "setup prints a CloudFormation template, made for a StackSet that reaches every account of an organisation, or a\n" +
			"Terraform module. It calls nobody. The roles may do exactly what keyreeve iam-policy prints for their mode. By\n" +
			"default there is one, which can only read. Those that change keys are roles of their own, best trusted to another\n" +
			"principal: run setup once for each. --trust takes a role rather than an account: of an account, everybody whom it\n" +
			"lets assume roles comes in. An external id keeps out who was not told it.",
		Example: "  keyreeve org setup --trust arn:aws:iam::111122223333:role/keyreeve --generate-external-id --out .\n" +
			"  keyreeve org setup --trust arn:aws:iam::111122223333:role/keyreeve-fix --roles remediate,rotate \\\n" +
			"    --external-id keyreeve-4a7c --protect-path /break-glass/ --format terraform --out keyreeve-roles",
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := refuseEmptyFlags(c); err != nil {
				return err
			}
			return a.orgSetup(&f)
		},
	}
	fs := c.Flags()
	fs.StringVar(&f.format, "format", string(role.CloudFormation), "`FORMAT`: cloudformation, terraform")
	fs.StringSliceVar(&f.modes, "roles", []string{string(role.Audit)}, "make these `ROLES`: audit, remediate, rotate")
	fs.StringVar(&f.Trust, "trust", "", "who may assume the roles: a role's ARN, or an account, as `PRINCIPAL`; required")
	fs.StringVar(&f.ExternalID, "external-id", "", "`ID` that whoever assumes a role must name")
	fs.BoolVar(&f.generate, "generate-external-id", false, "make a random external id, and tell it on standard error")
	fs.StringVar(&f.OrgID, "org-id", "", "whoever assumes a role must belong to the organisation `ID`, such as o-a1b2c3d4e5")
	fs.StringVar(&f.Name, "org-role", role.DefaultName, "`NAME` of the read role; the others have their mode in place of its -audit")
	fs.StringVar(&f.Path, "path", "/", "`PATH` of the roles")
	fs.StringVar(&f.Partition, "partition", "", "`NAME` of the partition (default: that of --trust, or aws)")
	fs.StringVar(&f.Boundary, "permissions-boundary", "", "`POLICY` that limits the roles: the name of one that each account has, or the ARN of one of AWS's")
	fs.StringVar(&f.maxSession, "max-session", "1h", "longest session of a role, a `TIME` from 1h to 12h; where one role assumes another, AWS allows 1h")
	fs.StringArrayVar(&f.Protect, "protect-path", nil, "the roles may not change keys of users under this `PATH`, such as /break-glass/; repeatable")
	fs.StringVar(&f.out, "out", "", "`DIR` to write files into (default: standard output)")
	completeValues(c, "format", words(role.Formats()))
	completeValues(c, "roles", words(role.Modes()))
	return c
}

func (a *app) orgSetup(f *orgSetupFlags) error {
	format := role.Format(f.format)
	if !format.Valid() {
		return misuse("use cloudformation or terraform", "unknown format %q", f.format)
	}
	if f.Trust == "" {
		return misuse("name the role that keyreeve will run as: --trust arn:aws:iam::111122223333:role/keyreeve", "nobody is named who may assume the roles")
	}
	if f.generate && f.ExternalID != "" {
		return misuse("leave one of them out", "--external-id and --generate-external-id exclude each other")
	}
	var err error
	if f.MaxSession, err = parseFlagDuration("--max-session", f.maxSession); err != nil {
		return err
	}
	if f.Roles, err = a.rolesOf(f.modes); err != nil {
		return err
	}
	if f.generate {
		f.ExternalID = newExternalID()
	}
	files, err := role.Files(&f.Settings, format)
	if err != nil {
		return asMisuse(err)
	}
	if f.out == "" {
		err = a.writeStdout(func(w io.Writer) error { return writeJoined(w, files) })
	} else {
		err = a.writeRoles(f.out, files)
	}
	if err != nil {
		return err
	}
	switch {
	case f.generate:
		a.say("external id %s: keep it, it is what --external-id of an audit has to say", f.ExternalID)
	case f.ExternalID == "":
		a.warn("no external id: whoever is trusted comes in without one\nhint: --generate-external-id makes one")
	}
	return nil
}

// rolesOf are the roles for these modes, with the policies that iam-policy prints for them.
func (a *app) rolesOf(modes []string) ([]role.Role, error) {
	var out []role.Role
	for _, m := range modes {
		r := role.Role{Mode: role.Mode(m)}
		if !r.Mode.Valid() {
			return nil, misuse("use audit, remediate, rotate, with commas between them", "unknown role %q", m)
		}
		var err error
		if r.Policy, err = a.policy(r.Mode); err != nil {
			return nil, err
		}
		switch r.Mode {
		case role.Audit:
		case role.Remediate:
			r.Changes = awsiam.ActActions()
		case role.Rotate:
			r.Changes = awsiam.RotateChanges()
		}
		out = append(out, r)
	}
	return out, nil
}

// newExternalID is 128 bits by chance.
func newExternalID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return "keyreeve-" + hex.EncodeToString(b[:])
}

// writeJoined writes what the tools read as one text: Terraform takes a module in one file as well.
func writeJoined(w io.Writer, files []role.File) error {
	for i, f := range files {
		if f.Page {
			continue
		}
		text := f.Text
		if i > 0 {
			text = "\n" + text
		}
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
	}
	return nil
}

// writeRoles writes the files into dir, which it makes where there is none. Files that stand there already are replaced
// if keyreeve wrote them; one of somebody else's stops it before it has written any.
func (a *app) writeRoles(dir string, files []role.File) error {
	for _, f := range files {
		if err := mayReplace(filepath.Join(dir, f.Name)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return misuse("name a directory", "--out: %v", err)
	}
	for _, f := range files {
		path := filepath.Join(dir, f.Name)
		if err := writeFile(path, func(w io.Writer) error { _, err := io.WriteString(w, f.Text); return err }); err != nil {
			return err
		}
		if !a.global.quiet {
			a.say("wrote %s", path)
		}
	}
	return nil
}

// mayReplace refuses a file that does not begin as one of keyreeve's.
func mayReplace(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return misuse("name a directory", "--out: %v", err)
	}
	defer func() { _ = f.Close() }() // only read
	first, err := bufio.NewReader(io.LimitReader(f, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %q: %w", path, err)
	}
	if !strings.Contains(first, role.Mark) {
		return misuse("name an empty directory with --out", "%q is there, and keyreeve did not write it", path)
	}
	return nil
}

// words are the values of an enumeration, as completion takes them.
func words[T ~string](values []T) []string {
	var out []string
	for _, v := range values {
		out = append(out, string(v))
	}
	return out
}
