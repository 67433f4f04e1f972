package courier_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/courier"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws/moto"
	"github.com/keyreeve/keyreeve/internal/fakeaws/sdk"
)

// road leads to moto and can be broken.
type road struct {
	target string

	mu    sync.Mutex
	how   trouble // empty: it is whole
	after int
	calls int
	end   chan struct{} // closed when a slow road is healed
}

func (r *road) break_(_ *testing.T, how trouble, after int) (heal func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.how, r.after, r.calls, r.end = how, after, 0, make(chan struct{})
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.how = ""
		close(r.end)
	}
}

func (r *road) next(action string) (trouble, chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	writes := strings.Contains(action, "Put")
	if r.how == blab && writes || r.how != blab && r.calls > r.after {
		return r.how, r.end
	}
	return "", nil
}

func (r *road) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	how, end := r.next(req.Header.Get("X-Amz-Target"))
	switch how {
	case down:
		panic(http.ErrAbortHandler)
	case slow:
		<-end
		panic(http.ErrAbortHandler)
	case denied:
		refuse(w, "AccessDeniedException", "User is not authorized to perform that")
		return
	case blab:
		refuse(w, "ValidationException", "1 validation error detected: Value '"+string(body)+"' failed to satisfy constraint")
		return
	case cut:
	}
	out, err := http.NewRequestWithContext(req.Context(), req.Method, r.target+req.URL.Path, bytes.NewReader(body))
	if err != nil {
		return
	}
	out.Header = req.Header.Clone()
	res, err := http.DefaultClient.Do(out)
	if err != nil {
		return
	}
	defer func() { _ = res.Body.Close() }()
	if how == cut {
		panic(http.ErrAbortHandler)
	}
	for name, values := range res.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(res.StatusCode)
	_, _ = io.Copy(w, res.Body)
}

func refuse(w http.ResponseWriter, code, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": message})
}

// cloud is moto for all sites; each has its own road and its own names.
type cloud struct {
	url string
	n   atomic.Int64
}

func startCloud(t *testing.T) *cloud { return &cloud{url: moto.Start(t).URL()} }

func (c *cloud) config() aws.Config {
	return sdk.Config(c.url, "eu-west-1", aws.Credentials{AccessKeyID: "AKIAFAKEROOT", SecretAccessKey: "any"})
}

