package report

import _ "embed"

//go:embed schema/audit.schema.json
var auditSchemaText string

// AuditSchema is the JSON Schema (draft 2020-12) of -o json. Its $defs/verdict is the schema of a line of
// -o ndjson.
func AuditSchema() []byte { return []byte(auditSchemaText) }
