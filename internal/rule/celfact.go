package rule

import (
	"fmt"
	"reflect"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/keyreeve/keyreeve/internal/fact"
)

// celType is a type of facts as custom rules see it. Every field is read from an object of the type; a fact that was not
// read is an unknown of CEL's.
type celType struct {
	name   string // of the type and of the variable that has it
	fields []celField
}

type celField struct {
	name string
	typ  *types.Type
	get  func(*celObject) ref.Val
}

// celObject is a user, key or account with what its fields are read from.
type celObject struct {
	typ  *types.Type
	user *fact.User
	key  *fact.Key
	now  fact.Time
}

func objectType(name string) *types.Type { return types.NewObjectType("keyreeve." + name) }

func newActivation(u *fact.User, k *fact.Key, now fact.Time) celVars {
	v := celVars{
		user:    &celObject{objectType("user"), u, nil, now},
		account: &celObject{objectType("account"), u, nil, now},
		now:     types.Timestamp{Time: now.Time()},
	}
	if k != nil {
		v.key = &celObject{objectType("key"), u, k, now}
	}
	return v
}

// unread is the value of a fact that was not read.
func unread(name string) ref.Val { return types.NewUnknown(1, types.NewAttributeTrail(name)) }

// celTypes is the language of custom rules. The account's id and partition are those of the user's ARN.
func celTypes() []celType {
	return []celType{
		{"key", keyFields()},
		{"user", userFields()},
		{"account", []celField{
			{"id", types.StringType, func(o *celObject) ref.Val { return textFact("account.id", arnPart(o.user.ARN, 4)) }},
			{"partition", types.StringType, func(o *celObject) ref.Val { return textFact("account.partition", arnPart(o.user.ARN, 1)) }},
		}},
	}
}

func keyFields() []celField {
	return []celField{
		{"id", types.StringType, func(o *celObject) ref.Val { return textFact("key.id", o.key.ID) }},
		{"active", types.BoolType, func(o *celObject) ref.Val { return types.Bool(o.key.Active) }},
		{"created", types.TimestampType, func(o *celObject) ref.Val { return timeFact("key.created", o.key.Created) }},
		{"age", types.DurationType, func(o *celObject) ref.Val { return sinceFact("key.age", o.key.Created, o.now) }},
		{"ever_used", types.BoolType, func(o *celObject) ref.Val {
			return answerFact("key.ever_used", everUsed(o.key))
		}},
		{"last_used", types.TimestampType, func(o *celObject) ref.Val { return timeFact("key.last_used", o.key.LastUsed.At) }},
		{"idle", types.DurationType, idleFact},
		{"last_used_service", types.StringType, func(o *celObject) ref.Val { return useFact("key.last_used_service", o.key, o.key.LastUsed.Service) }},
		{"last_used_region", types.StringType, func(o *celObject) ref.Val { return useFact("key.last_used_region", o.key, o.key.LastUsed.Region) }},
	}
}

func userFields() []celField {
	return []celField{
		{"name", types.StringType, func(o *celObject) ref.Val { return types.String(o.user.Name) }},
		{"path", types.StringType, func(o *celObject) ref.Val { return textFact("user.path", o.user.Path) }},
		{"arn", types.StringType, func(o *celObject) ref.Val { return textFact("user.arn", o.user.ARN) }},
		{"created", types.TimestampType, func(o *celObject) ref.Val { return timeFact("user.created", o.user.Created) }},
		{"password", types.BoolType, func(o *celObject) ref.Val { return answerFact("user.password", o.user.Password) }},
		{"mfa", types.BoolType, func(o *celObject) ref.Val { return answerFact("user.mfa", o.user.MFA) }},
		{"tags", types.NewMapType(types.StringType, types.StringType), func(o *celObject) ref.Val {
			if !o.user.TagsRead {
				return unread("user.tags")
			}
			return types.NewStringStringMap(types.DefaultTypeAdapter, o.user.Tags)
		}},
		{"active_keys", types.IntType, func(o *celObject) ref.Val {
			if !o.user.KeysRead {
				return unread("user.active_keys")
			}
			return types.Int(o.user.ActiveKeys())
		}},
		{"keys", types.NewListType(objectType("key")), func(o *celObject) ref.Val {
			if !o.user.KeysRead {
				return unread("user.keys")
			}
			keys := make([]ref.Val, 0, len(o.user.Keys))
			for i := range o.user.Keys {
				keys = append(keys, &celObject{objectType("key"), o.user, &o.user.Keys[i], o.now})
			}
			return types.NewRefValList(types.DefaultTypeAdapter, keys)
		}},
	}
}

func everUsed(k *fact.Key) fact.Answer {
	if k.LastUsed.At.Unknown() {
		return fact.Unknown
	}
	return fact.YesNo(k.LastUsed.At.Known())
}

