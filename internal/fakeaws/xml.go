package fakeaws

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// node is one element of an answer: text, elements inside, or a list of them.
type node struct {
	name string
	text string
	leaf bool // it is text, which may be empty
	list bool // kids are the members of a list
	kids []*node
}

func leaf(name, text string) *node { return &node{name: name, text: text, leaf: true} }

func tree(name string, kids ...*node) *node { return &node{name: name, kids: kids} }

// members is a list.
func members(name string, items []*node) *node {
	list := &node{name: name, list: true, kids: items}
	for _, item := range items {
		item.name = "member"
	}
	return list
}

func (n *node) write(b *bytes.Buffer) {
	b.WriteByte('<')
	b.WriteString(n.name)
	b.WriteByte('>')
	if strings.ContainsAny(n.text, "<>&'\"\t\n\r") {
		_ = xml.EscapeText(b, []byte(n.text)) // a Buffer takes everything
	} else {
		b.WriteString(n.text)
	}
	for _, kid := range n.kids {
		kid.write(b)
	}
	b.WriteString("</")
	b.WriteString(n.name)
	b.WriteByte('>')
}

// size is about how long the XML gets.
func (n *node) size() int {
	if n == nil {
		return 0
	}
	out := 2*len(n.name) + len(n.text) + len("<></>")
	for _, kid := range n.kids {
		out += kid.size()
	}
	return out
}

// render is the answer as AWS frames it. result nil means an action without one.
func (c *Cloud) render(action string, result *node, err error) answer {
	c.serial++
	a := answer{status: http.StatusOK, id: fmt.Sprintf("00000000-0000-4000-8000-%012d", c.serial)}
	var refusal *Error
	if err != nil {
		refusal = &Error{http.StatusInternalServerError, "ServiceFailure", err.Error()}
		errors.As(err, &refusal)
		a.status = refusal.Status
	}
	if speaksJSON(action) {
		a.body = renderJSON(result, refusal)
		return a
	}
	service, name, _ := strings.Cut(action, ":")
	a.body = renderXML(service, name, a.id, result, refusal)
	return a
}

func renderJSON(result *node, refusal *Error) []byte {
	switch {
	case refusal != nil:
		return tree("", leaf("__type", refusal.Code), leaf("message", refusal.Message)).appendJSON(nil)
	case result == nil:
		return []byte("{}")
	default:
		return result.appendJSON(nil)
	}
}

func renderXML(service, name, id string, result *node, refusal *Error) []byte {
	space := "https://iam.amazonaws.com/doc/2010-05-08/"
	if service == "sts" {
		space = "https://sts.amazonaws.com/doc/2011-06-15/"
	}
	var b bytes.Buffer
	b.Grow(512 + result.size())
	if refusal != nil {
		kind := "Sender"
		if refusal.Status >= 500 {
			kind = "Receiver"
		}
		fmt.Fprintf(&b, "<ErrorResponse xmlns=%q>", space)
		tree("Error", leaf("Type", kind), leaf("Code", refusal.Code), leaf("Message", refusal.Message)).write(&b)
		leaf("RequestId", id).write(&b)
		b.WriteString("</ErrorResponse>")
		return b.Bytes()
	}
	fmt.Fprintf(&b, "<%sResponse xmlns=%q>", name, space)
	if result != nil {
		result.name = name + "Result"
		result.write(&b)
	}
	tree("ResponseMetadata", leaf("RequestId", id)).write(&b)
	b.WriteString("</" + name + "Response>")
	return b.Bytes()
}
