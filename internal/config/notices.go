package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/keyreeve/keyreeve/internal/channel"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/notice"
	"github.com/keyreeve/keyreeve/internal/rule"
	"github.com/keyreeve/keyreeve/internal/yamlfile"
)

// Notices are who is told what, and how. The zero value tells nobody.
type Notices struct {
	Routing   notice.Routing
	Reminders notice.Reminders
	GiveUp    time.Duration // a message that was not delivered for so long is given up
	Channels  []Channel     // in the order of the file, as Routing.Channels
}

// Channel is a place where notices go. Of the settings, the one that Kind names is not nil; its secrets are left for the
// caller to fill in, by the references beside it.
type Channel struct {
	Name string
	Kind channel.Kind

	Hook    *channel.HookSettings    // of Slack and Teams; URL by the reference
	Webhook *channel.WebhookSettings // of Webhook; URL by the reference where it has none, Key by the reference
	Mail    *channel.MailSettings    // of Mail; Password by the reference
	AWS     *AWSChannel              // of SNS, EventBridge and SecurityHub

	URL, Key, Password SecretRef
}

// AWSChannel says which place in AWS, and how it is reached.
type AWSChannel struct {
	Place      string // ARN of the topic; name or ARN of the bus, empty for the default one; empty for Security Hub
	Region     string // empty: that of the caller's chain
	RoleARN    string // that reaches it; empty: none
	ExternalID string // that the role asks for; empty: none
}

// SecretRef says where a secret is. At most one is set; none means that there is no secret.
type SecretRef struct {
	Env  string // name of a variable
	File string // absolute path of a file that nobody else may read
}

// None tells whether there is no secret.
func (s SecretRef) None() bool { return s == SecretRef{} }

// Notices are those of the section; its zero value where there is none.
func (c *Config) Notices() Notices { return c.notices }

const (
	defaultGiveUp   = 72 * time.Hour
	defaultExpiring = 14 * rule.Day
)

func defaultReminders() notice.Reminders {
	return notice.Reminders{Before: []time.Duration{14 * rule.Day, 3 * rule.Day}, Expiring: defaultExpiring}
}

func noticesKeys() []string { return []string{"channels", "routes", "owners", "reminders", "give_up"} }

func (r *reader) notices(n yamlfile.Node) {
	if _, null := n.(*ast.NullNode); null {
		return
	}
	out := &r.out.notices
	out.Reminders, out.GiveUp = defaultReminders(), defaultGiveUp
	f := r.Fields(n, "the section notices", noticesKeys())
	if v, ok := f["channels"]; ok {
		for _, c := range r.Names(v.Value, "a mapping of names to channels") {
			r.channel(c)
		}
	}
	used := map[string]bool{}
	if v, ok := f["routes"]; ok {
		for _, item := range r.Items(v.Value, "a list of routes") {
			r.route(item, used)
		}
	}
	if v, ok := f["owners"]; ok {
		r.owners(v.Value)
	}
	if len(out.Routing.Owners.Domains) == 0 {
		out.Routing.Owners.Domains = r.ownDomains()
	}
	if v, ok := f["reminders"]; ok {
		r.reminders(v.Value)
	}
	if v, ok := f["give_up"]; ok {
		out.GiveUp = r.duration(v.Value, "give_up")
	}
	if r.Mistakes() == 0 && f["channels"].Value != nil {
		for _, c := range r.Names(f["channels"].Value, "channels") {
			if !used[c.Name] {
				r.warn(c.Key, "name it in a route: {to: "+c.Name+"}", fmt.Sprintf("channel %q is told nothing", c.Name))
			}
		}
	}
}

