package plan

import _ "embed"

//go:embed schema/plan.schema.json
var planSchemaText string

// PlanSchema is the JSON Schema (draft 2020-12) of a plan.
func PlanSchema() []byte { return []byte(planSchemaText) }
