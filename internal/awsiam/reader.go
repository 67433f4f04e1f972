package awsiam

import "context"

// Reader reads one account and has no method that changes it. It is safe for concurrent use.
type Reader struct{ *client }

// Open prepares a Reader and calls nobody: wrong credentials, or none, show at the first reading. It fails
// on settings that make no sense and on a configuration of the AWS CLI that cannot be used, such as a
// profile that does not exist.
func Open(ctx context.Context, s Settings) (*Reader, error) {
	c, err := connect(ctx, s, purposeAudit)
	if err != nil {
		return nil, err
	}
	return &Reader{c}, nil
}
