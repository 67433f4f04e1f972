package channel_test

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/securityhub"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/channel"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/fakeaws/moto"
	"github.com/keyreeve/keyreeve/internal/fakeaws/sdk"
	"github.com/keyreeve/keyreeve/internal/finding"
	"github.com/keyreeve/keyreeve/internal/notice"
	"github.com/keyreeve/keyreeve/internal/report"
)

// A verdict opens and closes in another account than the hub's; others have looked at the finding meanwhile.
func TestSecurityHub_aVerdictOpensAndIsArchivedOnMoto(t *testing.T) {
	m, ctx := moto.Start(t), t.Context()
	url := m.URL()
	hub, err := awsiam.OpenHub(ctx, awsiam.Settings{
		EndpointURL: url, Region: "eu-west-1", Credentials: &awsiam.Credentials{ID: "AKIAFAKE123456789012", Secret: fact.NewSecret("any")},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer hub.Close()
	c := channel.NewSecurityHub("hub", hub, func(v *finding.Verdict, account, region string, at time.Time, closed notice.Reason) ([]byte, error) {
		return report.Finding(v, report.Import{Account: account, Region: region, At: at, Closed: closed})
	})
	other := securityhub.NewFromConfig(sdk.Config(url, "eu-west-1", aws.Credentials{AccessKeyID: "AKIAFAKE123456789012", SecretAccessKey: "any"}))
	terms := channel.SecurityHub.Terms()
	terms.Name = "hub"
	cs := changes("ci")
	cs[1].At = now.Add(time.Hour)
	for _, step := range []struct {
		changes            []notice.Change
		record, compliance string
		updated            string
	}{
		{cs[:1], "ACTIVE", "FAILED", "2026-11-22T12:00:00Z"},
		{cs[:1], "ACTIVE", "FAILED", "2026-11-22T12:00:00Z"}, // sent again
		{cs[1:2], "ARCHIVED", "PASSED", "2026-11-22T13:00:00Z"},
	} {
		_, err := c.Send(ctx, compose(t, terms, step.changes)[0])
		found, getErr := other.GetFindings(ctx, &securityhub.GetFindingsInput{})
		if err := errors.Join(err, getErr); err != nil {
			t.Fatal(err)
		}
		if len(found.Findings) != 1 {
			t.Fatalf("%d findings", len(found.Findings))
		}
		f := found.Findings[0]
		if string(f.RecordState) != step.record || string(f.Compliance.Status) != step.compliance || *f.UpdatedAt != step.updated ||
			*f.AwsAccountId != "123456789012" || f.ProductFields["keyreeve/account"] != "111122223333" || f.Workflow != nil {
			t.Errorf("%+v", f)
		}
		if key := f.Resources[0].Details.AwsIamAccessKey; key == nil || *key.AccessKeyId != "AKIAIOSFODNN7EXAMPLE" || *key.AccountId != "111122223333" {
			t.Errorf("the resource: %+v", f.Resources[0])
		}
	}
}
