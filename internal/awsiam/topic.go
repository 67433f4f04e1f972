package awsiam

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
)

// purposeNotify is whose policy grants the calls of Topics, Buses and Hub.
const purposeNotify = "notify"

// TopicActions are the actions of Topics, as a policy names them. A topic under a key of its own needs kms:Decrypt and
// kms:GenerateDataKey of that key besides.
func TopicActions() []string { return []string{"sns:Publish"} }

// Topics publishes to topics of SNS, in one account and region. It is safe for concurrent use.
type Topics struct {
	*client
	api *sns.Client
}

// OpenTopics prepares Topics and calls nobody.
func OpenTopics(ctx context.Context, s Settings) (*Topics, error) {
	c, err := connect(ctx, s, purposeNotify)
	if err != nil {
		return nil, err
	}
	cfg, err := c.serviceXML(ctx)
	if err != nil {
		return nil, err
	}
	return &Topics{c, sns.NewFromConfig(cfg, func(o *sns.Options) {
		if c.set.EndpointURL != "" {
			o.BaseEndpoint = aws.String(c.set.EndpointURL)
		}
	})}, nil
}

// topicGroup orders the messages of a FIFO topic: all of ours come in their order.
const topicGroup = "keyreeve"

// Publish sends a message to a topic, named by its ARN, and gives the id that SNS gave it. subject is at most 100 characters
// of printable ASCII. texts are by protocol (email, sms, sqs, ...), with one under default for all others; attributes are
// lists of strings, for filters. id is the caller's own: a FIFO topic takes a message of one id once in five minutes, any
// other topic each time. A failure whose effect nobody knows is fact.ErrUnclear beside its kind.
func (t *Topics) Publish(ctx context.Context, topic, id, subject string, texts map[string]string, attributes map[string][]string) (string, error) {
	doing := sentence{action: "sns:Publish", doing: fmt.Sprintf("publish to topic %q", topic), subject: topic}
	body, err := json.Marshal(texts)
	if err != nil {
		return "", t.failed(ctx, doing, err)
	}
	in := &sns.PublishInput{
		TopicArn: &topic, Subject: &subject, Message: aws.String(string(body)), MessageStructure: aws.String("json"),
		MessageAttributes: map[string]types.MessageAttributeValue{},
	}
	for name, values := range attributes {
		list, err := json.Marshal(values)
		if err != nil {
			return "", t.failed(ctx, doing, err)
		}
		in.MessageAttributes[name] = types.MessageAttributeValue{DataType: aws.String("String.Array"), StringValue: aws.String(string(list))}
	}
	if strings.HasSuffix(topic, ".fifo") {
		in.MessageGroupId, in.MessageDeduplicationId = aws.String(topicGroup), &id
	}
	out, err := t.api.Publish(ctx, in)
	if err != nil {
		return "", t.changed(ctx, doing, err)
	}
	if aws.ToString(out.MessageId) == "" {
		e := t.garbled(ctx, doing, "it holds no id of the message")
		e.Unclear = true
		return "", e
	}
	return *out.MessageId, nil
}
