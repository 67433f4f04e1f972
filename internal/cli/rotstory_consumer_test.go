package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/keyreeve/keyreeve/internal/fakeaws/sdk"
)

// companion is a process beside the story.
type companion struct {
	process *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	errs    bytes.Buffer
}

// accompany starts a program of this test binary, by its name.
func accompany(dir string, env []string, name string, args ...string) (*companion, error) {
	c := &companion{process: exec.Command(os.Args[0], args...)}
	c.process.Args[0], c.process.Dir, c.process.Env, c.process.Stderr = name, dir, env, &c.errs
	in, err := c.process.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if name == "keyreeve" {
		c.process.Stderr = c.process.Stdout
	}
	c.in, c.out = in, bufio.NewReader(out)
	return c, c.process.Start()
}

// ask says a line, and waits for the line that answers.
func (c *companion) ask(line string) (string, error) {
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		return "", err
	}
	answer, err := c.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, &c.errs)
	}
	return strings.TrimSpace(answer), nil
}

// kill is safe to call twice.
func (c *companion) kill() {
	if c.process.ProcessState == nil {
		_ = c.process.Process.Kill()
		_ = c.process.Wait() // "killed" is what we asked for
	}
}

// consumer is a program that works with the pair in the secret that its argument names. For every line that it reads it
// works once, and answers with the id of the key, and with what went wrong.
func consumer() {
	ctx := context.Background()
	cfg, err := config.LoadDefaultConfig(ctx, config.WithHTTPClient(sdk.HTTPClient()))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	cfg.RetryMaxAttempts = 1
	for scan := bufio.NewScanner(os.Stdin); scan.Scan(); {
		id, err := consume(ctx, cfg, os.Args[1])
		if err != nil {
			id += " " + strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Println(id)
	}
	os.Exit(0)
}

func consume(ctx context.Context, cfg aws.Config, secret string) (string, error) {
	text, err := currentSecret(ctx, cfg, secret)
	if err != nil {
		return "none", err
	}
	var p pairText
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return "none", err
	}
	own := cfg.Copy()
	own.Credentials = credentials.NewStaticCredentialsProvider(p.AccessKeyId, p.SecretAccessKey, "")
	if _, err := sts.NewFromConfig(own).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}); err != nil {
		return p.AccessKeyId, err
	}
	for _, call := range []struct{ method, body string }{{http.MethodPut, "an order"}, {http.MethodGet, ""}} {
		if err := callS3(ctx, own, call.method, "/orders/next", call.body); err != nil {
			return p.AccessKeyId, err
		}
	}
	return p.AccessKeyId, nil
}

// callS3 makes one signed call. The SDK for S3 is no dependency of ours, and one for a test is too many.
func callS3(ctx context.Context, cfg aws.Config, method, path, body string) error {
	endpoint := os.Getenv("AWS_ENDPOINT_URL")
	req, err := http.NewRequestWithContext(ctx, method, endpoint+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	c, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	hash := sha256.Sum256([]byte(body))
	sum := hex.EncodeToString(hash[:])
	req.Header.Set("X-Amz-Content-Sha256", sum)
	if err := v4.NewSigner().SignHTTP(ctx, c, req, sum, "s3", cfg.Region, time.Now()); err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 300))
		return fmt.Errorf("%s %s: HTTP %d: %s", method, path, res.StatusCode, text)
	}
	return nil
}
