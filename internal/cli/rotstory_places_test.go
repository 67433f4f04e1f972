package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keyreeve/keyreeve/internal/fakeaws/sdk"
)

// pairText is the JSON object that a target holds.
type pairText struct{ AccessKeyId, SecretAccessKey string } //nolint:revive // as AWS writes it

func (s *rotationStory) store(ts *testscript.TestScript, args []string) error {
	id := ts.Getenv(args[2])
	text, err := json.Marshal(map[string]string{"AccessKeyId": id, "SecretAccessKey": s.secrets[id], "queue": "orders"})
	if err != nil {
		return err
	}
	cfg, ctx, value := s.config(ts), context.Background(), string(text)
	if args[0] == "secret" {
		_, err = secretsmanager.NewFromConfig(cfg).CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &args[1], SecretString: &value})
		return err
	}
	_, err = ssm.NewFromConfig(cfg).PutParameter(ctx, &ssm.PutParameterInput{Name: &args[1], Value: &value, Type: "SecureString"})
	return err
}

// config is the administrator's way to AWS. Where moto checks who calls, that is the user with the key BOSS.
func (s *rotationStory) config(ts *testscript.TestScript) aws.Config {
	id := ts.Getenv("BOSS")
	if id == "" {
		id = motoAdmin
	}
	return sdk.Config(s.url, "us-east-1", aws.Credentials{AccessKeyID: id, SecretAccessKey: s.secrets[id]})
}

// read is what a place holds, for the administrator or the person to whom it is sealed.
func (s *rotationStory) read(ts *testscript.TestScript, kind, name string) (text string, err error) {
	ctx, cfg := context.Background(), s.config(ts)
	switch kind {
	case "secret":
		return currentSecret(ctx, cfg, name)
	case "parameter":
		out, err := ssm.NewFromConfig(cfg).GetParameter(ctx, &ssm.GetParameterInput{Name: &name, WithDecryption: aws.Bool(true)})
		if err != nil {
			return "", err
		}
		return *out.Parameter.Value, nil
	case "sealed":
		plain, err := age.Decrypt(armor.NewReader(strings.NewReader(ts.ReadFile(name))), s.identity)
		if err != nil {
			return "", err
		}
		b, err := io.ReadAll(plain)
		return string(b), err
	default:
		return "", fmt.Errorf("no kind of place: %s", kind)
	}
}

// currentSecret asks for the stage by its name: without, moto still gives the version that was current when it was put.
func currentSecret(ctx context.Context, cfg aws.Config, name string) (string, error) {
	out, err := secretsmanager.NewFromConfig(cfg).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{
		SecretId: &name, VersionStage: aws.String("AWSCURRENT"),
	})
	if err != nil {
		return "", err
	}
	return *out.SecretString, nil
}

func (s *rotationStory) holds(ts *testscript.TestScript, args []string) error {
	text, err := s.read(ts, args[0], args[1])
	if err != nil {
		return err
	}
	var p pairText
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	if want := ts.Getenv(args[2]); p.AccessKeyId != want {
		return fmt.Errorf("%s %s holds key %s, not %s", args[0], args[1], p.AccessKeyId, want)
	}
	s.secrets[p.AccessKeyId] = p.SecretAccessKey
	_, api := s.clients(p.AccessKeyId)
	if _, err := api.GetCallerIdentity(context.Background(), &sts.GetCallerIdentityInput{}); err != nil {
		return fmt.Errorf("the pair in %s %s: %w", args[0], args[1], err)
	}
	return nil
}

// noSecrets looks for the secrets of all keys that were handled, and of what was handed to AWS, where none must be.
func (s *rotationStory) noSecrets(*testscript.TestScript, []string) error {
	check := func(where string, text []byte) error {
		for id, secret := range s.secrets {
			if len(secret) > 8 && bytes.Contains(text, []byte(secret)) {
				return fmt.Errorf("%s holds the secret of key %s", where, id)
			}
		}
		return nil
	}
	if err := check("what was printed", s.said.Bytes()); err != nil {
		return err
	}
	read := 0
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(filepath.Dir(path), ".aws") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		read++
		return check(path, text)
	})
	if err == nil && (read < 3 || len(s.secrets) < 3) {
		err = fmt.Errorf("%d files and %d secrets are too few to say anything", read, len(s.secrets))
	}
	return err
}
