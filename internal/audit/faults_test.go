package audit_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyreeve/keyreeve/internal/audit"
	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws/moto"
	"github.com/keyreeve/keyreeve/internal/fakeaws/truth"
	"github.com/keyreeve/keyreeve/internal/finding"
)

// fault is what the proxy does to a call in place of passing it on.
type fault func(w http.ResponseWriter, r *http.Request)

func throttled(w http.ResponseWriter, _ *http.Request) {
	refuse(w, http.StatusBadRequest, "Throttling", "Rate exceeded")
}

func denied(w http.ResponseWriter, _ *http.Request) {
	refuse(w, http.StatusForbidden, "AccessDenied", "User is not authorized to perform this")
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>1</RequestId></ErrorResponse>`, code, message)
}

// reset breaks the connection in the middle of the answer.
func reset(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	_, _ = w.Write([]byte("<ListAccessKeysResponse>"))
	panic(http.ErrAbortHandler)
}

// slow answers nothing until the caller has given up.
func slow(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// proxy stands before an emulator and strikes a share of the calls; never the first, which asks who is calling:
// without an answer to that there is no account to audit, and the audit ends with an error.
type proxy struct {
	mu     sync.Mutex
	calls  int
	random *rand.Rand
	share  float64
	faults []fault
	struck int
	next   http.Handler
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	var strike fault
	p.calls++
	if p.calls > 1 && p.random.Float64() < p.share {
		strike = p.faults[p.random.IntN(len(p.faults))]
		p.struck++
	}
	p.mu.Unlock()
	if strike != nil {
		strike(w, r)
		return
	}
	p.next.ServeHTTP(w, r)
}

// TestAudit_isNeverWrongBehindAFaultyNetwork: 20 % of the calls to moto are struck. What the audit says is
// true; what it could not read it calls unknown; and it is complete only when everything was read.
func TestAudit_isNeverWrongBehindAFaultyNetwork(t *testing.T) {
	server := moto.Start(t)
	const account = "111122223339"
	credentials := assume(t, server.URL(), account)
	users := truth.Invent(rand.New(rand.NewPCG(7, 7)), "user-9", 60, judgedAt)
	happen(t, server, iamClient(server.URL(), credentials), users)
	server.SetNow(judgedAt)
	want := truth.Verdicts(users, judgedAt)
	target, err := url.Parse(server.URL())
	must(t, err)
	forward := httputil.NewSingleHostReverseProxy(target)

	for _, c := range []struct {
		name   string
		faults []fault
		runs   int // a denial is final, so one that strikes early hides the rest: try again with other luck
	}{
		{"throttled", []fault{throttled}, 1}, {"reset", []fault{reset}, 1}, {"slow", []fault{slow}, 1},
		{"denied", []fault{denied}, 8}, {"all of them", []fault{throttled, denied, reset, slow}, 4},
	} {
		for _, evidence := range []fact.Source{fact.Report, fact.Live} {
			t.Run(c.name+" "+string(evidence), func(t *testing.T) {
				struck := 0
				for run := range c.runs {
					p := &proxy{random: rand.New(rand.NewPCG(uint64(run), 20)), share: 0.2, faults: c.faults, next: forward}
					behind(t, p, credentials, evidence, want)
					struck += p.struck
				}
				if struck < 4 {
					t.Errorf("only %d calls were struck", struck)
				}
			})
		}
	}
}

// behind audits an account through p and compares what is said with the truth.
func behind(t *testing.T, p *proxy, credentials aws.Credentials, evidence fact.Source, want map[string]string) {
	t.Helper()
	front := httptest.NewServer(p)
	defer front.Close()
	how := audit.LiveOptions{Evidence: evidence, Confirm: true}
	how.Now = func() time.Time { return judgedAt }
	r := readerWith(t, front.URL, credentials, func(s *awsiam.Settings) { s.CallTimeout = 300 * time.Millisecond })
	result, err := audit.Live(t.Context(), r, how, everything(t))
	must(t, err)
	unread := len(result.Accounts[0].Gaps)
	said, unknown := 0, 0
	for v := range result.Verdicts {
		said++
		stated, ok := want[verdictName(v)]
		switch {
		case v.Status == finding.Unknown:
			unknown++
		case !ok || string(v.Status) != stated:
			t.Errorf("%s of %s is called %s, the truth is %q", v.Rule, v.User, v.Status, stated)
		}
	}
	if result.Complete != (unread == 0 && unknown == 0) {
		t.Errorf("complete is %v with %d gaps and %d unknown verdicts", result.Complete, unread, unknown)
	}
	if result.Complete && said != len(want) {
		t.Errorf("complete with %d verdicts, the truth has %d", said, len(want))
	}
	t.Logf("%d calls struck, %d gaps, %d of %d verdicts unknown", p.struck, unread, unknown, said)
}
