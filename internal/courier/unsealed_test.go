package courier_test

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// unsealed reads a hand-over as its recipient; false: it is none.
func unsealed(t *testing.T, text string, id age.Identity) (fact.Pair, bool) {
	if !strings.HasPrefix(text, armor.Header) {
		return fact.Pair{}, false
	}
	r, err := age.Decrypt(armor.NewReader(strings.NewReader(text)), id)
	if err != nil {
		t.Errorf("open: %v", err)
		return fact.Pair{}, false
	}
	body, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("open: %v", err)
		return fact.Pair{}, false
	}
	var got struct{ AccessKeyId, SecretAccessKey, UserName string }
	if err := json.Unmarshal(body, &got); err != nil || got.UserName != "ana" {
		t.Errorf("it holds no object of ana's: %v", err)
	}
	return fact.Pair{KeyID: got.AccessKeyId, Secret: fact.NewSecret(got.SecretAccessKey)}, true
}
