package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/internal/yamlfile"
)

// The placeholders of the names of places.
const (
	userHole    = "{user}"
	accountHole = "{account}"
)

var (
	hole      = regexp.MustCompile(`\{[^{}]*\}`)
	userName  = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
	accountID = regexp.MustCompile(`^[0-9]{12}$`)
)

// holder fills placeholders in.
type holder struct{ user, account string }

// sample fills in for a check at load, where no user is at hand.
var sample = holder{"user", "111122223333"}

// holderOf refuses a user whose name could change the meaning of a path.
func holderOf(user, account string) (holder, error) {
	h := holder{user, account}
	if !userName.MatchString(h.user) || strings.Trim(h.user, ".") == "" {
		return holder{}, fmt.Errorf("user %q: no place can be named after it", h.user)
	}
	return h, nil
}

// accountOf is the account in an ARN, or empty.
func accountOf(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) == 6 && parts[0] == "arn" && accountID.MatchString(parts[4]) {
		return parts[4]
	}
	return ""
}

func (h holder) fill(text string) (string, error) {
	if strings.Contains(text, accountHole) && h.account == "" {
		return "", fmt.Errorf("%q names the account, which is not known", text)
	}
	return strings.NewReplacer(userHole, h.user, accountHole, h.account).Replace(text), nil
}

// template reads a text with placeholders.
func (r *reader) template(n yamlfile.Node, what string) string {
	text := r.Text(n, what)
	names := []string{userHole, accountHole}
	for _, found := range hole.FindAllString(text, -1) {
		if !slices.Contains(names, found) {
			r.Wrong(n, yamlfile.DidYouMean(found, names), "%s: unknown placeholder %s", what, found)
			return ""
		}
	}
	return text
}

// pathTemplate reads a path of a file.
func (r *reader) pathTemplate(n yamlfile.Node, what string) string {
	text := r.template(n, what)
	switch {
	case strings.HasPrefix(text, "~") && text != "~" && text[1] != '/':
		r.Wrong(n, "write the path in full, or ~/ for your own", "%s: the home of somebody else", what)
	case strings.HasSuffix(text, "/"):
		r.Wrong(n, "name a file in it", "%s: %q is a directory", what, text)
	}
	return text
}

// path makes text absolute: ~/ is the home directory, and what is relative begins beside the settings file.
func (e Env) path(text string) (string, error) {
	if text == "~" || strings.HasPrefix(text, "~/") {
		home := e.get("HOME")
		if home == "" {
			home = e.get("USERPROFILE")
		}
		if !filepath.IsAbs(home) {
			return "", fmt.Errorf("path %q: HOME names no directory", text)
		}
		return filepath.Join(home, text[1:]), nil
	}
	if filepath.IsAbs(text) {
		return filepath.Clean(text), nil
	}
	if !filepath.IsAbs(e.Dir) {
		return "", errors.New("the directory of the settings file is not known")
	}
	return filepath.Join(e.Dir, text), nil
}
