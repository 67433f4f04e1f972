package config

import "strings"

// Store is a secret or a parameter that targets lead to, as a policy names it.
type Store struct {
	Kind   Kind
	Name   string // with * for what differs from user to user
	Region string // empty: that of the caller's chain
	Role   string // ARN of the role that is assumed to reach it; empty: none
	Create bool   // it may have to be made
}

// Stores are the secrets and parameters of all targets, in the order of the file.
func (c *Config) Stores() []Store {
	every := strings.NewReplacer("{user}", "*", "{account}", "*")
	var out []Store
	for i := range c.targets {
		switch t := &c.targets[i]; {
		case t.Secret != nil:
			out = append(out, Store{t.Kind, every.Replace(t.Secret.Secret), t.Secret.Region, t.Secret.RoleARN, t.Secret.Create})
		case t.Parameter != nil:
			out = append(out, Store{t.Kind, every.Replace(t.Parameter.Name), t.Parameter.Region, t.Parameter.RoleARN, t.Parameter.Create})
		}
	}
	return out
}
