package fakeaws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Server serves a Cloud over HTTP on the loopback address.
type Server struct {
	URL    string
	server *http.Server
	done   chan struct{}
}

// Start serves c on a free port until Close.
func (c *Cloud) Start() (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serve the built-in account: %w", err)
	}
	s := &Server{
		URL:    "http://" + listener.Addr().String(),
		server: &http.Server{Handler: c, ReadHeaderTimeout: 10 * time.Second},
		done:   make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		_ = s.server.Serve(listener) // ends with ErrServerClosed
	}()
	return s, nil
}

// Close ends the server and breaks every connection, held calls included.
func (s *Server) Close() {
	_ = s.server.Close()
	<-s.done
}

// caller is who a request is from: the account, and the user whose key or the session whose credentials
// signed it; neither for the administrator.
type caller struct {
	account *Account
	user    *user
	session *session
	limited string // the key id of a credential that Allow made known; else empty
	keyID   string
}

// refusal is what the caller hears who may not do that, or nil.
func (w caller) refusal(action string) error {
	actions, limited := w.account.allowed[w.keyID]
	if !limited || action == "sts:GetCallerIdentity" {
		return nil
	}
	for _, allowed := range actions {
		prefix, wild := strings.CutSuffix(allowed, "*")
		if allowed == action || wild && strings.HasPrefix(action, prefix) {
			return nil
		}
	}
	me, _ := w.self()
	return &Error{http.StatusForbidden, "AccessDenied", "User: " + me + " is not authorized to perform: " + action}
}

// answer is what is sent: body, or a broken connection.
type answer struct {
	status int
	id     string // of the request
	body   []byte
	reset  bool
	short  bool // break off in the middle of the body
}

func (c *Cloud) serve(w http.ResponseWriter, r *http.Request) {
	keyID, service := signer(r.Header.Get("Authorization"))
	name, params, err := parse(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	action := service + ":" + name
	if err := c.enter(r.Context(), action); err != nil {
		return // the client is gone
	}
	defer c.leave()
	c.reach(action, Arrived)
	a := c.answer(keyID, action, params)
	c.reach(action, Done)
	if a.reset {
		panic(http.ErrAbortHandler) // net/http's way to break a connection
	}
	w.Header().Set("Content-Type", contentType(action))
	w.Header().Set("X-Amzn-Requestid", a.id)
	w.Header().Set("Date", time.Now().Add(c.skew()).UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Length", fmt.Sprint(len(a.body)))
	if a.short {
		a.body = a.body[:len(a.body)/2]
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // a client that went away has its own error
	_ = http.NewResponseController(w).Flush()
	if !a.short {
		c.reach(action, Answered)
	}
}

// signer takes the access key id and the service out of a version 4 signature. An unsigned request has
// neither. The scope is key/date/region/service/aws4_request.
func signer(authorization string) (keyID, service string) {
	_, rest, _ := strings.Cut(authorization, "Credential=")
	rest, _, _ = strings.Cut(rest, ",")
	part := strings.Split(rest, "/")
	if len(part) != 5 {
		return "", ""
	}
	return part[0], part[3]
}

func (c *Cloud) enter(ctx context.Context, action string) error {
	c.mu.Lock()
	c.inFlight++
	c.peak = max(c.peak, c.inFlight)
	h, latency := c.held(action), c.switches.Latency
	c.mu.Unlock()
	if latency > 0 {
		timer := time.NewTimer(latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			c.leave()
			return ctx.Err()
		}
	}
	if h == nil {
		return nil
	}
	select {
	case h.arrived <- struct{}{}:
	default:
	}
	select {
	case <-h.release:
		return nil
	case <-ctx.Done():
		c.leave()
		return ctx.Err()
	}
}

func (c *Cloud) skew() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.switches.Skew
}

func (c *Cloud) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inFlight--
}

func (c *Cloud) answer(keyID, action string, params url.Values) answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	who, err := c.caller(keyID, action)
	call := Call{Action: action, Params: params}
	if who.account != nil {
		call.Account = who.account.id
	}
	kind := Kind("")
	if service, _, _ := strings.Cut(action, ":"); err == nil && !who.account.take(service) {
		err = Throttle.refusal(action)
	}
	if err == nil {
		kind = c.strike(action)
		if refusal := kind.refusal(action); refusal != nil {
			err = refusal
		}
	}
	var result *node
	if err == nil && kind != ResetBefore {
		result, err = c.do(who, action, params)
	}
	if kind == ErrorAfter {
		err = ErrorBefore.refusal(action)
	}
	if e := (*Error)(nil); speaksJSON(action) && errors.As(err, &e) {
		err = jsonError(e)
	}
	a := c.render(action, result, err)
	switch kind { //nolint:exhaustive // the others are refusals
	case ResetBefore, ResetAfter:
		a, call.Code = answer{reset: true}, "reset"
	case Truncate:
		a.short, call.Code = true, "reset"
	case Empty:
		a.body = nil
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		call.Code = e.Code
	}
	c.note(call)
	return a
}

// caller finds whose key id it is. A call with a user's key is a use of that key.
func (c *Cloud) caller(keyID, action string) (caller, error) {
	service, _, _ := strings.Cut(action, ":")
	if id, ok := strings.CutPrefix(keyID, credentialPrefix); ok && c.byID[id] != nil {
		return caller{account: c.byID[id], keyID: keyID}, nil
	}
	if a := c.owners[keyID]; a != nil {
		u := a.keys[keyID]
		if u == nil {
			return caller{account: a, keyID: keyID, limited: keyID}, nil
		}
		if k := u.key(keyID); k.active && !c.now.Before(k.created.Add(c.switches.KeyLag)) {
			a.touch()
			k.use(use{c.now, service, "us-east-1"})
			return caller{account: a, user: u, keyID: keyID}, nil
		}
	}
	if s := c.sessions[keyID]; s != nil {
		if !c.now.Before(s.ends) {
			return caller{}, ExpiredToken.refusal(action)
		}
		return caller{account: s.account, session: s, keyID: keyID}, nil
	}
	return caller{}, &Error{403, "InvalidClientTokenId", "The security token included in the request is invalid."}
}
