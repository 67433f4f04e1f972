package rule

import (
	"testing"

	"github.com/keyreeve/keyreeve/internal/fact"
)

func TestScope_holdsWhereEverythingGivenAgrees(t *testing.T) {
	prod := fact.Account{ID: "111122223333", OU: "Root/Workloads/Prod"}
	ci := fact.User{Name: "ci-deploy", Path: "/service/", ARN: "arn:aws:iam::111122223333:user/service/ci-deploy"}
	tagged := ci
	tagged.TagsRead, tagged.Tags = true, map[string]string{"team": "payments", "env": "prod"}
	bare := ci
	bare.TagsRead = true
	for _, c := range []struct {
		name  string
		scope *Scope
		a     fact.Account
		u     fact.User
		want  fact.Answer
	}{
		{"nil", nil, prod, ci, fact.Yes},
		{"empty", &Scope{}, prod, ci, fact.Yes},
		{"account", &Scope{Accounts: []string{"1111*"}}, prod, ci, fact.Yes},
		{"other account", &Scope{Accounts: []string{"444455556666"}}, prod, ci, fact.No},
		{"account unknown", &Scope{Accounts: []string{"111122223333"}}, fact.Account{}, ci, fact.Unknown},
		{"unit itself", &Scope{OUs: []string{"Root/Workloads/Prod"}}, prod, ci, fact.Yes},
		{"unit above", &Scope{OUs: []string{"Root/Workloads/"}}, prod, ci, fact.Yes},
		{"unit with a like name", &Scope{OUs: []string{"Root/Work"}}, prod, ci, fact.No},
		{"unit not read", &Scope{OUs: []string{"Root"}}, fact.Account{ID: "111122223333"}, ci, fact.Unknown},
		{"path", &Scope{Paths: []string{"/service/*"}}, prod, ci, fact.Yes},
		{"other path", &Scope{Paths: []string{"/people/*"}}, prod, ci, fact.No},
		{"user", &Scope{Users: []string{"x", "CI-*"}}, prod, ci, fact.Yes},
		{"user part", &Scope{Users: []string{"ci"}}, prod, ci, fact.No},
		{"user by arn", &Scope{Users: []string{"arn:aws:iam::*:user/service/*"}}, prod, ci, fact.Yes},
		{"tags not read", &Scope{Tags: map[string]string{"team": "payments"}}, prod, ci, fact.Unknown},
		{"tags not read, user decides", &Scope{Users: []string{"bob"}, Tags: map[string]string{"team": "*"}}, prod, ci, fact.No},
		{"tags not read, account decides", &Scope{Accounts: []string{"4*"}, Tags: map[string]string{"team": "*"}}, prod, ci, fact.No},
		{"tags", &Scope{Tags: map[string]string{"team": "pay*", "env": "prod"}}, prod, tagged, fact.Yes},
		{"one tag differs", &Scope{Tags: map[string]string{"team": "pay*", "env": "test"}}, prod, tagged, fact.No},
		{"no such tag", &Scope{Tags: map[string]string{"team": "*"}}, prod, bare, fact.No},
	} {
		if got := c.scope.Holds(&c.a, &c.u); got != c.want {
			t.Errorf("%s: holds = %v, want %v", c.name, got, c.want)
		}
	}
}
