package fact

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is a secret access key. Whatever prints, formats, encodes or logs it shows [secret]; Reveal is
// the one way to the text. The zero value holds none.
type Secret struct{ text string }

const hidden = "[secret]"

// NewSecret wraps text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text of the secret. Every call of it is a place to review.
func (s Secret) Reveal() string { return s.text }

// Empty tells whether there is no secret.
func (s Secret) Empty() bool { return s.text == "" }

func (Secret) String() string               { return hidden }
func (Secret) GoString() string             { return hidden }
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }
func (Secret) LogValue() slog.Value         { return slog.StringValue(hidden) }

// Format writes [secret] for every verb, also those that print unexported fields.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }
