package rule

import (
	"testing"

	"github.com/keyreeve/keyreeve/internal/fact"
)

func TestExposedKey_failsWhileTheQuarantinePolicyIsAttached(t *testing.T) {
	judgeAll(t, exposedKey(), []kindCase{
		{"attached", Params{}, fact.User{Quarantine: fact.Yes, Policies: []string{"AWSCompromisedKeyQuarantineV3"}}, nil, fail(fact.Time{})},
		{"not attached", Params{}, fact.User{Quarantine: fact.No}, nil, pass(fact.Time{})},
		{"not read", Params{}, fact.User{}, nil, undecided(MissingQuarantine)},
	})
	if !exposedKey().NeedsLive {
		t.Error("a report on disk cannot answer it")
	}
}
