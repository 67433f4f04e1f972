#!/bin/sh
# The race detector over the packages that run goroutines.
set -eu
cd "$(dirname "$0")/.."
. scripts/env.sh
exec "${GO:-go}" test -race -count=1 ./internal/credreport ./internal/collect ./internal/audit ./internal/awsiam ./internal/fakeaws/... ./internal/rule ./internal/plan ./internal/apply ./internal/store ./internal/cli
