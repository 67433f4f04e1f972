package courier_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/courier"
	"github.com/keyreeve/keyreeve/internal/fact"
)

// desk has both services of one account, by the way of the couriers and by the SDK.
type desk struct {
	secrets *awsiam.Secrets
	params  *awsiam.Parameters
	sm      *secretsmanager.Client
	ssm     *ssm.Client
}

func openDesk(t *testing.T) desk {
	t.Helper()
	c := startCloud(t)
	_, settings := c.road(t, &diary{})
	secrets, err := awsiam.OpenSecrets(t.Context(), settings)
	must(t, err)
	params, err := awsiam.OpenParameters(t.Context(), settings)
	must(t, err)
	t.Cleanup(secrets.Close)
	t.Cleanup(params.Close)
	return desk{secrets, params, secretsmanager.NewFromConfig(c.config()), ssm.NewFromConfig(c.config())}
}

func (d desk) secret(t *testing.T, s courier.SecretSettings) *courier.SecretsManager {
	t.Helper()
	c, err := courier.NewSecretsManager(s, d.secrets)
	must(t, err)
	return c
}

func (d desk) parameter(t *testing.T, s courier.ParameterSettings, store courier.ParameterStore) *courier.Parameter {
	t.Helper()
	c, err := courier.NewParameter(s, store)
	must(t, err)
	return c
}

func TestAWSPlaces_areMadeWhenToldAndThenNotRestorable(t *testing.T) {
	d, ctx := openDesk(t), t.Context()
	fields := courier.Fields{KeyID: "id", Secret: "key", User: "who"}
	for name, c := range map[string]carrier{
		"secret":    d.secret(t, courier.SecretSettings{Secret: "new", Create: true, Fields: fields, User: "ana"}),
		"parameter": d.parameter(t, courier.ParameterSettings{Name: "/new", Create: true, Fields: fields, User: "ana"}, d.params),
	} {
		must(t, c.Preflight(ctx))
		r, err := c.Deliver(ctx, rotation, newPair, nil)
		must(t, err)
		for _, earlier := range [][]byte{r, nil} {
			if _, err := c.Deliver(ctx, rotation, newPair, earlier); err != nil {
				t.Errorf("%s again: %v", name, err)
			}
		}
		if holds, err := c.ReadBack(ctx, rotation, newPair.Digest(), r); err != nil || !holds {
			t.Errorf("%s: %v, %v", name, holds, err)
		}
		if err := c.Restore(ctx, rotation, r); !errors.Is(err, courier.ErrNotRestorable) {
			t.Errorf("%s: restore: %v, want %v", name, err, courier.ErrNotRestorable)
		}
	}
	want := `{"id":"` + newPair.KeyID + `","key":"` + newPair.Secret.Reveal() + `","who":"ana"}`
	secret, err := d.sm.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("new")})
	must(t, err)
	parameter, err := d.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: aws.String("/new"), WithDecryption: aws.Bool(true)})
	must(t, err)
	if *secret.SecretString != want || *parameter.Parameter.Value != want || parameter.Parameter.Type != types.ParameterTypeSecureString {
		t.Errorf("secret %s, parameter %s", *secret.SecretString, *parameter.Parameter.Value)
	}
}

func TestAWSPlaces_keepOtherFieldsByteForByte(t *testing.T) {
	d, ctx := openDesk(t), t.Context()
	const tail = `, "Notes":{"z":1,"a":[2, 3.0]}`
	before := objectOf(oldPair)
	_, err := d.sm.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("ci"), SecretString: &before})
	must(t, err)
	_, err = d.secret(t, courier.SecretSettings{Secret: "ci", User: "ana"}).Deliver(ctx, rotation, newPair, nil)
	must(t, err)
	out, err := d.sm.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String("ci"), VersionStage: aws.String("AWSCURRENT")})
	must(t, err)
	want := `{"Region":"eu-west-1","AccessKeyId":"` + newPair.KeyID + `","SecretAccessKey":"` + newPair.Secret.Reveal() + `",` +
		strings.Replace(strings.TrimPrefix(tail, ", "), ": ", ":", 1) + `,"UserName":"ana"}`
	if *out.SecretString != want {
		t.Errorf("got  %s\nwant %s", *out.SecretString, want)
	}
}

func TestSecretsManager_doesNotDisturbAnotherRotation(t *testing.T) {
	d, ctx := openDesk(t), t.Context()
	before := objectOf(oldPair)
	_, err := d.sm.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("ci"), SecretString: &before})
	must(t, err)
	_, err = d.sm.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: aws.String("ci"), SecretString: aws.String(objectOf(otherPair)), VersionStages: []string{"AWSPENDING"},
	})
	must(t, err)
	c := d.secret(t, courier.SecretSettings{Secret: "ci"})
	_, deliverErr := c.Deliver(ctx, rotation, newPair, nil)
	for what, err := range map[string]error{"preflight": c.Preflight(ctx), "deliver": deliverErr} {
		if err == nil || !strings.Contains(err.Error(), "another rotation") {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = d.sm.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: aws.String("ci")})
	must(t, err)
	if err := c.Preflight(ctx); err == nil || !strings.Contains(err.Error(), "deletion") {
		t.Errorf("a secret about to go: %v", err)
	}
}

