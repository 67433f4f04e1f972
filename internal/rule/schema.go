package rule

import (
	_ "embed"
	"slices"
)

//go:embed schema/ruleset.schema.json
var rulesetSchema []byte

//go:embed schema/exceptions.schema.json
var exceptionsSchema []byte

// RulesetSchema is the JSON Schema (draft 2020-12) of a ruleset file. The loader refuses all that the schema
// refuses, and more: ids that are not in the catalogue and have no kind, a name that is taken, CEL that does not compile.
func RulesetSchema() []byte { return slices.Clone(rulesetSchema) }

// ExceptionsSchema is the JSON Schema (draft 2020-12) of an exceptions file. The loader refuses all that the
// schema refuses, and more: dates that do not exist or are too far ahead, rules that no one knows.
func ExceptionsSchema() []byte { return slices.Clone(exceptionsSchema) }
