package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/keyreeve/keyreeve/internal/awsiam"
	"github.com/keyreeve/keyreeve/internal/config"
	"github.com/keyreeve/keyreeve/internal/courier"
	"github.com/keyreeve/keyreeve/internal/fact"
	"github.com/keyreeve/keyreeve/internal/rotate"
	"github.com/keyreeve/keyreeve/internal/seal"
)

// places opens couriers for the targets of the settings, each once in the life of a command.
type places struct {
	app     *app
	set     *config.Config
	writer  writerFlags
	backup  courier.Backup
	account string
	open    map[string]rotate.Courier // by target and user
	closes  []func()
}

func (a *app) places(set *config.Config, f writerFlags, account string, box *seal.Box, dir string) *places {
	return &places{
		app: a, set: set, writer: f, account: account, open: map[string]rotate.Courier{},
		backup: courier.Backup{Dir: filepath.Join(dir, "backup"), Box: box},
	}
}

func (p *places) close() {
	for _, f := range p.closes {
		f()
	}
}

// order fills in where the new key of the user goes, by which terms.
func (p *places) order(ctx context.Context, u fact.User, o *rotate.Order) error {
	terms, ok, err := p.set.For(u)
	if err != nil {
		return err
	}
	if !ok {
		return nil // the engine refuses a rotation to nowhere, with a hint
	}
	o.Terms, o.Own = terms.Terms, terms.Own
	for i := range terms.Targets {
		t := &terms.Targets[i]
		c, err := p.make(ctx, t)
		if err != nil {
			return err
		}
		o.Targets = append(o.Targets, rotate.Target{Name: t.Name, Kind: string(t.Kind), Where: c.Describe()})
		p.open[t.Name+" "+u.Name] = c
	}
	return nil
}

// courier finds the courier of a target of a rotation.
func (p *places) courier(ctx context.Context) func(r *rotate.Rotation, t *rotate.Target) (rotate.Courier, error) {
	return func(r *rotate.Rotation, x *rotate.Target) (rotate.Courier, error) {
		key := x.Name + " " + r.User
		if c := p.open[key]; c != nil {
			return c, nil
		}
		if recipient, path, ok := sealedName(x.Name); ok {
			return p.make(ctx, &config.Target{Name: x.Name, Kind: config.SealedFile, Sealed: &courier.SealedSettings{Path: path, Recipients: []string{recipient}, User: r.User}})
		}
		t, ok, err := p.set.Target(x.Name, r.Account, r.User)
		switch {
		case err != nil:
			return nil, err
		case !ok:
			return nil, fmt.Errorf("the settings have no target %q any more", x.Name)
		case string(t.Kind) != x.Kind:
			return nil, fmt.Errorf("target %q was a %s when the rotation began, the settings have a %s", x.Name, x.Kind, t.Kind)
		}
		c, err := p.make(ctx, &t)
		switch {
		case err != nil:
			return nil, err
		case c.Describe() != x.Where: // a receipt of the one says nothing of the other
			return nil, fmt.Errorf("target %q was %s when the rotation began, the settings now lead to %s", x.Name, x.Where, c.Describe())
		}
		p.open[key] = c
		return c, nil
	}
}

// described is a courier that can say where it delivers.
type described interface {
	rotate.Courier
	Describe() string
}

func (p *places) make(ctx context.Context, t *config.Target) (described, error) {
	switch t.Kind {
	case config.SecretsManager:
		store, err := awsiam.OpenSecrets(ctx, p.settings(t.Secret.Region, t.Secret.RoleARN, t.Secret.ExternalID))
		if err != nil {
			return nil, err
		}
		p.closes = append(p.closes, store.Close)
		return courier.NewSecretsManager(*t.Secret, store)
	case config.SSM:
		store, err := awsiam.OpenParameters(ctx, p.settings(t.Parameter.Region, t.Parameter.RoleARN, t.Parameter.ExternalID))
		if err != nil {
			return nil, err
		}
		p.closes = append(p.closes, store.Close)
		return courier.NewParameter(*t.Parameter, store)
	case config.CredentialsFile:
		t.Credentials.Backup = p.backup
		return courier.NewCredentials(*t.Credentials)
	case config.SealedFile:
		t.Sealed.Backup = p.backup
		return courier.NewSealed(*t.Sealed)
	case config.Command:
		return courier.NewCommand(*t.Command)
	default:
		return nil, errors.New("unknown kind of target " + string(t.Kind))
	}
}

// settings are those of the rotating credentials, for a store in that region, by that role.
func (p *places) settings(region, role, external string) awsiam.Settings {
	s := p.app.writerSettings(p.writer)
	if region != "" {
		s.Region = region
	}
	if role != "" {
		s.RoleARN, s.ExternalID = role, external
	}
	return s
}
