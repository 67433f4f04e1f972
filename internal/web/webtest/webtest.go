// Package webtest knows the API by its document alone: a client that a generator made of it, as anybody may, and a judge that
// holds answers against it.
//
// It knows nothing of what stands behind the API: tests of the surface ask it about rows in memory, tests of the program about
// a database. It is for tests only: everything here wants a testing.TB.
package webtest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/keyreeve/keyreeve/internal/web"
)

// Document is the document, which is valid.
func Document(t testing.TB) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(web.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatalf("the document is not valid: %v", err)
	}
	return doc
}

// Judge holds answers against the document.
type Judge struct{ router routers.Router }

// NewJudge reads the document.
func NewJudge(t testing.TB) *Judge {
	t.Helper()
	r, err := gorillamux.NewRouter(Document(t))
	if err != nil {
		t.Fatal(err)
	}
	return &Judge{r}
}

// Answer fails the test where the answer to req is not one that the document has, or answers what the document does not know.
func (j *Judge) Answer(t testing.TB, req *http.Request, status int, header http.Header, body []byte) {
	t.Helper()
	route, path, err := j.router.FindRoute(req)
	if err != nil {
		t.Errorf("%s: %v", req.URL, err)
		return
	}
	in := &openapi3filter.RequestValidationInput{
		Request: req, PathParams: path, Route: route, Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	if status == http.StatusOK {
		if err := openapi3filter.ValidateRequest(context.WithoutCancel(req.Context()), in); err != nil {
			t.Errorf("%s is answered, and the document does not know it: %v", req.URL, err)
		}
	}
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: status, Header: header, Body: io.NopCloser(bytes.NewReader(body)), Options: in.Options,
	}
	if err := openapi3filter.ValidateResponse(context.WithoutCancel(req.Context()), out); err != nil {
		t.Errorf("%s: HTTP %d is not as the document says: %v\n%s", req.URL, status, err, body)
	}
}

// NewReader is the generated client of the API at url. Each answer that it gets is judged.
func NewReader(t testing.TB, url, token string) *ClientWithResponses {
	t.Helper()
	c, err := NewClientWithResponses(url, WithHTTPClient(&judged{t, NewJudge(t), http.DefaultClient}), WithRequestEditorFn(
		func(_ context.Context, req *http.Request) error {
			req.Header.Set("Authorization", "Bearer "+token)
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// judged is an HTTP client whose answers are held against the document.
type judged struct {
	t     testing.TB
	judge *Judge
	next  *http.Client
}

func (c *judged) Do(req *http.Request) (*http.Response, error) {
	res, err := c.next.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if err := res.Body.Close(); err != nil {
		return nil, err
	}
	c.judge.Answer(c.t, res.Request, res.StatusCode, res.Header, body)
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}
