package fact

import "regexp"

// keyID is an access key id wherever it stands, also inside a longer word: AKIA or ASIA and at least twelve more,
// for ids are sixteen characters at least and twenty today.
var keyID = regexp.MustCompile(`(A[KS]IA)[A-Z0-9]{8,}([A-Z0-9]{4})`)

// MaskKeys is text with every access key id in it masked: AKIAIOSFODNN7EXAMPLE becomes AKIA****MPLE. Masking twice
// changes nothing more.
func MaskKeys(text string) string { return keyID.ReplaceAllString(text, "$1****$2") }

// MaskID keeps four characters at each end of a key id. An id too short to hide anything that way is hidden whole;
// none, and * for any, stay.
func MaskID(id string) string {
	switch {
	case id == "" || id == "*":
		return id
	case len(id) < 12:
		return "****"
	default:
		return id[:4] + "****" + id[len(id)-4:]
	}
}
