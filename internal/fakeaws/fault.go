package fakeaws

import "slices"

// Kind is what goes wrong with a call.
type Kind string

const (
	Throttle         Kind = "throttle"           // Throttling, HTTP 400
	Deny             Kind = "deny"               // AccessDenied, HTTP 403
	LimitExceeded    Kind = "limit-exceeded"     // HTTP 409: no capacity for reports
	ReportNotPresent Kind = "report-not-present" // HTTP 410
	ReportExpired    Kind = "report-expired"     // HTTP 410
	ReportInProgress Kind = "report-in-progress" // HTTP 404
	ExpiredToken     Kind = "expired-token"      // HTTP 403
	ErrorBefore      Kind = "error-before"       // HTTP 500, and the call had no effect
	ErrorAfter       Kind = "error-after"        // HTTP 500, though the call took effect
	ResetBefore      Kind = "reset-before"       // the connection breaks, the call had no effect
	ResetAfter       Kind = "reset-after"        // the connection breaks, though the call took effect
	Truncate         Kind = "truncate"           // the call takes effect, half of the answer arrives
	Empty            Kind = "empty"              // HTTP 200 with an empty body
)

// Kinds are all kinds of fault.
func Kinds() []Kind {
	return []Kind{
		Throttle, Deny, LimitExceeded, ReportNotPresent, ReportExpired, ReportInProgress, ExpiredToken,
		ErrorBefore, ErrorAfter, ResetBefore, ResetAfter, Truncate, Empty,
	}
}

// Fault says which calls go wrong, and how. A call takes the first fault that hits it.
type Fault struct {
	Kind   Kind
	Action string  // as a policy names it: iam:ListUsers; empty: every action
	Every  int     // hits each nth call that it matches; 0 and 1: each
	Share  float64 // hits this share of them, at random from a fixed seed; 0: all
	Times  int     // then it is over; 0: it stays until Heal
}

type fault struct {
	Fault
	seen, hits int
}

// Inject adds faults to those there are.
func (c *Cloud) Inject(faults ...Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range faults {
		c.faults = append(c.faults, &fault{Fault: f})
	}
}

// Heal removes all faults.
func (c *Cloud) Heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = nil
}

// strike is the fault that hits a call of action, or "".
func (c *Cloud) strike(action string) Kind {
	for _, f := range c.faults {
		if f.Action != "" && f.Action != action || f.Times > 0 && f.hits >= f.Times {
			continue
		}
		f.seen++
		if f.Every > 1 && f.seen%f.Every != 0 || f.Share > 0 && c.random.Float64() >= f.Share {
			continue
		}
		f.hits++
		return f.Kind
	}
	return ""
}

// refusal is the answer of kinds that refuse before any effect.
func (k Kind) refusal(action string) *Error {
	switch k {
	case Throttle:
		return &Error{400, throttling, "Rate exceeded"}
	case Deny:
		return &Error{403, "AccessDenied", "User is not authorized to perform: " + action}
	case LimitExceeded:
		return &Error{409, "LimitExceeded", "No more capacity to generate credential reports."}
	case ReportNotPresent:
		return &Error{410, "ReportNotPresent", "No report found. Generate one."}
	case ReportExpired:
		return &Error{410, "ReportExpired", "The report has expired. Generate one."}
	case ReportInProgress:
		return &Error{404, "ReportInProgress", "Credential report is not ready."}
	case ExpiredToken:
		return &Error{403, "ExpiredToken", "The security token included in the request is expired"}
	case ErrorBefore:
		return &Error{500, "ServiceFailure", "The request processing has failed."}
	case ErrorAfter, ResetBefore, ResetAfter, Truncate, Empty:
		return nil
	default:
		return nil
	}
}

// Phase is how far a call has come.
type Phase string

const (
	Arrived  Phase = "arrived"  // the request was read, and nothing done yet
	Done     Phase = "done"     // it took effect, or was refused, and is not answered
	Answered Phase = "answered" // the answer was sent; never for a connection that a fault breaks
)

// Phases lists every Phase.
func Phases() []Phase { return []Phase{Arrived, Done, Answered} }

// OnCall has f called at each phase of each call, from the goroutine of the call, and the call waits for it. f
// may use the Cloud. A call goes on after f, also when its caller is gone by then: AWS has the request. nil: nothing.
func (c *Cloud) OnCall(f func(action string, phase Phase)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onCall = f
}

func (c *Cloud) reach(action string, phase Phase) {
	c.mu.Lock()
	f := c.onCall
	c.mu.Unlock()
	if f != nil {
		f(action, phase)
	}
}

// hold stops calls until it is released.
type hold struct {
	action  string
	arrived chan struct{} // one for each call that reached it
	release chan struct{}
}

// Hold stops every call of action ("" for all) before it takes effect. Each that arrives puts a token into
// arrived, up to its capacity of 1000. The function returned lets all of them, and later ones, go on.
func (c *Cloud) Hold(action string) (arrived <-chan struct{}, release func()) {
	h := &hold{action: action, arrived: make(chan struct{}, 1000), release: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holds = append(c.holds, h)
	return h.arrived, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if i := slices.Index(c.holds, h); i >= 0 {
			c.holds = slices.Delete(c.holds, i, i+1)
			close(h.release)
		}
	}
}

// held is the hold that stops a call of action, or nil.
func (c *Cloud) held(action string) *hold {
	for _, h := range c.holds {
		if h.action == "" || h.action == action {
			return h
		}
	}
	return nil
}
