package awsiam

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/smithy-go"
)

// BusActions are the actions of Buses, as a policy names them.
func BusActions() []string { return []string{"events:PutEvents"} }

// eventSource is the source of every event of ours.
const eventSource = "keyreeve"

// Buses puts events on buses of EventBridge, in one account and region. It is safe for concurrent use.
type Buses struct {
	*client
	api *eventbridge.Client
}

// OpenBuses prepares Buses and calls nobody.
func OpenBuses(ctx context.Context, s Settings) (*Buses, error) {
	c, err := connect(ctx, s, purposeNotify)
	if err != nil {
		return nil, err
	}
	cfg, err := c.service(ctx)
	if err != nil {
		return nil, err
	}
	return &Buses{c, eventbridge.NewFromConfig(cfg, func(o *eventbridge.Options) {
		if c.set.EndpointURL != "" {
			o.BaseEndpoint = aws.String(c.set.EndpointURL)
		}
	})}, nil
}

// defaultBus is the bus that every account has.
const defaultBus = "default"

// PutEvent puts an event on a bus, named by its name or its ARN; empty is the account's default one. kind is its detail-type,
// detail its JSON, at most 256 KB with all the rest; resources are ARNs. It gives the event's id. A failure whose effect
// nobody knows is fact.ErrUnclear beside its kind.
func (b *Buses) PutEvent(ctx context.Context, bus, kind string, resources []string, at time.Time, detail []byte) (string, error) {
	bus = orDefault(bus, defaultBus)
	doing := sentence{action: "events:PutEvents", doing: fmt.Sprintf("put an event on bus %q", bus), subject: bus}
	out, err := b.api.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{{
		EventBusName: &bus, Source: aws.String(eventSource), DetailType: &kind, Detail: aws.String(string(detail)), Resources: resources, Time: &at,
	}}})
	if err != nil {
		return "", b.changed(ctx, doing, err)
	}
	if len(out.Entries) != 1 {
		e := b.garbled(ctx, doing, "it tells of %d entries", len(out.Entries))
		e.Unclear = true
		return "", e
	}
	entry := out.Entries[0]
	switch {
	case out.FailedEntryCount != 0 || aws.ToString(entry.ErrorCode) != "": // EventBridge answers with success, and says inside that it is none
		return "", b.failed(ctx, doing, &smithy.GenericAPIError{
			Code: orDefault(aws.ToString(entry.ErrorCode), "FailedEntry"), Message: aws.ToString(entry.ErrorMessage),
		})
	case aws.ToString(entry.EventId) == "":
		e := b.garbled(ctx, doing, "it holds no id of the event")
		e.Unclear = true
		return "", e
	}
	return *entry.EventId, nil
}