// idleFact is the time since the last use, or since creation for a key that was never used.
func idleFact(o *celObject) ref.Val {
	from := o.key.LastUsed.At
	if from.Never() {
		from = o.key.Created
	}
	return sinceFact("key.idle", from, o.now)
}

// textFact takes an empty text for one that was not read.
func textFact(name, text string) ref.Val {
	if text == "" {
		return unread(name)
	}
	return types.String(text)
}

// useFact is about a key's last use: empty where there was none, or where AWS names no region for it.
func useFact(name string, k *fact.Key, text string) ref.Val {
	if k.LastUsed.At.Unknown() {
		return unread(name)
	}
	return types.String(text)
}

// timeFact is an error for what never happened: to ask when is then no question.
func timeFact(name string, t fact.Time) ref.Val {
	switch {
	case t.Known():
		return types.Timestamp{Time: t.Time()}
	case t.Never():
		return types.NewErr("%s: never; ask key.ever_used first", name)
	default:
		return unread(name)
	}
}

func sinceFact(name string, t, now fact.Time) ref.Val {
	if !t.Known() {
		return unread(name)
	}
	return types.Duration{Duration: now.Sub(t)}
}

func answerFact(name string, a fact.Answer) ref.Val {
	if a == fact.Unknown {
		return unread(name)
	}
	return types.Bool(a == fact.Yes)
}

// arnPart is the i-th part of an ARN, counted from 0; empty where there is none.
func arnPart(arn string, i int) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 {
		return ""
	}
	return parts[i]
}

// The methods of ref.Val.

func (o *celObject) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("%s is no %v", o.typ, t)
}

func (o *celObject) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return o.typ
	}
	return types.NewErr("%s is no %s", o.typ, t.TypeName())
}

func (o *celObject) Equal(other ref.Val) ref.Val {
	p, ok := other.(*celObject)
	return types.Bool(ok && o.typ.TypeName() == p.typ.TypeName() && o.user == p.user && o.key == p.key)
}

func (o *celObject) Type() ref.Type { return o.typ }
func (o *celObject) Value() any     { return o }

// factTypes tells CEL of celTypes, and asks the registry about everything else.
type factTypes struct {
	types.Provider
	fields map[string]map[string]celField // by type, by field
}

func newFactTypes(base types.Provider) factTypes {
	t := factTypes{base, map[string]map[string]celField{}}
	for _, c := range celTypes() {
		fields := map[string]celField{}
		for _, f := range c.fields {
			fields[f.name] = f
		}
		t.fields[objectType(c.name).TypeName()] = fields
	}
	return t
}

func (t factTypes) FindStructType(name string) (*types.Type, bool) {
	if _, ok := t.fields[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return t.Provider.FindStructType(name)
}

func (t factTypes) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	fields, ok := t.fields[name]
	if !ok {
		return t.Provider.FindStructFieldType(name, field)
	}
	f, ok := fields[field]
	if !ok {
		return nil, false
	}
	return &types.FieldType{
		Type:  f.typ,
		IsSet: func(any) bool { return true }, // has() is not part of the language: it could only guess
		GetFrom: func(target any) (any, error) {
			o, ok := target.(*celObject)
			if !ok { // an unknown list has no elements to look into
				return nil, fmt.Errorf("%T has no field %s", target, field)
			}
			v := f.get(o)
			if e, ok := v.(*types.Err); ok {
				return nil, e
			}
			return v, nil
		},
	}, true
}

var celEnvs = sync.OnceValues(func() (map[Subject]*cel.Env, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	user, err := cel.NewEnv(
		cel.CustomTypeProvider(newFactTypes(registry)), cel.CustomTypeAdapter(registry),
		// All but has(): whether a fact is there is not the same question as whether it was read.
		cel.ClearMacros(), cel.Macros(cel.AllMacro, cel.ExistsMacro, cel.ExistsOneMacro, cel.MapMacro, cel.MapFilterMacro, cel.FilterMacro),
		cel.Variable("user", objectType("user")), cel.Variable("account", objectType("account")), cel.Variable("now", cel.TimestampType),
		// A constant that cannot be read would make every verdict unknown, on the day it is first needed.
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals()),
	)
	if err != nil {
		return nil, err
	}
	key, err := user.Extend(cel.Variable("key", objectType("key")))
	if err != nil {
		return nil, err
	}
	return map[Subject]*cel.Env{ForUser: user, ForKey: key}, nil
})

// celEnv is built when the first custom rule is read: start-up does not pay for it.
func celEnv(subject Subject) (*cel.Env, error) {
	envs, err := celEnvs()
	return envs[subject], err
}
