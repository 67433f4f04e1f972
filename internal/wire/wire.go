// Package wire carries the requests of the AWS SDK over net/http without losing answers on the way.
package wire

import (
	"io"
	"net/http"
)

// Transport keeps an answer that comes before net/http has found the end of the request. The SDK closes the request's
// body as soon as there is an answer, and its body's WriteTo then fails with io.EOF, where its Read just ends
// (smithy-go 1.28.8, transport/http/internal/io/safe.go): net/http takes the failure for a torn request and closes the
// connection under the answer, which is lost, and the SDK repeats a call that has taken effect. So net/http is shown
// only the Read.
type Transport struct{ *http.Transport }

// RoundTrip is that of net/http, and returns its errors.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if _, ok := req.Body.(io.WriterTo); ok {
		req = req.Clone(req.Context())
		req.Body = struct{ io.ReadCloser }{req.Body}
	}
	return t.Transport.RoundTrip(req)
}
