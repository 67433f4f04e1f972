package fakeaws

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// target begins the header that names the action in the JSON protocol.
const target = "AWSOrganizationsV20161128."

// maxBody is more than any request has.
const maxBody = 1 << 20

func speaksJSON(action string) bool { return strings.HasPrefix(action, "organizations:") }

func contentType(action string) string {
	if speaksJSON(action) {
		return "application/x-amz-json-1.1"
	}
	return "text/xml"
}

// parse takes the name of the action and its parameters out of a request of either protocol. The members of a JSON
// object become parameters, and its tags those that the query protocol has for them.
func parse(r *http.Request) (action string, params url.Values, err error) {
	name, isJSON := strings.CutPrefix(r.Header.Get("X-Amz-Target"), target)
	if !isJSON {
		err := r.ParseForm()
		return r.Form.Get("Action"), r.Form, err
	}
	var body map[string]any
	if err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(&body); err != nil {
		return "", nil, fmt.Errorf("read the request: %w", err)
	}
	params = url.Values{}
	for key, value := range body {
		switch v := value.(type) {
		case string:
			params.Set(key, v)
		case float64:
			params.Set(key, strconv.FormatFloat(v, 'f', -1, 64))
		case []any:
			for i, item := range v {
				member, _ := item.(map[string]any)
				for field, text := range member {
					params.Set(fmt.Sprintf("%s.member.%d.%s", key, i+1, field), fmt.Sprint(text))
				}
			}
		}
	}
	return name, params, nil
}

// appendJSON writes what the XML of the same node says: text, a list of members, or an object.
func (n *node) appendJSON(b []byte) []byte {
	switch {
	case n.list:
		b = append(b, '[')
		for i, kid := range n.kids {
			if i > 0 {
				b = append(b, ',')
			}
			b = kid.appendJSON(b)
		}
		return append(b, ']')
	case n.leaf:
		return appendText(b, n.text)
	}
	b = append(b, '{')
	for i, kid := range n.kids {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, kid.name), ':')
		b = kid.appendJSON(b)
	}
	return append(b, '}')
}

func appendText(b []byte, text string) []byte {
	quoted, err := json.Marshal(text)
	if err != nil { // no text is beyond it
		panic(err)
	}
	return append(b, quoted...)
}

// jsonError is a refusal in the words of Organizations, for the same trouble IAM words otherwise.
func jsonError(e *Error) *Error {
	out := Error{http.StatusBadRequest, e.Code, e.Message}
	switch e.Code {
	case throttling:
		out.Code = tooManyRequests
	case "AccessDenied", "ExpiredToken":
		out.Code += "Exception"
	case "InvalidClientTokenId":
		out.Code = "UnrecognizedClientException"
	case "ServiceFailure":
		out.Code, out.Status = "ServiceException", e.Status
	}
	return &out
}
