package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/store"
)

// token is one that was made some minutes after the first run, and never ends.
func token(id string, minutes int) store.Token {
	t := store.Token{ID: id, Name: "of " + id, CreatedAt: start.Add(time.Duration(minutes) * time.Minute)}
	for i := range t.Hash {
		t.Hash[i] = byte(minutes + i + 1)
	}
	return t
}

func addToken(t testing.TB, d *store.DB, x store.Token) {
	t.Helper()
	if err := d.AddToken(t.Context(), &x); err != nil {
		t.Fatal(err)
	}
}

func keepsTokens(t *testing.T, d *store.DB) {
	if found, err := d.Tokens(t.Context()); err != nil || len(found) != 0 {
		t.Fatalf("at first: %v, %v", found, err)
	}
	second, first := token("00000000000b", 2), token("ffffffffffff", 1)
	second.Name, second.ExpiresAt = "élan \U0001F511 '; --", start.AddDate(0, 3, 0)
	addToken(t, d, second)
	addToken(t, d, first)
	held, err := d.Tokens(t.Context())
	if diff := cmp.Diff([]store.Token{first, second}, held); diff != "" || err != nil {
		t.Errorf("tokens, %v (-want +got):\n%s", err, diff)
	}
	for _, want := range held {
		if got, err := d.Token(t.Context(), want.ID); err != nil || got != want {
			t.Errorf("token %s: %+v, %v", want.ID, got, err)
		}
	}
	for _, id := range []string{"", "ffff", "FFFFFFFFFFFF", "00000000000c", "' OR '1'='1"} {
		if got, err := d.Token(t.Context(), id); !errors.Is(err, store.ErrNoToken) {
			t.Errorf("token %q: %+v, %v", id, got, err)
		}
		if _, err := d.RevokeToken(t.Context(), id, start); !errors.Is(err, store.ErrNoToken) {
			t.Errorf("revoke token %q: %v", id, err)
		}
	}

	// Revoked once, it stays revoked since then.
	at := start.AddDate(0, 1, 0)
	second.RevokedAt = at
	for _, when := range []time.Time{at, at.Add(time.Hour)} {
		if got, err := d.RevokeToken(t.Context(), second.ID, when); err != nil || got != second {
			t.Errorf("revoke at %s: %+v, %v", when, got, err)
		}
	}
	held, err = d.Tokens(t.Context())
	if diff := cmp.Diff([]store.Token{first, second}, held); diff != "" || err != nil {
		t.Errorf("one revoked, %v (-want +got):\n%s", err, diff)
	}
}

func refusesTokens(t *testing.T, d *store.DB) {
	held := token("00000000000a", 0)
	addToken(t, d, held)
	for name, change := range map[string]func(*store.Token){
		"the same id":         func(x *store.Token) { x.ID = held.ID },
		"no id":               func(x *store.Token) { x.ID = "" },
		"no digits":           func(x *store.Token) { x.ID = "00000000000x" },
		"too many digits":     func(x *store.Token) { x.ID = "00000000000aff" },
		"no name":             func(x *store.Token) { x.Name = "" },
		"no hash":             func(x *store.Token) { x.Hash = [32]byte{} },
		"no time":             func(x *store.Token) { x.CreatedAt = time.Time{} },
		"over when it begins": func(x *store.Token) { x.ExpiresAt = x.CreatedAt },
		"revoked already":     func(x *store.Token) { x.RevokedAt = start },
	} {
		x := token("00000000000b", 1)
		change(&x)
		if err := d.AddToken(t.Context(), &x); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
	if got, err := d.Tokens(t.Context()); err != nil || len(got) != 1 || got[0] != held {
		t.Errorf("held %+v, %v", got, err)
	}
}

func manyTokens(t *testing.T, d *store.DB) {
	const n = 8
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			x := token(fmt.Sprintf("%012x", i), i)
			if err := d.AddToken(t.Context(), &x); err != nil {
				t.Error(err)
			}
			if _, err := d.RevokeToken(t.Context(), x.ID, start); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	held, err := d.Tokens(t.Context())
	if err != nil || len(held) != n {
		t.Fatalf("%d tokens, %v", len(held), err)
	}
	for _, x := range held {
		if x.RevokedAt.IsZero() {
			t.Errorf("token %s is not revoked", x.ID)
		}
	}
}
