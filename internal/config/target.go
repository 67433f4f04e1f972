package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/keyreeve/keyreeve/internal/courier"
	"github.com/keyreeve/keyreeve/internal/seal"
	"github.com/keyreeve/keyreeve/internal/yamlfile"
)

// Kind is how a target is reached.
type Kind string

const (
	SecretsManager  Kind = "secretsmanager"
	SSM             Kind = "ssm"
	CredentialsFile Kind = "credentials_file"
	SealedFile      Kind = "sealed_file"
	Command         Kind = "command"
)

// Kinds lists every Kind.
func Kinds() []Kind { return []Kind{SecretsManager, SSM, CredentialsFile, SealedFile, Command} }

// Target is a place where the new key of one user goes. Of the settings, the one that Kind names is not nil; its
// Backup is left for the caller to set.
type Target struct {
	Name string
	Kind Kind

	Secret      *courier.SecretSettings      // of SecretsManager; Region empty: that of the caller's chain
	Parameter   *courier.ParameterSettings   // of SSM; Region as there
	Credentials *courier.CredentialsSettings // of CredentialsFile
	Sealed      *courier.SealedSettings      // of SealedFile
	Command     *courier.CommandSettings     // of Command
}

// target is a Target before its placeholders are filled in.
type target struct {
	Target
	key       yamlfile.Node // for messages
	namesUser bool          // the user's name is written into the object
	variables []string      // that a command gets
	used      bool
}

func kindNames() []string {
	var out []string
	for _, k := range Kinds() {
		out = append(out, string(k))
	}
	return out
}

var targetName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

// target reads one named place.
func (r *reader) target(n yamlfile.Named) {
	t := target{Target: Target{Name: n.Name}, key: n.Key}
	if !targetName.MatchString(n.Name) {
		r.Wrong(n.Key, "begin with a letter or digit; then letters, digits and _.-, 63 at most", "target %q is not a name", n.Name)
	}
	what := fmt.Sprintf("target %q", n.Name)
	kinds := r.Fields(n.Value, what, kindNames())
	switch {
	case kinds == nil:
	case len(kinds) > 1:
		r.Wrong(n.Key, "one place is one target; make a second one of it", "%s has %d kinds", what, len(kinds))
	case len(kinds) == 0 && len(r.Names(n.Value, what)) == 0:
		r.Wrong(n.Key, "one of "+strings.Join(kindNames(), ", "), "%s without a kind", what)
	}
	for _, k := range Kinds() {
		if v, ok := kinds[string(k)]; ok {
			t.Kind = k
			r.settings(&t, what, v.Value)
		}
	}
	for i := range r.out.targets {
		other := &r.out.targets[i]
		_, known := t.text()
		if known && t.clashes(other.Target) && slices.Equal(t.variables, other.variables) {
			r.Wrong(n.Key, "one place is one target, which several entries of users may name", "%s is the same place as %q", what, other.Name)
			break
		}
	}
	r.out.targets = append(r.out.targets, t) // also a wrong one: entries of users may name it
}

func (r *reader) settings(t *target, what string, n yamlfile.Node) {
	s := &settings{reader: r, what: what, at: n}
	switch t.Kind {
	case SecretsManager:
		t.Secret, t.namesUser = s.secret()
	case SSM:
		t.Parameter, t.namesUser = s.parameter()
	case CredentialsFile:
		t.Credentials = s.credentials()
	case SealedFile:
		t.Sealed, t.namesUser = s.sealed(), true
	case Command:
		t.Command, t.variables = s.command()
		t.namesUser = true
	}
}

// settings are those of one target, as they are read. Each is checked by the courier itself: alone, so that a mistake is told
// where it stands, then together.
type settings struct {
	*reader
	what   string
	at     yamlfile.Node
	fields map[string]yamlfile.Field
	told   []string // by check
}

func (s *settings) read(keys ...string) { s.fields = s.Fields(s.at, s.what, keys) }

// needs notes each of names that is missing.
func (s *settings) needs(names ...string) {
	if s.fields == nil {
		return // told already
	}
	for _, name := range names {
		if _, ok := s.fields[name]; !ok {
			s.Note(s.MistakeAt(yamlfile.PlaceOf(s.at), "", fmt.Sprintf("%s without %s", s.what, name)))
		}
	}
}

// text reads the field name if it is there, by read, and checks it.
func (s *settings) text(name string, read func(yamlfile.Node, string) string, check func(string) error) string {
	v, ok := s.fields[name]
	if !ok {
		return ""
	}
	text := read(v.Value, name)
	if text != "" && check != nil {
		filled, err := sample.fill(text)
		s.check(v.Value, errors.Join(err, check(filled)))
	}
	return text
}

