package web

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// Token is what is kept of a bearer token: not the token, which nobody can find out from it.
type Token struct {
	ID        string   // twelve hex digits; a part of the token, not secret
	Name      string   // for people: whose it is, what for
	Hash      [32]byte // SHA-256 of the whole token
	CreatedAt time.Time
	ExpiresAt time.Time // from then on it is refused; zero: never
	RevokedAt time.Time // zero: it is not
}

// Tokens finds what is kept of a token; ErrNone where there is none of that id.
type Tokens interface {
	Token(ctx context.Context, id string) (Token, error)
}

// tokenPrefix begins every token, so that scanners for secrets find one that went astray.
const tokenPrefix = "keyreeve_"

const (
	tokenIDBytes     = 6
	tokenSecretBytes = 32
)

// NewToken makes a token of 32 random bytes. The secret is to be shown once, and what is kept does not hold it. expires
// may be zero: never.
func NewToken(name string, now, expires time.Time) (Token, fact.Secret) {
	var id [tokenIDBytes]byte
	var secret [tokenSecretBytes]byte
	_, _ = rand.Read(id[:]) // never fails
	_, _ = rand.Read(secret[:])
	t := Token{ID: hex.EncodeToString(id[:]), Name: name, CreatedAt: now.UTC(), ExpiresAt: expires}
	text := tokenPrefix + t.ID + "_" + base64.RawURLEncoding.EncodeToString(secret[:])
	t.Hash = sha256.Sum256([]byte(text))
	return t, fact.NewSecret(text)
}

// TokenID is the id in a token; false: it has not the form of one.
func TokenID(text string) (string, bool) {
	rest, ok := strings.CutPrefix(text, tokenPrefix)
	id, secret, cut := strings.Cut(rest, "_")
	if !ok || !cut || !IsTokenID(id) || len(secret) != base64.RawURLEncoding.EncodedLen(tokenSecretBytes) {
		return "", false
	}
	return id, true
}

// IsTokenID tells whether text can be the id of a token.
func IsTokenID(text string) bool {
	_, err := hex.DecodeString(text)
	return err == nil && len(text) == hex.EncodedLen(tokenIDBytes) && strings.ToLower(text) == text
}

// holds tells whether text is the token, and it is in force.
func (t *Token) holds(text string, now time.Time) bool {
	hash := sha256.Sum256([]byte(text))
	same := subtle.ConstantTimeCompare(hash[:], t.Hash[:]) == 1
	return same && t.RevokedAt.IsZero() && (t.ExpiresAt.IsZero() || now.Before(t.ExpiresAt))
}

// callers keeps each token to its rate, and those who guess to one.
type callers struct {
	perSecond rate.Limit
	wrong     *rate.Limiter

	mu sync.Mutex
	by map[string]*rate.Limiter // by the id of a token that is in force
}

func (c *callers) of(id string) *rate.Limiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = map[string]*rate.Limiter{}
	}
	if c.by[id] == nil {
		c.by[id] = rate.NewLimiter(c.perSecond, max(1, int(burstSeconds*c.perSecond)))
	}
	return c.by[id]
}

// identified lets through who shows a token in force and keeps to its rate.
func (v *server) identified(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if !strings.EqualFold(scheme, "Bearer") || text == "" {
			v.unknown(w, `Bearer realm="keyreeve"`, "no token")
			return
		}
		id, formed := TokenID(text)
		var kept Token
		if formed {
			var err error
			if kept, err = v.Tokens.Token(r.Context(), id); err != nil && !errors.Is(err, ErrNone) {
				v.broken(w, r, err)
				return
			}
		}
		if !kept.holds(text, v.Now()) { // nothing kept holds no text
			v.unknown(w, `Bearer realm="keyreeve", error="invalid_token"`, "the token is not known, is over or was revoked")
			return
		}
		if !v.callers.of(kept.ID).AllowN(v.Now(), 1) {
			tooMany(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// unknown refuses a caller; many of them at once are put off, so that guessing costs time.
func (v *server) unknown(w http.ResponseWriter, challenge, why string) {
	if !v.callers.wrong.AllowN(v.Now(), 1) {
		tooMany(w)
		return
	}
	w.Header().Set("WWW-Authenticate", challenge)
	refuse(w, http.StatusUnauthorized, why, "send the header Authorization: Bearer TOKEN")
}

func tooMany(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	refuse(w, http.StatusTooManyRequests, "too many calls", "wait a second; ask for larger pages with limit")
}
