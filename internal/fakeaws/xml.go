package fakeaws

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// node is one XML element: text, or elements inside.
type node struct {
	name string
	text string
	kids []*node
}

func leaf(name, text string) *node { return &node{name: name, text: text} }

func tree(name string, kids ...*node) *node { return &node{name: name, kids: kids} }

// members is a list in the query protocol.
func members(name string, items []*node) *node {
	list := tree(name)
	for _, item := range items {
		item.name = "member"
		list.kids = append(list.kids, item)
	}
	return list
}

func (n *node) write(b *strings.Builder) {
	b.WriteString("<" + n.name + ">")
	_ = xml.EscapeText(b, []byte(n.text)) // a Builder takes everything
	for _, kid := range n.kids {
		kid.write(b)
	}
	b.WriteString("</" + n.name + ">")
}

// render is the answer as AWS frames it. result nil means an action without one.
func (c *Cloud) render(action string, result *node, err error) answer {
	c.serial++
	id := fmt.Sprintf("00000000-0000-4000-8000-%012d", c.serial)
	service, name, _ := strings.Cut(action, ":")
	space := "https://iam.amazonaws.com/doc/2010-05-08/"
	if service == "sts" {
		space = "https://sts.amazonaws.com/doc/2011-06-15/"
	}
	var b strings.Builder
	if err != nil {
		e := &Error{http.StatusInternalServerError, "ServiceFailure", err.Error()}
		errors.As(err, &e)
		kind := "Sender"
		if e.Status >= 500 {
			kind = "Receiver"
		}
		fmt.Fprintf(&b, "<ErrorResponse xmlns=%q>", space)
		tree("Error", leaf("Type", kind), leaf("Code", e.Code), leaf("Message", e.Message)).write(&b)
		leaf("RequestId", id).write(&b)
		b.WriteString("</ErrorResponse>")
		return answer{status: e.Status, id: id, body: b.String()}
	}
	fmt.Fprintf(&b, "<%sResponse xmlns=%q>", name, space)
	if result != nil {
		result.name = name + "Result"
		result.write(&b)
	}
	tree("ResponseMetadata", leaf("RequestId", id)).write(&b)
	b.WriteString("</" + name + "Response>")
	return answer{status: http.StatusOK, id: id, body: b.String()}
}