func (s *settings) truth(name string) bool {
	v, ok := s.fields[name]
	return ok && s.Truth(v.Value, name)
}

// check notes at n each part of err that was not told yet.
func (s *settings) check(n yamlfile.Node, err error) {
	for _, e := range parts(err) {
		if !slices.Contains(s.told, e.Error()) {
			s.told = append(s.told, e.Error())
			s.Note(s.MistakeAt(yamlfile.PlaceOf(n), "", s.what+": "+e.Error()))
		}
	}
}

// standIn is for the checks of couriers with files, whose own directory is not ours to know.
func standIn() courier.Backup { return courier.Backup{Dir: "-", Box: new(seal.Box)} }

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

var (
	regionName = regexp.MustCompile(`^[a-z]{2,}(-[a-z]+)+-[0-9]{1,2}$`)
	roleARN    = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/([!-.0-~]+/)*[\w+=,.@-]{1,64}$`)
	externalID = regexp.MustCompile(`^[\w+=,.@:/-]{2,}$`)
	variable   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// longestText is of what STS takes as an external id.
const longestText = 1224

func matching(pattern *regexp.Regexp, format string) func(string) error {
	return func(text string) error {
		if len(text) <= longestText && pattern.MatchString(text) {
			return nil
		}
		return fmt.Errorf(format, text)
	}
}

// reach reads how an AWS store is reached.
func (s *settings) reach() (region, role, external string) {
	region = s.text("region", s.Text, matching(regionName, "the region %q is not the name of one, such as eu-west-1"))
	role = s.text("role", s.Text, matching(roleARN, "the role %q is not the ARN of a role, such as arn:aws:iam::111122223333:role/keyreeve"))
	external = s.text("external_id", s.Digits, matching(externalID, "the external id %q is not one: 2 to 1224 letters, digits and +=,.@:/-_"))
	return region, role, external
}

// members reads the names of the members of the JSON object. The user's name is written where it has one.
func (s *settings) members() (f courier.Fields, namesUser bool) {
	v, ok := s.fields["fields"]
	if !ok {
		return f, false
	}
	given := s.Fields(v.Value, "fields", []string{"id", "secret", "user"})
	for name, to := range map[string]*string{"id": &f.KeyID, "secret": &f.Secret, "user": &f.User} {
		if v, ok := given[name]; ok {
			*to = s.Text(v.Value, name)
		}
	}
	s.check(v.Value, courier.SecretSettings{Secret: "a", Fields: f}.Validate())
	return f, f.User != ""
}

func (s *settings) secret() (*courier.SecretSettings, bool) {
	s.read("secret", "region", "role", "external_id", "fields", "create", "kms_key")
	s.needs("secret")
	out := &courier.SecretSettings{}
	out.Secret = s.text("secret", s.template, func(t string) error { return courier.SecretSettings{Secret: t}.Validate() })
	out.Region, out.RoleARN, out.ExternalID = s.reach()
	var namesUser bool
	out.Fields, namesUser = s.members()
	out.Create, out.KMSKey = s.truth("create"), s.text("kms_key", s.Text, nil)
	if there, ok := regionOf(out.Secret); ok {
		if out.Region != "" && out.Region != there {
			s.check(s.fields["region"].Value, fmt.Errorf("the region is %s, and the secret's ARN says %s", out.Region, there))
		}
		out.Region = there
	}
	full := *out
	full.Secret = orElse(full.Secret, "a")
	s.check(s.at, full.Validate())
	return out, namesUser
}

// regionOf is the region that the ARN of a secret names.
func regionOf(secret string) (string, bool) {
	parts := strings.SplitN(secret, ":", 7)
	if len(parts) != 7 || parts[0] != "arn" || !regionName.MatchString(parts[3]) {
		return "", false
	}
	return parts[3], true
}

func (s *settings) parameter() (*courier.ParameterSettings, bool) {
	s.read("parameter", "region", "role", "external_id", "fields", "create", "kms_key")
	s.needs("parameter")
	out := &courier.ParameterSettings{}
	out.Name = s.text("parameter", s.template, func(t string) error { return courier.ParameterSettings{Name: t}.Validate() })
	out.Region, out.RoleARN, out.ExternalID = s.reach()
	var namesUser bool
	out.Fields, namesUser = s.members()
	out.Create, out.KMSKey = s.truth("create"), s.text("kms_key", s.Text, nil)
	full := *out
	full.Name, _ = sample.fill(orElse(full.Name, "a")) // sample fills in everything
	s.check(s.at, full.Validate())
	return out, namesUser
}

func (s *settings) credentials() *courier.CredentialsSettings {
	s.read("path", "profile", "create", "group_may_read")
	s.needs("path", "profile")
	return &courier.CredentialsSettings{
		Path: s.text("path", s.pathTemplate, nil),
		Profile: s.text("profile", s.template, func(t string) error {
			// The path is made absolute for a user: here any will do that is.
			err := courier.CredentialsSettings{Path: s.out.env.Dir, Profile: t, Backup: standIn()}.Validate()
			return without(err, courier.CredentialsSettings{Path: s.out.env.Dir, Profile: "default", Backup: standIn()}.Validate())
		}),
		Create:       s.truth("create"),
		GroupMayRead: s.truth("group_may_read"),
	}
}

// parts takes apart what errors.Join made, such as all mistakes that a Validate found.
func parts(err error) []error {
	if err == nil {
		return nil
	}
	many, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range many.Unwrap() {
		out = append(out, parts(e)...)
	}
	return out
}

// without leaves out of err what other says too.
func without(err, other error) error {
	var known []string
	for _, e := range parts(other) {
		known = append(known, e.Error())
	}
	var out []error
	for _, e := range parts(err) {
		if !slices.Contains(known, e.Error()) {
			out = append(out, e)
		}
	}
	return errors.Join(out...)
}

func (s *settings) sealed() *courier.SealedSettings {
	s.read("path", "recipients")
	s.needs("path", "recipients")
	out := &courier.SealedSettings{Path: s.text("path", s.pathTemplate, nil)}
	v, ok := s.fields["recipients"]
	if !ok {
		return out
	}
	check := func(texts ...string) error {
		set := courier.SealedSettings{Path: s.out.env.Dir, Backup: standIn()}
		base := set.Validate()
		set.Recipients = texts
		if len(texts) == 0 {
			return errors.New("a sealed file needs a recipient")
		}
		return without(set.Validate(), base)
	}
	items := s.Items(v.Value, "a list of recipients")
	for _, item := range items {
		if text := s.Text(item, "recipient"); text != "" {
			s.check(item, check(text))
			out.Recipients = append(out.Recipients, text)
		}
	}
	if len(items) == 0 {
		s.check(v.Key, check())
	}
	return out
}

func (s *settings) command() (*courier.CommandSettings, []string) {
	s.read("run", "timeout", "env", "dir")
	s.needs("run")
	out := &courier.CommandSettings{Dir: s.text("dir", s.Text, nil)}
	if v, ok := s.fields["run"]; ok {
		if _, list := v.Value.(*ast.SequenceNode); list {
			out.Argv = s.Texts(v.Value, "run", s.argument)
			s.check(v.Value, courier.CommandSettings{Argv: out.Argv}.Validate())
		} else {
			s.Wrong(v.Value, "there is no shell; list the words: [/usr/local/bin/handover, --prod]", "run: %s where a list of words is wanted", yamlfile.KindOf(v.Value))
		}
	}
	if v, ok := s.fields["timeout"]; ok {
		out.Limit = s.timeout(v.Value)
	}
	var names []string
	if v, ok := s.fields["env"]; ok {
		names = s.Texts(v.Value, "env", s.variable)
	}
	return out, names
}

// argument takes no placeholder: the program reads whom it is about.
func (s *settings) argument(n yamlfile.Node, what string) string {
	text := s.Text(n, what)
	if strings.Contains(text, userHole) || strings.Contains(text, accountHole) {
		s.Wrong(n, "the command reads user_name on its standard input", "%s: no placeholders in a command", what)
	}
	return text
}

const longestTimeout = 10 * time.Minute

func (s *settings) timeout(n yamlfile.Node) time.Duration {
	d := s.duration(n, "timeout")
	if d == 0 && s.Text(n, "timeout") == "0s" || d > longestTimeout {
		s.Wrong(n, "at least 1s and at most 10m; 30s when left out", "timeout: %s is out of range", s.Text(n, "timeout"))
	}
	return d
}

// sealKey is the variable that holds our own key.
const sealKey = "KEYREEVE_SEAL_KEY"

func (s *settings) variable(n yamlfile.Node, what string) string {
	name := s.Text(n, what)
	switch {
	case name == "":
	case name == sealKey:
		s.Wrong(n, "it opens every secret that keyreeve keeps", "%s: %s is handed to nobody", what, name)
	case !variable.MatchString(name):
		s.Wrong(n, "list names; their values come from the environment of keyreeve", "%s: %q is not the name of a variable", what, name)
	}
	return name
}