// ownDomains are those of the people whom the file itself names.
func (r *reader) ownDomains() []string {
	var out []string
	for i := range r.out.notices.Channels {
		if m := r.out.notices.Channels[i].Mail; m != nil {
			for _, address := range m.Default {
				out = append(out, strings.ToLower(address[strings.LastIndexByte(address, '@')+1:]))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func channelKindNames() []string {
	var out []string
	for _, k := range channel.Kinds() {
		out = append(out, string(k))
	}
	return out
}

// channelKeys are those of a channel of that kind; of no kind, all.
func channelKeys(k channel.Kind) []string {
	common := []string{"kind", "digest", "mask_keys", "length"}
	hook := []string{"url_env", "url_file", "plain_http"}
	aws := []string{"region", "role", "external_id"}
	switch k {
	case channel.Slack, channel.Teams:
		return append(common, hook...)
	case channel.Webhook:
		return append(append(common, hook...), "url", "key_env", "key_file")
	case channel.Mail:
		return append(common, "host", "port", "tls", "user", "password_env", "password_file", "from", "to")
	case channel.SNS:
		return append(append(common, aws...), "topic")
	case channel.EventBridge:
		return append(append(common, aws...), "bus")
	case channel.SecurityHub: // its findings are machines' alone: nothing to cut or to mask
		return append([]string{"kind"}, aws...)
	default:
		var all []string
		for _, k := range channel.Kinds() {
			all = append(all, channelKeys(k)...)
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
}

// channel reads one named place.
func (r *reader) channel(n yamlfile.Named) {
	if !targetName.MatchString(n.Name) {
		r.Wrong(n.Key, "begin with a letter or digit; then letters, digits and _.-, 63 at most", "channel %q is not a name", n.Name)
	}
	s := &settings{reader: r, what: fmt.Sprintf("channel %q", n.Name), at: n.Value}
	c := Channel{Name: n.Name, Kind: r.channelKind(n, s.what)}
	if c.Kind != "" {
		s.read(channelKeys(c.Kind)...)
		s.place(&c)
	}
	r.out.notices.Channels = append(r.out.notices.Channels, c) // also a wrong one: routes may name it
	r.out.notices.Routing.Channels = append(r.out.notices.Routing.Channels, s.channelTerms(&c))
}

func (r *reader) channelKind(n yamlfile.Named, what string) channel.Kind {
	m, ok := n.Value.(*ast.MappingNode)
	if !ok {
		r.Wrong(n.Value, "write {kind: "+channelKindNames()[0]+", ...}", "%s: %s where a channel is wanted", what, yamlfile.KindOf(n.Value))
		return ""
	}
	for _, v := range m.Values {
		if key, ok := v.Key.(*ast.StringNode); ok && key.Value == "kind" {
			text := r.Text(v.Value, "kind")
			if text != "" && !slices.Contains(channelKindNames(), text) {
				r.Wrong(v.Value, yamlfile.DidYouMean(text, channelKindNames()), "%s: unknown kind %q", what, text)
				return ""
			}
			return channel.Kind(text)
		}
	}
	r.Wrong(n.Key, "kind: one of "+strings.Join(channelKindNames(), ", "), "%s without kind", what)
	return ""
}

// standInKey is for the checks of channels, whose secrets are not read here.
var standInKey = fact.NewSecret("a key that stands in")

var topicARN = regexp.MustCompile(`^arn:aws[a-z-]*:sns:([a-z]{2,}(-[a-z]+)+-[0-9]{1,2}):[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?$`)
var busName = regexp.MustCompile(`^(arn:aws[a-z-]*:events:([a-z]{2,}(?:-[a-z]+)+-[0-9]{1,2}):[0-9]{12}:event-bus/)?[/.A-Za-z0-9_-]{1,256}$`)

// place reads what the kind of channel needs.
func (s *settings) place(c *Channel) {
	switch c.Kind {
	case channel.Slack, channel.Teams:
		c.URL = s.secretRef("url", true)
		c.Hook = &channel.HookSettings{Name: c.Name, PlainHTTP: s.truth("plain_http")}
	case channel.Webhook:
		c.Webhook = &channel.WebhookSettings{Name: c.Name, PlainHTTP: s.truth("plain_http")}
		if v, ok := s.fields["url"]; ok {
			c.Webhook.URL = fact.NewSecret(s.Text(v.Value, "url"))
			s.check(v.Value, channel.WebhookSettings{URL: c.Webhook.URL, PlainHTTP: c.Webhook.PlainHTTP}.Validate())
			if ref := s.secretRef("url", false); !ref.None() {
				s.Wrong(v.Key, "name it once", "%s has several addresses", s.what)
			}
		} else {
			c.URL = s.secretRef("url", true)
		}
		c.Key = s.secretRef("key", false)
	case channel.Mail:
		s.mail(c)
	case channel.SNS:
		s.needs("topic")
		c.AWS = &AWSChannel{Place: s.text("topic", s.Text, matching(topicARN, "the topic %q is not the ARN of one, such as arn:aws:sns:eu-west-1:111122223333:keys"))}
		s.awsReach(c.AWS, topicARN)
	case channel.EventBridge:
		c.AWS = &AWSChannel{Place: s.text("bus", s.Text, matching(busName, "the bus %q is neither the name nor the ARN of one"))}
		s.awsReach(c.AWS, nil)
		if m := busName.FindStringSubmatch(c.AWS.Place); m != nil && m[2] != "" {
			s.inRegion(c.AWS, m[2])
		}
	case channel.SecurityHub:
		c.AWS = &AWSChannel{}
		s.awsReach(c.AWS, nil)
	}
}

// awsReach reads how AWS is reached; the region of the place's ARN, if by has it, is the region.
func (s *settings) awsReach(a *AWSChannel, by *regexp.Regexp) {
	a.Region, a.RoleARN, a.ExternalID = s.reach()
	if a.ExternalID != "" && a.RoleARN == "" {
		s.Wrong(s.fields["external_id"].Key, "name the role that asks for it", "%s: an external_id without a role", s.what)
	}
	if by != nil {
		if m := by.FindStringSubmatch(a.Place); m != nil {
			s.inRegion(a, m[1])
		}
	}
}

func (s *settings) inRegion(a *AWSChannel, there string) {
	if a.Region != "" && a.Region != there {
		s.check(s.fields["region"].Value, fmt.Errorf("the region is %s, and the ARN says %s", a.Region, there))
	}
	a.Region = there
}

// secretRef reads NAME_env or NAME_file.
func (s *settings) secretRef(name string, needed bool) SecretRef {
	env, hasEnv := s.fields[name+"_env"]
	file, hasFile := s.fields[name+"_file"]
	var out SecretRef
	switch {
	case hasEnv && hasFile:
		s.Wrong(file.Key, "name one place", "%s has %s_env and %s_file", s.what, name, name)
	case hasEnv:
		out.Env = s.variable(env.Value, name+"_env")
	case hasFile:
		text := s.pathTemplate(file.Value, name+"_file")
		if strings.ContainsAny(text, "{}") {
			s.Wrong(file.Value, "", "%s: no placeholders here", name+"_file")
			return out
		}
		path, err := s.out.env.path(text)
		if text != "" {
			s.check(file.Value, err)
		}
		out.File = path
	case needed && s.fields != nil:
		s.Note(s.MistakeAt(yamlfile.PlaceOf(s.at), fmt.Sprintf("it is a secret: %s_env: NAME_OF_A_VARIABLE, or %s_file: PATH", name, name), fmt.Sprintf("%s without %s", s.what, name)))
	}
	return out
}

func (s *settings) mail(c *Channel) {
	s.needs("host", "from", "to")
	m := &channel.MailSettings{
		Name: c.Name, Host: s.text("host", s.Text, nil), TLS: channel.MailTLS(s.text("tls", s.Text, nil)), User: s.text("user", s.Text, nil), From: s.text("from", s.Text, nil),
	}
	if v, ok := s.fields["port"]; ok {
		m.Port = s.port(v.Value)
	}
	if v, ok := s.fields["to"]; ok {
		m.Default = s.oneOrMore(v.Value, "to")
	}
	c.Password = s.secretRef("password", false)
	full := *m // what is missing is told already
	full.Host, full.From = orElse(m.Host, "smtp.example.com"), orElse(m.From, "keyreeve@example.com")
	if len(full.Default) == 0 {
		full.Default = []string{"security@example.com"}
	}
	if !c.Password.None() {
		full.Password = standInKey
	}
	s.check(s.at, full.Validate())
	c.Mail = m
}

func (r *reader) port(n yamlfile.Node) int {
	i, ok := n.(*ast.IntegerNode)
	if !ok {
		r.Wrong(n, "write a number such as 587", "port: %s where a number is wanted", yamlfile.KindOf(n))
		return 0
	}
	port, err := strconv.ParseUint(i.Token.Value, 10, 16)
	if err != nil || port == 0 {
		r.Wrong(n, "1 to 65535", "port: %s is none", i.Token.Value)
	}
	return int(port)
}

// oneOrMore reads a text, or a list of texts.
func (r *reader) oneOrMore(n yamlfile.Node, what string) []string {
	if _, list := n.(*ast.SequenceNode); list {
		return r.Texts(n, what, r.Text)
	}
	return one(r.Text(n, what))
}

// channelTerms are those of the kind, changed by what the channel says.
func (s *settings) channelTerms(c *Channel) notice.Terms {
	t := c.Kind.Terms()
	t.Name = c.Name
	if v, ok := s.fields["digest"]; ok {
		t.Digest = s.Truth(v.Value, "digest")
	}
	if v, ok := s.fields["mask_keys"]; ok {
		t.FullKeys = !s.Truth(v.Value, "mask_keys")
	}
	if v, ok := s.fields["length"]; ok {
		t.Length = s.length(v.Value, t)
	}
	if c.Mail != nil {
		t.Default = c.Mail.Default
	}
	return t
}

const leastLength = 500

// length may make messages shorter, not longer: the default is what the other side takes.
func (r *reader) length(n yamlfile.Node, t notice.Terms) int {
	most := t.Length
	if most == 0 {
		most = notice.DefaultLength
	}
	i, ok := n.(*ast.IntegerNode)
	var v uint64
	if ok {
		v, ok = i.Value.(uint64)
	}
	switch {
	case !ok:
		r.Wrong(n, "write a number of characters such as 4000", "length: %s where a whole number is wanted", yamlfile.KindOf(n))
	case t.Whole:
		r.Wrong(n, "leave it out", "length: nothing is left out in such a channel")
	case v < leastLength || v > uint64(most):
		r.Wrong(n, "leave it out for the most", "length: %d is not within %d and %d", v, leastLength, most)
	default:
		return int(v)
	}
	return 0
}

func routeKeys() []string { return []string{"to", "kinds", "rules", "severity", "accounts", "ous"} }

// route reads one item of routes.
func (r *reader) route(n yamlfile.Node, used map[string]bool) {
	f := r.Fields(n, "a route", routeKeys())
	if f == nil {
		return
	}
	var out notice.Route
	v, ok := f["to"]
	if !ok {
		r.Note(r.MistakeAt(yamlfile.PlaceOf(n), "say where it goes: to: CHANNEL", "route without to"))
	} else {
		out.To = r.routeTo(v.Value, used)
	}
	if v, ok := f["kinds"]; ok {
		out.Kinds = r.kinds(v.Value)
	}
	if v, ok := f["rules"]; ok {
		out.Rules = r.oneOrMore(v.Value, "rules")
	}
	if v, ok := f["severity"]; ok {
		out.Severity = r.severity(v.Value)
	}
	if v, ok := f["accounts"]; ok {
		out.Accounts = r.accounts(v.Value)
	}
	if v, ok := f["ous"]; ok {
		out.OUs = r.oneOrMore(v.Value, "ous")
	}
	r.out.notices.Routing.Routes = append(r.out.notices.Routing.Routes, out)
}

func (r *reader) routeTo(n yamlfile.Node, used map[string]bool) []string {
	var names []string
	for i := range r.out.notices.Channels {
		names = append(names, r.out.notices.Channels[i].Name)
	}
	items := []yamlfile.Node{n}
	if list, ok := n.(*ast.SequenceNode); ok {
		items = list.Values
		if len(items) == 0 {
			r.Wrong(n, "say where it goes: to: CHANNEL", "route without to")
		}
	}
	var out []string
	for _, item := range items {
		name := r.Text(item, "to")
		switch {
		case name == "":
		case !slices.Contains(names, name) && len(names) == 0:
			r.Wrong(item, "name channels under channels: first", "unknown channel %q", name)
		case !slices.Contains(names, name):
			r.Wrong(item, yamlfile.DidYouMean(name, names), "unknown channel %q", name)
		default:
			used[name] = true
			out = append(out, name)
		}
	}
	return out
}

func (r *reader) kinds(n yamlfile.Node) []notice.Kind {
	var names []string
	for _, k := range notice.Kinds() {
		names = append(names, string(k))
	}
	var out []notice.Kind
	for _, text := range r.oneOrMore(n, "kinds") {
		if !notice.Kind(text).Valid() {
			r.Wrong(n, yamlfile.DidYouMean(text, names), "unknown kind of change %q", text)
			continue
		}
		out = append(out, notice.Kind(text))
	}
	return out
}

func (r *reader) severity(n yamlfile.Node) finding.Severity {
	text := r.Text(n, "severity")
	if s := finding.Severity(text); s.Valid() {
		return s
	}
	if text != "" {
		var names []string
		for _, s := range finding.Severities() {
			names = append(names, string(s))
		}
		r.Wrong(n, yamlfile.DidYouMean(text, names), "unknown severity %q", text)
	}
	return ""
}

// accountGlob is an id, or a part of one with * and ?.
var accountGlob = regexp.MustCompile(`^[0-9*?]{1,12}$`)

func (r *reader) accounts(n yamlfile.Node) []string {
	items := []yamlfile.Node{n}
	if list, ok := n.(*ast.SequenceNode); ok {
		items = list.Values
	}
	var out []string
	for _, item := range items {
		id := r.Digits(item, "accounts")
		whole := accountID.MatchString(id) || strings.ContainsAny(id, "*?") && accountGlob.MatchString(id)
		if id != "" && !whole {
			r.Wrong(item, "write twelve digits in quotes, or a glob such as 1111*", "account %q is not an account id", id)
		}
		out = append(out, id)
	}
	return out
}

func (r *reader) owners(n yamlfile.Node) {
	f := r.Fields(n, "owners", []string{"tags", "table", "domains"})
	o := &r.out.notices.Routing.Owners
	if v, ok := f["tags"]; ok {
		o.Tags = r.Texts(v.Value, "tags", r.Text)
	}
	if v, ok := f["table"]; ok {
		o.Table = map[string][]string{}
		for _, e := range r.Names(v.Value, "a mapping of names to addresses") {
			for other := range o.Table {
				if strings.EqualFold(other, e.Name) {
					r.Wrong(e.Key, "names are told apart without regard to case", "owner %q is there twice", e.Name)
				}
			}
			addresses := r.oneOrMore(e.Value, "the addresses of "+e.Name)
			for _, a := range addresses {
				if _, ok := notice.Address(a); !ok {
					r.Wrong(e.Value, "write ana@example.com", "owner %q: %q is not one address", e.Name, a)
				}
			}
			o.Table[e.Name] = addresses
		}
	}
	if v, ok := f["domains"]; ok {
		for _, d := range r.oneOrMore(v.Value, "domains") {
			if _, ok := notice.Address("a@" + d); !ok {
				r.Wrong(v.Value, "write example.com", "domains: %q is not a domain", d)
				continue
			}
			o.Domains = append(o.Domains, strings.ToLower(d))
		}
	}
}

func (r *reader) reminders(n yamlfile.Node) {
	f := r.Fields(n, "reminders", []string{"before", "overdue", "exceptions"})
	out := &r.out.notices.Reminders
	if v, ok := f["before"]; ok {
		out.Before = nil
		for _, item := range r.Items(v.Value, "a list of lengths of time") {
			if d := r.duration(item, "before"); d > 0 {
				out.Before = append(out.Before, d)
			}
		}
	}
	if v, ok := f["overdue"]; ok {
		out.Overdue = r.duration(v.Value, "overdue")
	}
	if v, ok := f["exceptions"]; ok {
		out.Expiring = r.duration(v.Value, "exceptions")
	}
}
