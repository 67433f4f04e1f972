package courier

import (
	"fmt"

	"filippo.io/age"
	"filippo.io/age/agessh"
)

// sshRecipient reads a line as it stands in authorized_keys.
func sshRecipient(text string) (age.Recipient, error) {
	r, err := agessh.ParseRecipient(text)
	if err != nil {
		return nil, fmt.Errorf("the recipient %q is no SSH public key that can be sealed to (ssh-ed25519, ssh-rsa): %w", text, err)
	}
	return r, nil
}