// Put, and killed before it was made current; then somebody changes another field of the current version.
func TestSecretsManager_doesNotFinishOverSomebodysChange(t *testing.T) {
	d, ctx := openDesk(t), t.Context()
	before := objectOf(oldPair)
	_, err := d.sm.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("ci"), SecretString: &before})
	must(t, err)
	c, err := courier.NewSecretsManager(courier.SecretSettings{Secret: "ci"}, stuck{d.secrets})
	must(t, err)
	r, err := c.Deliver(ctx, rotation, newPair, nil)
	if err == nil || len(r) == 0 {
		t.Fatalf("%v, receipt %s", err, r)
	}
	put, err := d.sm.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: aws.String("ci"), SecretString: aws.String(strings.Replace(before, "3.0", "4.0", 1)),
	})
	must(t, err)
	for _, earlier := range [][]byte{nil, r} {
		if _, err := d.secret(t, courier.SecretSettings{Secret: "ci"}).Deliver(ctx, rotation, newPair, earlier); !errors.Is(err, courier.ErrMoved) {
			t.Errorf("%v, want %v", err, courier.ErrMoved)
		}
	}
	labels, _, err := d.secrets.SecretVersions(ctx, "ci")
	if err != nil || labels["AWSCURRENT"] != *put.VersionId {
		t.Errorf("current is %q, %v", labels["AWSCURRENT"], err)
	}
}

// stuck cannot move labels.
type stuck struct{ courier.SecretStore }

func (stuck) MoveLabel(context.Context, string, string, string, string) error {
	return errors.New("the line is dead")
}

// hasty is a store in which somebody else is faster by a hair.
type hasty struct {
	courier.ParameterStore
	before func()
}

func (h hasty) PutParameter(ctx context.Context, name string, v fact.Secret, key, tier string, overwrite bool) (int64, error) {
	h.before()
	return h.ParameterStore.PutParameter(ctx, name, v, key, tier, overwrite)
}

func TestParameter_tellsOfAVersionThatCameInBetween(t *testing.T) {
	d, ctx := openDesk(t), t.Context()
	put := func(text string) {
		_, err := d.ssm.PutParameter(ctx, &ssm.PutParameterInput{
			Name: aws.String("/ci"), Value: &text, Type: types.ParameterTypeSecureString, KeyId: aws.String("alias/prod"), Overwrite: aws.Bool(true),
		})
		must(t, err)
	}
	put(objectOf(oldPair))
	set := courier.ParameterSettings{Name: "/ci"}
	fast := d.parameter(t, set, hasty{d.params, func() { put(objectOf(otherPair)) }})
	r, err := fast.Deliver(ctx, rotation, newPair, nil)
	if !errors.Is(err, courier.ErrMoved) {
		t.Fatalf("got %v, want %v", err, courier.ErrMoved)
	}
	c := d.parameter(t, set, d.params)
	must(t, c.Restore(ctx, rotation, r)) // brings back what somebody else had put
	if holds, err := c.ReadBack(ctx, rotation, otherPair.Digest(), r); err != nil || !holds {
		t.Errorf("restored to something else: %v", err)
	}
	newest, _, key, _, err := d.params.SecureString(ctx, "/ci")
	if err != nil || newest != 4 || key != "alias/prod" {
		t.Errorf("version %d under key %q, %v", newest, key, err)
	}
}

// deaf moves a label and does not hear the answer.
type deaf struct{ courier.SecretStore }

func (d deaf) MoveLabel(ctx context.Context, secret, label, from, to string) error {
	return errors.Join(errors.New("the answer was lost"), d.SecretStore.MoveLabel(ctx, secret, label, from, to))
}

func TestSecretsManager_looksWhenAnAnswerIsLost(t *testing.T) {
	d, ctx := openDesk(t), t.Context()
	before := objectOf(oldPair)
	_, err := d.sm.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("ci"), SecretString: &before})
	must(t, err)
	c, err := courier.NewSecretsManager(courier.SecretSettings{Secret: "ci"}, deaf{d.secrets})
	must(t, err)
	r, err := c.Deliver(ctx, rotation, newPair, nil)
	must(t, err)
	if holds, err := c.ReadBack(ctx, rotation, newPair.Digest(), r); err != nil || !holds {
		t.Errorf("%v, %v", holds, err)
	}
}
