package awsiam

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// ParameterActions are the actions of Parameters, sorted, as a policy names them. A parameter under a key of its
// own needs kms:Decrypt and kms:Encrypt of that key besides.
func ParameterActions() []string {
	return []string{"ssm:GetParameter", "ssm:GetParameterHistory", "ssm:PutParameter"}
}

// Parameters reads and writes SecureString parameters of Systems Manager, in one account and region. It is safe
// for concurrent use.
//
// A repeated change adds a version with the same value. A failure whose effect nobody knows is fact.ErrUnclear
// beside its kind.
type Parameters struct {
	*client
	api *ssm.Client
}

// OpenParameters prepares Parameters and calls nobody.
func OpenParameters(ctx context.Context, s Settings) (*Parameters, error) {
	c, err := connect(ctx, s, purposeRotate)
	if err != nil {
		return nil, err
	}
	cfg, err := c.service(ctx)
	if err != nil {
		return nil, err
	}
	return &Parameters{c, ssm.NewFromConfig(cfg, func(o *ssm.Options) {
		if c.set.EndpointURL != "" {
			o.BaseEndpoint = aws.String(c.set.EndpointURL)
		}
	})}, nil
}

// Region is where the parameters are.
func (p *Parameters) Region() string { return p.api.Options().Region }

// ParameterValue reads a version of a parameter, decrypted, and tells which it is. Version 0 is the newest.
func (p *Parameters) ParameterValue(ctx context.Context, name string, version int64) (fact.Secret, int64, error) {
	doing := sentence{action: "ssm:GetParameter", doing: fmt.Sprintf("read parameter %q", name), subject: name}
	selector := name
	if version != 0 {
		doing.doing = fmt.Sprintf("read version %d of parameter %q", version, name)
		selector += ":" + strconv.FormatInt(version, 10)
	}
	out, err := p.api.GetParameter(ctx, &ssm.GetParameterInput{Name: &selector, WithDecryption: aws.Bool(true)})
	switch {
	case err != nil:
		return fact.Secret{}, 0, p.failed(ctx, doing, err)
	case out.Parameter == nil || out.Parameter.Value == nil || out.Parameter.Version < 1:
		return fact.Secret{}, 0, p.garbled(ctx, doing, "it holds no parameter with a value and a version")
	case version != 0 && out.Parameter.Version != version:
		return fact.Secret{}, 0, p.garbled(ctx, doing, "it is about version %d", out.Parameter.Version)
	}
	return fact.NewSecret(*out.Parameter.Value), out.Parameter.Version, nil
}

// SecureString reads which versions of a parameter AWS still keeps, and the KMS key (id, ARN or alias) and the
// tier that the newest is kept with, from its history to the last page. It reads no value. A parameter that a put
// would not leave as it is otherwise is refused: no SecureString, a data type or policies of its own.
func (p *Parameters) SecureString(ctx context.Context, name string) (newest, oldest int64, kmsKey, tier string, err error) {
	doing := sentence{action: "ssm:GetParameterHistory", doing: fmt.Sprintf("read how parameter %q is kept", name), subject: name}
	var last types.ParameterHistory
	pages := ssm.NewGetParameterHistoryPaginator(p.api, &ssm.GetParameterHistoryInput{Name: &name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, 0, "", "", p.failed(ctx, doing, err)
		}
		for _, v := range page.Parameters {
			if oldest == 0 || v.Version < oldest {
				oldest = v.Version
			}
			if v.Version > last.Version {
				last = v
			}
		}
	}
	switch kind := aws.ToString(last.DataType); {
	case last.Version < 1:
		err = p.garbled(ctx, doing, "it holds no version")
	case last.Type != types.ParameterTypeSecureString:
		err = p.failed(ctx, doing, errors.New("it is no SecureString, its value stands there in plain text"))
	case kind != "" && kind != "text":
		err = p.failed(ctx, doing, fmt.Errorf("it is of data type %q", kind))
	case len(last.Policies) > 0:
		err = p.failed(ctx, doing, errors.New("it has policies, which a new version might lose"))
	case aws.ToString(last.KeyId) == "":
		err = p.garbled(ctx, doing, "it names no KMS key")
	}
	return last.Version, oldest, aws.ToString(last.KeyId), string(last.Tier), err
}

// PutParameter writes a SecureString and returns the version it got. With overwrite it adds a version to the
// parameter that is there; without it makes a parameter, and one that is there already is an error. An empty
// kmsKey is the account's own for Systems Manager, also for one that is there; an empty tier is its default.
func (p *Parameters) PutParameter(ctx context.Context, name string, value fact.Secret, kmsKey, tier string, overwrite bool) (int64, error) {
	doing := sentence{action: "ssm:PutParameter", doing: fmt.Sprintf("put parameter %q", name), subject: name, carried: value}
	out, err := p.api.PutParameter(ctx, putInput(name, value, kmsKey, tier, overwrite))
	if err != nil {
		return 0, p.changed(ctx, doing, err)
	}
	if out.Version < 1 {
		e := p.garbled(ctx, doing, "it holds no version")
		e.Unclear = true
		return 0, e
	}
	return out.Version, nil
}

func putInput(name string, value fact.Secret, kmsKey, tier string, overwrite bool) *ssm.PutParameterInput {
	in := &ssm.PutParameterInput{
		Name: &name, Value: aws.String(value.Reveal()), Type: types.ParameterTypeSecureString,
		Overwrite: &overwrite, Tier: types.ParameterTier(tier),
	}
	if kmsKey != "" {
		in.KeyId = &kmsKey
	}
	return in
}

// MayPutParameter asks AWS whether these credentials may write a parameter that exists, and changes nothing: it
// tries to make it once more, which AWS refuses after it looked at the permission. nil for yes, ErrDenied for no.
func (p *Parameters) MayPutParameter(ctx context.Context, name, kmsKey, tier string) error {
	doing := sentence{action: "ssm:PutParameter", doing: fmt.Sprintf("check the permission to put parameter %q", name), subject: name}
	_, err := p.api.PutParameter(ctx, putInput(name, fact.NewSecret("keyreeve preflight"), kmsKey, tier, false))
	switch {
	case apiCode(err) == "ParameterAlreadyExists":
		return nil
	case err == nil: // deleted since it was read
		return p.garbled(ctx, doing, "the parameter was gone, and stands now with the value %q", "keyreeve preflight")
	default:
		return p.failed(ctx, doing, err)
	}
}
