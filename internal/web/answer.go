package web

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"runtime/debug"
	"strconv"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/internal/report"
)

// maxBody is the largest body of a question, none of which is read.
const maxBody = 1 << 10

// wireError is the body of every refusal.
type wireError struct {
	Error string `json:"error"`
	Hint  string `json:"hint"` // the next move
}

// guarded is what holds for every answer: headers, limits, a deadline, and that a panic is one log line and a 500.
func (v *server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		if r.ContentLength > maxBody {
			refuse(w, http.StatusRequestEntityTooLarge, "the body is too large", "the API reads none: send no body")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler:
				panic(p) // the way to break off a connection
			default:
				v.Log.Error("answer", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
				refuse(w, http.StatusInternalServerError, "keyreeve broke while it answered", "its log says more")
			}
		}()
		ctx, cancel := context.WithTimeout(r.Context(), readTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// broken answers where a reader failed. Its error is for the log: it may name hosts and tables.
func (v *server) broken(w http.ResponseWriter, r *http.Request, err error) {
	v.Log.Error("answer", "path", r.URL.Path, "error", err)
	w.Header().Set("Retry-After", "5")
	refuse(w, http.StatusServiceUnavailable, "what was asked for could not be read", "try again; /readyz and the log of keyreeve serve say more")
}

func refuse(w http.ResponseWriter, code int, why, hint string) {
	body, err := json.Marshal(wireError{why, hint})
	if err != nil { // texts always can
		body = []byte("{}")
	}
	write(w, code, body)
}

// send answers with a value as JSON.
func (v *server) send(w http.ResponseWriter, r *http.Request, code int, value any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		v.broken(w, r, err)
		return
	}
	body := b.Bytes()
	if v.MaskKeys {
		body = []byte(report.Mask(b.String()))
	}
	write(w, code, body)
}

func write(w http.ResponseWriter, code int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body) // nobody listens any more
}

// quote shows what the caller sent, and no more of it than helps.
func quote(text string) string {
	const most = 80
	if len(text) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "..."
	}
	return strconv.Quote(text)
}
