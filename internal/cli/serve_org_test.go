package cli_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/keyreeve/keyreeve/internal/fakeaws"
)

// An account or a unit that its flags name may leave the organisation while serve runs: it says so, and reads the others.
func TestServe_whatLeftTheOrganisationIsSaidAndTheOthersAreRead(t *testing.T) {
	cloud := fakeaws.Demo(storyTime)
	if err := organize(cloud, 3); err != nil {
		t.Fatal(err)
	}
	cmd := program(t, cloud, "serve", "--org", "--external-id", "7f3a", "--listen", "127.0.0.1:0", "--tick", "1s", "--log-level", "info",
		"--accounts", "222200000001,999999999999", "--ou", "Root/Nowhere,Root/Workloads", "--exclude-accounts", "888888888888")
	s := serving(t, cmd)
	for _, said := range []string{
		"the organisation of account 111122223333 is read into ",
		"account 999999999999 is not in organisation", `has no unit \"Root/Nowhere\"`, "account 888888888888, which --exclude-accounts names", "account judged",
	} {
		s.until(t, said)
	}
	go func() { _, _ = io.Copy(io.Discard, s.stderr) }()
	for code := 0; code != http.StatusOK; {
		code, _ = s.get(t, "/readyz", "")
	}
}

func TestServe_nothingLeftToReadIsAnErrorOfThatListing(t *testing.T) {
	cloud := fakeaws.Demo(storyTime)
	if err := organize(cloud, 1); err != nil {
		t.Fatal(err)
	}
	s := serving(t, program(t, cloud, "serve", "--org", "--external-id", "7f3a", "--listen", "127.0.0.1:0", "--tick", "1s", "--accounts", "999999999999"))
	s.until(t, "is left to read")
	go func() { _, _ = io.Copy(io.Discard, s.stderr) }()
	if code, body := s.get(t, "/readyz", ""); code != http.StatusServiceUnavailable {
		t.Errorf("readyz: %d %s", code, body)
	}
}
