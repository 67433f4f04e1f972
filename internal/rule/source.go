package rule

import "github.com/keyreeve/keyreeve/internal/yamlfile"

// source is a file of rules or exceptions that is being read.
type source struct{ *yamlfile.File }

func newSource(name string) *source { return &source{&yamlfile.File{Name: name}} }
