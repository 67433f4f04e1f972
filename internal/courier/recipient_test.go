package courier_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"golang.org/x/crypto/ssh"

	"github.com/keyreeve/keyreeve/internal/courier"
)

func TestSealed_opensWithEachOfItsSSHKeys(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	var lines []string
	for _, key := range []any{public, &rsaKey.PublicKey} {
		k, err := ssh.NewPublicKey(key)
		must(t, err)
		lines = append(lines, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))+" ana@desk")
	}
	path := filepath.Join(t.TempDir(), "key.age")
	c, err := courier.NewSealed(courier.SealedSettings{Path: path, Recipients: lines, User: "ana", Backup: backup(t)})
	must(t, err)
	_, err = c.Deliver(t.Context(), rotation, newPair, nil)
	must(t, err)
	byEd, err := agessh.NewEd25519Identity(private)
	must(t, err)
	byRSA, err := agessh.NewRSAIdentity(rsaKey)
	must(t, err)
	for _, id := range []age.Identity{byEd, byRSA} {
		if p, ok := unsealed(t, read(path)(t), id); !ok || p != newPair {
			t.Errorf("%T opens %v", id, p.KeyID)
		}
	}
}
