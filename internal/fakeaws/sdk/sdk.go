// Package sdk sets up the AWS SDK's own clients: with them a test builds its world in an emulator, and reads back what
// became of it, without a line of the program under test.
package sdk

import (
	"context"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyreeve/keyreeve/internal/wire"
)

var client = &http.Client{Transport: &wire.Transport{Transport: &http.Transport{}}}

// HTTPClient loses no answer. The SDK's own does, about once in thousands of calls on a busy machine, and then a user
// that was made is made again and exists already. It is one for all, and keeps no more than two connections to a host.
func HTTPClient() *http.Client { return client }

// Config is for the clients of the emulator at the URL, in the region, with these credentials.
func Config(url, region string, c aws.Credentials) aws.Config {
	return aws.Config{
		Region: region, BaseEndpoint: &url, HTTPClient: client,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return c, nil }),
	}
}
