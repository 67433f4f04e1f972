package awsiam_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/securityhub"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws/moto"
	"github.com/keyreeve/keyreeve/internal/fakeaws/sdk"
)

// readingSide is the side that reads back what was sent.
func readingSide(url string) aws.Config {
	return sdk.Config(url, "eu-west-1", aws.Credentials{AccessKeyID: "AKIAFAKE" + contractAccount, SecretAccessKey: "any"})
}

func openTopics(t *testing.T, s awsiam.Settings) *awsiam.Topics {
	t.Helper()
	out, err := awsiam.OpenTopics(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	return out
}

func openBuses(t *testing.T, s awsiam.Settings) *awsiam.Buses {
	t.Helper()
	out, err := awsiam.OpenBuses(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	return out
}

func openHub(t *testing.T, s awsiam.Settings) *awsiam.Hub {
	t.Helper()
	out, err := awsiam.OpenHub(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	return out
}

// queue makes a queue; read gives the bodies that came in since.
func queue(t *testing.T, cfg aws.Config, name string) (arn string, read func() []string) {
	t.Helper()
	api, ctx := sqs.NewFromConfig(cfg), t.Context()
	in := &sqs.CreateQueueInput{QueueName: &name}
	if strings.HasSuffix(name, ".fifo") {
		in.Attributes = map[string]string{"FifoQueue": "true"}
	}
	q, err := api.CreateQueue(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	a, err := api.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: q.QueueUrl, AttributeNames: []sqstypes.QueueAttributeName{"QueueArn"}})
	if err != nil {
		t.Fatal(err)
	}
	return a.Attributes["QueueArn"], func() []string {
		t.Helper()
		var out []string
		for {
			got, err := api.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: q.QueueUrl, MaxNumberOfMessages: 10})
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Messages) == 0 {
				return out
			}
			for _, m := range got.Messages {
				out = append(out, *m.Body)
				if _, err := api.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: q.QueueUrl, ReceiptHandle: m.ReceiptHandle}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func subscribe(t *testing.T, cfg aws.Config, topic, arn, filter string) {
	t.Helper()
	in := &sns.SubscribeInput{TopicArn: &topic, Protocol: aws.String("sqs"), Endpoint: &arn}
	if filter != "" {
		in.Attributes = map[string]string{"FilterPolicy": filter}
	}
	if _, err := sns.NewFromConfig(cfg).Subscribe(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

func TestTopics_publishToEverySubscriberThatAsksForIt(t *testing.T) {
	m, ctx := moto.Start(t), t.Context()
	cfg := readingSide(m.URL())
	topic, err := sns.NewFromConfig(cfg).CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String("keys")})
	if err != nil {
		t.Fatal(err)
	}
	allARN, all := queue(t, cfg, "all")
	highARN, high := queue(t, cfg, "high")
	subscribe(t, cfg, *topic.TopicArn, allARN, "")
	subscribe(t, cfg, *topic.TopicArn, highARN, `{"severity":["high"]}`)
	p := openTopics(t, storeSettings(m.URL()))
	send := func(severities ...string) string {
		t.Helper()
		id, err := p.Publish(ctx, *topic.TopicArn, "n-1", "keyreeve: 1 opened", map[string]string{"default": `{"a":"<é>"}`, "email": "text"}, map[string][]string{"severity": severities})
		if err != nil || id == "" {
			t.Fatalf("%q, %v", id, err)
		}
		return id
	}
	first := send("low", "medium")
	send("high", "low")
	var got struct {
		MessageID         string `json:"MessageId"`
		Subject, Message  string
		MessageAttributes map[string]struct{ Type, Value string }
	}
	bodies := all()
	for _, b := range bodies { // moto gives them in any order
		if strings.Contains(b, first) {
			if err := json.Unmarshal([]byte(b), &got); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(bodies) != 2 || got.Subject != "keyreeve: 1 opened" || got.Message != `{"a":"<é>"}` || got.MessageAttributes["severity"].Value != `["low","medium"]` || got.MessageAttributes["severity"].Type != "String.Array" {
		t.Errorf("%d messages: %+v", len(bodies), got)
	}
	if n := len(high()); n != 1 {
		t.Errorf("the filter let %d messages through, want 1", n)
	}
	if _, err := p.Publish(ctx, *topic.TopicArn+"x", "n", "s", map[string]string{"default": "x"}, nil); !errors.Is(err, fact.ErrNotFound) || errors.Is(err, fact.ErrUnclear) {
		t.Errorf("a topic that is gone: %v", err)
	}
	if seen := p.Calls(); len(seen) != 1 || seen[awsiam.TopicActions()[0]] != 3 {
		t.Errorf("actions %v, listed %v", seen, awsiam.TopicActions())
	}
}

func TestTopics_aFIFOTopicTakesAnIDOnce(t *testing.T) {
	m, ctx := moto.Start(t), t.Context()
	cfg := readingSide(m.URL())
	topic, err := sns.NewFromConfig(cfg).CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String("keys.fifo"), Attributes: map[string]string{"FifoTopic": "true"}})
	if err != nil {
		t.Fatal(err)
	}
	arn, read := queue(t, cfg, "keys.fifo")
	subscribe(t, cfg, *topic.TopicArn, arn, "")
	p := openTopics(t, storeSettings(m.URL()))
	for _, id := range []string{"n-1", "n-1", "n-2"} {
		if _, err := p.Publish(ctx, *topic.TopicArn, id, "s", map[string]string{"default": id}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(); len(got) != 2 {
		t.Errorf("%d messages, want 2: %q", len(got), got)
	}
}

func TestBuses_putEventsThatRulesMatch(t *testing.T) {
	m, ctx := moto.Start(t), t.Context()
	cfg := readingSide(m.URL())
	arn, read := queue(t, cfg, "events")
	api := eventbridge.NewFromConfig(cfg)
	if _, err := api.CreateEventBus(ctx, &eventbridge.CreateEventBusInput{Name: aws.String("security")}); err != nil {
		t.Fatal(err)
	}
	for _, bus := range []string{"default", "security"} {
		if _, err := api.PutRule(ctx, &eventbridge.PutRuleInput{
			Name: aws.String("r"), EventBusName: &bus,
			EventPattern: aws.String(`{"source":["keyreeve"],"detail-type":["keyreeve verdict opened"],"detail":{"items":{"verdict":{"severity":["high"]}}}}`),
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := api.PutTargets(ctx, &eventbridge.PutTargetsInput{Rule: aws.String("r"), EventBusName: &bus, Targets: []eventtypes.Target{{Id: aws.String("q"), Arn: &arn}}}); err != nil {
			t.Fatal(err)
		}
	}
	b := openBuses(t, storeSettings(m.URL()))
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	detail := func(severity string) []byte { return []byte(`{"items":{"verdict":{"severity":"` + severity + `"}}}`) }
	for _, c := range []struct{ bus, kind, severity string }{
		{"", "keyreeve verdict opened", "high"}, {"security", "keyreeve verdict opened", "high"},
		{"", "keyreeve verdict opened", "low"}, {"", "keyreeve verdict closed", "high"},
	} {
		if id, err := b.PutEvent(ctx, c.bus, c.kind, []string{"arn:aws:iam::111122223333:user/a"}, at, detail(c.severity)); err != nil || id == "" {
			t.Fatalf("%+v: %q, %v", c, id, err)
		}
	}
	got := read()
	if len(got) != 2 {
		t.Fatalf("%d events, want 2: %q", len(got), got)
	}
	var event struct {
		Source     string
		DetailType string `json:"detail-type"`
		Time       string
		Resources  []string
	}
	if err := json.Unmarshal([]byte(got[0]), &event); err != nil || event.Source != "keyreeve" || event.DetailType != "keyreeve verdict opened" || event.Time != "2026-11-22T12:00:00Z" || len(event.Resources) != 1 {
		t.Errorf("%+v, %v", event, err)
	}
	// moto refuses inside of a success, as EventBridge does.
	if _, err := b.PutEvent(ctx, "", "k", nil, at, []byte("no JSON")); err == nil || !strings.Contains(err.Error(), "MalformedDetail") || errors.Is(err, fact.ErrUnclear) {
		t.Errorf("a detail that is no JSON: %v", err)
	}
	if seen := b.Calls(); seen["eventbridge:PutEvents"] != 5 || !slices.Equal(awsiam.BusActions(), []string{"events:PutEvents"}) {
		t.Errorf("actions %v", seen)
	}
}

func asff(id, state string) []byte {
	return []byte(`{"SchemaVersion":"2018-10-08","Id":"` + id + `","ProductArn":"arn:aws:securityhub:eu-west-1:123456789012:product/123456789012/default","GeneratorId":"g",` +
		`"AwsAccountId":"123456789012","CreatedAt":"2026-11-22T12:00:00Z","UpdatedAt":"2026-11-22T12:00:00Z","Severity":{"Label":"HIGH","Original":"high"},"Title":"t","Description":"d",` +
		`"Resources":[{"Type":"AwsIamAccessKey","Id":"k","Details":{"AwsIamAccessKey":{"AccessKeyId":"AKIAIOSFODNN7EXAMPLE"}}}],"RecordState":"` + state + `"}`)
}

func TestHub_importsUpdatesAndArchivesByTheSameID(t *testing.T) {
	m, ctx := moto.Start(t), t.Context()
	cfg := readingSide(m.URL())
	h := openHub(t, storeSettings(m.URL()))
	var batch [][]byte
	for i := range awsiam.MostFindings {
		batch = append(batch, asff(fmt.Sprintf("f-%03d", i), "ACTIVE"))
	}
	if err := errors.Join(h.Import(ctx, batch), h.Import(ctx, batch[:1]), h.Import(ctx, [][]byte{asff("f-001", "ARCHIVED")})); err != nil {
		t.Fatal(err)
	}
	found, err := securityhub.NewFromConfig(cfg).GetFindings(ctx, &securityhub.GetFindingsInput{})
	if err != nil {
		t.Fatal(err)
	}
	archived := 0
	for _, f := range found.Findings {
		if f.RecordState == "ARCHIVED" {
			archived++
		}
		if key := f.Resources[0].Details; key == nil || key.AwsIamAccessKey == nil || aws.ToString(key.AwsIamAccessKey.AccessKeyId) != "AKIAIOSFODNN7EXAMPLE" {
			t.Fatalf("the key got lost: %+v", f.Resources[0])
		}
	}
	if len(found.Findings) != awsiam.MostFindings || archived != 1 {
		t.Errorf("%d findings, %d archived", len(found.Findings), archived)
	}
	none := []byte(strings.Replace(string(asff("f-none", "ACTIVE")), `"Resources":[{"Type":"AwsIamAccessKey","Id":"k","Details":{"AwsIamAccessKey":{"AccessKeyId":"AKIAIOSFODNN7EXAMPLE"}}}]`, `"Resources":[]`, 1))
	if err := h.Import(ctx, [][]byte{asff("f-new", "ACTIVE"), none}); err == nil || !strings.Contains(err.Error(), "1 findings were not taken: f-none (InvalidInput") {
		t.Errorf("one of two was refused: %v", err)
	}
	for what, findings := range map[string][][]byte{
		"none": {}, "too many": append(batch, batch[0]), "no JSON": {[]byte("x")}, "a field that nobody has": {[]byte(`{"Sevrity":1}`)},
	} {
		before := h.Attempts()
		if err := h.Import(ctx, findings); err == nil || h.Attempts() != before {
			t.Errorf("%s: %v, %d attempts", what, err, h.Attempts()-before)
		}
	}
	for range 2 {
		if id, region, err := h.Account(ctx); err != nil || id != contractAccount || region != "eu-west-1" {
			t.Errorf("%q, %q, %v", id, region, err)
		}
	}
	if seen := h.Calls(); len(seen) != 2 || seen["sts:GetCallerIdentity"] != 1 || seen[awsiam.HubActions()[0]] != 4 {
		t.Errorf("actions %v, listed %v", seen, awsiam.HubActions())
	}
}

// Each of the three calls takes no other answer for success, says of which kind a failure is, and whether it may have taken
// effect.
func TestNotify_takesNoOtherAnswerForSuccess(t *testing.T) {
	type answer struct {
		status    int
		json, xml string
	}
	refusal := func(status int, code string) answer {
		return answer{
			status, `{"__type":"` + code + `","message":"m"}`,
			"<ErrorResponse><Error><Type>Sender</Type><Code>" + code + "</Code><Message>m</Message></Error></ErrorResponse>",
		}
	}
	for name, c := range map[string]struct {
		answer  answer
		kind    error
		unclear bool
	}{
		"a page":                    {answer{200, "<html>login</html>", "<html>login</html>"}, awsiam.ErrUnusable, true},
		"nothing":                   {answer{200, "", ""}, awsiam.ErrUnusable, true},
		"an empty answer":           {answer{200, "{}", "<PublishResponse><PublishResult></PublishResult></PublishResponse>"}, awsiam.ErrUnusable, true},
		"half an answer":            {answer{200, `{"FailedEntryCount":`, "<Publish"}, awsiam.ErrUnusable, true},
		"a refusal page":            {answer{403, "no", "no"}, awsiam.ErrUnusable, true},
		"a fault":                   {answer{500, "", ""}, awsiam.ErrUnavailable, true},
		"denied":                    {refusal(403, "AccessDeniedException"), fact.ErrDenied, false},
		"denied, as SNS has it":     {refusal(403, "AuthorizationError"), fact.ErrDenied, false},
		"busy":                      {refusal(400, "ThrottlingException"), fact.ErrThrottled, false},
		"gone":                      {refusal(400, "ResourceNotFoundException"), fact.ErrNotFound, false},
		"gone, as SNS has it":       {refusal(404, "NotFound"), fact.ErrNotFound, false},
		"something that is nowhere": {refusal(400, "InvalidParameter"), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body := c.answer.json
				if strings.Contains(r.Header.Get("Content-Type"), "urlencoded") {
					body = c.answer.xml
				}
				w.WriteHeader(c.answer.status)
				_, _ = io.WriteString(w, body)
			}))
			defer server.Close()
			s, ctx := storeSettings(server.URL), t.Context()
			_, topicErr := openTopics(t, s).Publish(ctx, "arn:aws:sns:eu-west-1:1:t", "n", "s", map[string]string{"default": "x"}, nil)
			_, busErr := openBuses(t, s).PutEvent(ctx, "", "k", nil, time.Unix(0, 0), []byte("{}"))
			hubErr := openHub(t, s).Import(ctx, [][]byte{asff("f", "ACTIVE")})
			for what, err := range map[string]error{"topic": topicErr, "bus": busErr, "hub": hubErr} {
				unclear := c.unclear
				if what == "hub" && name == "an empty answer" {
					unclear = false // nothing was taken, it says; an import anew changes nothing
				}
				var e *awsiam.Error
				if !errors.As(err, &e) || (e.Kind == nil) != (c.kind == nil) || c.kind != nil && !errors.Is(e.Kind, c.kind) || errors.Is(err, fact.ErrUnclear) != unclear || e.Purpose != "notify" {
					t.Errorf("%s: %v; want %v, unclear %v", what, err, c.kind, unclear)
				}
			}
		})
	}
}

func TestBusesAndHub_lookInsideOfASuccess(t *testing.T) {
	for name, c := range map[string]struct{ path, body, want string }{
		"an entry that failed":     {"/", `{"FailedEntryCount":1,"Entries":[{"ErrorCode":"ThrottlingException","ErrorMessage":"slow"}]}`, "throttled"},
		"a count without entries":  {"/", `{"FailedEntryCount":0,"Entries":[]}`, "0 entries"},
		"a finding that failed":    {"/findings/import", `{"FailedCount":1,"SuccessCount":0,"FailedFindings":[{"Id":"f","ErrorCode":"InvalidAccess","ErrorMessage":"off"}]}`, "f (InvalidAccess: off)"},
		"fewer than were sent":     {"/findings/import", `{"FailedCount":0,"SuccessCount":0,"FailedFindings":[]}`, "took 0 of 1"},
		"a failure without a name": {"/findings/import", `{"FailedCount":1,"SuccessCount":0,"FailedFindings":[]}`, "1 findings were not taken"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, c.body) }))
		s := storeSettings(server.URL)
		var err error
		if c.path == "/" {
			_, err = openBuses(t, s).PutEvent(t.Context(), "b", "k", nil, time.Unix(0, 0), []byte("{}"))
		} else {
			err = openHub(t, s).Import(t.Context(), [][]byte{asff("f", "ACTIVE")})
		}
		server.Close()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestTopics_sendAMessageForEachProtocol(t *testing.T) {
	var sent url.Values
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		sent = r.PostForm
		_, _ = io.WriteString(w, "<PublishResponse><PublishResult><MessageId>m-1</MessageId></PublishResult></PublishResponse>")
	}))
	defer server.Close()
	id, err := openTopics(t, storeSettings(server.URL)).Publish(t.Context(), "arn:aws:sns:eu-west-1:1:t", "n", "s", map[string]string{"default": "x", "sms": "y"}, map[string][]string{"kind": {"opened"}})
	if err != nil || id != "m-1" {
		t.Fatalf("%q, %v", id, err)
	}
	want := map[string]string{"Message": `{"default":"x","sms":"y"}`, "MessageStructure": "json", "Subject": "s", "MessageGroupId": "", "MessageAttributes.entry.1.Value.StringValue": `["opened"]`}
	got := map[string]string{}
	for name := range want {
		got[name] = sent.Get(name)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
