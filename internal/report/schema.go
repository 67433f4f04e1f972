package report

import _ "embed"

//go:embed schema/audit.schema.json
var auditSchemaText string

// AuditSchema is the JSON Schema (draft 2020-12) of -o json. Its $defs/verdict is the schema of a line of
// -o ndjson.
func AuditSchema() []byte { return []byte(auditSchemaText) }

//go:embed schema/run.schema.json
var runSchemaText string

// RunSchema is the JSON Schema (draft 2020-12) of a run in JSON. Its $defs/runs is the schema of the list of
// runs.
func RunSchema() []byte { return []byte(runSchemaText) }