func (c *cloud) road(t *testing.T, d *diary) (*road, awsiam.Settings) {
	r := &road{target: c.url}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	return r, awsiam.Settings{
		EndpointURL: server.URL, Region: "eu-west-1", MaxAttempts: 1, BackoffCap: time.Millisecond,
		Credentials: &awsiam.Credentials{ID: "AKIAFAKEROOT", Secret: fact.NewSecret("any")},
		Log:         slog.New(slog.NewTextHandler(d, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

func objectOf(p fact.Pair) string {
	return fmt.Sprintf(`{"Region": "eu-west-1",  "AccessKeyId":%q,"SecretAccessKey":%q, "Notes":{"z":1,"a":[2, 3.0]}}`, p.KeyID, p.Secret.Reveal())
}

func consumer(t *testing.T, text string) (fact.Pair, bool) {
	var got struct{ AccessKeyId, SecretAccessKey, Region string }
	if err := json.Unmarshal([]byte(text), &got); err != nil || got.Region != "eu-west-1" {
		t.Errorf("the consumer reads %q: %v", text, err)
		return fact.Pair{}, false
	}
	return fact.Pair{KeyID: got.AccessKeyId, Secret: fact.NewSecret(got.SecretAccessKey)}, true
}

func (c *cloud) secretSite(t *testing.T, d *diary) *site {
	ctx := t.Context()
	name := fmt.Sprintf("prod/ci-%d", c.n.Add(1))
	api := secretsmanager.NewFromConfig(c.config())
	if _, err := api.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String(objectOf(oldPair))}); err != nil {
		t.Fatal(err)
	}
	way, settings := c.road(t, d)
	store, err := awsiam.OpenSecrets(ctx, settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	held := func(t *testing.T) string {
		out, err := api.GetSecretValue(context.Background(), &secretsmanager.GetSecretValueInput{
			SecretId: &name, VersionStage: aws.String("AWSCURRENT"), // moto does not let its default follow a moved label
		})
		if err != nil {
			t.Errorf("read: %v", err)
			return ""
		}
		return *out.SecretString
	}
	at := func(name string) carrier {
		out, err := courier.NewSecretsManager(courier.SecretSettings{Secret: name}, store)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	plain, twisted := name+"-plain", name+"-case"
	for n, text := range map[string]string{plain: "hunter2", twisted: `{"accesskeyid":"A","secretAccessKey":"B"}`} {
		if _, err := api.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &n, SecretString: &text}); err != nil {
			t.Fatal(err)
		}
	}
	return &site{
		carrier: at(name), bad: []carrier{at(name + "-none"), at(plain), at(twisted)},
		held: held, pair: func(t *testing.T) (fact.Pair, bool) { return consumer(t, held(t)) },
		meddle: func(t *testing.T) {
			put, err := api.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
				SecretId: &name, SecretString: aws.String(objectOf(otherPair)), VersionStages: []string{"theirs"},
			})
			must(t, err)
			now, err := api.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name, VersionStage: aws.String("AWSCURRENT")})
			must(t, err)
			_, err = api.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
				SecretId: &name, VersionStage: aws.String("AWSCURRENT"), RemoveFromVersionId: now.VersionId, MoveToVersionId: put.VersionId,
			})
			must(t, err)
		},
		break_: way.break_, kinds: []trouble{down, cut, slow, denied, blab}, calls: 6,
		traces: func() string {
			out, err := api.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})
			if err != nil {
				return err.Error()
			}
			var lines []string
			for v, labels := range out.VersionIdsToStages {
				slices.Sort(labels)
				lines = append(lines, v+fmt.Sprint(labels))
			}
			slices.Sort(lines)
			return strings.Join(lines, "\n")
		},
	}
}

func (c *cloud) parameterSite(t *testing.T, d *diary) *site {
	ctx := t.Context()
	name := fmt.Sprintf("/prod/ci-%d", c.n.Add(1))
	api := ssm.NewFromConfig(c.config())
	put := func(name, text string, kind types.ParameterType, overwrite bool) {
		in := &ssm.PutParameterInput{Name: &name, Value: &text, Type: kind, Overwrite: &overwrite}
		if kind == types.ParameterTypeSecureString {
			in.KeyId = aws.String("alias/prod")
		}
		if _, err := api.PutParameter(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	put(name, objectOf(thirdPair), types.ParameterTypeSecureString, false)
	put(name, objectOf(oldPair), types.ParameterTypeSecureString, true)
	put(name+"-open", objectOf(oldPair), types.ParameterTypeString, false)
	put(name+"-plain", "hunter2", types.ParameterTypeSecureString, false)
	way, settings := c.road(t, d)
	store, err := awsiam.OpenParameters(ctx, settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	held := func(t *testing.T) string {
		out, err := api.GetParameter(context.Background(), &ssm.GetParameterInput{Name: &name, WithDecryption: aws.Bool(true)})
		if err != nil {
			t.Errorf("read: %v", err)
			return ""
		}
		return *out.Parameter.Value
	}
	at := func(name string) carrier {
		out, err := courier.NewParameter(courier.ParameterSettings{Name: name}, store)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	return &site{
		carrier: at(name), bad: []carrier{at(name + "-none"), at(name + "-open"), at(name + "-plain")},
		held: held, pair: func(t *testing.T) (fact.Pair, bool) { return consumer(t, held(t)) },
		meddle: func(*testing.T) { put(name, objectOf(otherPair), types.ParameterTypeSecureString, true) },
		break_: way.break_, kinds: []trouble{down, cut, slow, denied, blab}, calls: 4,
		traces: func() string {
			out, err := api.GetParameterHistory(ctx, &ssm.GetParameterHistoryInput{Name: &name})
			if err != nil {
				return err.Error()
			}
			last := out.Parameters[len(out.Parameters)-1]
			return fmt.Sprint(len(out.Parameters), aws.ToString(last.KeyId), last.Type)
		},
	}
}
