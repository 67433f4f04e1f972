package awsiam

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyauth "github.com/aws/smithy-go/auth"
	smithyendpoints "github.com/aws/smithy-go/endpoints"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// Where a call goes, and for which region it is signed; empty: for that of the client.
func goesTo(t *testing.T, e smithyendpoints.Endpoint, err error) (host, signed string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if options, ok := smithyauth.GetAuthOptions(&e.Properties); ok && len(options) > 0 {
		signed, _ = smithyhttp.GetSigV4SigningRegion(&options[0].SignerProperties)
	}
	return e.URI.Host, signed
}

func TestEndpoints_organizationsHasOneAPartitionAndSTSOneARegion(t *testing.T) {
	for _, c := range []struct{ region, org, orgSigned, sts string }{
		{"us-east-1", "organizations.us-east-1.amazonaws.com", "us-east-1", "sts.us-east-1.amazonaws.com"},
		{"eu-west-1", "organizations.us-east-1.amazonaws.com", "us-east-1", "sts.eu-west-1.amazonaws.com"},
		{"", "organizations.us-east-1.amazonaws.com", "us-east-1", "sts.us-east-1.amazonaws.com"},
		{"cn-north-1", "organizations.cn-northwest-1.amazonaws.com.cn", "cn-northwest-1", "sts.cn-north-1.amazonaws.com.cn"},
		{"us-gov-east-1", "organizations.us-gov-west-1.amazonaws.com", "us-gov-west-1", "sts.us-gov-east-1.amazonaws.com"},
		{"eusc-de-east-1", "organizations.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1", "sts.eusc-de-east-1.amazonaws.eu"},
		{"aws-global", "organizations.us-east-1.amazonaws.com", "us-east-1", "sts.amazonaws.com"},
	} {
		ctx := t.Context()
		s := Settings{Region: c.region, Credentials: &Credentials{ID: "AKIA", Secret: fact.NewSecret("any")}}
		org, err := OpenOrganization(ctx, s)
		if err != nil {
			t.Fatal(err)
		}
		oo, so := org.api.Options(), org.sts.Options()
		to, err := oo.EndpointResolverV2.ResolveEndpoint(ctx, organizations.EndpointParameters{Region: &oo.Region, Endpoint: oo.BaseEndpoint}.WithDefaults())
		if host, signed := goesTo(t, to, err); host != c.org || signed != c.orgSigned {
			t.Errorf("%q: Organizations at %s signed for %q, want %s for %q", c.region, host, signed, c.org, c.orgSigned)
		}
		to, err = so.EndpointResolverV2.ResolveEndpoint(ctx, sts.EndpointParameters{Region: &so.Region, Endpoint: so.BaseEndpoint}.WithDefaults())
		if host, _ := goesTo(t, to, err); host != c.sts {
			t.Errorf("%q: STS at %s, want %s", c.region, host, c.sts)
		}
	}
}
