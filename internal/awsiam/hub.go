package awsiam

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/securityhub"
	"github.com/aws/aws-sdk-go-v2/service/securityhub/types"
	"github.com/aws/smithy-go"
)

// HubActions are the actions of Hub, as a policy names them.
func HubActions() []string { return []string{"securityhub:BatchImportFindings"} }

// MostFindings is how many findings Security Hub takes in one call.
const MostFindings = 100

// Hub imports findings into the Security Hub of one account and region. It is safe for concurrent use.
type Hub struct {
	*client
	api *securityhub.Client
}

// OpenHub prepares a Hub and calls nobody.
func OpenHub(ctx context.Context, s Settings) (*Hub, error) {
	c, err := connect(ctx, s, purposeNotify)
	if err != nil {
		return nil, err
	}
	cfg, err := c.service(ctx)
	if err != nil {
		return nil, err
	}
	return &Hub{c, securityhub.NewFromConfig(cfg, func(o *securityhub.Options) {
		if c.set.EndpointURL != "" {
			o.BaseEndpoint = aws.String(c.set.EndpointURL)
		}
	})}, nil
}

// Account tells whose hub it is, and its region. It asks AWS once.
func (h *Hub) Account(ctx context.Context) (id, region string, err error) {
	if known := h.account.Load(); known != nil {
		return *known, h.api.Options().Region, nil
	}
	who, err := h.Caller(ctx)
	return who.Account.ID, h.api.Options().Region, err
}

// Import puts findings in, each in JSON (ASFF); at most MostFindings. Security Hub tells by the id whether a finding is new,
// and takes no change whose UpdatedAt is not later than what it has. The findings are of the account of the credentials:
// Security Hub refuses all others. An error names each finding that was not taken; the others were.
func (h *Hub) Import(ctx context.Context, findings [][]byte) error {
	doing := sentence{action: "securityhub:BatchImportFindings", doing: fmt.Sprintf("import %d findings into Security Hub", len(findings))}
	if len(findings) == 0 || len(findings) > MostFindings {
		return h.failed(ctx, doing, fmt.Errorf("1 to %d are taken at once", MostFindings))
	}
	in := &securityhub.BatchImportFindingsInput{}
	for i, text := range findings {
		f, err := findingOf(text)
		if err != nil {
			return h.failed(ctx, doing, fmt.Errorf("finding %d is not in the form that Security Hub has: %w", i+1, err))
		}
		in.Findings = append(in.Findings, f)
	}
	out, err := h.api.BatchImportFindings(ctx, in)
	if err != nil {
		return h.changed(ctx, doing, err)
	}
	failed, taken := aws.ToInt32(out.FailedCount), aws.ToInt32(out.SuccessCount)
	switch {
	case failed != 0 || len(out.FailedFindings) != 0: // Security Hub answers with success, and says inside what was not taken
		return h.failed(ctx, doing, refusedFindings(out.FailedFindings, int(failed)))
	case int(taken) != len(findings):
		return h.garbled(ctx, doing, "it took %d of %d findings and refused none", taken, len(findings))
	}
	return nil
}

// findingOf reads a finding; a field that Security Hub does not have is an error.
func findingOf(text []byte) (types.AwsSecurityFinding, error) {
	var f types.AwsSecurityFinding
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return f, d.Decode(&f)
}

// mostNamed is how many refused findings an error names.
const mostNamed = 5

func refusedFindings(failed []types.ImportFindingsError, count int) error {
	var texts []string
	code := "FailedFindings"
	for i, f := range failed {
		if i == 0 {
			code = orDefault(aws.ToString(f.ErrorCode), code)
		}
		if i < mostNamed {
			texts = append(texts, fmt.Sprintf("%s (%s: %s)", aws.ToString(f.Id), aws.ToString(f.ErrorCode), aws.ToString(f.ErrorMessage)))
		}
	}
	return &smithy.GenericAPIError{
		Code: code, Message: fmt.Sprintf("%d findings were not taken: %s", max(count, len(failed)), strings.Join(texts, ", ")),
	}
}
