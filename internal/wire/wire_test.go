package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"testing"
)

// shut is a body that was read to its end and closed: its WriteTo fails, as that of the SDK's does.
type shut struct{ *bytes.Reader }

func (shut) Close() error                     { return nil }
func (shut) WriteTo(io.Writer) (int64, error) { return 0, io.EOF }

func TestTransport_bodyThatWasClosedIsNoTornRequest(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	t.Cleanup(server.Close)
	sent := func(wrap func(*http.Transport) http.RoundTripper) error {
		wrote := make(chan error, 1)
		ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
			WroteRequest: func(info httptrace.WroteRequestInfo) { wrote <- info.Err },
		})
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, shut{bytes.NewReader([]byte("whole"))})
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = 5
		base := &http.Transport{}
		defer base.CloseIdleConnections()
		if res, err := wrap(base).RoundTrip(req); err == nil {
			_ = res.Body.Close()
		}
		return <-wrote
	}
	if err := sent(func(tr *http.Transport) http.RoundTripper { return tr }); !errors.Is(err, io.EOF) {
		t.Errorf("net/http no longer minds (%v): this package can go", err)
	}
	if err := sent(func(tr *http.Transport) http.RoundTripper { return &Transport{tr} }); err != nil {
		t.Errorf("the request counts as torn: %v", err)
	}
}
