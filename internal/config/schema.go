package config

import (
	_ "embed"
	"slices"
)

//go:embed schema/config.schema.json
var schema []byte

// ConfigSchema is the JSON Schema (draft 2020-12) of a settings file. Load refuses all that the schema refuses, and more:
// names that lead nowhere, places that two users would share, texts that a courier does not take.
func ConfigSchema() []byte { return slices.Clone(schema) }
